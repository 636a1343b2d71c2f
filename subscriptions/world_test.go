package subscriptions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// tables is a driver that has a schema and nothing else: this package reads
// no records.
type tables struct{ connectors.Driver }

func (tables) Schema(context.Context) (*kedge.Schema, error) {
	str := func(names ...string) (out []kedge.Field) {
		for _, n := range names {
			out = append(out, kedge.Field{Name: n, Type: kedge.TypeString, Nullable: true})
		}
		return out
	}
	return &kedge.Schema{Entities: []kedge.Entity{
		{Name: "lines", Key: []string{"order_id", "line"}, Fields: append(str("order_id", "text"), kedge.Field{Name: "line", Type: kedge.TypeInt}, kedge.Field{Name: "price", Type: kedge.TypeDecimal})},
		{Name: "projects", Key: []string{"id"}, Fields: str("id", "name", "code", "status")},
		{Name: "tasks", Key: []string{"id"}, Fields: append(str("id", "subject", "status", "project", "account_id", "secret_note"), kedge.Field{Name: "hours", Type: kedge.TypeDecimal})},
	}}, nil
}

// A clock that only moves when told.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A world is a service on a database, with receivers.
type world struct {
	t     testing.TB
	db    *store.Store
	clock *clock
	cfg   subscriptions.Config
	s     *subscriptions.Service
	log   *logbook
}

// logbook keeps what was logged.
type logbook struct {
	mu   sync.Mutex
	text []byte
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func config() subscriptions.Config {
	return subscriptions.Config{
		PublicURL: "https://kedge.example.com",
		Entities: map[string]spec.Entity{
			"lines":    {},
			"projects": {Title: "name", Search: []string{"name"}, Fields: []string{"id", "name", "status"}},
			"tasks":    {Title: "subject", Fields: []string{"id", "subject", "status", "project", "hours"}, Parents: map[string]string{"project": "projects"}},
		},
		Targets: subscriptions.Targets{HTTP: true, Ports: []int{}},
		Retry:   subscriptions.Retry{Schedule: []time.Duration{50 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond}, Jitter: -1},
	}
}

func newWorld(t testing.TB, db *store.Store, change ...func(*subscriptions.Config)) *world {
	w := &world{t: t, db: db, clock: newClock(), cfg: config(), log: &logbook{}}
	for _, f := range change {
		f(&w.cfg)
	}
	w.s = w.service(&subscriptions.Options{Now: w.clock.Now})
	return w
}

func (w *world) service(opts *subscriptions.Options) *subscriptions.Service {
	w.t.Helper()
	hc, err := httpclient.New(httpclient.Options{AllowHTTP: true, Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Concurrency: 64, Timeout: 5 * time.Second, SingleTry: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(hc.Close)
	opts.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	s, err := subscriptions.New(w.t.Context(), w.db, tables{}, hc, w.cfg, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// run runs s until the test ends or stop is called.
func (w *world) run(s *subscriptions.Service) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

var admin = subscriptions.Caller{Account: "acme", User: "u7", Admin: true, Grants: spec.Everything()}

// subscribe makes a subscription from JSON text; %s is the URL.
func (w *world) subscribe(url, doc string) (*subscriptions.Subscription, string) {
	w.t.Helper()
	d, err := spec.Parse([]byte(fmt.Sprintf(doc, url)))
	if err != nil {
		w.t.Fatal(err)
	}
	sub, secret, err := w.s.Create(w.t.Context(), admin, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return sub, secret
}

func newOptions() *subscriptions.Options { return &subscriptions.Options{} }

// event returns an event of a record with the given fields, in turn name and
// value.
func event(op kedge.Operation, entity, key string, fields ...string) kedge.Event {
	return kedge.Event{Entity: entity, Key: kedge.Key(key), KeyNames: []string{"id"}, Op: op, After: record(fields...), Origin: "test"}
}

func record(fields ...string) *kedge.Record {
	var names []string
	r := &kedge.Record{}
	for i := 0; i < len(fields); i += 2 {
		names = append(names, fields[i])
		r.Values = append(r.Values, kedge.String(fields[i+1]))
	}
	r.Fields = kedge.NewFields(names...)
	return r
}

// publish publishes events in one transaction.
func (w *world) publish(events ...kedge.Event) {
	w.t.Helper()
	if err := publish(w.t.Context(), w.db, w.s, events...); err != nil {
		w.t.Fatal(err)
	}
}

func publish(ctx context.Context, db *store.Store, s *subscriptions.Service, events ...kedge.Event) error {
	return db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for _, e := range events {
			if _, err := s.Interest(ctx, tx, e.Entity); err != nil {
				return err
			}
		}
		return s.Publish(ctx, tx, events...)
	})
}

// A push is what a receiver got.
type push struct {
	Header http.Header
	Method string
	URL    string
	Body   []byte
	At     time.Time
	Message
}

// Message is the standard body.
type Message struct {
	ID           string
	Type         string
	Timestamp    time.Time
	Sequence     int64
	Subscription string
	Account      string
	User         string
	Collapsed    int
	Gap          *struct {
		ID, From, To int64
		Count        *int64
		Reason       string
	}
	Data struct {
		Event, Resource, Operation, Parent, Origin, Transition, Link string
		Key                                                          map[string]any
		Changed                                                      []string
		Record                                                       map[string]any
		Truncated                                                    bool
	}
}

// A receiver is a target.
type receiver struct {
	*httptest.Server
	t      testing.TB
	got    chan push
	answer func(w http.ResponseWriter, r *http.Request, p push) // nil: 204
}

func newReceiver(t testing.TB, answer func(w http.ResponseWriter, r *http.Request, p push)) *receiver {
	x := &receiver{t: t, got: make(chan push, 100_000), answer: answer}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the test cut it off
		}
		p := push{Header: r.Header, Method: r.Method, URL: r.URL.String(), Body: body, At: time.Now()}
		if len(body) > 0 {
			if err := json.Unmarshal(body, &p.Message); err != nil {
				t.Errorf("the body is not valid JSON: %v: %s", err, body)
			}
		}
		if x.answer == nil {
			w.WriteHeader(http.StatusNoContent)
		} else {
			x.answer(w, r, p)
		}
		if x.got != nil {
			x.got <- p
		}
	}))
	t.Cleanup(x.Close)
	return x
}

// next waits for a push.
func (x *receiver) next() push {
	x.t.Helper()
	select {
	case p := <-x.got:
		return p
	case <-time.After(20 * time.Second):
		x.t.Fatal("no push came")
		return push{}
	}
}

// none checks that no push has come so far.
func (x *receiver) none() {
	x.t.Helper()
	select {
	case p := <-x.got:
		x.t.Fatalf("a push came that should not: %s %s", p.Type, p.Body)
	default:
	}
}

func verify(t testing.TB, secret string, p push) {
	t.Helper()
	k, err := signature.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := signature.Verify([]signature.Key{k}, p.Header, p.Body, signedAt(p)); err != nil {
		t.Errorf("%v", err)
	}
}

func signedAt(p push) time.Time {
	var s int64
	fmt.Sscan(p.Header.Get("webhook-timestamp"), &s)
	return time.Unix(s, 0)
}

func each(t *testing.T, f func(t *testing.T, db *store.Store)) {
	storetest.Each(t, f, subscriptions.Migrations()...)
}

// detail is an error with what PostgreSQL says about it.
func detail(err error) string {
	if e, ok := errors.AsType[pgdriver.Error](err); ok {
		return err.Error() + "\n" + e.Field('D') + "\n" + e.Field('W')
	}
	return err.Error()
}
