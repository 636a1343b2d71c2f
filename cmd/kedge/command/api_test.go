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

	"github.com/kedge-sync/kedge"
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

func TestOpenAPI(t *testing.T) {
	apitest.Valid(t)
	s := newSite(t, "sqlite:"+filepath.Join(t.TempDir(), "kedge.db"))
	apitest.Routes(t, s.router, "/")
	if text := s.do(200, "GET", "/openapi.yaml", "")["text"]; text != kedge.OpenAPI {
		t.Error("the served description is another one")
	}
}

func TestAPIOfIntegrations(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		s.do(422, "POST", "/integrations", `{"name": "new"}`)
		s.do(422, "POST", "/integrations", `{"name": "new", "external": "none"}`)
		s.do(422, "POST", "/integrations", `{"name": "New", "external": "crm"}`)
		s.do(400, "POST", "/integrations", `{"name": "new", "externl": "crm"}`)
		s.do(400, "POST", "/integrations?x=1", `{"name": "new", "external": "crm"}`)
		if got := s.do(201, "POST", "/integrations", `{"name": "new", "external": "crm"}`); got["local"] != "local" || got["revision"] != 1.0 {
			t.Errorf("created %v", got)
		}
		for size, want := range map[int]int{maxBody: 409, maxBody + 1: 413} {
			s.do(want, "POST", "/integrations", fmt.Sprintf("%-*s", size, `{"name": "new", "external": "crm"}`))
		}
		if got := s.items("/integrations?orderby=name%20desc&filter=contains(name,'e')"); len(got) != 2 || got[0]["name"] != "new" || got[1]["name"] != "filed" {
			t.Errorf("list %v", got)
		}
		s.do(404, "GET", "/integrations/none", "")
		if got := s.do(200, "GET", "/integrations/filed", ""); got["mapping"] == "" || got["error"] != nil {
			t.Errorf("shown %v", got)
		}
		s.do(409, "PATCH", "/integrations/filed", `{"external": "down"}`)
		s.do(422, "PATCH", "/integrations/new", `{"external": "none"}`)
		s.do(422, "PATCH", "/integrations/new", `{}`)
		if got := s.do(200, "PATCH", "/integrations/new", `{"external": "down"}`); got["external"] != "down" || got["revision"] != 2.0 {
			t.Errorf("edited %v", got)
		}
		if got := s.do(200, "GET", "/integrations/new", ""); got["error"] == nil {
			t.Errorf("nothing says that it could not be checked: %v", got)
		}
		s.do(409, "DELETE", "/integrations/filed", "")
		s.do(204, "DELETE", "/integrations/new", "")
		s.do(404, "DELETE", "/integrations/new", "")
		for _, path := range []string{"/integrations", "/runs", "/log", "/status", "/transactions", "/conflicts", "/quarantine", "/deletes", "/connections", "/tokens", "/integrations/filed/anchors"} {
			s.do(200, "GET", path+"?limit=500", "")
			s.do(400, "GET", path+"?limit=501", "")
			s.do(400, "GET", path+"?limt=5", "")
			s.do(400, "GET", path+"?filter=nothing%20eq%201", "")
			s.do(400, "GET", path+"?orderby=nothing", "")
			s.do(400, "GET", path+"?cursor=x", "")
		}
		s.do(400, "GET", "/conflicts?all=maybe", "")
	})
}

