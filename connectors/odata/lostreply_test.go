package odata_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A loser is a way to a service on which answers get lost after the service did
// what was asked.
type loser struct {
	service *odatatest.Service
	url     string
	mu      sync.Mutex
	lose    func(r *http.Request) bool
	sent    []string // methods of the requests that write
}

func (l *loser) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	l.service.Handler().ServeHTTP(answer, r)
	l.mu.Lock()
	lost := false
	if r.Method != http.MethodGet {
		l.sent = append(l.sent, r.Method)
		lost = l.lose != nil && l.lose(r)
	}
	l.mu.Unlock()
	if lost {
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// from makes l lose answers as lose says, and forget what was sent.
func (l *loser) from(lose func(*http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose, l.sent = lose, nil
}

func (l *loser) methods() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(l.sent)
}

// first loses the answer to the first request with the method.
func first(method string) func(*http.Request) bool {
	done := false
	return func(r *http.Request) bool {
		hit := r.Method == method && !done
		done = done || hit
		return hit
	}
}

func startLoser(t testing.TB, o odatatest.Options, options map[string]any) (*loser, *odata.Driver) {
	t.Helper()
	o.Entities = []kedge.Entity{conntest.Widgets, conntest.Parts}
	l := &loser{service: odatatest.New(o)}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	l.url = server.URL + l.service.Root()
	return l, newDriver(t, l.url, options)
}

// A reply that is lost in any step never doubles a record, and never turns into
// a conflict that is none.
func TestLostReply(t *testing.T) {
	seen := func(op kedge.Op, etag bool) func(version string) kedge.Change {
		return func(version string) kedge.Change {
			c := change(op, "widgets", "there", values{"string": str("new")})
			if etag {
				c.Version = version
			}
			return c
		}
	}
	insert := func(string) kedge.Change {
		c := change(kedge.Insert, "widgets", "w", values{"string": str("new")})
		c.IdempotencyKey = "change 1"
		return c
	}
	upsert := func(string) kedge.Change { return change(kedge.Upsert, "widgets", "w", values{"string": str("new")}) }
	for name, tt := range map[string]struct {
		service odatatest.Options
		lose    string // method
		make    func(version string) kedge.Change
		want    string // outcome of the change
		unknown bool
		sent    string // methods
	}{
		"insert":               {odatatest.Options{}, "POST", insert, "unset", true, "[POST]"},
		"repeatable insert":    {odatatest.Options{Repeatable: true}, "POST", insert, "inserted", false, "[POST POST]"},
		"update":               {odatatest.Options{}, "PATCH", seen(kedge.Update, false), "updated", false, "[PATCH PATCH]"},
		"update with an ETag":  {odatatest.Options{}, "PATCH", seen(kedge.Update, true), "unset", true, "[PATCH]"},
		"delete":               {odatatest.Options{}, "DELETE", seen(kedge.Delete, false), "unchanged", false, "[DELETE DELETE]"},
		"delete with an ETag":  {odatatest.Options{}, "DELETE", seen(kedge.Delete, true), "unchanged", false, "[DELETE DELETE]"},
		"upsert, its insert":   {odatatest.Options{NoUpsert: true}, "POST", upsert, "unset", true, "[PATCH POST]"},
		"upsert, its update":   {odatatest.Options{NoUpsert: true}, "PATCH", upsert, "inserted", false, "[PATCH PATCH POST]"},
		"upsert, already done": {odatatest.Options{}, "PATCH", seen(kedge.Upsert, false), "updated", false, "[PATCH PATCH]"},
	} {
		t.Run(name, func(t *testing.T) {
			l, d := startLoser(t, tt.service, map[string]any{"batch": "none"})
			before := write(t, d, change(kedge.Insert, "widgets", "there", values{"string": str("old")}))
			l.from(first(tt.lose))
			results, err := d.Write(t.Context(), []kedge.Change{tt.make(before[0].Version)})
			if got := outcomes(results); got != tt.want || (kedge.KindOf(err) == kedge.OutcomeUnknown) != tt.unknown || err != nil && !tt.unknown {
				t.Errorf("got %s and %v, want %s, unknown %v", got, err, tt.want, tt.unknown)
			}
			if got := l.methods(); got != tt.sent {
				t.Errorf("sent %s, want %s", got, tt.sent)
			}
			for key, n := range l.service.Inserted("widgets") {
				if n > 1 {
					t.Errorf("record %s was created %d times", key, n)
				}
			}
		})
	}
}

// One lost answer does not keep the others from being sent.
func TestLostAmongOthers(t *testing.T) {
	l, d := startLoser(t, odatatest.Options{}, map[string]any{"batch": "none", "concurrency": 1})
	l.from(first(http.MethodPost))
	results, err := d.Write(t.Context(), inserts(3, -1))
	if got := outcomes(results); got != "unset inserted inserted" || kedge.KindOf(err) != kedge.OutcomeUnknown {
		t.Errorf("got %s and %v", got, err)
	}
}

// A repeat says when its request was sent first, also after a restart, so the
// service knows it again. Where the time was not kept, the service rejects the
// repeat, which is no conflict: the caller has to look.
func TestRepeatAfterRestart(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			l, _ := startLoser(t, odatatest.Options{Repeatable: true}, nil)
			state := storetest.SQLite(t).State("test")
			open := func(now time.Time) *odata.Driver {
				env := testEnv()
				env.Now = func() time.Time { return now }
				if kept {
					env.State = state
				}
				d, err := odata.New(odata.Config{URL: l.url, EntityConfig: odata.EntityConfig{Batch: "none"}}, env)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { d.Close() })
				return d
			}
			l.from(func(r *http.Request) bool { return r.Method == http.MethodPost })
			c := change(kedge.Insert, "widgets", "w", values{"int": kedge.Int(1)})
			c.IdempotencyKey = "change 1"
			if results, err := open(time.Now()).Write(t.Context(), []kedge.Change{c}); err == nil || results[0].State != connectors.Unset {
				t.Fatalf("got %v and %v, want no result", results[0].State, err)
			}
			l.from(nil)
			results, err := open(time.Now().Add(time.Minute)).Write(t.Context(), []kedge.Change{c})
			if kept && (err != nil || results[0].State != connectors.Inserted) {
				t.Errorf("got %s and %v, want inserted", outcomes(results), err)
			}
			if !kept && (results[0].State != connectors.Unset || kedge.KindOf(err) != kedge.OutcomeUnknown) {
				t.Errorf("got %s and %v, want an unknown outcome", outcomes(results), err)
			}
			if n := l.service.Inserted("widgets")["w"]; n != 1 {
				t.Errorf("the record was created %d times", n)
			}
		})
	}
}

