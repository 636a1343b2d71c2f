package odatatest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

// state tells the rows of a service: id, n and version of each.
func state(s *Service) string {
	var out []string
	for _, r := range s.Records("things") {
		out = append(out, string(r.Key)+r.Get("n").Text()+"v"+r.Get("RowVersion").Text())
	}
	return strings.Join(out, " ")
}

// Protocol 4.01, 11.7, and JSON Format 4.01, 19: what is answered and what is
// there afterwards. Rollback is seen by reading. The service has a and b.
func TestBatch(t *testing.T) {
	const goOn, stop = "odata.continue-on-error", "odata.continue-on-error=false"
	for _, tt := range []struct {
		name, prefer    string
		parts           []part
		multipart, json string // answers
		state           string
	}{
		{"single requests", "", []part{adding("1", "", "x"), changing("2", "", "a", "5"), reading("3", "things('x')"), {id: "4", method: "DELETE", url: "things('b')"}},
			"1=201 2=204 3=200 4=204", "1=201 2=204 3=200 4=204", "a5v4 xv3"},
		{"an error in the middle", goOn, []part{adding("1", "", "x"), adding("2", "", "a"), adding("3", "", "y")},
			"1=201 2=409 3=201", "1=201 2=409 3=201", "a1v1 b2v2 xv3 yv4"},
		{"an error in the middle, stop", stop, []part{adding("1", "", "x"), adding("2", "", "a"), adding("3", "", "y")},
			"1=201 2=409", "1=201 2=409", "a1v1 b2v2 xv3"},
		{"a group", "", []part{adding("1", "g", "x"), changing("2", "g", "a", "5")},
			"set1:1=201 set1:2=204", "g:1=201 g:2=204", "a5v4 b2v2 xv3"},
		{"the second of a group fails", "", []part{adding("1", "g", "x"), adding("2", "g", "a"), changing("3", "g", "b", "5")},
			"2=409", "g:1=424 g:2=409 g:3=424", "a1v1 b2v2"},
		{"the first of a group fails", "", []part{adding("1", "g", "a"), adding("2", "g", "x")},
			"1=409", "g:1=409 g:2=424", "a1v1 b2v2"},
		{"all kinds of writes are taken back", "", []part{changing("1", "g", "a", "5"), {id: "2", group: "g", method: "DELETE", url: "things('b')"}, adding("3", "g", "b"),
			changing("4", "g", "b", "6"), adding("5", "g", "x"), {id: "6", group: "g", method: "DELETE", url: "things('x')"}, changing("7", "g", "none", "1")},
			"7=404", "g:1=424 g:2=424 g:3=424 g:4=424 g:5=424 g:6=424 g:7=404", "a1v1 b2v2"},
		{"a bad group between good ones", goOn, []part{adding("1", "g", "x"), adding("2", "h", "y"), adding("3", "h", "a"), adding("4", "", "z")},
			"set1:1=201 3=409 4=201", "g:1=201 h:2=424 h:3=409 4=201", "a1v1 b2v2 xv3 zv5"},
		{"a bad group, then a good one, stop", stop, []part{adding("1", "g", "a"), adding("2", "h", "y")},
			"1=409", "g:1=409", "a1v1 b2v2"},
		{"reading in a group", "", []part{{id: "1", group: "g", method: "GET", url: "things('a')"}, adding("2", "g", "x")},
			"1=400", "g:1=400 g:2=424", "a1v1 b2v2"},
		{"forms of URLs", "", []part{reading("1", "/things('a')"), reading("2", "URLthings('a')"), reading("3", "things?$filter=n%20eq%201"), reading("4", "$metadata"), reading("5", "things/$count")},
			"1=200 2=200 3=200 4=200 5=200", "1=200 2=200 3=200 4=200 5=200", "a1v1 b2v2"},
		{"URLs that lead nowhere", goOn, []part{reading("1", "nope"), reading("2", "https://elsewhere.example/things"), reading("3", "things('a%zz')"), reading("4", "$batch"), reading("5", "$9")},
			"1=404 2=400 3=400 4=424 5=424", "1=404 2=400 3=400 4=424 5=424", "a1v1 b2v2"},
		{"the preconditions of each", goOn, []part{{id: "1", method: "PATCH", url: "things('a')", body: `{"n":"5"}`, header: `If-Match: W/"stale"`}, changing("2", "", "b", "6")},
			"1=412 2=204", "1=412 2=204", "a1v1 b6v3"},
	} {
		for _, format := range []string{"multipart", "json"} {
			t.Run(tt.name+"/"+format, func(t *testing.T) {
				s, url := newThings(t, 2, Options{})
				link := start(t, url, "")
				parts := slices.Clone(tt.parts)
				for i := range parts {
					parts[i].url = strings.ReplaceAll(parts[i].url, "URL", url)
				}
				got, raw := sendBatch(t, url, format, parts, "Prefer", tt.prefer)
				want := tt.multipart
				if format == "json" {
					want = tt.json
				}
				wantText(t, "answers", strings.Trim(fmt.Sprint(got), "[]"), want)
				wantText(t, "rows", state(s), tt.state)
				if tt.prefer != "" && !strings.HasPrefix(raw.header.Get("Preference-Applied"), goOn) {
					t.Errorf("Preference-Applied is %q", raw.header.Get("Preference-Applied"))
				}
				applied := 0
				for _, w := range s.Writes() {
					if w.Applied {
						applied++
					}
				}
				if n := len(getPage(t, link).Value); n != applied {
					t.Errorf("the delta has %d rows, want one for each of the %d writes that stayed", n, applied)
				}
			})
		}
	}
}

