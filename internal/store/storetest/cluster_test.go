package storetest_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// TestChild is the other process of the tests below, and does nothing alone.
func TestChild(t *testing.T) {
	if os.Getenv("STORETEST_CHILD") == "" {
		return
	}
	fmt.Println(storetest.PostgresDSN(t))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// start runs TestChild and returns it with the DSN it prints.
func start(t *testing.T, env ...string) (*exec.Cmd, string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestChild$")
	cmd.Env = append(append(os.Environ(), "STORETEST_CHILD=1"), env...)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("child said %q: %v", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

// A killed test leaves no server behind.
func TestServerEndsWithKilledTest(t *testing.T) {
	cmd, dsn := start(t, "KEDGE_TEST_POSTGRES=")
	db, err := sql.Open("pg", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// Logged in: a server does not reach those who are about to.
	if err := db.Ping(); err != nil {
		t.Fatalf("the server does not run at first: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for err == nil && ctx.Err() == nil {
		_, err = db.ExecContext(ctx, "SELECT pg_sleep(1)")
	}
	if ctx.Err() != nil {
		t.Error("the server still runs 20 s after its test was killed")
	}
}

// A database is gone after its test, also if connections to it are open.
func TestDatabaseIsDropped(t *testing.T) {
	var dsn string
	t.Run("use", func(t *testing.T) {
		dsn = storetest.PostgresDSN(t)
		db, err := sql.Open("pg", dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		if err := db.Ping(); err != nil {
			t.Fatal(err)
		}
		// Deliberately open while the database is dropped.
		if _, err := store.Open(t.Context(), dsn, nil); err != nil {
			t.Fatal(err)
		}
	})
	s, err := store.Open(t.Context(), dsn, nil)
	if err == nil {
		s.Close()
		t.Error("the database is still there")
	}
}

// KEDGE_TEST_POSTGRES is used instead of a cluster of one's own.
func TestGivenServer(t *testing.T) {
	dsn := storetest.PostgresDSN(t)
	given, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	_, got := start(t, "KEDGE_TEST_POSTGRES="+dsn)
	u, err := url.Parse(got)
	if err != nil || u.Host != given.Host || u.Path == given.Path {
		t.Errorf("DSN %s, %v, want another database of %s", got, err, given.Host)
	}
}

func TestEach(t *testing.T) {
	var engines []string
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		engines = append(engines, s.Engine().String())
		if _, err := s.DB().ExecContext(t.Context(), "INSERT INTO thing VALUES (1)"); err != nil {
			t.Error(err)
		}
		if pending, err := s.Pending(t.Context(), store.Migrations()); err != nil || len(pending) > 0 {
			t.Errorf("pending: %q, %v, want none", pending, err)
		}
	}, store.Migration{Name: "1", SQLite: "CREATE TABLE thing (id INTEGER)"})
	if got := strings.Join(engines, " "); got != "sqlite postgres" {
		t.Errorf("engines %q, want sqlite postgres", got)
	}
}
