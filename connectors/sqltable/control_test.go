package sqltable_test

import (
	"slices"
	"testing"

	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// TestTechnicalTables: three tables of kedge are seen once there is an
// integration, and only in its own database. No config shows another one.
func TestTechnicalTables(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn)
		names := func(dsn, more string) []string {
			schema, err := openDSN(t, dsn, s, more).Schema(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range schema.Entities {
				names = append(names, e.Name)
				if e.Insert || e.Update || e.Delete || !e.Fields[0].ReadOnly {
					t.Errorf("%s can be written", e.Name)
				}
			}
			return names
		}
		exec(t, s, "CREATE TABLE integration_log (id int PRIMARY KEY)", "CREATE TABLE integration_syncanchor (id int PRIMARY KEY)",
			"CREATE TABLE integration_transaction (id int PRIMARY KEY)", "CREATE TABLE integration_mapping (name varchar(9))")
		if got := names("kedge", ""); len(got) > 0 {
			t.Errorf("without an integration: got %v, want none", got)
		}
		exec(t, s, "INSERT INTO integration_mapping VALUES ('crm')")
		if got, want := names("kedge", ""), []string{"integration_log", "integration_syncanchor", "integration_transaction"}; !slices.Equal(got, want) {
			t.Errorf("with an integration: got %v, want %v", got, want)
		}
		if got := names("kedge", `, "entities": {"lease": {"table": "kedge_lease"}, "log": {"table": "integration_log"}}`); !slices.Equal(got, []string{"log"}) {
			t.Errorf("listed: got %v, want the log only", got)
		}
		if got := names(dsn, ""); len(got) > 0 {
			t.Errorf("in another database: got %v, want none", got)
		}
	})
}