// What a group takes back is as if it had never been: the next write of the
// same key works, sorted reads and alternate keys do not show it.
func TestRollbackLeavesNothing(t *testing.T) {
	s, url := newThings(t, 2, Options{Repeatable: true})
	readAll(t, url+"things?$orderby=n%20desc") // an order that is kept
	before := get(t, url+"things?$orderby=n%20desc&$count=true").raw
	x := adding("1", "g", "x")
	x.body, x.header = `{"id":"x","n":"9","code":"c"}`, "Repeatability-Request-ID: r1\r\nRepeatability-First-Sent: Sat, 31 Jan 2026 10:00:00 GMT"
	got, _ := sendBatch(t, url, "multipart", []part{x, adding("2", "g", "a")})
	wantText(t, "answers", fmt.Sprint(got), "[2=409]")
	wantText(t, "sorted", get(t, url+"things?$orderby=n%20desc&$count=true").raw, before)
	wantStatus(t, "alternate key", get(t, url+"things(code='c')"), 404)
	if n := len(s.Inserted("things")); n != 0 {
		t.Errorf("%d rows made, want none", n)
	}
	got, _ = sendBatch(t, url, "multipart", []part{x})
	wantText(t, "again, with the same request id", fmt.Sprint(got), "[set1:1=201]")
	wantStatus(t, "alternate key", get(t, url+"things(code='c')"), 200)
}

// Requests refer to those before them by "$id" (Protocol 4.01, 11.7.3.1).
func TestBatchReferences(t *testing.T) {
	for _, format := range []string{"multipart", "json"} {
		s, url := newThings(t, 1, Options{})
		y := adding("2", "g", "y")
		y.body, y.dependsOn = `{"id":"y","ownerThing@odata.bind":"$1"}`, []string{"1"}
		patch := part{id: "3", group: "g", method: "PATCH", url: "$1", body: `{"n":"7"}`, dependsOn: []string{"1"}}
		after := part{id: "4", method: "GET", url: "$2", dependsOn: []string{"2", "g"}}
		got, _ := sendBatch(t, url, format, []part{adding("1", "g", "x"), y, patch, after})
		for i, want := range []int{201, 201, 204, 200} {
			if got[i].status != want {
				t.Errorf("%s: answer %d has status %d, want %d: %s", format, i, got[i].status, want, got[i].body)
			}
		}
		wantText(t, format, rowOf(s, "y")+" "+rowOf(s, "x"), "|||x|v3 7||||v4")

		bad := part{id: "5", method: "PATCH", url: "$1", body: `{"n":"7"}`, dependsOn: []string{"1"}}
		got, _ = sendBatch(t, url, format, []part{adding("1", "", "x"), bad}, "Prefer", "odata.continue-on-error")
		wantText(t, format+", of a request that failed", fmt.Sprint(got), "[1=409 5=424]")
	}
}

