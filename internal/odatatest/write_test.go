package odatatest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kedge-sync/kedge"
)

const jsonType = "application/json;IEEE754Compatible=true"

// send sends a body as a client does that wants long numbers exact.
func send(t testing.TB, method, url, body string, headers ...string) response {
	t.Helper()
	return do(t, method, url, body, append([]string{"Content-Type", jsonType, "Accept", jsonType}, headers...)...)
}

// wantStatus fails the test unless r has the status, and shows its body.
func wantStatus(t testing.TB, what string, r response, want int) {
	t.Helper()
	if r.status != want {
		t.Errorf("%s: status %d (%v), want %d: %s", what, r.status, r.err, want, r.raw)
	}
}

// row returns the row of things with that id, as text, or "" if there is none.
func rowOf(s *Service, id string) string {
	for _, r := range s.Records("things") {
		if string(r.Key) == id {
			return fmt.Sprint(r.Get("n").Text(), "|", r.Get("name").Text(), "|", r.Get("code").Text(), "|", r.Get("owner").Text(), "|v", r.Get("RowVersion").Text())
		}
	}
	return ""
}

// Protocol 4.01, 11.4.2 and 8.2.8.7: what a POST is answered with.
func TestInsert(t *testing.T) {
	for _, tt := range []struct {
		name   string
		o      Options
		prefer string
		status int
		body   bool
	}{
		{"no preference", Options{}, "", 201, true},
		{"representation", Options{}, "return=representation", 201, true},
		{"minimal", Options{}, "return=minimal", 204, false},
		{"the first preference counts", Options{}, "return=minimal, return=representation", 204, false},
		{"Dataverse", Options{Flavor: Dataverse}, "", 204, false},
		{"Dataverse, representation", Options{Flavor: Dataverse}, "return=representation", 201, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, url := newThings(t, 1, tt.o)
			r := send(t, "POST", url+"things", `{"id":"x/y","n":"9007199254740993","name":"né"}`, "Prefer", tt.prefer)
			wantStatus(t, "POST", r, tt.status)
			location := r.header.Get("Location")
			wantText(t, "Location", relative(location, strings.TrimSuffix(url, s.root)+"/"), "ROOT/"+strings.TrimPrefix(s.root, "/")+"things('x%2Fy')")
			if tt.body == (r.header.Get("OData-EntityId") != "") || !tt.body && r.header.Get("OData-EntityId") != location {
				t.Errorf("OData-EntityId %q: want it without a body only", r.header.Get("OData-EntityId"))
			}
			if got := r.header.Get("Preference-Applied"); tt.prefer != "" && got != strings.Split(tt.prefer, ",")[0] {
				t.Errorf("Preference-Applied %q, want %q", got, tt.prefer)
			}
			read := get(t, location, "Accept", jsonType)
			if tt.body && r.raw != read.raw || !tt.body && r.raw != "" {
				t.Errorf("body %s, want %s or none", r.raw, read.raw)
			}
			if tag := r.header.Get("ETag"); tag == "" || tag != read.header.Get("ETag") {
				t.Errorf("ETag %s, want %s", tag, read.header.Get("ETag"))
			}
			if !strings.Contains(read.raw, `"id":"x/y","n":"9007199254740993","name":"né"`) || !strings.Contains(read.raw, `"ModifiedAt":"2026-01-31T10:00:00Z","RowVersion":"2"`) {
				t.Errorf("the row is %s", read.raw)
			}
		})
	}
}

