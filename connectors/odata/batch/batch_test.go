package batch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

const multipartType = "multipart/mixed; boundary=b"

func requests() []Request {
	return []Request{
		{Method: "POST", URL: "customers", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"id":"a&b"}`)},
		{Method: "GET", URL: "customers('a%2Fb')?$select=id"},
	}
}

func TestEncodeMultipart(t *testing.T) {
	contentType, body := Multipart.Encode(requests(), false, "x")
	want := strings.ReplaceAll(`--batch_x
Content-Type: application/http
Content-Transfer-Encoding: binary
Content-ID: 1

POST customers HTTP/1.1
Content-Type: application/json
Content-Length: 12

{"id":"a&b"}
--batch_x
Content-Type: application/http
Content-Transfer-Encoding: binary
Content-ID: 2

GET customers('a%2Fb')?$select=id HTTP/1.1


--batch_x--
`, "\n", "\r\n")
	if contentType != "multipart/mixed;boundary=batch_x" || string(body) != want {
		t.Errorf("got %s\n%s\nwant\n%s", contentType, body, want)
	}
	if _, body = Multipart.Encode(requests(), true, "x"); strings.Count(string(body), "--changeset_x\r\n") != 2 || !strings.HasSuffix(string(body), "--changeset_x--\r\n--batch_x--\r\n") {
		t.Errorf("a group is not one change set:\n%s", body)
	}
}

func TestEncodeJSON(t *testing.T) {
	_, body := JSON.Encode(requests(), true, "")
	want := `{"requests":[{"id":"1","atomicityGroup":"g1","method":"POST","url":"customers","headers":{"content-type":"application/json"},"body":{"id":"a&b"}},` +
		`{"id":"2","atomicityGroup":"g1","method":"GET","url":"customers('a%2Fb')?$select=id"}]}` + "\n"
	if string(body) != want {
		t.Errorf("got\n%s\nwant\n%s", body, want)
	}
	if _, body = JSON.Encode(requests(), false, ""); strings.Contains(string(body), "atomicityGroup") {
		t.Errorf("single requests are in a group: %s", body)
	}
}

// multi makes a multipart answer of parts "id status"; "-" is no id.
func multi(nested bool, parts ...string) string {
	inner := "b"
	var b strings.Builder
	if nested {
		inner = "c"
		b.WriteString("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n")
	}
	for _, p := range parts {
		id, status, _ := strings.Cut(p, " ")
		b.WriteString("--" + inner + "\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n")
		if id != "-" {
			b.WriteString("Content-ID: " + id + "\r\n")
		}
		fmt.Fprintf(&b, "\r\nHTTP/1.1 %s Some words\r\nETag: W/\"%s\"\r\nContent-Length: 7\r\n\r\n{\"a\":1}\r\n", status, id)
	}
	if nested {
		b.WriteString("--c--\r\n")
	}
	b.WriteString("--b--\r\n")
	return b.String()
}

// jsonAnswer makes a JSON answer of parts "id status"; "-" is a null id.
func jsonAnswer(parts ...string) string {
	var list []string
	for _, p := range parts {
		id, status, _ := strings.Cut(p, " ")
		if id = `"` + id + `"`; id == `"-"` {
			id = "null"
		}
		list = append(list, `{"id":`+id+`,"status":`+status+`,"headers":{"etag":"W/\"1\""},"body":{"a":1}}`)
	}
	return `{"responses":[` + strings.Join(list, ",") + `]}`
}

func answers(t testing.TB, parts ...string) map[string]*Answer {
	t.Helper()
	all := map[string]*Answer{}
	for name, body := range map[string]string{"flat": multi(false, parts...), "nested": multi(true, parts...), "json": jsonAnswer(parts...)} {
		contentType := multipartType
		if name == "json" {
			contentType = "application/json; charset=utf-8"
		}
		a, err := Read(contentType, body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a.Cut {
			t.Errorf("%s: a whole answer counts as cut", name)
		}
		for _, p := range a.Parts {
			if p.Body != `{"a":1}` || p.Header.Get("ETag") == "" {
				t.Errorf("%s: got a part with body %q and header %v", name, p.Body, p.Header)
			}
		}
		all[name] = a
	}
	return all
}

// outcome writes matches as "201 404 skipped ?".
func outcome(all []Match) string {
	var out []string
	for _, m := range all {
		out = append(out, map[State]string{Answered: fmt.Sprint(m.Part.Status), Skipped: "skipped", Unanswered: "?"}[m.State])
	}
	return strings.Join(out, " ")
}

func TestSingle(t *testing.T) {
	for _, tt := range []struct {
		name  string
		parts []string
		n     int
		stops string // what becomes of the requests if the service may stop at an error
		goes  string // and if it may not
	}{
		{"by id in any order", []string{"2 404", "3 204", "1 201"}, 3, "201 404 204", "201 404 204"},
		{"without ids by order", []string{"- 201", "- 404", "- 204"}, 3, "201 404 204", "201 404 204"},
		{"ids of the service's own", []string{"x 201", "y 404"}, 2, "201 404", "201 404"},
		{"stopped at an error", []string{"1 201", "2 400"}, 4, "201 400 skipped skipped", "201 400 ? ?"},
		{"stopped at an error, no ids", []string{"- 201", "- 400"}, 4, "201 400 skipped skipped", "201 400 ? ?"},
		{"a gap is no stop", []string{"1 201", "3 400"}, 4, "201 ? 400 ?", "201 ? 400 ?"},
		{"two errors are no stop", []string{"1 400", "2 400"}, 3, "400 400 ?", "400 400 ?"},
		{"the last answer left out", []string{"1 201", "2 201"}, 3, "201 201 ?", "201 201 ?"},
		{"left out without ids", []string{"- 201", "- 201"}, 3, "? ? ?", "? ? ?"},
		{"more answers than requests", []string{"- 201", "- 201"}, 1, "?", "?"},
		{"an id twice", []string{"1 400", "1 201", "2 201"}, 2, "400 201", "400 201"},
		{"nothing", nil, 1, "?", "?"},
	} {
		for form, a := range answers(t, tt.parts...) {
			if got := outcome(a.Single(tt.n, true)); got != tt.stops {
				t.Errorf("%s, %s, may stop: got %s, want %s", tt.name, form, got, tt.stops)
			}
			if got := outcome(a.Single(tt.n, false)); got != tt.goes {
				t.Errorf("%s, %s, goes on: got %s, want %s", tt.name, form, got, tt.goes)
			}
		}
	}
}

func TestGroup(t *testing.T) {
	for _, tt := range []struct {
		name    string
		parts   []string
		verdict Verdict
		culprit int
		status  int
	}{
		{"all done", []string{"1 201", "2 204", "3 204"}, Done, -1, 0},
		{"all done without ids", []string{"- 201", "- 204", "- 204"}, Done, -1, 0},
		{"a 201 beside an error", []string{"1 201", "2 400", "3 201"}, RolledBack, 1, 400},
		{"failed dependencies", []string{"1 424", "2 424", "3 409"}, RolledBack, 2, 409},
		{"failed dependencies only", []string{"1 424", "2 424", "3 424"}, RolledBack, -1, 424},
		{"one answer for all", []string{"- 400"}, RolledBack, -1, 400},
		{"one answer for all with the id of the group", []string{"g1 400"}, RolledBack, -1, 400},
		{"one answer with the id of its request", []string{"3 400"}, RolledBack, 2, 400},
		{"one left out", []string{"1 201", "3 201"}, Unknown, -1, 0},
		{"the error without id among others", []string{"- 201", "- 500", "- 424"}, RolledBack, 1, 500},
	} {
		for form, a := range answers(t, tt.parts...) {
			verdict, all, culprit, part := a.Group(3)
			if verdict != tt.verdict || culprit != tt.culprit || part.Status != tt.status || len(all) != 3 {
				t.Errorf("%s, %s: got verdict %d, culprit %d, status %d; want %d, %d, %d", tt.name, form, verdict, culprit, part.Status, tt.verdict, tt.culprit, tt.status)
			}
		}
	}
}

// Of an answer that is cut anywhere, each part that counts is whole and right,
// and none behind the cut is called skipped.
func TestCutAnywhere(t *testing.T) {
	parts := []string{"1 201", "2 400", "3 204"}
	want := []int{201, 400, 204}
	for name, whole := range map[string]string{multipartType: multi(false, parts...), "application/json": jsonAnswer(parts...)} {
		seen := 0
		for n := range len(whole) {
			a, err := Read(name, whole[:n])
			if err != nil {
				t.Fatalf("%s cut at %d: %v", name, n, err)
			}
			if !a.Cut && n < len(strings.TrimRight(whole, "\r\n")) {
				t.Errorf("%s cut at %d counts as whole", name, n)
			}
			for i, m := range a.Single(3, true) {
				switch {
				case m.State == Skipped:
					t.Errorf("%s cut at %d: request %d counts as skipped", name, n, i+1)
				case m.State == Answered && (m.Part.Status != want[i] || m.Part.Body != `{"a":1}`):
					t.Errorf("%s cut at %d: request %d has status %d and body %q", name, n, i+1, m.Part.Status, m.Part.Body)
				case m.State == Answered:
					seen++
				}
			}
			if verdict, _, _, _ := a.Group(3); verdict == Done {
				t.Errorf("%s cut at %d: a group with an error counts as done", name, n)
			}
		}
		if seen == 0 {
			t.Errorf("%s: no part of a cut answer was used", name)
		}
	}
}

// A group of which the answer is cut is never called done before all of its
// parts are there.
func TestCutGroup(t *testing.T) {
	parts := []string{"1 201", "2 204"}
	for name, whole := range map[string]string{multipartType: multi(true, parts...), "application/json": jsonAnswer(parts...)} {
		for n := range len(whole) {
			a, err := Read(name, whole[:n])
			if err != nil {
				t.Fatalf("%s cut at %d: %v", name, n, err)
			}
			if verdict, all, _, _ := a.Group(2); verdict == Done && outcome(all) != "201 204" || verdict == RolledBack {
				t.Errorf("%s cut at %d: got verdict %d with %s", name, n, verdict, outcome(all))
			}
		}
	}
}

func TestReadOddities(t *testing.T) {
	for name, tt := range map[string]struct{ contentType, body, want string }{
		"line feeds only":       {multipartType, strings.ReplaceAll(multi(true, "1 201", "2 204"), "\r", ""), "201 204"},
		"words before and past": {multipartType, "preamble\r\n--bb\r\n" + multi(false, "1 201", "2 204") + "epilogue --b", "201 204"},
		"id inside the answer":  {multipartType, "--b\nContent-Type: application/http\n\nHTTP/1.1 204 No Content\nContent-ID: 2\n\n\n--b\nContent-Type: application/http\n\nHTTP/1.1 201 Created\ncontent-id: 1\n\n\n--b--", "201 204"},
		"quoted boundary":       {`multipart/mixed; boundary="b"`, multi(false, "1 201", "2 204"), "201 204"},
		"a part that is none":   {multipartType, "--b\r\n\r\nhello\r\n--b\r\nContent-ID: 2\r\n\r\nHTTP/1.1 204\r\n\r\n\r\n--b--", "? 204"},
		"numbers for ids":       {"application/json", `{"responses":[{"id":2,"status":"204"},{"id":1,"status":201,"headers":null,"body":null}]}`, "201 204"},
		"status out of range":   {"application/json", `{"responses":[{"id":"2","status":99999},{"id":"1","status":201}]}`, "201 ?"},
		"other members":         {"application/json", `{"@odata.context":"x","responses":[{"id":"1","status":201},{"id":"2","status":204}],"x":[{}]}`, "201 204"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := Read(tt.contentType, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(a.Single(2, true)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	for name, tt := range map[string]struct{ contentType, body string }{
		"a page":              {"text/html", "<html>"},
		"no boundary":         {"multipart/mixed", "--b--"},
		"an array":            {"application/json", "[]"},
		"no responses":        {"application/json", "{}"},
		"an error, but a 200": {"application/json", `{"error":{"code":"x"}}`},
	} {
		if _, err := Read(tt.contentType, tt.body); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Whatever comes, reading ends, keeps statuses in range, and gives each request
// one state.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{multi(true, "1 201", "2 400"), multi(false, "- 201", "x 500"), "--b\n--b--", "--b--"} {
		f.Add(multipartType, body)
	}
	f.Add("application/json", jsonAnswer("1 201", "- 404"))
	f.Add("application/json", `{"responses":[{"id":1,"status":"200","body":"x"}],"@nextLink":"n"}`)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		a, err := Read(contentType, body)
		if err != nil {
			return
		}
		for _, p := range a.Parts {
			if p.Status != 0 && (p.Status < 100 || p.Status > 599) {
				t.Errorf("status %d", p.Status)
			}
		}
		for n := range 4 {
			for _, m := range a.Single(n, true) {
				if m.State < Answered || m.State > Unanswered || m.State == Answered && m.Part.Status == 0 {
					t.Errorf("state %d with status %d", m.State, m.Part.Status)
				}
			}
			verdict, all, culprit, part := a.Group(n)
			if verdict == Done {
				for _, m := range all {
					if m.Part.Failed() {
						t.Error("a group with an error is done")
					}
				}
			}
			if verdict == RolledBack && !part.Failed() || culprit >= n {
				t.Errorf("verdict %d with culprit %d and status %d", verdict, culprit, part.Status)
			}
		}
	})
}

// Each request that is written can be read again by independent readers.
func FuzzEncode(f *testing.F) {
	f.Add("x")
	f.Add("--batch_x--\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		body, err := json.Marshal(map[string]string{"a": text})
		if err != nil {
			t.Fatal(err)
		}
		r := Request{Method: "POST", URL: "/customers('a%27')", Header: http.Header{"If-Match": {"*"}}, Body: body}
		_, encoded := JSON.Encode([]Request{r, r}, true, "")
		var back struct {
			Requests []struct {
				Body json.RawMessage
			}
		}
		if err := json.Unmarshal(encoded, &back); err != nil || len(back.Requests) != 2 || !bytes.Equal(back.Requests[1].Body, body) {
			t.Errorf("json: got %v, %d requests", err, len(back.Requests))
		}
		_, encoded = Multipart.Encode([]Request{r, r}, false, "x")
		parts := multipart.NewReader(bytes.NewReader(encoded), "batch_x")
		for range 2 {
			part, err := parts.NextRawPart()
			if err != nil {
				t.Fatal(err)
			}
			got, err := http.ReadRequest(bufio.NewReader(part))
			if err != nil {
				t.Fatal(err)
			}
			if content, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(content, body) || got.RequestURI != r.URL || got.Header.Get("If-Match") != "*" {
				t.Errorf("multipart: got %s %v with %d bytes", got.RequestURI, err, len(content))
			}
		}
	})
}
