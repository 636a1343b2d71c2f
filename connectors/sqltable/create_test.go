package sqltable_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func texts(steps []connectors.SchemaStep) string {
	var lines []string
	for _, s := range steps {
		lines = append(lines, s.Text)
	}
	return strings.Join(lines, ";\n")
}

var customer = kedge.Entity{
	Name:          "customer",
	AlternateKeys: [][]string{{"No"}},
	Fields: []kedge.Field{
		{Name: "No", Type: kedge.TypeString, MaxLength: 20},
		{Name: "balance", Type: kedge.TypeDecimal, Precision: 12, Scale: 2, Nullable: true},
		{Name: "contact", Type: kedge.TypeString, Lookup: []kedge.LookupTarget{{Entity: "contact"}}},
		{Name: "ref", Type: kedge.TypeString, Format: kedge.FormatGUID},
	},
}

func TestPlanTexts(t *testing.T) {
	want := map[store.Engine]string{
		store.SQLite: `CREATE TABLE IF NOT EXISTS "customer" (
  "id" TEXT_STRING(36) NOT NULL CHECK (length("id") <= 36),
  "No" TEXT_STRING(20) CHECK (length("No") <= 20),
  "balance" TEXT_DECIMAL(12,2),
  "contact" TEXT,
  "ref" TEXT_GUID,
  PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX IF NOT EXISTS "customer_No_fd2405f5" ON "customer" ("No");
CREATE INDEX IF NOT EXISTS "customer_contact_f1098002" ON "customer" ("contact")`,
		store.Postgres: `CREATE TABLE IF NOT EXISTS "customer" (
  "id" text NOT NULL CHECK (char_length("id") <= 36),
  "No" text CHECK (char_length("No") <= 20),
  "balance" numeric,
  "contact" text,
  "ref" uuid,
  PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX IF NOT EXISTS "customer_No_fd2405f5" ON "customer" ("No");
CREATE INDEX IF NOT EXISTS "customer_contact_f1098002" ON "customer" ("contact")`,
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		steps, err := d.PlanSchema(t.Context(), []kedge.Entity{customer})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[s.Engine()], texts(steps)); diff != "" {
			t.Errorf("plan (-want +got):\n%s", diff)
		}
		for range 2 { // the second time has no effect
			if err := d.ApplySchema(t.Context(), steps); err != nil {
				t.Fatal(err)
			}
		}
		if steps, err = d.PlanSchema(t.Context(), []kedge.Entity{customer}); err != nil || len(steps) > 0 {
			t.Errorf("plan for a complete table: got %v, %v, want none", texts(steps), err)
		}
		schema, err := d.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e := schema.Entity("customer")
		if !slices.Equal(e.Key, []string{"id"}) || !slices.EqualFunc(e.AlternateKeys, [][]string{{"No"}}, slices.Equal) ||
			e.Field("No").MaxLength != 20 || e.Field("ref").Format != kedge.FormatGUID || e.Field("balance").Type != kedge.TypeDecimal {
			t.Errorf("discovered %+v", e)
		}
		// kedge makes the key.
		r := write(t, s, d, change(kedge.Insert, "customer", "", values{"No": kedge.String("1")}))[0]
		if r.State != connectors.Inserted || len(r.Key) != 36 || r.Key[14] != '7' {
			t.Errorf("insert without key: got %v with key %s, want a UUIDv7", r.State, r.Key)
		}
		if got := outcomes(write(t, s, d, change(kedge.Insert, "customer", "", values{"No": kedge.String("1")}))); got != "rejected conflict" {
			t.Errorf("second row with the same alternate key: got %s", got)
		}
	})
}