// Key values that the client leaves to the service.
func TestServerKeys(t *testing.T) {
	entity := func(key ...kedge.Field) kedge.Entity {
		e := kedge.Entity{Name: "rows", Fields: append(key, field("name", kedge.TypeString))}
		for _, k := range key {
			e.Key = append(e.Key, k.Name)
		}
		return e
	}
	for _, tt := range []struct {
		name   string
		entity kedge.Entity
		body   string
		want   []string // keys of the rows after two POSTs
	}{
		{"computed integer", entity(kedge.Field{Name: "id", Type: kedge.TypeInt, Computed: true}), `{"id":"77","name":"x"}`, []string{"1", "2"}},
		{"computed text", entity(kedge.Field{Name: "id", Type: kedge.TypeString, Computed: true}), `{"name":"x"}`, []string{"N000001", "N000002"}},
		{"computed guid", entity(kedge.Field{Name: "id", Type: kedge.TypeString, Format: kedge.FormatGUID, Computed: true}), `{}`, []string{"guid", "guid"}},
		{"guid that the client may choose", entity(kedge.Field{Name: "id", Type: kedge.TypeString, Format: kedge.FormatGUID}), `{}`, []string{"guid", "guid"}},
		{"second part of a key", entity(kedge.Field{Name: "doc", Type: kedge.TypeString}, kedge.Field{Name: "line", Type: kedge.TypeInt, Computed: true}), `{"doc":"D"}`, []string{"D,1", "D,2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Options{Entities: []kedge.Entity{tt.entity}})
			url := s.Start(t)
			for range 2 {
				r := send(t, "POST", url+"rows", tt.body)
				wantStatus(t, "POST", r, 201)
				wantStatus(t, "GET of the Location", get(t, r.header.Get("Location")), 200)
			}
			rows := s.Records("rows")
			for i, want := range tt.want {
				if got := string(rows[i].Key); got != want && (want != "guid" || !guidText.MatchString(got)) {
					t.Errorf("key %d is %s, want %s", i, got, want)
				}
			}
		})
	}
	s := New(Options{Entities: []kedge.Entity{entity(kedge.Field{Name: "id", Type: kedge.TypeString, Format: kedge.FormatGUID})}})
	r := send(t, "POST", s.Start(t)+"rows", `{"id":"01234567-89AB-cdef-0123-456789abcdef"}`)
	wantStatus(t, "POST with a key", r, 201)
	wantText(t, "key", string(s.Records("rows")[0].Key), "01234567-89ab-cdef-0123-456789abcdef")
}

