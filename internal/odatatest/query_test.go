package odatatest

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

// newQueried serves five things: n is 1 to 4 and null, b belongs to a, and the
// names need encoding.
func newQueried(t *testing.T, o Options) (*Service, string) {
	s, url := newThings(t, 4, o)
	put(t, s, Row("id", kedge.String("e/'é"), "name", kedge.String("O'Neil & Söhne + 100%"), "owner", kedge.String("a")))
	patch(t, s, "id", kedge.String("b"), "owner", kedge.String("a"))
	return s, url
}

// URL Conventions 4.01, section 5.1.
func TestQueryOptions(t *testing.T) {
	_, url := newQueried(t, Options{})
	for _, tt := range []struct{ query, want string }{
		{"", "a b c d e/'é"},
		{"$filter=n%20gt%202", "c d"},
		{"$filter=n%20eq%20null", "e/'é"},                 // 5.1.1.1.1
		{"$filter=not%20(n%20gt%202)", "a b e/'é"},        // null gt 2 is false, 5.1.1.1.3
		{"$filter=n+ge+2+and+n+lt+4", "b c"},              // a plus is a space
		{"$filter=name%20eq%20'thing%20a'", "a"},          //
		{"$filter=contains(name,'O''Neil')", "e/'é"},      //
		{"$filter=contains(name,'%2B%20100%25')", "e/'é"}, //
		{"$filter=id%20gt%20'c'", "d e/'é"},
		{"$filter=id%20ge%20'c'%20and%20n%20ne%204", "c e/'é"},
		{"$filter=n%20in%20(1,4)", "a d"},
		{"$orderby=n", "e/'é a b c d"}, // null comes first, 5.1.7
		{"$orderby=n%20desc", "d c b a e/'é"},
		{"$orderby=owner%20desc,n", "e/'é b a c d"},
		{"$orderby=id", "a b c d e/'é"},
		{"$orderby=id%20desc", "e/'é d c b a"},
		{"$top=2", "a b"},
		{"$top=0", ""},
		{"$top=99", "a b c d e/'é"},
		{"$skip=3", "d e/'é"},
		{"$skip=9", ""},
		{"$skip=1&$top=2&$orderby=n%20desc", "c b"},
		{"$filter=n%20gt%201&$skip=1&$top=1", "c"},
		{"custom=1&$top=1", "a"}, // custom query options mean nothing, 5.2
	} {
		for _, size := range []string{"1", "2", "3", "100"} {
			rows, _, _ := readAll(t, url+"things?"+tt.query, "Prefer", "odata.maxpagesize="+size)
			if got := ids(rows); got != tt.want {
				t.Errorf("%s in pages of %s: got %q, want %q", tt.query, size, got, tt.want)
			}
		}
	}
}

// Protocol 4.01, 11.2.6.5 and 11.2.10: the count is that of all pages, without
// $top and $skip.
func TestCount(t *testing.T) {
	_, url := newQueried(t, Options{})
	for query, want := range map[string]int{"": 5, "&$top=1": 5, "&$skip=2&$top=1": 5, "&$filter=n%20gt%202": 2} {
		d := getPage(t, url+"things?$count=true"+query, "Prefer", "odata.maxpagesize=1")
		if d.Count == nil || *d.Count != want {
			t.Errorf("$count=true%s: got %v, want %d", query, d.Count, want)
		}
	}
	if d := getPage(t, url+"things?$count=false"); d.Count != nil {
		t.Errorf("$count=false: got %d, want no count", *d.Count)
	}
	wantText(t, "things/$count", get(t, url+"things/$count").raw, "5")
	wantText(t, "things/$count with $filter", get(t, url+"things/$count?$filter=n%20gt%202").raw, "2")
}