// Batches that are wrong as a whole are refused, and nothing is done.
func TestMalformedBatch(t *testing.T) {
	const mixed, part = "multipart/mixed;boundary=b", "--b\r\nContent-Type: application/http\r\n"
	set := "--b\r\nContent-Type: multipart/mixed;boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\n"
	post := "POST things HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"id\":\"x\"}\r\n"
	ask := func(more string) string { return `{"requests":[` + more + `]}` }
	one := `{"id":"1","method":"POST","url":"things","body":{"id":"x"}}`
	for _, tt := range []struct {
		name, contentType, body string
		want                    int
	}{
		{"no boundary", "multipart/mixed", part + "\r\n" + post + "--b--\r\n", 400},
		{"another boundary", "multipart/mixed;boundary=x", part + "\r\n" + post + "--b--\r\n", 400},
		{"cut", mixed, part + "\r\n" + post, 400},
		{"bare LF", mixed, strings.ReplaceAll(part+"\r\n"+post+"--b--\r\n", "\r\n", "\n"), 400},
		{"bare LF in the request", mixed, part + "\r\n" + strings.ReplaceAll(post, "\r\n", "\n") + "\r\n--b--\r\n", 400},
		{"no request line", mixed, part + "\r\nthings\r\n\r\n--b--\r\n", 400},
		{"headers without end", mixed, part + "\r\nGET things HTTP/1.1\r\nAccept: x\r\n--b--\r\n", 400},
		{"wrong Content-Length", mixed, part + "\r\nPOST things HTTP/1.1\r\nContent-Length: 99\r\n\r\n{}\r\n--b--\r\n", 400},
		{"no type", mixed, "--b\r\n\r\n" + post + "--b--\r\n", 400},
		{"another type", mixed, "--b\r\nContent-Type: text/plain\r\n\r\n" + post + "--b--\r\n", 400},
		{"a change without Content-ID in a set", mixed, set + "\r\n" + post + "--c--\r\n--b--\r\n", 400},
		{"a Content-ID twice", mixed, set + "Content-ID: 1\r\n\r\n" + post + "--c\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\n" + post + "--c--\r\n--b--\r\n", 400},
		{"a set in a set", mixed, strings.Replace(set, "application/http", "multipart/mixed;boundary=d", 1) + "\r\n--d--\r\n--c--\r\n--b--\r\n", 400},
		{"empty", mixed, "--b--\r\n", 200},
		{"no JSON", "application/json", "{", 400},
		{"no requests", "application/json", "{}", 400},
		{"no requests", "application/json", `{"requests":[]}`, 200},
		{"no id", "application/json", ask(`{"method":"GET","url":"things"}`), 400},
		{"no url", "application/json", ask(`{"id":"1","method":"GET"}`), 400},
		{"an id twice", "application/json", ask(one + "," + one), 400},
		{"a group apart", "application/json", ask(`{"id":"1","atomicityGroup":"g","method":"DELETE","url":"things('a')"},{"id":"2","method":"GET","url":"things"},{"id":"3","atomicityGroup":"g","method":"DELETE","url":"things('b')"}`), 400},
		{"dependsOn what comes later", "application/json", ask(`{"id":"1","method":"GET","url":"things","dependsOn":["2"]},{"id":"2","method":"GET","url":"things"}`), 400},
		{"reference without dependsOn", "application/json", ask(one + `,{"id":"2","method":"GET","url":"$1"}`), 400},
		{"upper-case header", "application/json", ask(`{"id":"1","method":"GET","url":"things","headers":{"Accept":"application/json"}}`), 400},
		{"a body of a GET", "application/json", ask(`{"id":"1","method":"GET","url":"things","body":{}}`), 400},
		{"dependsOn without the group", "application/json", ask(`{"id":"1","atomicityGroup":"g","method":"DELETE","url":"things('x')"},{"id":"2","method":"GET","url":"things","dependsOn":["1"]}`), 400},
		{"another format", "text/plain", "", 415},
		{"too many", "application/json", ask(one + `,{"id":"2","method":"GET","url":"things"},{"id":"3","method":"GET","url":"things"}`), 400},
	} {
		s, url := newThings(t, 2, Options{BatchMax: 2})
		wantStatus(t, tt.name, do(t, "POST", url+"$batch", tt.body, "Content-Type", tt.contentType), tt.want)
		wantText(t, tt.name+": rows", state(s), "a1v1 b2v2")
	}
}

