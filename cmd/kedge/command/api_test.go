package command

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi/apitest"
)

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
