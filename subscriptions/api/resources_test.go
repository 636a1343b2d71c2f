package api_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// records reads a list page by page and returns its resources.
func (w *world) records(token, path string) []string {
	w.t.Helper()
	var out []string
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	next := ""
	for range 20 {
		page := w.call(token, "GET", path+sep+"pageToken="+url.QueryEscape(next), "").must(200)
		for _, x := range page["value"].([]any) {
			out = append(out, x.(map[string]any)["resource"].(string))
		}
		if next, _ = page["nextPageToken"].(string); next == "" {
			return out
		}
	}
	w.t.Fatal("the list has no end")
	return nil
}

// Acceptance 1: entities, and granted records over pages, each once, no
// foreign one.
func TestResources(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		all, _ := w.token("acme", "u7", everything)
		out := w.call(all, "GET", "/resources", "").must(200)["value"].([]any)
		if len(out) != 4 {
			t.Errorf("entities %v", out)
		}
		for _, x := range out {
			e := x.(map[string]any)
			if e["resource"] == "projects" {
				child := e["children"].([]any)[0].(map[string]any)
				if child["entity"] != "tasks" || child["via"] != "project" || len(e["operations"].([]any)) != 3 || len(e["fields"].([]any)) != 4 {
					t.Errorf("projects: %v", e)
				}
			}
		}
		for _, tt := range []struct{ path, want string }{
			{"/resources/projects?search=al&pageSize=2", "projects/proj1 projects/proj3 projects/proj4"},
			{"/resources/projects?search=AL&pageSize=1", "projects/proj1 projects/proj3 projects/proj4"},
			{"/resources/projects?pageSize=3", "projects/proj1 projects/proj2 projects/proj3 projects/proj4"},
			{"/resources/projects?search=a&filter=" + url.QueryEscape("status eq 'open'"), "projects/proj1 projects/proj2 projects/proj4"},
			{"/resources/projects?search=" + url.QueryEscape("it's"), ""},
			{"/resources/tasks", "tasks/t-1 tasks/t-2"}, // t-3 is of another account
			{"/resources/lines", "lines/order_id=o%2F1,line=1 lines/order_id=o%2F1,line=2"},
			{"/resources/orders.paid", ""},
		} {
			if got := strings.Join(w.records(all, tt.path), " "); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
			}
		}
		w.call(all, "GET", "/resources/projects/proj1", "").says(200, `"resource":"projects/proj1"`, `"key":{"id":"proj1"}`, `"title":"Alpha"`, `"entity":"tasks"`)
		w.call(all, "GET", "/resources/lines/order_id=o%2F1,line=2", "").says(200, `"line":2`, `"order_id":"o/1"`)
		w.call(all, "GET", "/resources/lines/line=2,order_id=o%2F1", "").says(200, `"resource":"lines/order_id=o%2F1,line=2"`)
		w.call(all, "GET", "/resources/projects/proj9", "").says(404, "projects/proj9: not found or not granted")
		w.call(all, "GET", "/resources/tasks/t-3", "").says(404, "not found or not granted")
		w.call(all, "GET", "/resources/nothing", "").says(404, "not found or not granted")
		w.call(all, "GET", "/resources/lines/7", "").says(404)
	})
}

// What a token does not grant is not there: other records, other fields to
// search and to filter by, and other entities.
func TestResourcesWithinGrants(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		some, _ := w.token("acme", "", `[{"entity":"projects","record":"proj1","fields":["id","name"],"manage":true},{"entity":"projects","record":"proj4","fields":["id","code"]},
			{"entity":"tasks","under":"projects/proj2","operations":["update"],"fields":["id"]}]`)
		none, _ := w.token("acme", "", `[]`)
		for _, tt := range []struct{ path, want string }{
			{"/resources/projects?pageSize=1", "projects/proj1 projects/proj4"},
			{"/resources/projects?search=al", "projects/proj1 projects/proj4"},
			{"/resources/projects?search=delta", ""}, // its name is not granted
			{"/resources/projects?filter=" + url.QueryEscape("name ne 'x'"), "projects/proj1"},
			{"/resources/tasks", "tasks/t-2"},
			{"/resources/tasks?search=build", ""}, // subject is not granted
		} {
			if got := strings.Join(w.records(some, tt.path), " "); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
			}
		}
		w.call(some, "GET", "/resources/projects?filter="+url.QueryEscape("status eq 'open'"), "").says(400, `\"status\" is not a field that is granted; use id, name, code`)
		w.call(some, "GET", "/resources/projects/proj2", "").says(404)
		w.call(some, "GET", "/resources/lines", "").says(404)
		w.call(some, "GET", "/resources/projects/proj4", "").says(200, `"title":"proj4"`)
		w.call(some, "GET", "/resources/tasks/$schema", "").says(200, `"enum":["tasks.update"]`, `"enum":["id"]`)
		w.call(some, "GET", "/resources/lines/$schema", "").says(404)
		w.call(some, "GET", "/resources/lines/$sample", "").says(404)
		if got := w.call(none, "GET", "/resources", "").must(200)["value"].([]any); len(got) != 0 {
			t.Errorf("a token without grants sees %v", got)
		}
		w.call(none, "GET", "/resources/projects", "").says(404)
	})
}

