package store_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

const constrained = `
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE child (
	id INTEGER PRIMARY KEY,
	email VARCHAR(20) NOT NULL UNIQUE CHECK (length(email) > 3),
	age INTEGER,
	parent INTEGER REFERENCES parent (id)
);
INSERT INTO child VALUES (1, 'ada@example.com', 36, NULL);`

var errRollback = errors.New("roll back")

func TestKindOfStatements(t *testing.T) {
	const secret = "grace@example.com"
	cases := []struct {
		name, query      string
		sqlite, postgres kedge.Kind // Transient means: no error
	}{
		{"not null", "INSERT INTO child (id) VALUES (2)", kedge.Invalid, kedge.Invalid},
		{"check", "INSERT INTO child VALUES (2, 'x', 1, NULL)", kedge.Invalid, kedge.Invalid},
		{"primary key", "INSERT INTO child VALUES (1, '" + secret + "', 1, NULL)", kedge.Conflict, kedge.Conflict},
		{"unique", "INSERT INTO child VALUES (2, 'ada@example.com', 1, NULL)", kedge.Conflict, kedge.Conflict},
		{"length", "INSERT INTO child VALUES (2, '" + secret + secret + "', 1, NULL)", kedge.Transient, kedge.Invalid},
		{"cast", "INSERT INTO child VALUES (2, 'e@example.com', '" + secret + "', NULL)", kedge.Transient, kedge.Invalid},
		{"range", "INSERT INTO child VALUES (2, 'e@example.com', CAST('99999999999' AS INTEGER), NULL)", kedge.Transient, kedge.Invalid},
		{"foreign key", "INSERT INTO child VALUES (2, 'e@example.com', 1, 77)", kedge.Transient, kedge.Invalid},
		{"no table", "SELECT * FROM absent", kedge.NotFound, kedge.NotFound},
		{"no column", "SELECT absent FROM child", kedge.Invalid, kedge.Invalid},
		{"table exists", "CREATE TABLE child (id INTEGER)", kedge.Conflict, kedge.Conflict},
		{"syntax", "SELECT * FORM child WHERE email = '" + secret + "'", kedge.Invalid, kedge.Invalid},
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, tt := range cases {
			want := tt.sqlite
			if s.Engine() == store.Postgres {
				want = tt.postgres
			}
			err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				if _, err := tx.Tx.Tx.ExecContext(ctx, tt.query); err != nil {
					return err
				}
				return errRollback
			})
			if want == kedge.Transient {
				if err != errRollback {
					t.Errorf("%s: %v, want no error", tt.name, err)
				}
				continue
			}
			if got := store.Kind(err); err == errRollback || got != want {
				t.Errorf("%s: kind %v (%v), want %v", tt.name, got, err, want)
			}
			err = store.Error("test", "child", err)
			if kedge.KindOf(err) != want || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "999") {
				t.Errorf("%s: error %q of kind %v, want %v and no values", tt.name, err, kedge.KindOf(err), want)
			}
		}
	}, store.Migration{Name: "1", SQLite: constrained})
}

func TestKind(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want kedge.Kind
	}{
		{"plain", errors.New("x"), kedge.Internal},
		{"ours", fmt.Errorf("run: %w", &kedge.Error{Kind: kedge.TooLarge}), kedge.TooLarge},
		{"no rows", sql.ErrNoRows, kedge.NotFound},
		{"end of file", fmt.Errorf("read: %w", io.EOF), kedge.Transient},
		{"cut", io.ErrUnexpectedEOF, kedge.Transient},
		{"bad connection", driver.ErrBadConn, kedge.Transient},
		{"refused", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", errors.New("refused"))}, kedge.Transient},
		{"cancelled", context.Canceled, kedge.Transient},
		{"deadline", context.DeadlineExceeded, kedge.Transient},
	} {
		if got := store.Kind(tt.err); got != tt.want {
			t.Errorf("Kind of %s = %v, want %v", tt.name, got, tt.want)
		}
	}
	if err := store.Error("op", "entity", nil); err != nil {
		t.Errorf("Error(nil) = %v, want nil", err)
	}
}

func TestKindOfPermission(t *testing.T) {
	s := storetest.Postgres(t, things)
	_, err := s.DB().DB.ExecContext(t.Context(), "CREATE ROLE kedge_test_nobody; SET ROLE kedge_test_nobody; SELECT * FROM thing")
	if got := store.Kind(err); got != kedge.Forbidden {
		t.Errorf("kind %v (%v), want forbidden", got, err)
	}
}

// A deadlock is made, not simulated: two transactions lock two rows crosswise.
func TestKindOfDeadlock(t *testing.T) {
	s := storetest.Postgres(t, things)
	if _, err := s.DB().ExecContext(t.Context(), "INSERT INTO thing VALUES (1, 'a'), (2, 'b')"); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 2)
	locked := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	for i := range 2 {
		go func() {
			errs <- s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				lock := func(id int) error {
					_, err := tx.ExecContext(ctx, "UPDATE thing SET name = 'c' WHERE id = ?", id)
					return err
				}
				err := lock(1 + i)
				close(locked[i])
				if err != nil {
					return err
				}
				<-locked[1-i]
				return lock(2 - i)
			})
		}()
	}
	a, b := <-errs, <-errs
	if (a == nil) == (b == nil) || store.Kind(errors.Join(a, b)) != kedge.Transient {
		t.Errorf("errors %v and %v, want one of kind transient", a, b)
	}
}

func TestKindOfBusy(t *testing.T) {
	s := storetest.SQLite(t, things)
	err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := insert(ctx, tx, 1); err != nil {
			return err
		}
		conn, err := s.DB().Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout=10"); err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, "UPDATE thing SET name = 'y'")
		return err
	})
	if got := store.Kind(err); got != kedge.Transient {
		t.Errorf("kind %v (%v), want transient", got, err)
	}
}

func TestKindOfDiskFull(t *testing.T) {
	s := storetest.SQLite(t, things)
	err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.ExecContext(ctx, "PRAGMA max_page_count=20"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO thing VALUES (1, ?)", strings.Repeat("x", 200_000))
		return err
	})
	if got := store.Kind(err); got != kedge.Transient {
		t.Errorf("kind %v (%v), want transient", got, err)
	}
	if got := count(t, s); got != 0 {
		t.Errorf("%d rows, want 0", got)
	}
}
