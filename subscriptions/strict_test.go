package subscriptions_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// rounds returns how often a strict test changes something: KEDGE_SOAK says
// more.
func rounds(t *testing.T, few int) int {
	if s := os.Getenv("KEDGE_SOAK"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal("KEDGE_SOAK is not a number of rounds")
		}
		return n
	}
	return few
}

// load publishes events until the returned function is called.
func (w *world) load(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			var list []kedge.Event
			for k := range 20 {
				list = append(list, task(kedge.OpUpdate, fmt.Sprintf("t-%d", k), "proj1", fmt.Sprint(i)))
			}
			if err := publish(ctx, w.db, w.s, list...); err != nil && ctx.Err() == nil {
				w.t.Error(detail(err))
				return
			}
			// No more than what is delivered, or the backlog is all that is tested.
			// What a fan-out queued for one that was deleted meanwhile stays for a minute.
			for ctx.Err() == nil {
				var n int
				if err := w.db.DB().QueryRowContext(ctx, "SELECT count(*) FROM push_delivery d JOIN push_subscription s ON s.id = d.sub WHERE s.state = 'active'").Scan(&n); err != nil || n < 200 {
					break
				}
				time.Sleep(time.Millisecond)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// replicas runs n services on the database of w.
func (w *world) replicas(n int) {
	w.run(w.s)
	for range n - 1 {
		w.run(w.service(newOptions()))
	}
	w.until("workers", "SELECT count(*) FROM push_worker", int64(n))
}

// strict runs a test with one replica on SQLite, and with one and three on
// PostgreSQL.
func strict(t *testing.T, f func(t *testing.T, w *world)) {
	run := func(n int, open func(testing.TB, ...store.Migration) *store.Store) func(*testing.T) {
		return func(t *testing.T) {
			w := newWorld(t, open(t, subscriptions.Migrations()...), func(c *subscriptions.Config) {
				c.Limits.PerAccount = 1_000_000
				c.Limits.Backlog = 1_000_000
			})
			w.s = w.service(newOptions())
			w.replicas(n)
			f(t, w)
		}
	}
	t.Run("sqlite", run(1, storetest.SQLite))
	t.Run("postgres", run(1, storetest.Postgres))
	t.Run("postgres with 3 replicas", run(3, storetest.Postgres))
}

// After the answer to a PATCH of the URL no request goes to the old one.
func TestStrictPatch(t *testing.T) {
	strict(t, func(t *testing.T, w *world) {
		var least, stale atomic.Int64
		x := quiet(t, func(p push) {
			now := least.Load()
			if v, _ := strconv.ParseInt(strings.TrimPrefix(p.URL, "/"), 10, 64); v < now {
				stale.Add(1)
			}
		})
		sub, _ := w.subscribe(x.URL+"/0", `{"url":"%s","resource":"tasks","events":["update"]}`)
		defer w.load(t.Context())()
		for i := range rounds(t, 15) {
			w.patch(sub.ID, fmt.Sprintf(`{"url":"%s/%d"}`, x.URL, i+1))
			least.Store(int64(i + 1))
			x.more(5)
		}
		if n := stale.Load(); n > 0 {
			t.Errorf("%d requests went to an old URL after the answer", n)
		}
	})
}

// After the answer to pause, delete and revoke no request arrives.
func TestStrictEnd(t *testing.T) {
	strict(t, func(t *testing.T, w *world) {
		var ended sync.Map
		var late atomic.Int64
		x := quiet(t, func(p push) {
			if _, ok := ended.Load(p.Subscription); ok {
				late.Add(1)
			}
		})
		token, value, err := w.s.IssueToken(t.Context(), subscriptions.TokenRequest{Account: "acme", Grants: []spec.Grant{{Entity: "tasks", Manage: true}}})
		if err != nil {
			t.Fatal(err)
		}
		by, err := w.s.Authenticate(t.Context(), value)
		if err != nil {
			t.Fatal(err)
		}
		defer w.load(t.Context())()
		doc := `{"url":"%s","resource":"tasks","events":["update"]}`
		for i := range rounds(t, 12) {
			d, err := spec.Parse(fmt.Appendf(nil, doc, x.URL))
			if err != nil {
				t.Fatal(err)
			}
			sub, _, err := w.s.Create(t.Context(), by, d)
			if err != nil {
				t.Fatal(detail(err))
			}
			x.more(5)
			switch i % 3 {
			case 0:
				err = w.s.Delete(t.Context(), admin, sub.ID)
			case 1:
				w.patch(sub.ID, `{"state":"paused"}`)
			case 2:
				err = w.s.RevokeToken(t.Context(), token.ID)
			}
			if err != nil {
				t.Fatal(detail(err))
			}
			ended.Store(sub.ID, true)
			if i%3 == 2 {
				if token, value, err = w.s.IssueToken(t.Context(), subscriptions.TokenRequest{Account: "acme", Grants: []spec.Grant{{Entity: "tasks", Manage: true}}}); err == nil {
					by, err = w.s.Authenticate(t.Context(), value)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if i%3 == 1 {
				if err := w.s.Delete(t.Context(), admin, sub.ID); err != nil {
					t.Fatal(detail(err))
				}
			}
		}
		if n := late.Load(); n > 0 {
			t.Errorf("%d requests came after the answer", n)
		}
	})
}

// After the answer to a rotation each push verifies with the new and the old
// secret.
func TestStrictRotation(t *testing.T) {
	strict(t, func(t *testing.T, w *world) {
		var keys atomic.Pointer[[]signature.Key]
		var bad, checked atomic.Int64
		x := quiet(t, func(p push) {
			list := keys.Load()
			if list == nil {
				return
			}
			for _, k := range *list {
				checked.Add(1)
				if signature.Verify([]signature.Key{k}, p.Header, p.Body, signedAt(p)) != nil {
					bad.Add(1)
				}
			}
		})
		sub, secret := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["update"]}`)
		defer w.load(t.Context())()
		for i := range rounds(t, 15) {
			// The third one would be the fourth old secret soon.
			overlap := time.Hour
			if i%3 == 2 {
				keys.Store(nil)
				overlap = 0
			}
			fresh, _, err := w.s.Rotate(t.Context(), admin, sub.ID, overlap, "")
			if err != nil {
				t.Fatal(detail(err))
			}
			list := []signature.Key{parseKey(t, fresh)}
			if overlap > 0 {
				list = append(list, parseKey(t, secret))
			}
			keys.Store(&list)
			secret = fresh
			x.more(5)
		}
		if bad.Load() > 0 || checked.Load() == 0 {
			t.Errorf("%d of %d signatures did not verify", bad.Load(), checked.Load())
		}
	})
}

func parseKey(t testing.TB, text string) signature.Key {
	t.Helper()
	k, err := signature.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A quietReceiver looks at pushes and keeps only their number.
type quietReceiver struct {
	*receiver
	seen  chan struct{}
	count atomic.Int64
}

func quiet(t testing.TB, look func(p push)) *quietReceiver {
	q := &quietReceiver{seen: make(chan struct{}, 1)}
	q.receiver = newReceiver(t, func(rw http.ResponseWriter, _ *http.Request, p push) {
		look(p)
		q.count.Add(1)
		select {
		case q.seen <- struct{}{}:
		default:
		}
		rw.WriteHeader(204)
	})
	q.receiver.got = nil
	return q
}

// more waits for n further pushes.
func (q *quietReceiver) more(n int64) {
	q.t.Helper()
	want, deadline := q.count.Load()+n, time.After(30*time.Second)
	for q.count.Load() < want {
		select {
		case <-q.seen:
		case <-deadline:
			q.t.Fatal("no further pushes came")
		}
	}
}