func TestAPIOfMappings(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		s.do(201, "POST", "/integrations", `{"name": "new", "external": "crm"}`)
		s.sql(`CREATE TABLE contact ("no" varchar(20) NOT NULL PRIMARY KEY, name varchar(100))`)
		const path = "/integrations/new/mapping"
		resp, _ := s.send(200, "GET", path, "")
		tag := resp.Header.Get("ETag")
		good := `{"kedge": "mapping/v1", "entities": [{"name": "customers", "external": "customers", "local": "customer", "key": [{"external": "No", "local": "no", "primary": true}],
			"fields": [{"external": "Name", "local": "name"}]}]}`
		s.do(428, "PUT", path, good)
		s.do(412, "PUT", path, good, "If-Match", `"other"`)
		s.do(404, "PUT", "/integrations/none/mapping", good, "If-Match", "*")
		s.do(409, "PUT", "/integrations/filed/mapping", good, "If-Match", "*")
		for body, pointer := range map[string]string{
			strings.Replace(strings.Replace(good, `"customer"`, `"contact"`, 1), `"fields"`, `"downloadFilter": "Name eq 5", "fields"`, 1): "/entities/0",
			strings.Replace(good, `"Name"`, `"Nam"`, 1):                         "",
			strings.Replace(good, `"external": "Name"`, `"extrnal": "Name"`, 1): "/entities/0/fields/0",
			`{"kedge": "mapping/v1", "entities": [{"name": 5}]}`:                "/entities/0",
			`[`: "",
		} {
			got := s.do(map[bool]int{true: 200, false: 422}[strings.Contains(body, `"Nam"`)], "PUT", path, body, "If-Match", "*")
			if errs, _ := got["errors"].([]any); got["errors"] != nil && !strings.HasPrefix(errs[0].(map[string]any)["pointer"].(string), pointer) {
				t.Errorf("%s: errors %v, want pointer %s", body, errs, pointer)
			}
		}
		s.do(412, "PUT", path, good, "If-Match", tag) // a mapping of a missing field was saved meanwhile
		if got := s.do(200, "POST", path+"/check", ""); len(got["findings"].([]any)) == 0 {
			t.Error("the check does not find the missing field")
		}
		if got := s.do(200, "POST", path+"/check", good); strings.Contains(fmt.Sprint(got), "external_field_missing") {
			t.Errorf("the check of a body finds %v", got)
		}
		if got := s.do(200, "POST", path+"/cleanup", `{"dryRun": true}`); len(got["removed"].([]any)) != 1 || got["revision"] != 2.0 {
			t.Errorf("cleanup would %v", got)
		}
		if got := s.do(200, "POST", path+"/cleanup", ""); len(got["removed"].([]any)) != 1 || got["revision"] != 3.0 {
			t.Errorf("cleanup %v", got)
		}
		resp, _ = s.send(200, "GET", path, "")
		resp, text := s.send(200, "PUT", path, good, "If-Match", resp.Header.Get("ETag"), "Accept", "application/yaml")
		if tag = resp.Header.Get("ETag"); !strings.Contains(string(text), "external: customers") || resp.Header.Get("Content-Type") != "application/yaml" {
			t.Errorf("saved %s", text)
		}
		s.do(404, "GET", path+"/entities/none", "")
		_, text = s.send(200, "GET", path+"/entities/customers", "")
		s.do(422, "PUT", path+"/entities/other", string(text), "If-Match", tag)
		got := s.do(200, "PUT", path+"/entities/customers", strings.Replace(string(text), "Name", "Balance", 1), "If-Match", tag)
		if !strings.Contains(fmt.Sprint(got), "Balance") {
			t.Errorf("one entity saved: %v", got)
		}
		s.do(404, "POST", "/integrations/none/mapping/suggest", "")
		s.do(422, "POST", "/integrations/filed/mapping/suggest", `{"entity": "none"}`)
		s.do(200, "PUT", path, `{"kedge": "mapping/v1", "entities": [{"name": "contacts", "external": "contacts", "local": "contact", "key": [{"external": "No", "local": "no"}]}]}`, "If-Match", "*")
		if got := s.do(200, "POST", path+"/suggest", `{"save": true}`); len(got["suggestions"].([]any)) == 0 {
			t.Errorf("suggested %v", got)
		}
		s.do(200, "PATCH", "/integrations/new", `{"external": "down"}`)
		if got := s.do(502, "POST", path+"/check", ""); got["type"] != "urn:kedge:problem:transient" {
			t.Errorf("a system that is down: %v", got)
		}
		s.do(413, "PUT", path, strings.Repeat(" ", maxMappingBody+1), "If-Match", "*")
	})
}

func TestAPIOfRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		for body, want := range map[string]int{
			`{"op": "all"}`: 422, `{"op": "import", "resetLocal": true}`: 422, `{"op": "import", "full": true}`: 422, `{"op": "export", "forceDeletes": true}`: 422,
			`{"planOf": "sync"}`: 422, `{"op": "plan", "planOf": "plan"}`: 422, `{"ignoreKey": true}`: 422, `{"limit": 5}`: 422, `{"op": "plan", "limit": 501}`: 422, `{"op": "plan", "limit": 0}`: 422,
			`{"entities": ["none"]}`: 422, `{"ful": true}`: 400, `{"full": 1}`: 400,
		} {
			s.do(want, "POST", "/integrations/filed/runs", body)
		}
		s.do(404, "POST", "/integrations/none/runs", "")
		if got := s.do(200, "POST", "/integrations/filed/runs", `{"op": "plan", "limit": 10}`); got["more"] != 5.0 || got["counts"].(map[string]any)["create"] != 15.0 {
			t.Errorf("plan %v", got)
		}

		// A second run is refused while one is active; a cancelled one ends.
		g := &gate{make(chan struct{}, 1), make(chan struct{})}
		s.gate.Store(g)
		resp, _ := s.send(202, "POST", "/integrations/filed/runs", "")
		location := strings.TrimPrefix(resp.Header.Get("Location"), "/api/v1")
		<-g.arrived
		for method, path := range map[string]string{"POST": "/integrations/filed/runs", "DELETE": "/integrations/filed/anchors/customers"} {
			if got := s.do(409, method, path, ""); got["type"] != "urn:kedge:problem:run_active" || !strings.Contains(got["detail"].(string), "is active") {
				t.Errorf("second run: %v", got)
			}
		}
		if got := s.do(200, "GET", location, ""); got["state"] != "running" || got["trigger"] != "api" {
			t.Errorf("run %v", got)
		}
		s.do(202, "DELETE", location, "")
		s.gate.Store(nil)
		close(g.open)
		if state := s.follow(strings.TrimPrefix(location, "/runs/")); state != "cancelled" {
			t.Errorf("state %s, want cancelled", state)
		}
		s.do(409, "DELETE", location, "")
		s.do(404, "DELETE", "/runs/none", "")
		s.do(404, "GET", "/runs/none", "")
		s.do(404, "GET", "/runs/none/progress", "")

		if state := s.run("filed", ""); state != "succeeded" {
			t.Errorf("state %s", state)
		}
		if got := s.items("/runs?filter=state%20eq%20'succeeded'%20and%20op%20eq%20'sync'"); len(got) != 1 {
			t.Errorf("runs %v", got)
		}
		if got := s.items("/status"); len(got) != 1 || got[0]["records"] != 15.0 {
			t.Errorf("status %v", got)
		}
		if got := s.items("/log?filter=code%20eq%20'summary'%20and%20total%20gt%205"); len(got) != 0 {
			t.Log(got)
		}
		if got := s.items("/integrations/filed/anchors"); len(got) != 2 {
			t.Errorf("anchors %v", got)
		}
		s.do(204, "DELETE", "/integrations/filed/anchors/customers", "")
		s.do(404, "DELETE", "/integrations/filed/anchors/none", "")

		// A reset says what it deletes until it is confirmed.
		got := s.do(409, "POST", "/integrations/filed/runs", `{"resetLocal": true}`)
		if got["type"] != "urn:kedge:problem:confirmation_required" || !strings.Contains(got["detail"].(string), "customer (15)") {
			t.Errorf("reset %v", got)
		}
		if state := s.run("filed", `{"resetLocal": true, "confirm": true}`); state != "succeeded" {
			t.Errorf("state %s", state)
		}
	})
}

func TestMetricsOfRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00003"), "Balance", kedge.JSON(`"much"`))); err != nil {
			t.Fatal(err)
		}
		s.run("filed", "")
		resp, err := http.Get(s.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`kedge_sync_rows_total{direction="download",entity="customers",integration="filed",result="created"} 14`,
			`kedge_sync_rows_total{direction="download",entity="customers",integration="filed",result="quarantined"} 1`,
			`kedge_sync_run_seconds_count{integration="filed",op="sync",state="partial"} 1`,
			`kedge_anchor_age_seconds{direction="download",entity="customers",integration="filed"} `,
			`kedge_quarantine_rows{integration="filed"} 1`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %s", want)
			}
		}
		if strings.Contains(string(text), "C00003") {
			t.Error("a key is in the metrics")
		}
	})
}