func TestPlanRefuses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		create(t, open(t, s, ""), customer)
		with := func(f func(*kedge.Entity)) kedge.Entity {
			e := kedge.Entity{Name: "new", Key: []string{"k"}, Fields: []kedge.Field{{Name: "k", Type: kedge.TypeString}}}
			f(&e)
			return e
		}
		for _, tt := range []struct {
			name, more string
			want       kedge.Entity
			kind       kedge.Kind
		}{
			{"control table", "", with(func(e *kedge.Entity) { e.Name = "integration_new" }), kedge.Forbidden},
			{"NUL in a name", "", with(func(e *kedge.Entity) { e.Name = "a\x00b" }), kedge.Invalid},
			{"empty field", "", with(func(e *kedge.Entity) { e.Fields = append(e.Fields, kedge.Field{Type: kedge.TypeInt}) }), kedge.Invalid},
			{"key is no field", "", with(func(e *kedge.Entity) { e.Key = []string{"x"} }), kedge.Invalid},
			{"alternate key is no field", "", with(func(e *kedge.Entity) { e.AlternateKeys = [][]string{{"x"}} }), kedge.Invalid},
			{"not listed", `, "entities": {"other": {}}`, with(func(*kedge.Entity) {}), kedge.NotFound},
			{"create off", `, "entities": {"new": {"create": false}}`, with(func(*kedge.Entity) {}), kedge.NotFound},
			{"key added later", "", with(func(e *kedge.Entity) { e.Name = "customer" }), kedge.Invalid},
		} {
			_, err := open(t, s, tt.more).PlanSchema(t.Context(), []kedge.Entity{tt.want})
			if err == nil || kedge.KindOf(err) != tt.kind {
				t.Errorf("%s: got %v, want kind %v", tt.name, err, tt.kind)
			}
		}
		for _, n := range []int{63, 64} {
			e := with(func(e *kedge.Entity) { e.Name = strings.Repeat("n", n) })
			_, err := open(t, s, "").PlanSchema(t.Context(), []kedge.Entity{e})
			if want := n > 63 && s.Engine() == store.Postgres; (err != nil) != want {
				t.Errorf("name of %d bytes: got %v, want an error: %v", n, err, want)
			}
		}
	})
}

// hostile are names that mean something to SQL or to a driver.
var hostile = []string{`a"b?c; drop table x`, `it's $1 ?0`, `back\slash`, "ünï 表", "select", `"; --`, "?", "$2", "%s", "a.b", "t", "s", "excluded"}

func TestHostileNames(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		for _, name := range hostile {
			fields := []kedge.Field{{Name: name, Type: kedge.TypeString}}
			for _, other := range hostile {
				if other != name {
					fields = append(fields, kedge.Field{Name: other, Type: kedge.TypeString, Nullable: true})
				}
			}
			want := kedge.Entity{Name: name, Key: []string{name}, AlternateKeys: [][]string{{fields[1].Name, fields[2].Name}}, Fields: fields}
			create(t, d, want)
			var changes []kedge.Change
			all := values{}
			for _, f := range fields {
				all[f.Name] = kedge.String("?$1'" + f.Name)
			}
			key := kedge.NewKey(all[name])
			changes = append(changes, change(kedge.Upsert, name, key, all))
			for i := range 100 { // enough for COPY
				text := kedge.String(strings.Repeat("x", i+1))
				changes = append(changes, change(kedge.Upsert, name, kedge.NewKey(text), values{name: text}))
			}
			for i, r := range write(t, s, d, changes...) {
				if r.State != connectors.Inserted {
					t.Fatalf("table %s, row %d: got %v, %v", name, i, r.State, r.Err)
				}
			}
			got := readAll(t, d, connectors.ReadRequest{Entity: name, Fields: hostile, Size: 33})
			if len(got) != 101 {
				t.Errorf("table %s: got %d rows, want 101", name, len(got))
			}
			r := got[key]
			for n, v := range all {
				if !kedge.Equal(r.Get(n), v) {
					t.Errorf("table %s, column %s: got %v", name, n, r.Get(n))
				}
			}
			changed := change(kedge.Update, name, key, values{fields[1].Name: kedge.Null(), fields[2].Name: kedge.String("2")})
			if got := outcomes(write(t, s, d, changed, change(kedge.Delete, name, kedge.NewKey(kedge.String("x")), nil))); got != "updated, deleted" {
				t.Errorf("table %s: got %s", name, got)
			}
			err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				found, err := d.GetTx(ctx, tx, name, hostile, []string{fields[2].Name}, []kedge.Key{"2"})
				if err == nil && (len(found) != 1 || found[0].Key != key) {
					t.Errorf("table %s: GetTx found %d rows", name, len(found))
				}
				return err
			})
			if err != nil {
				t.Errorf("table %s: %v", name, err)
			}
		}
		if _, err := d.PlanSchema(t.Context(), []kedge.Entity{conntest.Parts}); err != nil {
			t.Error(err)
		}
	})
}
