package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

var things = store.Migration{Name: "20261121_01_test", SQLite: "CREATE TABLE thing (id BIGINT PRIMARY KEY, name TEXT NOT NULL)"}

func count(t *testing.T, s *store.Store) (n int) {
	t.Helper()
	if err := s.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM thing").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func insert(ctx context.Context, tx *store.Tx, id int) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO thing VALUES (?, ?)", id, "x")
	return err
}

func TestInTx(t *testing.T) {
	boom := errors.New("boom")
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var hooks []string
		hook := func(ctx context.Context, name string) {
			store.OnCommit(ctx, func() { hooks = append(hooks, name) })
		}
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			hook(ctx, "a")
			hook(ctx, "b")
			if len(hooks) > 0 {
				t.Error("hook ran before the commit")
			}
			return insert(ctx, tx, 1)
		})
		if got := count(t, s); err != nil || got != 1 {
			t.Errorf("after commit: %d rows, error %v, want 1, nil", got, err)
		}
		err = s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			hook(ctx, "rolled back")
			return errors.Join(insert(ctx, tx, 2), boom)
		})
		if got := count(t, s); !errors.Is(err, boom) || got != 1 {
			t.Errorf("after rollback: %d rows, error %v, want 1, boom", got, err)
		}
		if len(hooks) != 2 || hooks[0] != "a" || hooks[1] != "b" {
			t.Errorf("hooks that ran = %q, want a, b", hooks)
		}
		store.OnCommit(t.Context(), func() { hooks = append(hooks, "outside") })
		if len(hooks) != 3 {
			t.Errorf("a hook outside a transaction did not run at once")
		}
	}, things)
}

func TestInTxNested(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return s.InTx(ctx, func(context.Context, *store.Tx) error { return nil })
		})
		if err == nil || kedge.KindOf(err) != kedge.Internal {
			t.Errorf("InTx inside InTx: %v, want an error of kind internal", err)
		}
	})
}
