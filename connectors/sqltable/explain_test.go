package sqltable_test

import (
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/filter/filtertest"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A condition for a table that is not there yet is the one that it will be read
// with.
func TestFilterSQL(t *testing.T) {
	f, err := filtertest.Load("../../testdata/filters/all-types.yaml")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, f.Entity)
		for i := range f.Cases {
			expr, err := filter.Parse(f.Cases[i].Filter)
			if err != nil {
				t.Fatal(err)
			}
			bound, err := expr.Bind(&f.Entity, f.Now)
			if err != nil {
				t.Fatal(err)
			}
			want, wantExact, err := d.ExplainFilter(t.Context(), f.Entity.Name, bound)
			if err != nil {
				t.Fatal(err)
			}
			if got, exact := sqltable.FilterSQL(s.Engine(), &f.Entity, bound); got != want[0] || exact != wantExact {
				t.Errorf("%s: got %q, exact %v; the table is read with %q, %v", expr, got.Text, exact, want[0].Text, wantExact)
			}
		}
	})
}

func TestExplainFilter(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, kedge.Entity{Name: "item", Key: []string{"id"}, Fields: []kedge.Field{
			{Name: "id", Type: kedge.TypeString}, {Name: "name", Type: kedge.TypeString, Nullable: true}, {Name: "price", Type: kedge.TypeDecimal, Nullable: true},
		}})
		schema, err := d.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for src, want := range map[string]map[store.Engine]bool{
			"name eq 'a'":                  {store.SQLite: true, store.Postgres: true},
			"name eq 'a' and price gt 1.5": {store.SQLite: false, store.Postgres: true}, // SQLite keeps decimals as text
		} {
			expr, err := filter.Parse(src)
			if err != nil {
				t.Fatal(err)
			}
			bound, err := expr.Bind(schema.Entity("item"), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			got, exact, err := d.ExplainFilter(t.Context(), "item", bound)
			if err != nil || exact != want[s.Engine()] || len(got) != 1 || got[0].Language != s.Engine().String() || got[0].Text == "" {
				t.Errorf("%s: %+v, exact %v, %v; want exact %v", src, got, exact, err, want[s.Engine()])
			}
		}
		if _, _, err := d.ExplainFilter(t.Context(), "nothing", nil); kedge.KindOf(err) != kedge.NotFound {
			t.Errorf("an unknown table: %v, want NotFound", err)
		}
	})
}
