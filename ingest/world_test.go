package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// employeeSchema is the example of the design's section 3.2, with a decimal.
const employeeSchema = `{"type": "object", "required": ["employeeId"], "properties": {"employeeId": {"type": "string"}, "active": {"type": "boolean"},
 "updatedAt": {"type": "integer"}, "salary": {"type": "number"}, "employee": {"type": "object", "properties": {"username": {"type": "string"}, "email": {"type": "string"}}}},
 "kedge": {"id": "employeeId", "name": "$.employee.username", "importantFields": ["employeeId", "$.employee.email", "active"], "version": "$.updatedAt", "indexes": ["active"]}}`

// A clock is moved by tests.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A world is a service behind a real HTTP server.
type world struct {
	t     *testing.T
	store *store.Store
	s     *ingest.Service
	url   string
	clock *clock
	key   string // of integration hr-feed
	log   *bytes.Buffer
}

// each runs fn on both databases.
func each(t *testing.T, fn func(w *world)) {
	storetest.Each(t, func(t *testing.T, s *store.Store) { fn(newWorld(t, s, ingest.Options{})) }, ingest.Migrations()...)
}

// eachWithLocal is each with the tables of kedge's own database as the target
// of mappings.
func eachWithLocal(t *testing.T, fn func(w *world)) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		o := ingest.Options{Local: func(context.Context) (*connectors.Conn, error) {
			d, err := sqltable.Kind().New(json.RawMessage(`{"dsn": "kedge"}`), connectors.Env{Name: "local", Consumer: "ingest", Store: s})
			if err != nil {
				return nil, err
			}
			return connectors.New(d, nil), nil
		}}
		fn(newWorld(t, s, o))
	}, append(ingest.Migrations(), sqltable.Migrations()...)...)
}

// exec runs a statement.
func (w *world) exec(query string) {
	w.t.Helper()
	_, err := w.store.DB().ExecContext(context.Background(), query)
	w.must(err)
}

// newWorld starts a server with the group hr, the schema employee and the
// integration hr-feed with a key.
func newWorld(t *testing.T, s *store.Store, o ingest.Options) *world {
	t.Helper()
	w := emptyWorld(t, s, o)
	ctx := t.Context()
	_, err := w.s.CreateGroup(ctx, ingest.Group{Name: "HR", Prefix: "hr"})
	w.must(err)
	w.schema(ingest.Schema{Group: "HR", Table: "employee", Schema: json.RawMessage(employeeSchema)})
	_, err = w.s.CreateIntegration(ctx, ingest.Integration{Name: "hr-feed", Tables: []string{"hr_employee"}})
	w.must(err)
	w.key = w.newKey("hr-feed", "nightly", ingest.Rights{})
	return w
}

func emptyWorld(t *testing.T, s *store.Store, o ingest.Options) *world {
	t.Helper()
	w := &world{t: t, store: s, clock: newClock(), log: new(bytes.Buffer)}
	o.Store = s
	if o.Now == nil {
		o.Now = w.clock.now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(&lockedWriter{w: w.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	var err error
	w.s, err = ingest.New(o)
	w.must(err)
	w.url = serve(t, w.s)
	return w
}

// serve answers for a service as the server of kedge does.
func serve(t *testing.T, s *ingest.Service) string {
	t.Helper()
	r := mux.NewRouter()
	s.Routes(r)
	s.AdminRoutes(r.PathPrefix("/api/v1").Subrouter())
	srv := httptest.NewServer(httpapi.WithRequestID(r))
	t.Cleanup(srv.Close)
	return srv.URL
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) schema(in ingest.Schema) *ingest.Schema {
	w.t.Helper()
	out, err := w.s.CreateSchema(context.Background(), in)
	w.must(err)
	return out
}

func (w *world) newKey(integration, name string, r ingest.Rights) string {
	w.t.Helper()
	k, err := w.s.CreateKey(context.Background(), integration, ingest.Key{Name: name, Rights: r})
	w.must(err)
	return k.Key
}

// An answer is what the server said.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   map[string]any
	raw    string
}

// send makes a request as a sender. header holds names and values in turn.
func (w *world) send(method, path, body string, header ...string) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	w.must(err)
	if strings.HasPrefix(path, "/integration/") {
		req.Header.Set("X-Ingest-Key", w.key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			req.Header.Del(header[i])
		}
	}
	return w.do(req)
}

func (w *world) do(req *http.Request) answer {
	w.t.Helper()
	res, err := http.DefaultClient.Do(req)
	w.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	w.must(err)
	a := answer{t: w.t, status: res.StatusCode, header: res.Header, raw: string(raw)}
	if len(raw) > 0 && raw[0] == '{' {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		w.must(dec.Decode(&a.body))
	}
	return a
}

const base = "/integration/custom-data"

// event posts a resource to hr_employee. query may be "".
func (w *world) event(query, body string) answer {
	w.t.Helper()
	return w.send("POST", base+"/event/hr_employee"+query, body)
}

func (w *world) bulk(query, body string) answer {
	w.t.Helper()
	return w.send("POST", base+"/bulk-event/hr_employee"+query, body)
}

func (w *world) remove(query string, ids ...string) answer {
	w.t.Helper()
	return w.send("DELETE", base+"/bulk-event/hr_employee?resourceIds="+url.QueryEscape(strings.Join(ids, ","))+strings.Replace(query, "?", "&", 1), "")
}

// is fails unless the answer has the status.
func (a answer) is(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.raw)
	}
	return a
}

// has fails unless the answer has the members, given as name and value in turn.
func (a answer) has(members ...any) answer {
	a.t.Helper()
	for i := 0; i+1 < len(members); i += 2 {
		if got, want := fmt.Sprint(a.body[members[i].(string)]), fmt.Sprint(members[i+1]); got != want {
			a.t.Fatalf("%v is %s, want %s: %s", members[i], got, want, a.raw)
		}
	}
	return a
}

// says fails unless the answer's text holds each part.
func (a answer) says(parts ...string) answer {
	a.t.Helper()
	for _, p := range parts {
		if !strings.Contains(a.raw, p) {
			a.t.Fatalf("the answer lacks %q: %s", p, a.raw)
		}
	}
	return a
}

// count returns a number from the database.
func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	w.must(w.store.DB().NewRaw(query, args...).Scan(context.Background(), &n))
	return n
}
