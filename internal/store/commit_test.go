package store_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A cutter is a proxy in front of PostgreSQL that cuts the connection at the
// first COMMIT.
type cutter struct {
	net.Listener
	server  string
	when    string       // "before" the server sees it, or "after" it answered
	refuse  bool         // from then on, let nobody connect
	cuts    atomic.Int32 // connections to cut; the others pass
	refused atomic.Bool
}

// cut returns a DSN that leads through a new cutter.
func cut(t *testing.T, dsn, when string, refuse bool) (string, *cutter) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, server: u.Host, when: when, refuse: refuse}
	go c.serve()
	t.Cleanup(func() { l.Close() })
	u.Host = l.Addr().String()
	return u.String(), c
}

func (c *cutter) serve() {
	for {
		client, err := c.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.server)
		if err != nil || c.refused.Load() {
			client.Close()
			continue
		}
		var cutting atomic.Bool
		go c.up(client, server, &cutting)
		go c.down(client, server, &cutting)
	}
}

// up copies what the client sends.
func (c *cutter) up(client, server net.Conn, cutting *atomic.Bool) {
	defer server.Close()
	defer client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("COMMIT")) && c.cuts.Add(-1) >= 0 {
			c.refused.Store(c.refuse)
			if c.when == "before" {
				return
			}
			cutting.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// down copies what the server answers.
func (c *cutter) down(client, server net.Conn, cutting *atomic.Bool) {
	defer server.Close()
	defer client.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil || cutting.Load() {
			return
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// A lost reply to COMMIT must neither be taken for a failure nor for success.
func TestCommitReplyLost(t *testing.T) {
	for _, tt := range []struct {
		name, when string
		refuse     bool
		rows       int
		want       kedge.Kind // Internal means no error
	}{
		{"committed", "after", false, 1, kedge.Internal},
		{"not committed", "before", false, 0, kedge.Transient},
		{"server gone, committed", "after", true, 1, kedge.OutcomeUnknown},
		{"server gone, not committed", "before", true, 0, kedge.OutcomeUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			direct := storetest.PostgresDSN(t)
			check := storetest.Open(t, direct, things)
			dsn, proxy := cut(t, direct, tt.when, tt.refuse)
			s := storetest.Open(t, dsn, things)
			if tt.refuse {
				s.SetResolveTime(300 * time.Millisecond)
			}
			proxy.cuts.Store(1)
			hook := false
			err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				store.OnCommit(ctx, func() { hook = true })
				return insert(ctx, tx, 1)
			})
			if got := kedge.KindOf(err); got != tt.want || (err == nil) != (tt.want == kedge.Internal) {
				t.Errorf("InTx: %v, want kind %v", err, tt.want)
			}
			if hook != (err == nil) {
				t.Errorf("hook ran: %v, with error %v", hook, err)
			}
			if got := count(t, check); got != tt.rows {
				t.Errorf("%d rows, want %d", got, tt.rows)
			}
		})
	}
}

// PostgreSQL answers COMMIT of a failed transaction with success and rolls
// back.
func TestSwallowedError(t *testing.T) {
	s := storetest.Postgres(t, things)
	err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := insert(ctx, tx, 1); err != nil {
			return err
		}
		_ = insert(ctx, tx, 1) // a duplicate
		return nil
	})
	if err == nil {
		t.Error("InTx reports success although nothing was committed")
	}
	if got := count(t, s); got != 0 {
		t.Errorf("%d rows, want 0", got)
	}
}

func TestInTxCancelled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		err := s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			defer cancel()
			return insert(ctx, tx, 1)
		})
		if !errors.Is(err, context.Canceled) || kedge.KindOf(err) != kedge.Transient {
			t.Errorf("InTx: %v, want context canceled, transient", err)
		}
		if got := count(t, s); got != 0 {
			t.Errorf("%d rows, want 0", got)
		}
		if err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error { return insert(ctx, tx, 1) }); err != nil {
			t.Errorf("the next transaction: %v", err)
		}
	}, things)
}

func TestInTxPanic(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		func() {
			defer func() { _ = recover() }()
			_ = s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				if err := insert(ctx, tx, 1); err != nil {
					t.Error(err)
				}
				panic("boom")
			})
		}()
		if err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error { return insert(ctx, tx, 2) }); err != nil {
			t.Errorf("the next transaction: %v", err)
		}
		if got := count(t, s); got != 1 {
			t.Errorf("%d rows, want 1", got)
		}
	}, things)
}

func TestInReadTx(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		err := s.InReadTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			seen := func() (n int) {
				if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM thing").Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			if got := seen(); got != 0 {
				t.Errorf("%d rows at first, want 0", got)
			}
			if err := s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return insert(ctx, tx, 1) }); err != nil {
				t.Fatal(err)
			}
			if got := seen(); got != 0 {
				t.Errorf("%d rows after another transaction wrote, want the snapshot's 0", got)
			}
			if err := insert(ctx, tx, 2); store.Kind(err) != kedge.Forbidden {
				t.Errorf("write in a read-only transaction: %v, want forbidden", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if got := count(t, s); got != 1 {
			t.Errorf("%d rows, want 1", got)
		}
		if err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error { return insert(ctx, tx, 3) }); err != nil {
			t.Errorf("write after a read-only transaction: %v", err)
		}
		// On SQLite the connection of the read goes back to the pool for single statements.
		for range 20 {
			if _, err := s.DB().ExecContext(t.Context(), "UPDATE thing SET name = 'y'"); err != nil {
				t.Fatalf("single write after a read-only transaction: %v", err)
			}
		}
	}, things)
}
