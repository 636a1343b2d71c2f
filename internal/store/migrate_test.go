package store_test

import (
	"slices"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func TestMigrate(t *testing.T) {
	list := []store.Migration{
		{Name: "2", SQLite: "INSERT INTO a VALUES ('2: a question?')"},
		{Name: "1", SQLite: "CREATE TABLE a (x TEXT); INSERT INTO a VALUES ('sqlite')", Postgres: "CREATE TABLE a (x TEXT); INSERT INTO a VALUES ('postgres')"},
	}
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		ctx, s := t.Context(), second(t, dsn)
		want := func(what string, got []string, err error, names ...string) {
			t.Helper()
			if err != nil || !slices.Equal(got, names) {
				t.Errorf("%s: %q, %v, want %q", what, got, err, names)
			}
		}
		for range 2 { // looking changes nothing
			got, err := s.Pending(ctx, list)
			want("Pending at first", got, err, "1", "2")
		}
		got, err := s.Migrate(ctx, list)
		want("Migrate", got, err, "1", "2")
		got, err = s.Migrate(ctx, list)
		want("Migrate again", got, err)
		got, err = s.Pending(ctx, list)
		want("Pending at last", got, err)
		got, err = s.Migrate(ctx, append(list, store.Migration{Name: "0", SQLite: "CREATE TABLE b (x TEXT)"}))
		want("Migrate of a module that came later", got, err, "0")
		var rows []string
		if err := s.DB().NewSelect().Table("a").Column("x").Order("x").Scan(ctx, &rows); err != nil {
			t.Fatal(err)
		}
		if w := []string{"2: a question?", s.Engine().String()}; !slices.Equal(rows, w) {
			t.Errorf("rows %q, want %q", rows, w)
		}
	})
}

// A migration that fails half-way leaves nothing of itself, keeps what came
// before, and can be tried again.
func TestMigrateFails(t *testing.T) {
	bad := []store.Migration{
		{Name: "1", SQLite: "CREATE TABLE a (x INTEGER)"},
		{Name: "2", SQLite: "CREATE TABLE b (x INTEGER); INSERT INTO absent VALUES (1)"},
	}
	good := []store.Migration{bad[0], {Name: "2", SQLite: "CREATE TABLE b (x INTEGER)"}}
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := second(t, dsn)
		got, err := s.Migrate(t.Context(), bad)
		if err == nil || !slices.Equal(got, []string{"1"}) {
			t.Errorf("Migrate: %q, %v, want 1 and an error", got, err)
		}
		got, err = s.Migrate(t.Context(), good)
		if err != nil || !slices.Equal(got, []string{"2"}) {
			t.Errorf("Migrate of the corrected list: %q, %v, want 2", got, err)
		}
	})
}

func TestMigrateRefusesBadLists(t *testing.T) {
	s := second(t, storetest.SQLiteDSN(t))
	for what, list := range map[string][]store.Migration{
		"no name":       {{SQLite: "SELECT 1"}},
		"no statements": {{Name: "1"}},
		"twice":         {{Name: "1", SQLite: "SELECT 1"}, {Name: "1", SQLite: "SELECT 1"}},
	} {
		if _, err := s.Migrate(t.Context(), list); err == nil || kedge.KindOf(err) != kedge.Internal {
			t.Errorf("%s: %v, want an internal error", what, err)
		}
	}
}