// What the steps of writing answer, and what is there afterwards. The service
// has the things a, b and c of the versions 1 to 3; TAG is the tag of a.
func TestWriteSteps(t *testing.T) {
	const a, gone = "1|thing a|code a||v1", ""
	for _, tt := range []struct {
		name         string
		o            Options
		method, path string
		body         string
		headers      []string
		status       int
		id, row      string // of the thing that is looked at afterwards
	}{
		{"PATCH with the tag", Options{}, "PATCH", "things('a')", `{"n":"5"}`, []string{"If-Match", "TAG"}, 204, "a", "5|thing a|code a||v4"},
		{"PATCH with a list of tags", Options{}, "PATCH", "things('a')", `{"n":"5"}`, []string{"If-Match", `W/"x", TAG ,"y"`}, 204, "a", "5|thing a|code a||v4"},
		{"PATCH with *", Options{}, "PATCH", "things('a')", `{"n":null}`, []string{"If-Match", "*"}, 204, "a", "|thing a|code a||v4"},
		{"PATCH without If-Match", Options{}, "PATCH", "things('a')", `{}`, nil, 204, "a", "1|thing a|code a||v4"},
		{"PATCH, representation", Options{}, "PATCH", "things('a')?$select=n", `{"n":"5"}`, []string{"Prefer", "return=representation"}, 200, "a", "5|thing a|code a||v4"},
		{"PATCH with a stale tag", Options{}, "PATCH", "things('a')", `{"n":"5"}`, []string{"If-Match", `W/"stale"`}, 412, "a", a},
		{"PATCH with a stale tag and a bad body", Options{}, "PATCH", "things('a')", `{"n":true}`, []string{"If-Match", `W/"stale"`}, 412, "a", a},
		{"PATCH that needs If-Match", Options{NeedIfMatch: true}, "PATCH", "things('a')", `{"n":"5"}`, nil, 428, "a", a},
		{"PATCH of what is not there with *", Options{}, "PATCH", "things('x')", `{"n":"5"}`, []string{"If-Match", "*"}, 404, "x", gone},
		{"PATCH of what is not there with a tag", Options{}, "PATCH", "things('x')", `{"n":"5"}`, []string{"If-Match", "TAG"}, 412, "x", gone},
		{"PATCH of what is not there with a tag, no upsert", Options{NoUpsert: true}, "PATCH", "things('x')", `{"n":"5"}`, []string{"If-Match", "TAG"}, 404, "x", gone},
		{"PATCH with the tag, as if it were strong", Options{}, "PATCH", "things('a')", `{"n":"5"}`, []string{"If-Match", "STRONG"}, 204, "a", "5|thing a|code a||v4"},
		{"PATCH of 4.01", Options{Version: V401}, "PATCH", "things('a')", `{"n":"5"}`, nil, 200, "a", "5|thing a|code a||v4"},
		{"PATCH, a part is asked for", Options{}, "PATCH", "things('a')?$select=n", `{"n":"5"}`, nil, 200, "a", "5|thing a|code a||v4"},
		{"PATCH, a part is asked for, minimal", Options{}, "PATCH", "things('a')?$select=n", `{"n":"5"}`, []string{"Prefer", "return=minimal"}, 204, "a", "5|thing a|code a||v4"},
		{"a stale tag in the body", Options{Version: V401}, "PATCH", "things('a')", `{"@etag":"W/\"x\"","n":"5"}`, []string{"OData-Version", "4.01"}, 412, "a", a},
		{"the tag in the body", Options{Version: V401}, "PATCH", "things('a')", `{"@etag":"*","n":"5"}`, []string{"OData-Version", "4.01"}, 200, "a", "5|thing a|code a||v4"},
		{"isolation", Options{}, "PATCH", "things('a')", `{"n":"5"}`, []string{"Isolation", "snapshot"}, 204, "a", "5|thing a|code a||v4"},
		{"a lookup that leads nowhere", Options{}, "PATCH", "things('a')", `{"owner":"x"}`, nil, 204, "a", "1|thing a|code a|x|v4"},
		{"a lookup that leads nowhere, looked at", Options{Referential: true}, "PATCH", "things('a')", `{"owner":"x"}`, nil, 400, "a", a},
		{"a lookup that leads somewhere, looked at", Options{Referential: true}, "PATCH", "things('a')", `{"owner":"b"}`, nil, 204, "a", "1|thing a|code a|b|v4"},
		{"upsert", Options{}, "PATCH", "things('x')", `{"n":"5"}`, nil, 201, "x", "5||||v4"},
		{"upsert, minimal", Options{}, "PATCH", "things('x')", `{"n":"5"}`, []string{"Prefer", "return=minimal"}, 204, "x", "5||||v4"},
		{"upsert that needs If-Match", Options{NeedIfMatch: true}, "PATCH", "things('x')", `{"n":"5"}`, nil, 201, "x", "5||||v4"},
		{"no upsert", Options{NoUpsert: true}, "PATCH", "things('x')", `{"n":"5"}`, nil, 404, "x", gone},
		{"insert only, there", Options{}, "PATCH", "things('a')", `{"n":"5"}`, []string{"If-None-Match", "*"}, 412, "a", a},
		{"insert only, not there", Options{}, "PATCH", "things('x')", `{"n":"5"}`, []string{"If-None-Match", "*"}, 201, "x", "5||||v4"},
		{"PUT resets what is absent", Options{}, "PUT", "things('a')", `{"name":"new"}`, nil, 204, "a", "|new|||v4"},
		{"PUT as upsert", Options{}, "PUT", "things('x')", `{"name":"new"}`, nil, 201, "x", "|new|||v4"},
		{"by alternate key", Options{}, "PATCH", "things(code='code%20a')", `{"n":"5"}`, []string{"If-Match", "TAG"}, 204, "a", "5|thing a|code a||v4"},
		{"upsert by alternate key", Options{}, "PATCH", "things(code='new')", `{"id":"x"}`, nil, 201, "x", "||new||v4"},
		{"keys and computed properties of the body do not count", Options{}, "PATCH", "things('a')", `{"id":"z","n":"5","RowVersion":"99","ModifiedAt":"x"}`, nil, 204, "a", "5|thing a|code a||v4"},
		{"control information does not count", Options{}, "PATCH", "things('a')", `{"@odata.type":"#x","@odata.etag":"y","n@odata.type":"#Int64","n":"5"}`, nil, 204, "a", "5|thing a|code a||v4"},
		{"POST of a key that is there", Options{}, "POST", "things", `{"id":"a"}`, nil, 409, "a", a},
		{"POST of an alternate key that is there", Options{}, "POST", "things", `{"id":"x","code":"code a"}`, nil, 409, "x", gone},
		{"PATCH to an alternate key that is there", Options{}, "PATCH", "things('a')", `{"code":"code b"}`, nil, 409, "a", a},
		{"PATCH to its own alternate key", Options{}, "PATCH", "things('a')", `{"code":"code a"}`, nil, 204, "a", "1|thing a|code a||v4"},
		{"POST without key", Options{}, "POST", "things", `{"n":"1"}`, nil, 400, "", gone},
		{"DELETE with the tag", Options{}, "DELETE", "things('a')", "", []string{"If-Match", "TAG"}, 204, "a", gone},
		{"DELETE with *", Options{}, "DELETE", "things('a')", "", []string{"If-Match", "*"}, 204, "a", gone},
		{"DELETE with a stale tag", Options{}, "DELETE", "things('a')", "", []string{"If-Match", `W/"stale"`}, 412, "a", a},
		{"DELETE that needs If-Match", Options{NeedIfMatch: true}, "DELETE", "things('a')", "", nil, 428, "a", a},
		{"DELETE of what is not there", Options{}, "DELETE", "things('x')", "", nil, 404, "x", gone},
		{"DELETE by alternate key", Options{}, "DELETE", "things(code='code%20a')", "", nil, 204, "a", gone},
		{"bind", Options{}, "PATCH", "things('a')", `{"ownerThing@odata.bind":"things('b')"}`, nil, 204, "a", "1|thing a|code a|b|v4"},
		{"bind with slash", Options{}, "PATCH", "things('a')", `{"ownerThing@odata.bind":"/things('b')"}`, nil, 204, "a", "1|thing a|code a|b|v4"},
		{"bind with the whole URL", Options{}, "PATCH", "things('a')", `{"ownerThing@odata.bind":"URLthings('b')"}`, nil, 204, "a", "1|thing a|code a|b|v4"},
		{"bind by alternate key", Options{}, "PATCH", "things('a')", `{"ownerThing@odata.bind":"things(code='code%20c')"}`, nil, 204, "a", "1|thing a|code a|c|v4"},
		{"bind of 4.01", Options{Version: V401}, "PATCH", "things('a')", `{"ownerThing":{"@id":"things('b')"}}`, nil, 200, "a", "1|thing a|code a|b|v4"},
		{"the dependent property", Options{}, "PATCH", "things('a')", `{"owner":"c"}`, nil, 204, "a", "1|thing a|code a|c|v4"},
		{"bind to nothing", Options{}, "PATCH", "things('a')", `{"ownerThing@odata.bind":"things('x')"}`, nil, 400, "a", a},
		{"bind to another host", Options{}, "PATCH", "things('a')", `{"ownerThing@odata.bind":"https://elsewhere.example/things('b')"}`, nil, 400, "a", a},
		{"bind to a collection", Options{}, "PATCH", "things('a')", `{"ownerThing@odata.bind":"things"}`, nil, 400, "a", a},
		{"bind of an unknown navigation", Options{}, "PATCH", "things('a')", `{"nope@odata.bind":"things('b')"}`, nil, 400, "a", a},
		{"deep update", Options{}, "PATCH", "things('a')", `{"ownerThing":{"id":"b","n":"1"}}`, nil, 400, "a", a},
		{"unknown query option", Options{}, "PATCH", "things('a')?$filter=n%20eq%201", `{"n":"5"}`, nil, 400, "a", a},
		{"answer in another format", Options{}, "PATCH", "things('a')", `{"n":"5"}`, []string{"Accept", "text/csv"}, 406, "a", a},
		{"body in another format", Options{}, "PATCH", "things('a')", `{"n":"5"}`, []string{"Content-Type", "text/plain"}, 415, "a", a},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, url := newThings(t, 3, tt.o)
			tag := get(t, url+"things('a')").header.Get("ETag")
			for i := range tt.headers {
				tt.headers[i] = strings.NewReplacer("TAG", tag, "STRONG", strings.TrimPrefix(tag, "W/")).Replace(tt.headers[i])
			}
			r := send(t, tt.method, url+tt.path, strings.ReplaceAll(tt.body, "URL", url), tt.headers...)
			wantStatus(t, tt.method, r, tt.status)
			wantText(t, "row "+tt.id, rowOf(s, tt.id), tt.row)
			if r.status < 300 && tt.method != "DELETE" && r.header.Get("ETag") != get(t, url+"things('"+tt.id+"')").header.Get("ETag") {
				t.Errorf("ETag %q is not that of the row", r.header.Get("ETag"))
			}
			if w := s.Writes(); len(w) != 1 || w[0].Status != tt.status || w[0].Applied != (tt.status < 300) || w[0].Created != (rowOf(s, tt.id) != "" && strings.HasPrefix(tt.id, "x")) {
				t.Errorf("the log of writes has %+v", w)
			}
		})
	}
}

