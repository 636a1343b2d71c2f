package spec_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

func str(names ...string) (out []kedge.Field) {
	for _, n := range names {
		out = append(out, kedge.Field{Name: n, Type: kedge.TypeString, Nullable: true})
	}
	return out
}

func catalog(t testing.TB) *spec.Catalog {
	schema := &kedge.Schema{Entities: []kedge.Entity{
		{Name: "lines", Key: []string{"order", "line"}, Fields: append(str("order", "text"), kedge.Field{Name: "line", Type: kedge.TypeInt})},
		{Name: "projects", Key: []string{"id"}, Fields: str("id", "name")},
		{Name: "tasks", Key: []string{"id"}, Fields: str("id", "status", "project", "template", "note", "account")},
	}}
	c, err := spec.NewCatalog(map[string]spec.Entity{
		"lines": {}, "projects": {Title: "name"},
		"tasks":   {Fields: []string{"id", "status"}, Parents: map[string]string{"project": "projects"}},
		"two":     {Fields: []string{"id"}, Parents: map[string]string{"a": "projects", "b": "projects"}},
		"deleted": {Operations: []kedge.Operation{kedge.OpDelete}},
	}, schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var now = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func doc(members string) string {
	base := map[string]json.RawMessage{"url": json.RawMessage(`"https://hooks.example.com/k"`), "resource": json.RawMessage(`"tasks"`), "events": json.RawMessage(`["update"]`)}
	var more map[string]json.RawMessage
	if err := json.Unmarshal([]byte("{"+members+"}"), &more); err != nil {
		panic(err)
	}
	for k, v := range more {
		base[k] = v
	}
	text, err := json.Marshal(base)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Each wrong member is told by its pointer, with what to do.
func TestCheck(t *testing.T) {
	c := catalog(t)
	limits := spec.Limits{Ports: []int{443}, MaxConcurrency: 64}
	headers := func(n int) string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("X-%d", i)] = "v"
		}
		b, _ := json.Marshal(m)
		return `"auth":{"type":"header","headers":` + string(b) + `}`
	}
	for _, tt := range []struct{ members, want string }{
		{``, ""},
		{`"events":["created"]`, `/events/0: tasks has no event "created"; use create, update, delete`},
		{`"url":"http://hooks.example.com/k"`, "/url: plain http is not allowed; set subscriptions.targets.http"},
		{`"url":"https://hooks.example.com:8443/k"`, "/url: the port is not allowed; see subscriptions.targets.ports"},
		{`"url":"https://u:p@hooks.example.com/k"`, "/url: must not hold a user name; use auth"},
		{`"url":"https://hooks.example.com/k#a"`, "/url: must not have a fragment"},
		{`"url":"/k"`, "/url: write an absolute URL: https://host/path"},
		{`"url":"https://hooks.example.com/…"`, "/url: is the masked form that answers show; send the whole URL or leave it out"},
		{`"url":"https://h.example/` + strings.Repeat("a", 2048-len("https://h.example/")) + `"`, ""},
		{`"url":"https://h.example/` + strings.Repeat("a", 2049-len("https://h.example/")) + `"`, "/url: is longer than 2048 bytes"},
		{`"resource":"other"`, "/resource: other: not found or not granted"},
		{`"resource":"projects/proj1","events":["tasks.create","update"]`, ""},
		{`"resource":"projects","events":["tasks.create"]`, "/events/0: events of tasks can be had only below one record: projects/…"},
		{`"events":["projects.create"]`, "/events/0: projects is neither tasks nor a child of it"},
		{`"resource":"projects/p","events":["two.create"]`, "/events/0: two has several lookups to projects; choose one in select.two.via: a, b"},
		{`"resource":"projects/p","events":["two.create"],"select":{"two":{"via":"b"}}`, ""},
		{`"resource":"deleted","events":["update"]`, `/events/0: deleted has no event "update"; use delete`},
		{`"events":[]`, "/events: select at least one event"},
		{`"events":[` + strings.Repeat(`"update",`, 49) + `"update"]`, ""},
		{`"events":[` + strings.Repeat(`"update",`, 50) + `"update"]`, "/events: has more than 50 events"},
		{`"select":{"tasks":{"fields":["note"]}}`, `/select/tasks/fields/0: "note" is not a field that is granted; use id, status`},
		{`"select":{"tasks":{"filter":"note eq 'x'"}}`, `/select/tasks/filter: "note" is not a field that is granted; use id, status`},
		{`"select":{"projects":{}}`, "/select/projects: no selected event is of this entity"},
		{`"method":"DELETE"`, "/method: use POST, PUT, PATCH, GET"},
		{`"concurrency":64`, ""},
		{`"concurrency":65`, "/concurrency: is above the limit of 64"},
		{`"expiresAt":"2026-03-01T00:00:00Z"`, "/expiresAt: is in the past"},
		{headers(10), ""},
		{headers(11), "/auth/headers: give 1 to 10 headers"},
		{`"auth":{"type":"header","headers":{"Host":"x"}}`, "/auth/headers/Host: is kedge's own to set"},
		{`"auth":{"type":"header","headers":{"webhook-id":"x"}}`, "/auth/headers/webhook-id: is kedge's own to set"},
		{`"auth":{"type":"header","headers":{"X-A":"a\r\nX-B: b"}}`, "/auth/headers/X-A: is not a valid header"},
		{`"auth":{"type":"bearer"}`, "/auth/token: is required with type bearer"},
		{`"auth":{"type":"query","name":"kedge_id","value":"v"}`, "/auth/name: names with kedge_ are kedge's own"},
		{`"signing":{"alg":"hmac","secret":"whsec_AAAA"}`, "/signing/secret: the secret has 3 bytes; use 24 to 64"},
	} {
		d, err := spec.Parse([]byte(doc(tt.members)))
		if err != nil {
			t.Errorf("%s: %v", tt.members, err)
			continue
		}
		got := ""
		if err := d.Check(c, spec.Everything(), limits, now); err != nil {
			p, ok := errors.AsType[*spec.Problems](err)
			if !ok || kedge.KindOf(err) != kedge.Invalid || p.Syntax {
				t.Errorf("%s: %v", tt.members, err)
				continue
			}
			var texts []string
			for _, x := range p.List {
				texts = append(texts, x.Pointer+": "+x.Detail)
			}
			got = strings.Join(texts, "; ")
		}
		if got != tt.want {
			t.Errorf("%.200s:\n got %s\nwant %s", tt.members, got, tt.want)
		}
	}
}