// What the OData documents forbid is refused: Protocol 4.01, 9.3 and 11.2.1;
// URL Conventions 4.01, 5.
func TestRefusals(t *testing.T) {
	_, url := newQueried(t, Options{})
	for _, tt := range []struct {
		path string
		want int
	}{
		{"things?$select=nope", 400},
		{"things?$select=id,home/city", 400},
		{"things?$orderby=nope", 400},
		{"things?$orderby=id%20up", 400},
		{"things?$orderby=id,", 400},
		{"things?$filter=nope%20eq%201", 400},
		{"things?$filter=n%20eq%20'one'", 400},
		{"things?$filter=n%20eq", 400},
		{"things?$filter=", 400},
		{"things?$filter=tags/any(x:x%20eq%20'1')", 501},
		{"things?$filter=n%20add%201%20eq%202", 501},
		{"things?$top=-1", 400},
		{"things?$top=x", 400},
		{"things?$top=%2B1", 400},
		{"things?$skip=-1", 400},
		{"things?$count=yes", 400},
		{"things?$expand=nope", 400},
		{"things?$expand=ownerThing($select=nope)", 400},
		{"things?$expand=ownerThing($filter=n%20eq%201)", 501},
		{"things?$nope=1", 400},
		{"things?$search=x", 501},
		{"things?$apply=x", 501},
		{"things?$top=1&$top=2", 400},
		{"things?$top=%zz", 400},
		{"things?$skiptoken=x", 400},
		{"things?$deltatoken=x", 400},
		{"things?select=id&$top=1", 200}, // without $ it is a custom option in 4.0
		{"things?$format=atom", 406},
		{"things('a')?$filter=n%20eq%201", 400},
		{"things/$count?$top=1", 400},
		{"$metadata?$filter=n%20eq%201", 400},
		{"things('zz')", 404},
		{"things(1)", 400},
		{"things()", 400},
		{"things('a'", 404},
		{"things('a''')", 404},
		{"things('a'b')", 400},
		{"things(id='a')", 200},
		{"things(code='code%20a')", 200}, // an alternate key, 4.3.3
		{"things(code='code%20zz')", 404},
		{"things(name='thing%20a')", 400}, // not a key
		{"things(id='a',code='code%20a')", 400},
		{"things(id='a',id='a')", 400},
		{"things('e%2F''%C3%A9')", 200},
		{"things('e/''%C3%A9')", 404}, // a slash in a key must be encoded, 2
		{"things('a')/name", 501},
		{"things('a')/nope", 404},
		{"things/x", 404},
		{"nope", 404},
		{"Things", 404},
		{"", 200},
		{"things", 200},
		{"things/", 200},
	} {
		r := get(t, url+tt.path)
		if r.status != tt.want {
			t.Errorf("GET %s: status %d, want %d: %s", tt.path, r.status, tt.want, r.raw)
		}
		if r.status >= 400 && !strings.HasPrefix(r.raw, `{"error":{"code":"`) {
			t.Errorf("GET %s: the error is not one of OData: %s", tt.path, r.raw)
		}
	}
}

// Protocol 4.01, 5.1 and 11.2.1: 4.01 services take system query options
// without $ and in any case.
func TestOptionsWithoutDollar(t *testing.T) {
	_, url := newQueried(t, Options{Version: V401})
	for query, want := range map[string]string{"top=1": "a", "$Top=1": "a", "SELECT=id&orderby=n%20desc&top=1": "d"} {
		rows, _, _ := readAll(t, url+"things?"+query)
		wantText(t, query, ids(rows), want)
	}
}

