package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	_ "github.com/uptrace/bun/driver/pgdriver" // registers "pg"

	"github.com/kedge-sync/kedge/internal/store/pgcluster"
)

// server returns the DSN of a superuser on the server that the tests of this
// process share.
var server = sync.OnceValues(func() (string, error) {
	if dsn := os.Getenv("KEDGE_TEST_POSTGRES"); dsn != "" {
		return dsn, nil
	}
	return pgcluster.Start(pgcluster.Fast)
})

// PostgresDSN returns the DSN of a new and empty database that is dropped at
// the end of the test, with all connections to it.
func PostgresDSN(t testing.TB) string {
	t.Helper()
	return postgresCopy(t, "")
}

// postgresCopy returns the DSN of a new database that is a copy of template,
// empty if that is "".
func postgresCopy(t testing.TB, template string) string {
	t.Helper()
	dsn, err := server()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("KEDGE_TEST_POSTGRES is not a URL")
	}
	admin, err := sql.Open("pg", dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := "kedge_test_" + strings.ToLower(rand.Text()[:12])
	if err := create(t.Context(), admin, name, template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
		if err := admin.Close(); err != nil {
			t.Error(err)
		}
	})
	u.Path = "/" + name
	return u.String()
}

// create makes a database. Where there is a choice (PostgreSQL 15) the files are
// copied, which is cheaper here than to write them to the log.
func create(ctx context.Context, admin *sql.DB, name, template string) error {
	query := "CREATE DATABASE " + name
	if template != "" {
		query += " TEMPLATE " + template
	}
	var version int
	if err := admin.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return err
	}
	if version >= 150000 {
		query += " STRATEGY file_copy"
	}
	_, err := admin.ExecContext(ctx, query)
	return err
}
