// Package storetest gives tests fresh databases of both engines.
//
// PostgreSQL is the server of KEDGE_TEST_POSTGRES, a DSN of a superuser, or
// else a private cluster, one per test binary, made from the installed
// binaries and gone when the binary ends, however it ends.
package storetest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/store"
)

// Each runs fn as the subtests "sqlite" and "postgres", each with an empty
// database that has the tables of [store.Migrations] and of migrations.
func Each(t *testing.T, fn func(t *testing.T, s *store.Store), migrations ...store.Migration) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t, migrations...)) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t, migrations...)) })
}

// EachDSN runs fn as the subtests "sqlite" and "postgres", each with the DSN
// of an empty database without tables.
func EachDSN(t *testing.T, fn func(t *testing.T, dsn string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLiteDSN(t)) })
	t.Run("postgres", func(t *testing.T) { fn(t, PostgresDSN(t)) })
}

// SQLite returns a store on a new file, closed at the end of the test.
func SQLite(t testing.TB, migrations ...store.Migration) *store.Store {
	t.Helper()
	dsn := SQLiteDSN(t)
	if err := os.WriteFile(strings.TrimPrefix(dsn, "sqlite:"), templateOf(migrations).file(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, dsn)
}

// Postgres returns a store on a new database, closed and dropped at the end of
// the test.
func Postgres(t testing.TB, migrations ...store.Migration) *store.Store {
	t.Helper()
	if os.Getenv("KEDGE_TEST_POSTGRES") != "" { // where a template would stay
		return Open(t, PostgresDSN(t), migrations...)
	}
	return open(t, postgresCopy(t, templateOf(migrations).database(t)))
}

// Open opens dsn with the keys of [Keys], applies [store.Migrations] and
// migrations, and closes the store at the end of the test.
func Open(t testing.TB, dsn string, migrations ...store.Migration) *store.Store {
	t.Helper()
	s := open(t, dsn)
	migrate(t, s, migrations)
	return s
}

func open(t testing.TB, dsn string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dsn, &store.Options{Keys: Keys(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

func migrate(t testing.TB, s *store.Store, migrations []store.Migration) {
	t.Helper()
	if _, err := s.Migrate(t.Context(), append(store.Migrations(), migrations...)); err != nil {
		t.Fatal(err)
	}
}

// Keys returns a key ring for tests.
func Keys(t testing.TB) *store.KeyRing {
	t.Helper()
	k, err := store.NewKeyRing(store.Key{ID: "test", Value: bytes.Repeat([]byte{7}, store.KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// SQLiteDSN returns the DSN of a file that does not exist yet.
func SQLiteDSN(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "kedge.db")
}

// DSNs returns the DSNs of an empty SQLite and an empty PostgreSQL database,
// for processes that open them themselves.
func DSNs(t testing.TB) []string {
	t.Helper()
	return []string{SQLiteDSN(t), PostgresDSN(t)}
}

// Settle waits until every transaction that began before on the server of s
// has ended, whichever database it is in: readers of changes go no further
// than the oldest one, and tests share a server.
func Settle(t testing.TB, s *store.Store) {
	t.Helper()
	if s.Engine() == store.SQLite {
		return
	}
	db := s.DB().DB
	var next int64
	if err := db.QueryRowContext(t.Context(), "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(&next); err != nil {
		t.Fatal(err)
	}
	for done := false; !done; {
		if err := db.QueryRowContext(t.Context(), "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $1::bigint", next).Scan(&done); err != nil {
			t.Fatal(err)
		}
	}
}