// What cannot be read at all is told by its place, too.
func TestParse(t *testing.T) {
	for _, tt := range []struct{ body, pointer, detail string }{
		{`{"url":"x","urls":"y"}`, "/urls", "unknown member; did you mean url?"},
		{`{"url":"x","url":"y"}`, "/url", "this member is there twice"},
		{`{"events":"update"}`, "/events", "is a JSON string, which does not fit here"},
		{`{"select":{"tasks":{"fields":3}}}`, "/select/tasks/fields", "is a JSON number, which does not fit here"},
		{"{\"url\":\"\xff\"}", "/url", "the text is not valid UTF-8"},
		{`{"url":"x"`, "", "the JSON ends or breaks off here"},
	} {
		_, err := spec.Parse([]byte(tt.body))
		p, ok := errors.AsType[*spec.Problems](err)
		if !ok || !p.Syntax || len(p.List) != 1 || p.List[0].Detail != tt.detail || tt.pointer != "" && p.List[0].Pointer != tt.pointer {
			t.Errorf("%s: %v", tt.body, err)
		}
	}
}

// The example of RFC 7396, appendix A, and its rules.
func TestMergePatch(t *testing.T) {
	for _, tt := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"n":1}`, `{"n":12345678901234567890.10}`, `{"n":12345678901234567890.10}`},
	} {
		got, err := spec.MergePatch([]byte(tt.target), []byte(tt.patch))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s + %s = %s, %v, want %s", tt.target, tt.patch, got, err, tt.want)
		}
	}
	for _, bad := range []string{``, `{`, `{"a":1,"a":2}`, `{} {}`, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)} {
		if got, err := spec.MergePatch([]byte(`{}`), []byte(bad)); err == nil {
			t.Errorf("%.40s was accepted as %s", bad, got)
		}
	}
}

func TestResource(t *testing.T) {
	c := catalog(t)
	for _, tt := range []struct{ text, want string }{
		{"projects", "projects"}, {"projects/proj1", "projects/proj1"}, {"projects/a%2Fb", "projects/a%2Fb"}, {"projects/a%20b", "projects/a%20b"},
		{"projects/id=proj1", "projects/proj1"}, {"lines/line=07,order=x", "lines/order=x,line=7"}, {"lines/order=a%2Cb%3D,line=1", "lines/order=a%2Cb%3D,line=1"},
		{"lines/order=x", ""}, {"lines/x", ""}, {"lines/order=x,line=y", ""}, {"projects/", ""}, {"projects/a/b", ""}, {"projects/a,b", ""}, {"projects/%zz", ""},
		{"projects/%00", ""}, {"/x", ""}, {"other/x", ""}, {"projects/id=a,id=b", ""}, {"projects/" + strings.Repeat("k", 1024), "projects/" + strings.Repeat("k", 1024)},
		{"projects/" + strings.Repeat("k", 1025), ""},
	} {
		r, err := c.ResolveText(tt.text)
		got := ""
		if err == nil {
			got = r.String()
		}
		if got != tt.want {
			t.Errorf("%.60s: %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
	// The resource of an event is the one that a subscription names.
	key := kedge.NewKey(kedge.String(`a,b\c`), kedge.Int(7))
	if r := spec.ResourceOf("lines", key, []string{"order", "line"}); r.Key() != key || r.String() != `lines/order=a%2Cb%5Cc,line=7` {
		t.Errorf("%s has the key %q", r, r.Key())
	}
}

func TestGrants(t *testing.T) {
	c := catalog(t)
	for _, tt := range []struct {
		name, members string
		grants        []spec.Grant
		want          string // problem, or operations and fields of tasks
	}{
		{"nothing", `"resource":"tasks"`, nil, "/resource: tasks: not found or not granted"},
		{"all of an entity", `"resource":"tasks","events":["tasks.*"]`, []spec.Grant{{Entity: "tasks"}}, "create,update,delete id,status"},
		{"some operations and fields", `"resource":"tasks","events":["tasks.*"]`, []spec.Grant{{Entity: "tasks", Operations: []kedge.Operation{"update"}, Fields: []string{"id"}}}, "update id"},
		{"operation not granted", `"resource":"tasks","events":["create"]`, []spec.Grant{{Entity: "tasks", Operations: []kedge.Operation{"update"}}}, "/events/0: create is not granted for tasks; use update"},
		{"union", `"resource":"tasks","events":["tasks.*"]`, []spec.Grant{{Entity: "tasks", Operations: []kedge.Operation{"update"}, Fields: []string{"id"}}, {Entity: "tasks", Operations: []kedge.Operation{"delete"}, Fields: []string{"status"}}}, "update,delete id,status"},
		{"another entity", `"resource":"tasks"`, []spec.Grant{{Entity: "projects"}}, "/resource: tasks: not found or not granted"},
		{"one record", `"resource":"tasks/t1"`, []spec.Grant{{Entity: "tasks", Record: "t1"}}, "update id,status"},
		{"another record", `"resource":"tasks/t2"`, []spec.Grant{{Entity: "tasks", Record: "t1"}}, "/resource: tasks/t2: not found or not granted"},
		{"whole entity by one record", `"resource":"tasks"`, []spec.Grant{{Entity: "tasks", Record: "t1"}}, "/resource: tasks: not found or not granted"},
		{"children", `"resource":"projects/p1","events":["tasks.update"]`, []spec.Grant{{Entity: "tasks", Under: "projects/p1"}}, "update id,status"},
		{"children of another", `"resource":"projects/p2","events":["tasks.update"]`, []spec.Grant{{Entity: "tasks", Under: "projects/p1"}}, "/events/0: projects/p2: not found or not granted"},
	} {
		d, err := spec.Parse([]byte(doc(tt.members)))
		if err != nil {
			t.Fatal(err)
		}
		scopes, problems := d.Scopes(c, spec.NewGrants(tt.grants), now)
		got := ""
		switch {
		case len(problems) > 0:
			got = problems[0].Pointer + ": " + problems[0].Detail
		case len(scopes) == 1:
			var ops []string
			for _, op := range scopes[0].Operations {
				ops = append(ops, string(op))
			}
			got = strings.Join(ops, ",") + " " + strings.Join(scopes[0].Fields, ",")
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCatalogChecksConfig(t *testing.T) {
	schema := &kedge.Schema{Entities: []kedge.Entity{{Name: "tasks", Key: []string{"id"}, Fields: str("id", "project")}}}
	for name, e := range map[string]spec.Entity{
		"unknown field":     {Fields: []string{"x"}},
		"unknown parent":    {Parents: map[string]string{"project": "projects"}},
		"title not offered": {Fields: []string{"id"}, Title: "project"},
		"unknown operation": {Operations: []kedge.Operation{"upsert"}},
		"unknown account":   {Account: "x"},
	} {
		if _, err := spec.NewCatalog(map[string]spec.Entity{"tasks": e}, schema, nil); kedge.KindOf(err) != kedge.Invalid || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzResource(f *testing.F) {
	for _, s := range []string{"projects", "projects/proj1", "lines/a=1,b=x", "a/%2C%3D%25", "a/=", "/", "a/b,c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := spec.ParseResource(text)
		if err != nil {
			return
		}
		again, err := spec.ParseResource(r.String())
		if err != nil || !cmp.Equal(r, again) {
			t.Errorf("%q is %+v, its text %q is %+v, %v", text, r, r.String(), again, err)
		}
		if _, err := url.Parse("https://example.com/resources/" + r.String()); err != nil {
			t.Errorf("%q cannot be part of a URL", r.String())
		}
		if r.IsRecord() {
			if parts, err := r.Key().Parts(len(r.Values)); err != nil || !slices.Equal(parts, r.Values) {
				t.Errorf("%q has the key %q, whose parts are %q, %v", text, r.Key(), parts, err)
			}
		}
	})
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{"update", "tasks.update", "tasks.*", "a.b.create", "kedge.gap", ".", "*", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := spec.ParseSelector(text)
		if err != nil {
			return
		}
		again := string(s.Op)
		if s.Entity != "" {
			again = s.Entity + "." + again
		}
		if again != text {
			t.Errorf("%q reads as %q", text, again)
		}
	})
}

func FuzzMergePatch(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"a":{"b":null,"c":[1,2]}}`))
	f.Add([]byte(`{}`), []byte(`{"a":{"b":{"c":null}}}`))
	f.Fuzz(func(t *testing.T, target, patch []byte) {
		var before, change any
		if json.Unmarshal(target, &before) != nil || json.Unmarshal(patch, &change) != nil {
			return
		}
		out, err := spec.MergePatch(target, patch)
		if err != nil {
			return // stricter than encoding/json
		}
		var got any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s + %s = %s: %v", target, patch, out, err)
		}
		if want := merged(before, change); !cmp.Equal(got, want) {
			t.Errorf("%s + %s = %s, want %v", target, patch, out, want)
		}
	})
}

// merged is the algorithm of RFC 7396 as it stands there.
func merged(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	into, ok := target.(map[string]any)
	if !ok {
		into = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(into, name)
			continue
		}
		into[name] = merged(into[name], value)
	}
	return into
}
