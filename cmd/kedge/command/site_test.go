package command

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/internal/httpapi/apitest"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A site is a server over HTTP, with a sample service that it syncs with. All
// its answers are compared with openapi.yaml.
type site struct {
	t       *testing.T
	url     string
	router  *mux.Router
	service *odatatest.Service
	gate    atomic.Pointer[gate] // holds requests to the service
	live    *live
}

// A gate tells who arrives, and lets nobody through until it is opened.
type gate struct{ arrived, open chan struct{} }

const siteConfig = `version: 1
log: {level: error}
store: {dsn: %q}
keys: [{id: k1, value: "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}]
server: {publicURL: "https://kedge.example.com"}
subscriptions: {entities: {order: {fields: [name]}}}
connections:
  crm: {kind: odata, url: %q}
  down: {kind: odata, url: "http://127.0.0.1:1/"}
  local: {kind: sqltable, dsn: kedge, entities: {customer: {create: true}, contact: {create: true}}}
integrations:
  - {name: filed, external: crm, mapping: filed.yaml}
`

const siteMapping = `kedge: mapping/v1
entities:
  - name: customers
    external: customers
    local: customer
    direction: bidirectional
    conflict: {policy: manual}
    deletes: {maxRows: 3, maxPercent: 1}
    key: [{external: "No", local: "no", primary: true}]
    fields: [{external: Name, local: name}, {external: Balance, local: balance}]
`

func newSite(t *testing.T, dsn string) *site {
	t.Helper()
	s := &site{t: t, service: odatatest.New(odatatest.Options{Rows: 15})}
	external := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g := s.gate.Load(); g != nil {
			select {
			case g.arrived <- struct{}{}:
			default:
			}
			<-g.open
		}
		s.service.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(external.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{"kedge.yaml": fmt.Sprintf(siteConfig, dsn, external.URL+s.service.Root()), "filed.yaml": siteMapping} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := &app{configPath: filepath.Join(dir, "kedge.yaml"), serving: true}
	t.Cleanup(a.close)
	st, err := a.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.live, err = newLive(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	srv, err := s.live.server(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	s.router = srv.Router()
	front := httptest.NewServer(apitest.Checked(t, srv.Handler()))
	t.Cleanup(front.Close)
	s.url = front.URL
	return s
}

func onBoth(t *testing.T, fn func(t *testing.T, s *site)) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) { fn(t, newSite(t, dsn)) })
}

// do sends a request below /api/v1 and returns the body of its answer, decoded
// if it is JSON.
func (s *site) do(want int, method, path, body string, headers ...string) map[string]any {
	s.t.Helper()
	_, text := s.send(want, method, path, body, headers...)
	var v map[string]any
	if len(text) > 0 && json.Unmarshal(text, &v) != nil {
		v = map[string]any{"text": string(text)}
	}
	return v
}

func (s *site) send(want int, method, path, body string, headers ...string) (*http.Response, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != want {
		s.t.Fatalf("%s %s: %d %s, want %d", method, path, resp.StatusCode, text, want)
	}
	return resp, text
}

// items returns a list.
func (s *site) items(path string) []map[string]any {
	s.t.Helper()
	_, text := s.send(200, "GET", path, "")
	var v struct{ Items []map[string]any }
	if err := json.Unmarshal(text, &v); err != nil {
		s.t.Fatal(err)
	}
	return v.Items
}

// run begins a run, follows it to its end, and returns its state.
func (s *site) run(integration, body string) string {
	s.t.Helper()
	id := s.do(202, "POST", "/integrations/"+integration+"/runs", body)["id"].(string)
	return s.follow(id)
}

// follow returns the state that the event "end" of a run tells.
func (s *site) follow(id string) string {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "GET", s.url+"/api/v1/runs/"+id+"/progress", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if lines.Text() != "event: end" {
			continue
		}
		lines.Scan()
		var run struct{ State string }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), &run); err != nil {
			s.t.Fatalf("%s: %v", lines.Text(), err)
		}
		return run.State
	}
	s.t.Fatalf("the run %s has no end: %v", id, lines.Err())
	return ""
}

func (s *site) sql(query string, args ...any) {
	s.t.Helper()
	if _, err := s.live.app.Load().store.DB().ExecContext(s.t.Context(), query, args...); err != nil {
		s.t.Fatal(err)
	}
}