// Protocol 4.01, 8.1.5, 8.2.1, 8.2.7 and 11.
func TestHeaders(t *testing.T) {
	for _, tt := range []struct {
		service, name, value string
		status               int
		version              string
	}{
		{V40, "Accept", "application/json", 200, "4.0"},
		{V40, "Accept", "text/html;q=0.9, */*;q=0.8", 200, "4.0"},
		{V40, "Accept", "application/json;odata.metadata=full;odata.streaming=true", 200, "4.0"},
		{V40, "Accept", "application/xml", 406, "4.0"},
		{V40, "Accept", "application/json;metadata=some", 400, "4.0"},
		{V40, "OData-MaxVersion", "4.0", 200, "4.0"},
		{V40, "OData-MaxVersion", "4.01", 200, "4.0"},
		{V401, "OData-MaxVersion", "4.0", 200, "4.0"},
		{V401, "OData-MaxVersion", "4.01", 200, "4.01"},
		{V401, "Accept", "application/json", 200, "4.01"},
		{V40, "OData-MaxVersion", "3.0", 400, "4.0"},
		{V40, "OData-MaxVersion", "x", 400, "4.0"},
		{V40, "OData-Version", "4.01", 400, "4.0"},
		{V401, "OData-Version", "4.01", 200, "4.01"},
	} {
		_, url := newThings(t, 1, Options{Version: tt.service})
		r := get(t, url+"things", tt.name, tt.value)
		if r.status != tt.status || r.header.Get("OData-Version") != tt.version {
			t.Errorf("a service of %s, %s: %s: status %d and OData-Version %s, want %d and %s",
				tt.service, tt.name, tt.value, r.status, r.header.Get("OData-Version"), tt.status, tt.version)
		}
	}
}

// Protocol 4.01, 9.3.5: 405 tells what is allowed (RFC 9110, 15.5.6).
func TestMethods(t *testing.T) {
	_, url := newThings(t, 1, Options{})
	for path, methods := range map[string]string{
		"": "POST PATCH PUT DELETE", "$metadata": "POST PATCH PUT DELETE", "things/$count": "POST PATCH PUT DELETE",
		"things": "PATCH PUT DELETE", "things('a')": "POST OPTIONS",
	} {
		for _, method := range strings.Fields(methods) {
			r := do(t, method, url+path, "{}", "Content-Type", "application/json")
			if allow := r.header.Get("Allow"); r.status != http.StatusMethodNotAllowed || allow == "" || strings.Contains(allow, method) {
				t.Errorf("%s /%s: status %d and Allow %q, want 405 and the other methods", method, path, r.status, allow)
			}
		}
	}
	if r := do(t, "HEAD", url+"things", ""); r.status != 200 || r.raw != "" {
		t.Errorf("HEAD: status %d and body %q, want 200 and none", r.status, r.raw)
	}
}

// Protocol 4.01, 11.2.5 and 10.7 to 10.10; JSON Format 4.01, 8.3: expanded
// navigation properties, and the context URL that tells what is selected.
func TestSelectAndExpand(t *testing.T) {
	o := Options{NoVersion: true}
	_, url := newQueried(t, o)
	get1 := func(query string) string { return relative(get(t, url+query).raw, url) }
	wantText(t, "$select keeps the declared order", get1("things?$select=name,id&$top=1"),
		`{"@odata.context":"ROOT/$metadata#things(name,id)","value":[{"id":"a","name":"thing a"}]}`)
	wantText(t, "without its key an entity has an id", get1("things?$select=n&$top=1"),
		`{"@odata.context":"ROOT/$metadata#things(n)","value":[{"@odata.id":"ROOT/things('a')","n":1}]}`)
	wantText(t, "$expand", get1("things('b')?$select=id&$expand=ownerThing($select=id,n)"),
		`{"@odata.context":"ROOT/$metadata#things(id,ownerThing(id,n))/$entity","id":"b","ownerThing":{"id":"a","n":1}}`)
	wantText(t, "$expand twice", get1("things('b')?$select=id&$expand=ownerThing($select=id;$expand=ownerThing($select=id))"),
		`{"@odata.context":"ROOT/$metadata#things(id,ownerThing(id,ownerThing(id)))/$entity","id":"b","ownerThing":{"id":"a","ownerThing":null}}`)
	wantText(t, "the key in an id is encoded", get1("things?$select=n&$filter=n%20eq%20null"),
		`{"@odata.context":"ROOT/$metadata#things(n)","value":[{"@odata.id":"ROOT/things('e%2F''%C3%A9')","n":null}]}`)
	_, url = newQueried(t, Options{NoVersion: true, Version: V401})
	wantText(t, "4.01", get1("things('b')?$select=id&$expand=ownerThing"),
		`{"@context":"ROOT/$metadata#things(id,ownerThing())/$entity","id":"b","ownerThing":{"id":"a","n":1,"name":"thing a","code":"code a","owner":null}}`)
}