// A page token is of use for its own list only.
func TestResourcePages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		all, _ := w.token("acme", "u7", everything)
		other, _ := w.token("globex", "u7", everything)
		next := w.call(all, "GET", "/resources/tasks?pageSize=1", "").must(200)["nextPageToken"].(string)
		w.call(all, "GET", "/resources/tasks?pageSize=1&search=x&pageToken="+next, "").says(400, "the page token is not one of this list; start without it")
		w.call(other, "GET", "/resources/tasks?pageSize=1&pageToken="+next, "").says(400, "page token")
		w.call(all, "GET", "/resources/tasks?pageToken=%21", "").says(400, "page token")
		w.call(all, "GET", "/resources/tasks?pageToken="+next+"AAAA", "").says(400, "page token")
		w.call(all, "GET", "/resources/tasks?pageSize=200", "").must(200)
		for _, bad := range []string{"pageSize=201", "pageSize=0", "pageSize=x", "pagesize=2", "search=a&search=b", "filter=subject", "filter=nothing%20eq%201",
			"search=" + strings.Repeat("a", 201), "filter=" + url.QueryEscape("subject eq '"+strings.Repeat("a", 2000)+"'")} {
			w.call(all, "GET", "/resources/tasks?"+bad, "").says(400)
		}
		w.call(all, "GET", "/resources/lines?search=x", "").says(400, "lines has no search fields")
	})
}

// The schema describes what is pushed, and the sample is one of it.
func TestSchemaAndSample(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		all, _ := w.token("acme", "u7", everything)
		for _, entity := range []string{"projects", "tasks", "lines", "orders.paid"} {
			schema := compile(t, w.call(all, "GET", "/resources/"+entity+"/$schema", "").body)
			sample := w.call(all, "GET", "/resources/"+entity+"/$sample", "")
			sample.must(200)
			if err := validate(schema, sample.body); err != nil {
				t.Errorf("%s: the sample does not fit: %v", entity, err)
			}
		}
		schema := compile(t, w.call(all, "GET", "/resources/tasks/$schema", "").body)
		w.subscribe(all, `{"url":"URL","resource":"tasks","events":["create","update","delete"]}`)
		w.publish(task("create", "t-9", "proj1", "subject", "a \xff", "hours", "3"), task("update", "t-9", "proj1"), task("delete", "t-9", "proj1"))
		for range 3 {
			if p := w.hook.next(); validate(schema, p.Body) != nil {
				t.Errorf("%s does not fit: %v", p.Body, validate(schema, p.Body))
			}
		}
		if validate(schema, []byte(strings.Replace(string(w.call(all, "GET", "/resources/tasks/$sample", "").body), "tasks.create", "tasks.made", 1))) == nil {
			t.Error("the schema lets everything pass")
		}
	})
}

// Each entity can be subscribed whole, or record by record with the resource
// that the list says.
func TestListedResourcesCanBeSubscribed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		all, _ := w.token("acme", "u7", everything)
		for _, entity := range []string{"projects", "lines"} {
			names := append(w.records(all, "/resources/"+entity), entity)
			slices.Reverse(names)
			for _, r := range names {
				if out := w.call(all, "POST", "/subscriptions", w.doc(`{"url":"URL","resource":"`+r+`","events":["update"]}`)).must(201); out["resource"] != r {
					t.Errorf("%s became %v", r, out["resource"])
				}
			}
		}
	})
}
