package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func TestBackupPostgres(t *testing.T) {
	dsn := storetest.PostgresDSN(t)
	s, err := store.Open(t.Context(), dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.DB().ExecContext(t.Context(), "CREATE TABLE kept (a int); INSERT INTO kept VALUES (42)"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kedge.dump")
	if _, err := exec.LookPath("pg_dump"); err != nil {
		// The tests install PostgreSQL's programs where they can.
		_, err := dumpPostgres(t.Context(), dsn, file)
		if err == nil || !strings.Contains(err.Error(), "pg_dump --format=custom --file=") {
			t.Errorf("without pg_dump: %v", err)
		}
		return
	}
	if size, err := dumpPostgres(t.Context(), dsn, file); err != nil || size == 0 {
		t.Fatalf("%d bytes, %v", size, err)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), "PGDMP") || !strings.Contains(string(text), "kept") {
		t.Errorf("no archive of the table: %v", err)
	}
	if _, err := dumpPostgres(t.Context(), dsn, file); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Errorf("again: %v", err)
	}
	if _, err := dumpPostgres(t.Context(), "postgres://u:secret-word@127.0.0.1:1/none?sslmode=disable", file+"2"); err == nil || strings.Contains(err.Error(), "secret-word") {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := os.Stat(file + "2"); err == nil {
		t.Error("half a backup is left")
	}
}

func TestLibpq(t *testing.T) {
	for dsn, want := range map[string][]string{
		"postgres://u:p%40s@db.example:5433/kedge":                   {"PGHOST=db.example", "PGPORT=5433", "PGUSER=u", "PGPASSWORD=p@s", "PGDATABASE=kedge", "PGSSLMODE=verify-full", "PGSSLROOTCERT=system"},
		"postgres://u@db/kedge?sslmode=require&sslrootcert=/ca.pem":  {"PGHOST=db", "PGUSER=u", "PGDATABASE=kedge", "PGSSLMODE=verify-full", "PGSSLROOTCERT=/ca.pem"},
		"postgres://u@db/kedge?sslmode=disable":                      {"PGHOST=db", "PGUSER=u", "PGDATABASE=kedge", "PGSSLMODE=disable"},
		"postgres:///kedge?host=/run/postgresql&port=5434&sslmode=x": {"PGHOST=/run/postgresql", "PGPORT=5434", "PGDATABASE=kedge", "PGSSLMODE=disable"},
		"postgres://u@/kedge?host=/run/.s.PGSQL.5435":                {"PGHOST=/run", "PGPORT=5435", "PGUSER=u", "PGDATABASE=kedge", "PGSSLMODE=disable"},
	} {
		if got, err := libpq(dsn); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %v, %v\nwant %v", dsn, got, err, want)
		}
	}
}
