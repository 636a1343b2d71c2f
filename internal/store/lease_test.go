package store_test

import (
	"context"
	"strings"
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
