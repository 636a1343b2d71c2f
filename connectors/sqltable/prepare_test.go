package sqltable_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// TestPrepareMissingColumns: a run adds columns only where the config says so.
func TestPrepareMissingColumns(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		create(t, open(t, s, ""), customer)
		wider := customer
		wider.Fields = append(slices.Clone(customer.Fields), kedge.Field{Name: "phone", Type: kedge.TypeString})
		for _, tt := range []struct {
			policy, want string
		}{{"", "refused"}, {"refuse", "refused"}, {"ignore", "ignored"}, {"extend", "allowed"}} {
			more := ""
			if tt.policy != "" {
				more = `, "entities": {"customer": {"onMissingColumn": "` + tt.policy + `"}}`
			}
			d := open(t, s, more)
			p, err := d.Prepare(t.Context(), []kedge.Entity{wider})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			switch why := p.Refused["customer"]; {
			case why != nil && why.Kind == kedge.Invalid && strings.Contains(why.Error(), `ADD COLUMN "phone"`) && strings.Contains(why.Error(), "column phone;"):
				got = "refused"
			case len(p.Ignored) == 1 && p.Ignored[0].Field == "phone":
				got = "ignored"
			case len(p.Allowed) == 1 && p.Allowed[0].Field == "phone":
				got = "allowed"
			}
			if got != tt.want || len(p.Allowed)+len(p.Ignored)+len(p.Refused) != 1 {
				t.Errorf("policy %q: got %s of %+v, want %s", tt.policy, got, p, tt.want)
			}
			schema, err := d.Schema(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if schema.Entity("customer").Field("phone") != nil {
				t.Fatalf("policy %q: Prepare changed the table", tt.policy)
			}
			if got != "allowed" {
				continue
			}
			applied(t, d, p)
		}
	})
}

// applied does what is allowed and compares the entities with what was foretold.
func applied(t *testing.T, d interface {
	connectors.Driver
	connectors.SchemaEditor
}, p connectors.Preparation) {
	t.Helper()
	if err := d.ApplySchema(t.Context(), p.Allowed); err != nil {
		t.Fatal(err)
	}
	schema, err := d.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range p.After {
		got := schema.Entity(want.Name)
		if got == nil {
			t.Fatalf("there is no %s", want.Name)
		}
		if diff := cmp.Diff(essence(&want), essence(got)); diff != "" {
			t.Errorf("foretold entity (-foretold +made):\n%s", diff)
		}
	}
}

// essence is what of an entity decides whether a mapping fits.
func essence(e *kedge.Entity) map[string]any {
	fields := map[string]string{}
	for _, f := range e.Fields {
		fields[f.Name] = f.Type.String() + " " + string(f.Format)
		if f.Nullable {
			fields[f.Name] += " null"
		}
	}
	return map[string]any{"key": e.Key, "alternate": e.AlternateKeys, "fields": fields, "upsert": e.Upsert, "full": e.Full, "delete": e.Delete}
}

// TestPrepareTables: a run makes tables only where the config says create.
func TestPrepareTables(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		keyed := kedge.Entity{Name: "part", Key: []string{"no"}, Fields: []kedge.Field{{Name: "no", Type: kedge.TypeString}, {Name: "n", Type: kedge.TypeInt}}}
		for _, more := range []string{"", `, "entities": {"customer": {}, "part": {"create": false}}`} {
			p, err := open(t, s, more).Prepare(t.Context(), []kedge.Entity{customer, keyed})
			if err != nil || len(p.Allowed)+len(p.Ignored)+len(p.Refused) > 0 {
				t.Errorf("without create: got %+v, %v, want nothing", p, err)
			}
		}
		d := open(t, s, `, "entities": {"customer": {"create": true}, "part": {"create": true}, "a": {"create": true}}`)
		bad := kedge.Entity{Name: "a", Fields: []kedge.Field{{Name: "a\x00b", Type: kedge.TypeInt}}}
		p, err := d.Prepare(t.Context(), []kedge.Entity{customer, keyed, bad})
		if err != nil || len(p.After) != 2 || p.Refused["a"] == nil || len(p.Refused) != 1 {
			t.Fatalf("with create: got %+v, %v, want two tables and one refused", p, err)
		}
		applied(t, d, p)
		if p, err = d.Prepare(t.Context(), []kedge.Entity{customer, keyed}); err != nil || len(p.Allowed)+len(p.Refused) > 0 {
			t.Errorf("the second time: got %+v, %v, want nothing", p, err)
		}
	})
}

// TestPrepareKey: a key is never added to a table that is there, and that
// holds this entity only.
func TestPrepareKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		create(t, open(t, s, ""), customer)
		want := customer
		want.Key, want.Fields = []string{"k"}, append(slices.Clone(customer.Fields), kedge.Field{Name: "k", Type: kedge.TypeString})
		p, err := open(t, s, `, "entities": {"customer": {"onMissingColumn": "extend"}}`).Prepare(t.Context(), []kedge.Entity{want})
		if err != nil || p.Refused["customer"] == nil || len(p.Allowed) > 0 {
			t.Errorf("got %+v, %v, want it refused", p, err)
		}
	})
}