func TestAPIOfRecords(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		bad := odatatest.Row("No", kedge.String("C00003"), "Balance", kedge.JSON(`"much"`))
		if err := s.service.Patch("customers", bad); err != nil {
			t.Fatal(err)
		}
		if state := s.run("filed", ""); state != "partial" {
			t.Errorf("state %s", state)
		}
		rows := s.items("/quarantine?filter=entity%20eq%20'customers'")
		if len(rows) != 1 {
			t.Fatalf("quarantine %v", rows)
		}
		id := rows[0]["id"].(string)
		if got := s.do(200, "GET", "/quarantine/"+id, ""); !strings.Contains(fmt.Sprint(got["payload"]), "much") {
			t.Errorf("record %v", got)
		}
		s.do(404, "GET", "/quarantine/none", "")
		s.do(422, "POST", "/quarantine/retry", `{}`)
		s.do(422, "POST", "/quarantine/retry", `{"ids": ["x"], "all": true}`)
		s.do(422, "POST", "/quarantine/retry", `{"ids": ["x"], "entity": "customers"}`)
		s.do(422, "POST", "/quarantine/retry", `{"all": true, "integration": "none"}`)
		s.do(422, "POST", "/quarantine/retry", `{"ids": [`+strings.Repeat(`"x",`, most)+`"x"]}`)
		s.do(409, "POST", "/quarantine/retry", `{"ids": [`+strings.Repeat(`"x",`, most-1)+`"x"]}`)
		got := s.do(202, "POST", "/quarantine/retry", `{"all": true, "integration": "filed", "entity": "customers"}`)
		if state := s.follow(got["runs"].([]any)[0].(map[string]any)["id"].(string)); state != "partial" {
			t.Errorf("retry %v", got)
		}
		s.do(409, "POST", "/quarantine/drop", `{"ids": ["x"]}`)
		s.do(422, "POST", "/quarantine/drop", `{}`)
		s.do(200, "POST", "/quarantine/drop", `{"ids": ["`+id+`"]}`)
		if open, all := s.items("/quarantine"), s.items("/quarantine?all=true"); len(open) != 0 || len(all) != 1 {
			t.Errorf("open %v, all %v", open, all)
		}

		// A conflict waits, is shown and resolved; what is sent has a transaction.
		s.run("filed", "")
		s.sql("UPDATE customer SET name = 'Ours' WHERE no = 'C00001'")
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00001"), "Name", kedge.String("Theirs"))); err != nil {
			t.Fatal(err)
		}
		s.run("filed", "")
		conflicts := s.items("/conflicts")
		if len(conflicts) != 1 {
			t.Fatalf("conflicts %v", conflicts)
		}
		id = conflicts[0]["id"].(string)
		if got := s.do(200, "GET", "/conflicts/"+id, ""); !strings.Contains(fmt.Sprint(got["fields"]), "Ours") {
			t.Errorf("conflict %v", got)
		}
		s.do(404, "GET", "/conflicts/none", "")
		s.do(404, "POST", "/conflicts/none/resolve", `{"take": "local"}`)
		s.do(422, "POST", "/conflicts/"+id+"/resolve", `{"take": "mine"}`)
		s.do(422, "POST", "/conflicts/"+id+"/resolve", `{"take": "local", "set": {"name": "x"}}`)
		if got := s.do(200, "POST", "/conflicts/"+id+"/resolve", `{"take": "local"}`); got["sends"] != true {
			t.Errorf("resolved %v", got)
		}
		s.run("filed", "")
		sent := s.items("/transactions?filter=state%20eq%20'applied'&orderby=createdAt")
		if len(sent) == 0 {
			t.Fatal("no transaction")
		}
		if got := s.do(200, "GET", "/transactions/"+sent[len(sent)-1]["id"].(string), ""); !strings.Contains(fmt.Sprint(got["sent"]), "Ours") {
			t.Errorf("transaction %v", got)
		}
		s.do(404, "GET", "/transactions/none", "")
		for _, verb := range []string{"retry", "archive"} {
			s.do(422, "POST", "/transactions/"+verb, `{}`)
			s.do(409, "POST", "/transactions/"+verb, `{"ids": ["none"]}`)
			s.do(200, "POST", "/transactions/"+verb, `{"allFailed": true, "integration": "filed"}`)
		}
		if got := s.items("/deletes"); len(got) != 0 {
			t.Errorf("deletes %v", got)
		}
		s.do(422, "POST", "/deletes/discard", `{}`)
		s.do(422, "POST", "/deletes/discard", `{"integration": "none"}`)
		s.do(200, "POST", "/deletes/discard", `{"integration": "filed"}`)
	})
}