// Of clients that change what they have read, each with the tag, none undoes
// what another has done.
func TestConcurrentWrites(t *testing.T) {
	s, url := newThings(t, 1, Options{})
	var done atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				r := get(t, url+"things('a')?$select=n")
				var row struct{ N int }
				if err := json.Unmarshal([]byte(r.raw), &row); err != nil {
					t.Error(err)
				}
				r = do(t, "PATCH", url+"things(code='code%20a')", fmt.Sprintf(`{"n":%d}`, row.N+1), "Content-Type", "application/json", "If-Match", r.header.Get("ETag"))
				if r.status == 204 {
					done.Add(1)
				} else if r.status != 412 {
					t.Errorf("status %d, want 204 or 412: %s", r.status, r.raw)
				}
				readAll(t, url+"things?$orderby=n%20desc")
			}
		})
	}
	wg.Wait()
	if n := s.Records("things")[0].Get("n").Int(); n != 1+done.Load() || done.Load() == 0 {
		t.Errorf("n is %d after %d changes", n, done.Load())
	}
}

// Without versions nothing has a tag, so that only * matches.
func TestWriteWithoutVersions(t *testing.T) {
	s, url := newThings(t, 1, Options{NoVersion: true})
	wantStatus(t, "*", send(t, "PATCH", url+"things('a')", `{"n":"5"}`, "If-Match", "*"), 204)
	r := send(t, "PATCH", url+"things('a')", `{"n":"6"}`, "If-Match", etag(1))
	wantStatus(t, "tag", r, 412)
	if v := s.Records("things")[0].Get("n").Int(); v != 5 || r.header.Get("ETag") != "" {
		t.Errorf("n is %d, ETag %q; want 5 and none", v, r.header.Get("ETag"))
	}
}

