package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/httpapi/apitest"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/api"
	"github.com/kedge-sync/kedge/subscriptions/resources"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// A clock that only moves when told.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

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

// A world is a server of subscriptions on a database with tables of projects
// and their tasks, and a receiver.
type world struct {
	t     testing.TB
	db    *store.Store
	s     *subscriptions.Service
	local connectors.Driver
	url   string
	clock *clock
	hook  *receiver
	log   *bytes.Buffer
	logMu sync.Mutex
}

// Write takes the log.
func (w *world) Write(p []byte) (int, error) {
	w.logMu.Lock()
	defer w.logMu.Unlock()
	return w.log.Write(p)
}

const tables = `
CREATE TABLE projects (id varchar(40) PRIMARY KEY, name text, code text, status text, budget text);
CREATE TABLE tasks (id varchar(40) PRIMARY KEY, subject text, status text, project text, account_id text, hours integer, secret_note text);
CREATE TABLE lines (order_id text, line integer, text text, PRIMARY KEY (order_id, line));
INSERT INTO projects VALUES ('proj1', 'Alpha', 'A-1', 'open', '900'), ('proj2', 'Beta', 'B-1', 'open', '901'), ('proj3', 'Almost Gamma', 'C-1', 'done', '902'), ('proj4', 'Delta', 'al-4', 'open', '903');
INSERT INTO tasks VALUES ('t-1', 'Draw', 'new', 'proj1', 'acme', 3, 'n1'), ('t-2', 'Build', 'new', 'proj2', 'acme', 4, 'n2'), ('t-3', 'Other', 'new', 'proj1', 'globex', 5, 'n3');
INSERT INTO lines VALUES ('o/1', 1, 'bolt'), ('o/1', 2, 'nut');
`

func config() subscriptions.Config {
	return subscriptions.Config{
		PublicURL: "https://kedge.example.com",
		Entities: map[string]spec.Entity{
			"lines":    {},
			"projects": {Title: "name", Search: []string{"name", "code"}, Fields: []string{"id", "name", "code", "status"}},
			"tasks": {Title: "subject", Search: []string{"subject"}, Fields: []string{"id", "subject", "status", "project", "hours"},
				Parents: map[string]string{"project": "projects"}, Account: "account_id"},
			"orders.paid": {Fields: []string{"total"}},
		},
		Limits:  subscriptions.Limits{PerAccount: 10},
		Targets: subscriptions.Targets{HTTP: true, Ports: []int{}},
		Retry:   subscriptions.Retry{Schedule: []time.Duration{50 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond}, Jitter: -1},
	}
}

func each(t *testing.T, f func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, db *store.Store) { f(t, newWorld(t, db)) }, append(sqltable.Migrations(), subscriptions.Migrations()...)...)
}

func newWorld(t testing.TB, db *store.Store, change ...func(*subscriptions.Config)) *world {
	w := &world{t: t, db: db, log: &bytes.Buffer{}, clock: &clock{t: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)}}
	for q := range strings.SplitSeq(tables, ";\n") {
		if q = strings.TrimSpace(q); q == "" {
			continue
		}
		if _, err := db.DB().ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	local, err := sqltable.Kind().New(json.RawMessage(`{"dsn":"kedge"}`), connectors.Env{Name: "local", Store: db, Logger: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	w.local = local
	hc, err := httpclient.New(httpclient.Options{AllowHTTP: true, Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Concurrency: 64, Timeout: 5 * time.Second, SingleTry: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hc.Close)
	cfg := config()
	for _, f := range change {
		f(&cfg)
	}
	w.s, err = subscriptions.New(t.Context(), db, local, hc, cfg, &subscriptions.Options{Now: w.clock.Now, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	w.serve(log)
	w.run()
	w.hook = newReceiver(t)
	return w
}

func (w *world) serve(log *slog.Logger) {
	a := api.New(api.Options{Service: w.s, Resources: resources.New(w.s.Catalog(), w.local, w.clock.Now), Logger: log, Now: w.clock.Now})
	r := httpapi.NewRouter(log)
	a.Routes(r)
	a.AdminRoutes(r.PathPrefix("/api/v1").Subrouter())
	srv := httptest.NewServer(httpapi.WithRequestID(apitest.Checked(w.t, r)))
	w.t.Cleanup(srv.Close)
	w.url = srv.URL
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) { // while it started
			w.t.Errorf("Run: %v", err)
		}
	})
}

// An answer is what the server said.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

// call sends a request. token "" sends none, "-" is an operator's.
func (w *world) call(token, method, path, body string, headers ...string) answer {
	w.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, w.url+path, in)
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" && token != "-" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{w.t, resp.StatusCode, resp.Header, text}
}

// must checks the status and decodes the body.
func (a answer) must(status int) map[string]any {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	out := map[string]any{}
	if err := json.Unmarshal(a.body, &out); err != nil {
		a.t.Fatalf("%v: %s", err, a.body)
	}
	return out
}

// says checks the status, and that the body holds the texts.
func (a answer) says(status int, texts ...string) {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(string(a.body), text) {
			a.t.Errorf("%s does not say %q", a.body, text)
		}
	}
	if status >= 400 && a.header.Get("Content-Type") != "application/problem+json" {
		a.t.Errorf("Content-Type of %d is %s", status, a.header.Get("Content-Type"))
	}
}

