package store_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func TestState(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.State("crm")
		get := func() (string, int64) {
			t.Helper()
			v, rev, err := st.Get(ctx, "token")
			if err != nil {
				t.Fatal(err)
			}
			return string(v), rev
		}
		if v, rev := get(); v != "" || rev != 0 {
			t.Errorf("nothing stored: %q, %d, want nothing, 0", v, rev)
		}
		if err := st.Put(ctx, "token", []byte("secret one"), 0); err != nil {
			t.Fatal(err)
		}
		v, rev := get()
		if v != "secret one" || rev == 0 {
			t.Errorf("stored: %q, %d", v, rev)
		}
		wantKind(t, "insert over a value", st.Put(ctx, "token", []byte("x"), 0), kedge.Conflict)
		wantKind(t, "wrong revision", st.Put(ctx, "token", []byte("x"), rev+1), kedge.Conflict)
		if err := st.Put(ctx, "token", []byte("secret two"), rev); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "stale revision", st.Put(ctx, "token", []byte("x"), rev), kedge.Conflict)
		if v, _ := get(); v != "secret two" {
			t.Errorf("swapped: %q, want secret two", v)
		}
		if other, _, err := s.State("erp").Get(ctx, "token"); err != nil || other != nil {
			t.Errorf("another connection sees %q, %v", other, err)
		}
		var raw []byte
		if err := s.DB().QueryRowContext(ctx, "SELECT value FROM connector_state").Scan(&raw); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("secret")) {
			t.Error("the value is stored in the clear")
		}
		// A sealed value that somebody moved to another connection does not open.
		if _, err := s.DB().ExecContext(ctx, "UPDATE connector_state SET connection = 'erp'"); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.State("erp").Get(ctx, "token")
		wantKind(t, "moved value", err, kedge.Invalid)
		if err := s.State("erp").Delete(ctx, "token"); err != nil {
			t.Error(err)
		}
		if err := st.Delete(ctx, "token"); err != nil {
			t.Errorf("deleting what is not there: %v", err)
		}
	})
}

// A value that was deleted and stored again is not the one that was read.
func TestStateRevisionsAreNotReused(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, st := t.Context(), s.State("crm")
		if err := st.Put(ctx, "token", []byte("a"), 0); err != nil {
			t.Fatal(err)
		}
		_, rev, err := st.Get(ctx, "token")
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Delete(ctx, "token"); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "swap of a deleted value", st.Put(ctx, "token", []byte("b"), rev), kedge.Conflict)
		if err := st.Put(ctx, "token", []byte("c"), 0); err != nil {
			t.Fatal(err)
		}
		wantKind(t, "swap of the value before", st.Put(ctx, "token", []byte("b"), rev), kedge.Conflict)
	})
}

// Of many who swap at once, each succeeds once: nothing is lost.
func TestStateSwapsAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const workers, each = 4, 5
		st := s.State("crm")
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for done := 0; done < each; {
					v, rev, err := st.Get(t.Context(), "list")
					if err == nil {
						err = st.Put(t.Context(), "list", append(v, 'x'), rev)
					}
					switch {
					case err == nil:
						done++
					case kedge.KindOf(err) != kedge.Conflict:
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		v, _, err := st.Get(t.Context(), "list")
		if err != nil || len(v) != workers*each {
			t.Errorf("%d swaps left, %v, want %d", len(v), err, workers*each)
		}
	})
}

func TestStateWithoutKeys(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		storetest.Open(t, dsn)
		st := second(t, dsn).State("crm")
		_, _, err := st.Get(t.Context(), "token")
		for what, err := range map[string]error{"Get": err, "Put": st.Put(t.Context(), "token", []byte("x"), 0)} {
			wantKind(t, what, err, kedge.Invalid)
			if !strings.Contains(fmt.Sprint(err), "keys: [{id: k1") {
				t.Errorf("%s does not say what to add to the config: %v", what, err)
			}
		}
	})
}