// Which formats and isolations there are, and who tells.
func TestBatchOptions(t *testing.T) {
	for _, tt := range []struct {
		o                       Options
		multipart, json, oddIso int
		formats                 string
	}{
		{Options{}, 200, 200, 412, "<String>application/json</String><String>multipart/mixed</String>"},
		{Options{Batch: "json"}, 415, 200, 412, "<String>application/json</String>"},
		{Options{Batch: "multipart"}, 200, 415, 412, "<String>multipart/mixed</String>"},
		{Options{Batch: "none"}, 501, 501, 412, ""},
		{Options{Flavor: Dataverse}, 200, 415, 412, "<String>multipart/mixed</String>"},
	} {
		_, url := newThings(t, 1, tt.o)
		for _, iso := range []struct {
			value string
			want  [2]int
		}{{"snapshot", [2]int{tt.multipart, tt.json}}, {"serializable", [2]int{tt.oddIso, tt.oddIso}}} {
			for i, encode := range []func([]part) (string, string){multipartBody, jsonBody} {
				contentType, body := encode([]part{reading("1", "things")})
				wantStatus(t, fmt.Sprint(tt.o.Batch, tt.o.Flavor, i, iso.value), do(t, "POST", url+"$batch", body, "Content-Type", contentType, "OData-Isolation", iso.value), iso.want[i])
			}
		}
		raw := strings.NewReplacer("\n", "", "  ", "").Replace(get(t, url+"$metadata").raw)
		if !strings.Contains(raw, tt.formats) || strings.Contains(raw, "SupportedFormats") != (tt.formats != "") {
			t.Errorf("%v: the metadata does not tell the formats", tt.o.Batch)
		}
	}
	_, url := newThings(t, 1, Options{})
	if r := get(t, url+"$batch"); r.status != 405 || r.header.Get("Allow") != "POST" {
		t.Errorf("GET: status %d and Allow %q, want 405 and POST", r.status, r.header.Get("Allow"))
	}
	if (&Options{Batch: "x"}).Check() == nil {
		t.Error("an unknown format is not refused")
	}
}

// Conditions and headers that a request in a batch cannot have.
func TestBatchRefusals(t *testing.T) {
	_, url := newThings(t, 1, Options{})
	contentType, body := jsonBody([]part{reading("1", "things"), {id: "2", method: "GET", url: "things", header: "Range: bytes=1-"}, {id: "3", method: "GET", url: "/things", header: "Host: elsewhere.example"}})
	body = strings.Replace(body, `"id":"1"`, `"if":"true","id":"1"`, 1)
	got := readJSONAnswer(t, do(t, "POST", url+"$batch", body, "Content-Type", contentType))
	wantText(t, "answers", fmt.Sprint(got), "[1=424 2=400 3=400]")
}

// Accept chooses the format of the answer, whatever that of the batch.
func TestBatchAccept(t *testing.T) {
	parts := []part{adding("1", "g", "x"), adding("2", "g", "a"), reading("3", "things")}
	for _, tt := range []struct{ from, accept, want string }{
		{"multipart", "", "[2=409 3=200]"}, {"multipart", "multipart/mixed", "[2=409 3=200]"}, {"multipart", "application/json", "[changeset 1:1=424 changeset 1:2=409 3=200]"},
		{"json", "*/*", "[g:1=424 g:2=409 3=200]"}, {"json", "multipart/mixed", "[1=424 2=409 3=200]"},
	} {
		_, url := newThings(t, 1, Options{})
		encode := map[string]func([]part) (string, string){"multipart": multipartBody, "json": jsonBody}[tt.from]
		contentType, body := encode(parts)
		r := do(t, "POST", url+"$batch", body, "Content-Type", contentType, "Accept", tt.accept, "Prefer", "odata.continue-on-error")
		decode := readMultipartAnswer
		if r.header.Get("Content-Type") == "application/json" {
			decode = readJSONAnswer
		}
		wantText(t, tt.from+" to "+tt.accept, fmt.Sprint(decode(t, r)), tt.want)
	}
}

