package sqltable_test

import (
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

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