// A repeat that the service rejects as too old, of a record that is not there, is
// a first try the next time.
func TestRepeatTooOld(t *testing.T) {
	now := time.Now()
	l, _ := startLoser(t, odatatest.Options{Repeatable: true, Now: func() time.Time { return now }}, nil)
	env := testEnv()
	env.Now = func() time.Time { return now }
	d, err := odata.New(odata.Config{URL: l.url, EntityConfig: odata.EntityConfig{Batch: "none"}}, env)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c := change(kedge.Insert, "widgets", "w", values{"int": kedge.Int(1)})
	c.IdempotencyKey = "change 1"
	stop := l.service.Fail(odatatest.Failure{Status: 503}) // nothing is done
	if results, err := d.Write(t.Context(), []kedge.Change{c}); results[0].State != connectors.Unset {
		t.Fatalf("got %v and %v, want no result", results[0].State, err)
	}
	stop()
	now = now.Add(48 * time.Hour)
	for _, want := range []string{"rejected:transient", "inserted"} {
		wantOutcomes(t, "two days later", write(t, d, c), want)
	}
	if n := l.service.Inserted("widgets")["w"]; n != 1 {
		t.Errorf("the record was created %d times", n)
	}
}

// A batch whose answer is lost is sent again only if that is harmless for each
// of its changes.
func TestLostBatch(t *testing.T) {
	insert := func(key kedge.Key) kedge.Change {
		c := change(kedge.Insert, "widgets", key, values{"int": kedge.Int(1)})
		c.IdempotencyKey = "insert " + string(key)
		return c
	}
	for name, tt := range map[string]struct {
		service odatatest.Options
		changes []kedge.Change
		want    string
		sent    string
	}{
		"updates":            {odatatest.Options{}, []kedge.Change{change(kedge.Update, "widgets", "a", nil), change(kedge.Update, "widgets", "b", nil)}, "updated updated", "[POST POST]"},
		"inserts":            {odatatest.Options{}, []kedge.Change{insert("x"), insert("y")}, "unset unset", "[POST]"},
		"an insert among":    {odatatest.Options{}, []kedge.Change{change(kedge.Update, "widgets", "a", nil), insert("y")}, "unset unset", "[POST]"},
		"repeatable inserts": {odatatest.Options{Repeatable: true}, []kedge.Change{insert("x"), insert("y")}, "inserted inserted", "[POST POST]"},
		"an ETag":            {odatatest.Options{}, []kedge.Change{withVersion(change(kedge.Update, "widgets", "a", nil)), change(kedge.Update, "widgets", "b", nil)}, "unset unset", "[POST]"},
	} {
		for _, form := range []string{"multipart", "json"} {
			for _, group := range []bool{false, true} {
				t.Run(fmt.Sprint(name, "/", form, "/", group), func(t *testing.T) {
					l, d := startLoser(t, tt.service, map[string]any{"batch": form, "atomic": group})
					if err := l.service.Put("widgets", newRecord("a", 1), newRecord("b", 1)); err != nil {
						t.Fatal(err)
					}
					l.from(first(http.MethodPost))
					results, err := d.Write(t.Context(), tt.changes)
					unknown := strings.Contains(tt.want, "unset")
					if got := outcomes(results); got != tt.want || unknown != (kedge.KindOf(err) == kedge.OutcomeUnknown) || err != nil && !unknown {
						t.Errorf("got %s and %v, want %s", got, err, tt.want)
					}
					if got := l.methods(); got != tt.sent {
						t.Errorf("sent %s, want %s", got, tt.sent)
					}
					for key, n := range l.service.Inserted("widgets") {
						if n > 1 {
							t.Errorf("%s was created %d times", key, n)
						}
					}
				})
			}
		}
	}
}

