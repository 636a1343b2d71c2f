package store_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/uptrace/bun/driver/pgdriver"
)

// Writers of two stores, single statements and readers at once: every write
// counts once, and a reader sees whole transactions only.
func TestWritersAndReadersAtOnce(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		const workers, each = 6, 8
		s := storetest.Open(t, dsn, store.Migration{Name: "1", SQLite: "CREATE TABLE c (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO c VALUES (1, 0), (2, 0), (3, 0);"})
		stores := []*store.Store{s, second(t, dsn)}
		var writers, readers sync.WaitGroup
		done := make(chan struct{})
		for w := range workers {
			writers.Go(func() {
				for range each {
					err := stores[w%2].InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
						for id := 1; id <= 2; id++ {
							if _, err := tx.ExecContext(ctx, "UPDATE c SET n = n + 1 WHERE id = ?", id); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
					if _, err := stores[w%2].DB().ExecContext(t.Context(), "UPDATE c SET n = n + 1 WHERE id = 3"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for r := range 2 {
			readers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					err := stores[r].InReadTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
						var a, b int
						if err := tx.QueryRowContext(ctx, "SELECT n FROM c WHERE id = 1").Scan(&a); err != nil {
							return err
						}
						err := tx.QueryRowContext(ctx, "SELECT n FROM c WHERE id = 2").Scan(&b)
						if a != b {
							err = fmt.Errorf("a reader sees half a transaction: %d and %d", a, b)
						}
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
		close(done)
		readers.Wait()
		var least, most int
		if err := s.DB().QueryRowContext(t.Context(), "SELECT min(n), max(n) FROM c").Scan(&least, &most); err != nil {
			t.Fatal(err)
		}
		if least != workers*each || most != workers*each {
			t.Errorf("counters from %d to %d, want %d", least, most, workers*each)
		}
	})
}

// Bulk writers use the connection itself, inside the transaction.
func TestTxConn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		bulk := func(ctx context.Context, tx *store.Tx) error {
			conn := tx.Conn()
			if s.Engine() == store.Postgres {
				_, err := pgdriver.CopyFrom(ctx, conn, strings.NewReader("1\ta\n2\tb\n"), "COPY thing FROM STDIN")
				return err
			}
			stmt, err := conn.Conn.PrepareContext(ctx, "INSERT INTO thing VALUES (?, ?), (?, ?)")
			if err != nil {
				return err
			}
			defer stmt.Close()
			_, err = stmt.ExecContext(ctx, 1, "a", 2, "b")
			return err
		}
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := bulk(ctx, tx); err != nil {
				t.Fatal(err)
			}
			return errRollback
		})
		if got := count(t, s); err != errRollback || got != 0 {
			t.Errorf("%d rows after rollback, %v, want 0", got, err)
		}
		if err := s.InTx(t.Context(), bulk); err != nil {
			t.Error(err)
		}
		if got := count(t, s); got != 2 {
			t.Errorf("%d rows, want 2", got)
		}
	}, things)
}

// maxPages is how many pages of a full sync may pass while a single write waits
// for its turn, on the average: the one that is being written, and what the
// syncing part does before it and after it. Without turns it is dozens.
const maxPages = 4

// A full sync commits page after page. A single statement of another part of
// kedge must get its turn between them.
func TestSingleWriteDuringFullSync(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		var pages atomic.Int64
		go func() {
			defer close(ended)
			for ctx.Err() == nil {
				_ = s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return insertPage(ctx, tx, int(pages.Load())) })
				pages.Add(1)
			}
		}()
		writeBetween(t, s, &pages)
		stop()
		<-ended
	}, things)
}

// insertPage inserts page number n.
func insertPage(ctx context.Context, tx *store.Tx, n int) error {
	for i := range pageRows {
		if err := insert(ctx, tx, n*pageRows+i); err != nil {
			return err
		}
	}
	return nil
}

// writeBetween writes while somebody counts the pages that he commits.
func writeBetween(t *testing.T, s *store.Store, pages *atomic.Int64) {
	t.Helper()
	for pages.Load() == 0 {
		runtime.Gosched()
	}
	const writes = 10
	before := pages.Load()
	for range writes {
		if _, err := s.DB().ExecContext(t.Context(), "UPDATE thing SET name = 'y' WHERE id = 0"); err != nil {
			t.Errorf("single write: %v", err)
		}
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE thing SET name = 'z' WHERE id = 1")
			return err
		})
		if err != nil {
			t.Errorf("transaction: %v", err)
		}
	}
	passed := pages.Load() - before
	t.Logf("%d pages passed during %d writes", passed, 2*writes)
	if s.Engine() == store.SQLite && passed > maxPages*2*writes {
		t.Errorf("%d pages passed during %d writes, want at most %d", passed, 2*writes, maxPages*2*writes)
	}
}