// Deltas and watermarks see what clients write as they see edits.
func TestWritesAreTracked(t *testing.T) {
	c := newClock()
	_, url := newThings(t, 3, Options{Now: c.Now})
	link := start(t, url, "")
	c.Add(1)
	wantStatus(t, "POST", send(t, "POST", url+"things", `{"id":"x"}`), 201)
	wantStatus(t, "PATCH", send(t, "PATCH", url+"things('a')", `{"n":"5"}`), 204)
	wantStatus(t, "DELETE", send(t, "DELETE", url+"things('b')", ""), 204)
	d := getPage(t, link)
	wantText(t, "delta", ids(d.Value), "x a "+url+"things('b')")
	rows, _, _ := readAll(t, url+"things?$orderby=RowVersion&$filter=RowVersion%20gt%203")
	wantText(t, "watermark by version", ids(rows), "x a")
	rows, _, _ = readAll(t, url+"things?$filter=ModifiedAt%20gt%202026-01-31T10:00:00Z")
	wantText(t, "watermark by time", ids(rows), "a x")
}

// Dataverse writes lookups by their navigation only, shows their text, and
// answers a link that leads nowhere as if the entity were missing.
func TestDataverseLookups(t *testing.T) {
	s := New(Options{Flavor: Dataverse, Rows: 4})
	url := s.Start(t)
	read := func() string {
		r := get(t, url+"customers('C00001')?$select=_primarycontactno_value,primarycontactnoname", "Accept", "application/json;odata.metadata=none")
		return r.raw
	}
	for _, tt := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"primarycontactno@odata.bind":"contacts('K00002')"}`, 204, `{"_primarycontactno_value":"K00002","primarycontactnoname":"The one with number K00002"}`},
		{`{"primarycontactno@odata.bind":"/contacts(No='K00001')"}`, 204, `{"_primarycontactno_value":"K00001","primarycontactnoname":"The one with number K00001"}`},
		{`{"primarycontactno@odata.bind":"contacts('none')"}`, 404, `{"_primarycontactno_value":"K00001","primarycontactnoname":"The one with number K00001"}`},
		{`{"_primarycontactno_value":"K00002"}`, 400, `{"_primarycontactno_value":"K00001","primarycontactnoname":"The one with number K00001"}`},
		{`{"primarycontactnoname":"x"}`, 204, `{"_primarycontactno_value":"K00001","primarycontactnoname":"The one with number K00001"}`},
		{`{"primarycontactno@odata.bind":null}`, 204, `{"_primarycontactno_value":null,"primarycontactnoname":null}`},
	} {
		wantStatus(t, tt.body, send(t, "PATCH", url+"customers('C00001')", tt.body), tt.status)
		wantText(t, "after "+tt.body, read(), tt.want)
	}
}

// The companies cannot be written, and only the first one has sets.
func TestWriteInCompany(t *testing.T) {
	s := New(Options{Flavor: BusinessCentral, Rows: 2})
	url := s.Start(t)
	company := func(i int) string { return url + "companies(" + s.companies[i].id + ")/" }
	r := send(t, "POST", company(0)+"customers", `{"No":"x","PrimaryContactNoNav":null}`)
	wantStatus(t, "unknown navigation", r, 400)
	r = send(t, "POST", company(0)+"customers", `{"No":"x","PrimaryContact@odata.bind":"contacts('K00001')"}`)
	wantStatus(t, "POST", r, 201)
	wantText(t, "Location", r.header.Get("Location"), company(0)+"customers('x')")
	wantStatus(t, "GET of the Location", get(t, r.header.Get("Location")), 200)
	wantStatus(t, "the other company", send(t, "POST", company(1)+"customers", `{"No":"y"}`), 403)
	wantStatus(t, "a company", send(t, "PATCH", url+"companies("+s.companies[0].id+")", `{}`), 405)
	wantStatus(t, "a new company", send(t, "POST", url+"companies", `{}`), 405)
	wantStatus(t, "no upsert", send(t, "PATCH", company(0)+"customers('y')", `{}`), 404)
}

// errorOf returns the code, target and details of an OData error.
func errorOf(t testing.TB, r response) (code, target string, details []string) {
	t.Helper()
	var body struct {
		Error struct {
			Code, Message, Target string
			Details               []struct{ Code, Message, Target string }
		}
	}
	if err := json.Unmarshal([]byte(r.raw), &body); err != nil || body.Error.Code == "" || body.Error.Message == "" {
		t.Fatalf("%v: no OData error: %s", err, r.raw)
	}
	for _, d := range body.Error.Details {
		details = append(details, d.Target)
	}
	return body.Error.Code, body.Error.Target, details
}

// JSON Format 4.01, 21: a wrong body is told property by property.
func TestErrorDetails(t *testing.T) {
	_, url := newThings(t, 0, Options{})
	r := send(t, "POST", url+"things", `{"id":"a","n":"x","name":5}`)
	wantStatus(t, "POST", r, http.StatusBadRequest)
	code, target, details := errorOf(t, r)
	wantText(t, "error", fmt.Sprint(code, target, details), "BadRequestn[n name]")
	_, target, details = errorOf(t, send(t, "POST", url+"things", `{"id":null}`))
	wantText(t, "one problem", fmt.Sprint(target, details), "id[]")
}

// What a client can set once or never: keys, immutable and computed
// properties. A PUT keeps links too (Protocol 4.01, 11.4.3).
func TestFixedProperties(t *testing.T) {
	e := kedge.Entity{Name: "things", Key: []string{"id"}, Fields: []kedge.Field{
		{Name: "id", Type: kedge.TypeInt, Computed: true}, {Name: "born", Type: kedge.TypeString, Immutable: true, Nullable: true},
		{Name: "total", Type: kedge.TypeInt, Computed: true, Nullable: true}, {Name: "open", Type: kedge.TypeBool},
		{Name: "must", Type: kedge.TypeString},
		{Name: "parent", Type: kedge.TypeInt, Nullable: true, Lookup: []kedge.LookupTarget{{Entity: "things", Field: "id"}}},
	}}
	s := New(Options{Entities: []kedge.Entity{e}})
	url := s.Start(t)
	for _, tt := range []struct {
		method, path, body string
		status             int
		row                string
	}{
		{"POST", "things", `{"must":null}`, 400, ""},
		{"POST", "things", `{"born":"A"}`, 400, ""},
		{"POST", "things", `{"id":"7","born":"A","total":"5","must":"m"}`, 201, "1 A  false m "},
		{"PATCH", "things(1)", `{"id":"7","born":"B","total":"5","open":true,"parent":"1"}`, 204, "1 A  true m 1"},
		{"PATCH", "things(1)", `{"must":null}`, 400, "1 A  true m 1"},
		{"PUT", "things(1)", `{"must":"n"}`, 204, "1 A  false n 1"},
		{"PUT", "things(1)", `{"open":true}`, 400, "1 A  false n 1"},
		{"PATCH", "things(9)", `{"must":"m"}`, 404, "1 A  false n 1"},
	} {
		r := send(t, tt.method, url+tt.path, tt.body)
		wantStatus(t, tt.method+" "+tt.body, r, tt.status)
		got := ""
		for _, r := range s.Records("things") {
			for _, name := range e.Fields {
				got += r.Get(name.Name).Text() + " "
			}
		}
		wantText(t, tt.method+" "+tt.body, strings.TrimSuffix(got, " "), tt.row)
	}
}