// Business Central takes a batch with Isolation: snapshot for a transaction.
// What was read in it is forgotten with it.
func TestBusinessCentralTransaction(t *testing.T) {
	for isolation, want := range map[string]string{"": "[1=204 2=200 3=409 4=201] y C00001 C00002", "snapshot": "[1=424 2=424 3=409 4=424] C00002 C00001"} {
		s := New(Options{Flavor: BusinessCentral, Rows: 2})
		url := s.Start(t)
		customers := "companies(" + s.companies[0].id + ")/customers"
		row := func(id, no string) part {
			return part{id: id, method: "POST", url: customers, body: `{"No":"` + no + `"}`}
		}
		rename := func(id, no, name string) part {
			return part{id: id, method: "PATCH", url: customers + "('" + no + "')", body: `{"Name":"` + name + `","CreditLimit":"1"}`}
		}
		wantStatus(t, "PATCH", send(t, "PATCH", url+customers+"('C00001')", `{"Name":"m"}`), 204)
		wantStatus(t, "PATCH", send(t, "PATCH", url+customers+"('C00002')", `{"Name":"b"}`), 204)
		sorted := customers + "?$select=No&$orderby=Name"
		got, _ := sendBatch(t, url, "json", []part{rename("1", "C00001", "a"), reading("2", sorted), row("3", "C00001"), row("4", "y")}, "Isolation", isolation)
		var order []string
		for _, r := range getPage(t, url+sorted).Value {
			order = append(order, r["No"].(string))
		}
		wantText(t, "isolation "+isolation, fmt.Sprint(got, " ", strings.Join(order, " ")), want)
	}
}

// A whole batch whose reply is lost was carried out; nothing came twice.
func TestLoseBatchReply(t *testing.T) {
	s, url := newThings(t, 1, Options{Faults: []string{"lose-reply=1"}})
	contentType, body := jsonBody([]part{adding("1", "", "x"), adding("2", "", "y")})
	if r := do(t, "POST", url+"$batch", body, "Content-Type", contentType); r.err == nil {
		t.Errorf("status %d, want a lost reply", r.status)
	}
	wantText(t, "rows", state(s), "a1v1 xv2 yv3")
	if made := s.Inserted("things"); made["x"] != 1 || made["y"] != 1 || !s.Writes()[0].Batch {
		t.Errorf("made %v, want each once and in a batch", made)
	}
	contentType, body = jsonBody([]part{reading("1", "things")})
	wantStatus(t, "a batch that only reads", do(t, "POST", url+"$batch", body, "Content-Type", contentType), 200)
}

// Whatever comes, the batch is answered by the standard, and a group is done
// wholly or not at all.
func FuzzBatch(f *testing.F) {
	parts := []part{adding("1", "g", "x"), changing("2", "g", "a", "5"), reading("3", "things('a')"), adding("4", "h", "y"), adding("5", "h", "a"), {id: "6", method: "DELETE", url: "$1", dependsOn: []string{"1"}}}
	for _, encode := range []func([]part) (string, string){multipartBody, jsonBody} {
		for n := range parts {
			contentType, body := encode(parts[:n+1])
			f.Add(contentType, body)
		}
	}
	f.Add("multipart/mixed;boundary=b", "--b\r\nContent-Type: application/http\r\n\r\nGET $metadata HTTP/1.1\r\n\r\n\r\n--b--\r\n")
	f.Add("multipart/mixed;boundary=b", "--b\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n--b--\r\n--b--\r\n")
	f.Add("application/json", `{"requests":[{"id":"1","method":"put","url":"things(code='%2B')","headers":{"content-type":"application/octet-stream"},"body":"AA"}]}`)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		s := New(Options{Entities: []kedge.Entity{things()}})
		if err := s.Put("things", thing("a", 1), thing("b", 2)); err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest(http.MethodPost, "http://odatatest.example/$batch", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header["Content-Type"] = []string{contentType}
		a, _ := s.answer(r)
		if !slices.Contains([]int{200, 400, 415, 501}, a.status) {
			t.Errorf("status %d: %s", a.status, a.body)
		}
		live := 0
		for _, row := range s.table("things").rows {
			if s.table("things").values(row, s.seq) != nil {
				live++
			}
		}
		if live != s.table("things").live || live != len(s.Records("things")) {
			t.Errorf("%d rows, but %d are counted", live, s.table("things").live)
		}
		made, removed := 0, 0
		for _, w := range s.Writes() {
			if w.Applied && w.Created {
				made++
			} else if w.Applied && w.Method == http.MethodDelete {
				removed++
			}
		}
		if live != 2+made-removed {
			t.Errorf("%d rows after %d were made and %d removed", live, made, removed)
		}
	})
}