// walk returns how many different items the pages of a list have.
func (s *site) walk(path, id string) int {
	s.t.Helper()
	seen, cursor := map[any]bool{}, ""
	for {
		_, text := s.send(200, "GET", path+"&limit=2&cursor="+cursor, "")
		var v struct {
			Items []map[string]any
			Next  string
		}
		if err := json.Unmarshal(text, &v); err != nil {
			s.t.Fatal(err)
		}
		for _, item := range v.Items {
			if seen[item[id]] {
				s.t.Errorf("%s: an item comes twice", path)
			}
			seen[item[id]] = true
		}
		if cursor = v.Next; cursor == "" {
			return len(seen)
		}
	}
}

func TestPagesOfAPI(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		for _, no := range []string{"C00001", "C00002", "C00003", "C00004", "C00005"} {
			if err := s.service.Patch("customers", odatatest.Row("No", kedge.String(no), "Balance", kedge.JSON(`"much"`))); err != nil {
				t.Fatal(err)
			}
		}
		s.run("filed", "")
		for _, order := range []string{"", "at", "at%20desc", "key", "entity", "attempts%20desc", "id"} {
			if n := s.walk("/quarantine?orderby="+order, "id"); n != 5 {
				t.Errorf("%d rows by %q", n, order)
			}
		}
		if n := s.walk("/log?orderby=at", "id"); n < 6 {
			t.Errorf("%d log rows", n)
		}

		// Deletes over the limit wait for a person.
		var gone []kedge.Key
		for i := 7; i <= 15; i++ {
			gone = append(gone, kedge.Key(fmt.Sprintf("C%05d", i)))
		}
		if err := s.service.Delete("customers", gone...); err != nil {
			t.Fatal(err)
		}
		if state := s.run("filed", `{"full": true}`); state != "stopped" {
			t.Errorf("state %s", state)
		}
		for _, order := range []string{"", "localKey", "reason%20desc"} {
			if n := s.walk("/deletes?orderby="+order, "externalKey"); n != 9 {
				t.Errorf("%d deletes by %q", n, order)
			}
		}
		if state := s.run("filed", `{"forceDeletes": true}`); state == "stopped" {
			t.Errorf("state %s", state)
		}
		if n := s.walk("/deletes?", "externalKey"); n != 0 {
			t.Errorf("%d deletes", n)
		}

		// Uploads and conflicts.
		for i := 1; i <= 5; i++ {
			no := fmt.Sprintf("C%05d", i)
			if err := s.service.Patch("customers", odatatest.Row("No", kedge.String(no), "Balance", kedge.Decimal("1.00"))); err != nil {
				t.Fatal(err)
			}
		}
		s.run("filed", "")
		s.sql("UPDATE customer SET name = 'Ours'")
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00001"), "Name", kedge.String("Theirs"))); err != nil {
			t.Fatal(err)
		}
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00002"), "Name", kedge.String("Theirs"))); err != nil {
			t.Fatal(err)
		}
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00003"), "Name", kedge.String("Theirs"))); err != nil {
			t.Fatal(err)
		}
		s.run("filed", "")
		for _, order := range []string{"", "at", "localKey", "policy"} {
			if n := s.walk("/conflicts?orderby="+order, "id"); n != 3 {
				t.Errorf("%d conflicts by %q", n, order)
			}
		}
		for _, order := range []string{"", "createdAt", "localKey", "state", "attempts"} {
			if n := s.walk("/transactions?orderby="+order, "id"); n < 5 {
				t.Errorf("%d transactions by %q", n, order)
			}
		}
	})
}

