package store_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func acquire(t *testing.T, s *store.Store, name, holder string) *store.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), name, holder)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantKind(t *testing.T, what string, err error, want kedge.Kind) {
	t.Helper()
	if err == nil || kedge.KindOf(err) != want {
		t.Errorf("%s: %v, want an error of kind %v", what, err, want)
	}
}

func checkFence(ctx context.Context, s *store.Store, l *store.Lease) error {
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return s.CheckFence(ctx, tx, l) })
}

func TestLease(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		l := acquire(t, s, "run crm", "host a, process 1")
		_, err := s.Acquire(ctx, "run crm", "host b, process 2")
		wantKind(t, "second holder", err, kedge.Conflict)
		if err != nil && !strings.Contains(err.Error(), "held by host a, process 1") {
			t.Errorf("conflict does not name the holder: %v", err)
		}
		acquire(t, s, "run erp", "host b, process 2")
		if err := s.Renew(ctx, l); err != nil {
			t.Error(err)
		}
		if err := checkFence(ctx, s, l); err != nil {
			t.Error(err)
		}
		if err := s.Release(ctx, l); err != nil {
			t.Error(err)
		}
		wantKind(t, "renew after release", s.Renew(ctx, l), kedge.Conflict)
		next := acquire(t, s, "run crm", "host b, process 2")
		if next.Fence <= l.Fence {
			t.Errorf("fence %d follows %d, want a greater one", next.Fence, l.Fence)
		}
		if err := s.Release(ctx, l); err != nil {
			t.Error(err)
		}
		if err := checkFence(ctx, s, next); err != nil {
			t.Errorf("releasing a lost lease took it from its holder: %v", err)
		}
		wantKind(t, "fence of a lost lease", checkFence(ctx, s, l), kedge.Conflict)
	})
}

// second opens another store on the same database, as another process would.
func second(t *testing.T, dsn string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func expire(t *testing.T, s *store.Store, name string) {
	t.Helper()
	if _, err := s.DB().ExecContext(t.Context(), "UPDATE kedge_lease SET expires = 1 WHERE name = ?", name); err != nil {
		t.Fatal(err)
	}
}

// A holder that is paused, not dead, loses its lease by time, and its next page
// writes nothing.
func TestPausedHolder(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn, things)
		paused := second(t, dsn)
		old := acquire(t, paused, "run", "paused")
		_, err := s.Acquire(t.Context(), "run", "me")
		wantKind(t, "before the lease expired", err, kedge.Conflict)
		expire(t, s, "run")
		l := acquire(t, s, "run", "me")
		err = paused.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(ctx, tx, 1); err != nil {
				return err
			}
			return paused.CheckFence(ctx, tx, old)
		})
		wantKind(t, "page of the paused holder", err, kedge.Conflict)
		if err != nil && !strings.Contains(err.Error(), "lost to me") {
			t.Errorf("the error does not name the new holder: %v", err)
		}
		if got := count(t, s); got != 0 {
			t.Errorf("%d rows, want 0", got)
		}
		wantKind(t, "renewal by the paused holder", paused.Renew(t.Context(), old), kedge.Conflict)
		wantKind(t, "question of the paused holder", paused.Holds(t.Context(), old), kedge.Conflict)
		if err := s.Holds(t.Context(), l); err != nil {
			t.Error(err)
		}
		if err := checkFence(t.Context(), s, l); err != nil {
			t.Error(err)
		}
	})
}

// An expired lease that nobody took is still its holder's.
func TestExpiredButNotTaken(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn)
		l := acquire(t, s, "run", "me")
		for what, extend := range map[string]func() error{
			"CheckFence": func() error { return checkFence(t.Context(), s, l) },
			"Renew":      func() error { return s.Renew(t.Context(), l) },
			"Holds":      func() error { return s.Holds(t.Context(), l) },
		} {
			expire(t, s, "run")
			if err := extend(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			_, err := second(t, dsn).Acquire(t.Context(), "run", "other")
			wantKind(t, "after "+what, err, kedge.Conflict)
		}
	})
}

// Closing a store frees its leases, so that a restart does not wait.
func TestCloseFreesLeases(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn)
		other := second(t, dsn)
		acquire(t, other, "run", "other")
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		acquireSoon(t, s, "run", "me")
	})
}

// A lease stays with its holder until the transaction that checked the fence
// ends, even if it expires meanwhile.
func TestFenceHoldsDuringPage(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn, things)
		other := second(t, dsn)
		l := acquire(t, s, "run", "me")
		expire(t, s, "run")
		taken := make(chan error, 1)
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := s.CheckFence(ctx, tx, l); err != nil {
				return err
			}
			go func() {
				_, err := other.Acquire(ctx, "run", "other")
				taken <- err
			}()
			return insert(ctx, tx, 1)
		})
		if err != nil {
			t.Error(err)
		}
		wantKind(t, "taking the lease during a page", <-taken, kedge.Conflict)
		if err := checkFence(t.Context(), s, l); err != nil {
			t.Errorf("the next page: %v", err)
		}
	})
}

// After its server restarted, a holder proves its life by a new connection.
func TestLostSessionIsReplaced(t *testing.T) {
	dsn := storetest.PostgresDSN(t)
	s := storetest.Open(t, dsn)
	other := second(t, dsn)
	l := acquire(t, s, "run", "me")
	before := s.SessionID()
	_, err := other.DB().ExecContext(t.Context(),
		"SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Renew(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if s.SessionID() == before {
		t.Error("the session is still the lost one")
	}
	_, err = other.Acquire(t.Context(), "run", "other")
	wantKind(t, "holder with a new session", err, kedge.Conflict)
}

// Eight workers of four stores want one lease: never two have it, and the
// fence only grows.
func TestLeaseExcludes(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		const workers, rounds = 8, 3
		storetest.Open(t, dsn)
		stores := []*store.Store{second(t, dsn), second(t, dsn), second(t, dsn), second(t, dsn)}
		var holders, last atomic.Int64
		var all sync.WaitGroup
		for w := range workers {
			s := stores[w%len(stores)]
			all.Go(func() {
				for done := 0; done < rounds; {
					l, err := s.Acquire(t.Context(), "run", fmt.Sprint("worker ", w))
					if kedge.KindOf(err) == kedge.Conflict {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if n := holders.Add(1); n != 1 {
						t.Errorf("%d holders at once", n)
					}
					if before := last.Swap(l.Fence); before >= l.Fence {
						t.Errorf("fence %d follows %d", l.Fence, before)
					}
					if err := checkFence(t.Context(), s, l); err != nil {
						t.Error(err)
					}
					holders.Add(-1)
					if err := s.Release(t.Context(), l); err != nil {
						t.Error(err)
					}
					done++
				}
			})
		}
		all.Wait()
	})
}

// Who waits too long for a page of the holder is told who that is.
func TestAcquireDuringLongPage(t *testing.T) {
	s := storetest.Postgres(t)
	l := acquire(t, s, "run", "slow holder")
	expire(t, s, "run")
	err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := s.CheckFence(ctx, tx, l); err != nil {
			return err
		}
		_, err := s.Acquire(t.Context(), "run", "me")
		wantKind(t, "during a page of 5 s", err, kedge.Conflict)
		if err != nil && !strings.Contains(err.Error(), "slow holder is in a transaction") {
			t.Errorf("conflict does not name the holder: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