const everything = `[{"entity":"projects","manage":true},{"entity":"tasks","manage":true},{"entity":"lines","manage":true},{"entity":"orders.paid","manage":true}]`

// token makes a token with grants and returns its value and id.
func (w *world) token(account, user, grants string) (value, id string) {
	w.t.Helper()
	out := w.call("-", "POST", "/api/v1/push-tokens", fmt.Sprintf(`{"account":%q,"user":%q,"grants":%s}`, account, user, grants)).must(201)
	return out["token"].(string), out["id"].(string)
}

// subscribe makes a subscription; URL in the document stands for the
// receiver's.
func (w *world) subscribe(token, doc string) (id, secret string) {
	w.t.Helper()
	out := w.call(token, "POST", "/subscriptions", w.doc(doc)).must(201)
	return out["id"].(string), out["secret"].(string)
}

func (w *world) doc(doc string) string {
	return strings.ReplaceAll(doc, `"URL"`, `"`+w.hook.URL+`/k/8f3a"`)
}

// publish publishes events in one transaction.
func (w *world) publish(events ...kedge.Event) {
	w.t.Helper()
	err := w.db.InTx(w.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for _, e := range events {
			if _, err := w.s.Interest(ctx, tx, e.Entity); err != nil {
				return err
			}
		}
		return w.s.Publish(ctx, tx, events...)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// count returns the number of rows of a table.
func (w *world) count(table string) (n int) {
	w.t.Helper()
	if err := w.db.DB().QueryRowContext(w.t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// until waits until a table has n rows.
func (w *world) until(table string, n int) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); w.count(table) != n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s has %d rows, want %d", table, w.count(table), n)
		}
	}
}

// event returns an event of a record with the given fields, in turn name and
// value.
func event(op kedge.Operation, entity, key string, fields ...string) kedge.Event {
	r := &kedge.Record{}
	var names []string
	for i := 0; i < len(fields); i += 2 {
		names, r.Values = append(names, fields[i]), append(r.Values, kedge.String(fields[i+1]))
	}
	r.Fields = kedge.NewFields(names...)
	return kedge.Event{Entity: entity, Key: kedge.Key(key), KeyNames: []string{"id"}, Op: op, After: r, Origin: "test"}
}

func task(op kedge.Operation, id, project string, fields ...string) kedge.Event {
	return event(op, "tasks", id, append([]string{"id", id, "project", project, "account_id", "acme"}, fields...)...)
}

// A push is what the receiver got.
type push struct {
	Header http.Header
	Method string
	URL    string
	Body   []byte

	ID, Type, Account, User, Subscription string
	Sequence                              int64
	Gap                                   map[string]any
	Data                                  struct {
		Event, Resource, Operation, Parent, Link, Challenge string
		Record                                              map[string]any
		Truncated                                           bool
	}
}

// A receiver is a target. answer may be replaced.
type receiver struct {
	*httptest.Server
	t   testing.TB
	got chan push

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request, p push)
}

func newReceiver(t testing.TB) *receiver {
	x := &receiver{t: t, got: make(chan push, 10_000)}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		p := push{Header: r.Header, Method: r.Method, URL: r.URL.String(), Body: body}
		if len(body) > 0 {
			if err := json.Unmarshal(body, &p); err != nil {
				t.Errorf("the body is not valid JSON: %v: %s", err, body)
			}
		}
		x.mu.Lock()
		answer := x.answer
		x.mu.Unlock()
		if answer == nil {
			w.WriteHeader(http.StatusNoContent)
		} else {
			answer(w, r, p)
		}
		x.got <- p
	}))
	t.Cleanup(x.Close)
	return x
}

func (x *receiver) answers(f func(w http.ResponseWriter, r *http.Request, p push)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer = f
}

func status(code int) func(http.ResponseWriter, *http.Request, push) {
	return func(w http.ResponseWriter, _ *http.Request, _ push) { w.WriteHeader(code) }
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
	var s int64
	if _, err := fmt.Sscan(p.Header.Get("webhook-timestamp"), &s); err != nil {
		t.Fatal(err)
	}
	if err := signature.Verify([]signature.Key{k}, p.Header, p.Body, time.Unix(s, 0)); err != nil {
		t.Error(err)
	}
}