// A deletion that is repeated finds nothing; in a group that would undo the rest.
func TestLostDelete(t *testing.T) {
	for _, form := range []string{"multipart", "json"} {
		for _, group := range []bool{false, true} {
			l, d := startLoser(t, odatatest.Options{}, map[string]any{"batch": form, "atomic": group})
			if err := l.service.Put("widgets", newRecord("a", 1), newRecord("b", 1)); err != nil {
				t.Fatal(err)
			}
			var lost atomic.Bool
			l.from(func(*http.Request) bool { // the first answer after which the record is gone
				return len(l.service.Records("widgets")) == 1 && lost.CompareAndSwap(false, true)
			})
			changes := []kedge.Change{change(kedge.Update, "widgets", "a", nil), change(kedge.Delete, "widgets", "b", nil), change(kedge.Delete, "widgets", "gone", nil)}
			results, err := d.Write(t.Context(), changes)
			if group {
				if got := outcomes(results); got != "unset unset unchanged" || kedge.KindOf(err) != kedge.OutcomeUnknown {
					t.Errorf("%s, atomic: got %s and %v", form, got, err)
				}
			} else if wantOutcomes(t, form, results, "updated unchanged unchanged"); err != nil {
				t.Error(err)
			}
			if !lost.Load() {
				t.Error("no answer was lost")
			}
		}
	}
}

func withVersion(c kedge.Change) kedge.Change {
	c.Version = `W/"1"`
	return c
}

// Whatever replies are lost, a caller that looks before it repeats ends with
// each record created once and with its last values.
func TestLostRepliesStory(t *testing.T) {
	for _, repeatable := range []bool{false, true} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(repeatable, "/", seed), func(t *testing.T) {
				everyForm(t, func(t *testing.T, options map[string]any) {
					l, d := startLoser(t, odatatest.Options{Repeatable: repeatable}, options)
					rnd := rand.New(rand.NewPCG(seed, 1))
					l.from(func(*http.Request) bool { return rnd.IntN(3) == 0 })
					var pending []kedge.Change
					for i := range 30 {
						key := kedge.Key(fmt.Sprintf("w%02d", i))
						c := change(kedge.Insert, "widgets", key, values{"int": kedge.Int(int64(i))})
						c.IdempotencyKey = "insert " + string(key)
						pending = append(pending, c)
					}
					for round := 0; len(pending) > 0; round++ {
						if round == 50 {
							t.Fatalf("%d changes are left after %d rounds", len(pending), round)
						}
						pending = again(t, d, pending)
					}
					made := l.service.Inserted("widgets")
					for i, r := range l.service.Records("widgets") {
						if r.Get("int").Int() != int64(i) || made[r.Key] != 1 {
							t.Errorf("record %d has %d and was created %d times", i, r.Get("int").Int(), made[r.Key])
						}
					}
					if len(made) != 30 {
						t.Errorf("%d records were made, want 30", len(made))
					}
				})
			})
		}
	}
}

// again writes changes and returns those that are to be written again: whose
// outcome is unknown and that are not there.
func again(t *testing.T, d *odata.Driver, changes []kedge.Change) []kedge.Change {
	t.Helper()
	results, err := d.Write(t.Context(), changes)
	if kind := kedge.KindOf(err); err != nil && kind != kedge.OutcomeUnknown && kind != kedge.Transient {
		t.Fatalf("write: %v", err)
	}
	var open []kedge.Change
	for i, r := range results {
		switch {
		case r.State == connectors.Inserted:
		case r.State == connectors.Unset && err != nil:
			found, err := d.ReadKeys(t.Context(), "widgets", nil, []kedge.Key{changes[i].Key})
			if err != nil {
				t.Fatal(err)
			}
			if !found[0].OK {
				open = append(open, changes[i])
			}
		default:
			t.Errorf("change %d: got %s (%v)", i, r.State, r.Err)
		}
	}
	return open
}