// The routes of subscriptions answer as openapi.yaml says; what they do is
// tested with them.
func TestAPIOfSubscriptions(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		token := s.do(201, "POST", "/push-tokens", `{"account": "acme", "grants": [{"entity": "order", "manage": true}]}`)["token"].(string)
		s.items("/push-tokens?account=acme")
		sub := s.do(201, "POST", "/subscriptions", `{"account": "acme", "url": "https://hooks.example.com/x", "resource": "order", "events": ["create"]}`)["id"].(string)
		s.items("/subscriptions?state=active")
		path := "/subscriptions/" + sub
		for _, list := range []string{"/attempts", "/deliveries", "/deliveries?state=dead", "/gaps"} {
			s.items(path + list)
		}
		s.do(200, "GET", path, "")
		s.do(200, "PATCH", path, `{"description": "x"}`)
		s.do(200, "POST", path+"/rotate-secret", "")
		s.do(404, "GET", path+"/events/msg_1", "")
		for _, own := range []string{"/subscriptions", path, path + "/attempts", path + "/gaps", "/resources", "/resources/order", "/resources/order/$schema", "/resources/order/$sample"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+own, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("%s: %d", own, resp.StatusCode)
			}
		}
		s.do(200, "DELETE", path, "")
		s.do(404, "GET", path, "")
	})
}

func TestAPIOfConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		if got := s.items("/connections?filter=kind%20eq%20'odata'"); len(got) != 2 || got[0]["from"] != "file" {
			t.Errorf("connections %v", got)
		}
		s.do(200, "GET", "/connections/crm", "")
		if got := s.do(200, "POST", "/connections/crm/test", `{"entity": "customers"}`); got["entities"].(float64) < 2 || got["proofs"] == nil {
			t.Errorf("test %v", got)
		}
		s.do(422, "POST", "/connections/crm/test", `{"entity": "none"}`)
		s.do(422, "POST", "/connections/crm/test", `{"write": true}`)
		if got := s.do(502, "POST", "/connections/down/test", ""); got["type"] != "urn:kedge:problem:transient" {
			t.Errorf("a system that is down: %v", got)
		}
		if got := s.items("/log?filter=operation%20eq%20'connection'"); len(got) < 2 {
			t.Errorf("log %v", got)
		}
		if got := s.do(200, "GET", "/connections/crm/schema?entity=customers", ""); len(got["entities"].([]any)) != 1 {
			t.Errorf("schema %v", got)
		}
		s.do(404, "GET", "/connections/crm/schema?entity=none", "")
		s.do(502, "GET", "/connections/down/schema", "")
		if got := s.do(200, "POST", "/connections/crm/schema/refresh", ""); len(got["changes"].([]any)) == 0 {
			t.Errorf("refresh %v", got)
		}
		s.do(502, "POST", "/connections/down/schema/refresh", "")
		for _, call := range []string{"GET ", "POST /test", "GET /schema", "POST /schema/refresh"} {
			method, path, _ := strings.Cut(call, " ")
			s.do(404, method, "/connections/none"+path, "")
		}
	})
}

func TestAPIOfTokensAndConfig(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		if got := s.do(200, "POST", "/config/reload", ""); got["integrations"] != 1.0 {
			t.Errorf("reloaded %v", got)
		}
		s.do(422, "POST", "/tokens", `{"name": "ops", "scope": "all"}`)
		secret := s.do(201, "POST", "/tokens", `{"name": "ops", "scope": "admin"}`)["token"].(string)
		auth := []string{"Authorization", "Bearer " + secret}
		s.do(401, "GET", "/tokens", "")
		s.do(409, "POST", "/tokens", `{"name": "ops", "scope": "admin"}`, auth...)
		s.do(201, "POST", "/integrations", `{"name": "new", "external": "crm"}`, auth...)
		if got := s.do(200, "GET", "/integrations/new", "", auth...); got["integration"].(map[string]any)["author"] != "ops" {
			t.Errorf("author of %v", got)
		}
		s.do(200, "GET", "/tokens", "", auth...)
		s.do(404, "DELETE", "/tokens/none", "", auth...)
		s.do(204, "DELETE", "/tokens/ops", "", auth...)
		s.do(401, "GET", "/tokens", "", auth...)
	})
}