// Protocol 4.01, 8.2.5 and 8.3.1; JSON Format 4.01, 4.6.9.
func TestETags(t *testing.T) {
	s, url := newThings(t, 1, Options{})
	first := get(t, url+"things('a')")
	tag := first.header.Get("ETag")
	if tag == "" || !strings.Contains(first.raw, `"@odata.etag":`+strconv.Quote(tag)) {
		t.Fatalf("ETag is %q, want it as in the body: %s", tag, first.raw)
	}
	if r := get(t, url+"things('a')", "If-None-Match", tag); r.status != http.StatusNotModified || r.raw != "" {
		t.Errorf("If-None-Match: status %d and body %q, want 304 and none", r.status, r.raw)
	}
	patch(t, s, "id", kedge.String("a"), "n", kedge.Int(5))
	if r := get(t, url+"things('a')", "If-None-Match", tag); r.status != http.StatusOK || r.header.Get("ETag") == tag {
		t.Errorf("after an edit: status %d and ETag %q, want 200 and another one", r.status, r.header.Get("ETag"))
	}
	_, url = newThings(t, 1, Options{NoVersion: true})
	if r := get(t, url+"things('a')"); r.header.Get("ETag") != "" || strings.Contains(r.raw, "etag") || strings.Contains(r.raw, "RowVersion") {
		t.Errorf("NoVersion: got an ETag or a version in %s", r.raw)
	}
}

// A service with NoFilter refuses to filter and sort.
func TestNoFilter(t *testing.T) {
	_, url := newThings(t, 1, Options{NoFilter: true})
	for _, query := range []string{"$filter=n%20eq%201", "$orderby=n"} {
		if r := get(t, url+"things?"+query); r.status != http.StatusNotImplemented {
			t.Errorf("%s: status %d, want 501", query, r.status)
		}
	}
}

// A client can only ask for smaller pages than the service's own (Protocol
// 4.01, 8.2.8.5), and what it asks for must be a number.
func TestPageCap(t *testing.T) {
	_, url := newThings(t, 5, Options{PageCap: 3})
	for prefer, want := range map[string]string{
		"":                                      "a b c",
		"odata.maxpagesize=3":                   "a b c",
		"odata.maxpagesize=4":                   "a b c",
		"odata.maxpagesize=2":                   "a b",
		`odata.maxpagesize="2"`:                 "a b",
		"respond-async, ODATA.MaxPageSize = 1 ": "a",
		"odata.maxpagesize=0":                   "a b c",
		"odata.maxpagesize=-1":                  "a b c",
		"odata.maxpagesize=x":                   "a b c",
		"maxpagesize=1":                         "a b c", // without prefix in 4.01 only
	} {
		wantText(t, "Prefer: "+prefer, ids(getPage(t, url+"things", "Prefer", prefer).Value), want)
	}
	_, url = newThings(t, 5, Options{Version: V401})
	r := get(t, url+"things", "Prefer", "maxpagesize=1, track-changes")
	wantText(t, "Preference-Applied in 4.01", r.header.Get("Preference-Applied"), "maxpagesize=1,track-changes")
	first := getPage(t, url+"things", "Prefer", "maxpagesize=2")
	wantText(t, "the size is inherited", ids(getPage(t, first.Next).Value), "c d")
	wantText(t, "another size", ids(getPage(t, first.Next, "Prefer", "maxpagesize=1").Value), "c")
}
