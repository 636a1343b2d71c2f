package odatatest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

// Another process edits rows and looks at requests.
func TestControl(t *testing.T) {
	s, url := newThings(t, 2, Options{Auth: Auth{Kind: "bearer", Token: "secret"}, NoVersion: true})
	send := func(method, path, body string, want int) string {
		t.Helper()
		r := do(t, method, url+"_test/"+path, body)
		if r.status != want {
			t.Errorf("%s %s: status %d, want %d: %s", method, path, r.status, want, r.raw)
		}
		return r.raw
	}
	send("POST", "rows/things", `{"id":"x/'","n":9007199254740993,"name":"new"}`, 204)
	send("POST", "rows/things", `[{"id":"y","n":"5"},{"id":"z","n":null}]`, 204)
	send("PATCH", "rows/things", `{"id":"a","n":-1}`, 204)
	send("DELETE", "rows/things?key=b&key=z&key=unknown", "", 204)
	var got []string
	for _, r := range s.Records("things") {
		got = append(got, string(r.Key)+" "+r.Get("n").Text()+" "+r.Get("name").Text())
	}
	wantText(t, "rows", strings.Join(got, ", "), "a -1 thing a, x/' 9007199254740993 new, y 5 ")

	for _, bad := range [][2]string{
		{"POST rows/nope", `{}`}, {"POST rows/things", `{"id":"a","nope":1}`}, {"POST rows/things", `{"n":1}`}, {"POST rows/things", `{`},
		{"POST rows/things", `{"id":"a","n":1.5}`}, {"PATCH rows/things", `{"id":"unknown","n":1}`}, {"DELETE rows/nope?key=a", ""},
		{"POST fault", `{"faults":["nope=1"]}`}, {"POST fault", ``}, {"GET stats?set=nope", ""}, {"GET stats?set=things&fields=nope", ""},
		{"POST edit/things?n=0", ""}, {"POST edit/nope?n=1", ""}, {"POST approve?code=x", ""}, {"GET nope", ""}, {"GET rows/things", ""},
	} {
		method, path, _ := strings.Cut(bad[0], " ")
		send(method, path, bad[1], 400)
	}

	send("POST", "fault", `{"faults":["500=1"]}`, 204)
	if r := get(t, url+"things"); r.status != 500 {
		t.Errorf("with the fault: status %d, want 500", r.status)
	}
	send("POST", "fault", `{"faults":[]}`, 204)
	send("DELETE", "requests", "", 204)
	get(t, url+"things?$top=1", "Prefer", "odata.maxpagesize=1", "Accept", "application/json", "Authorization", "Bearer secret")
	var requests []Request
	if err := json.Unmarshal([]byte(send("GET", "requests", "", 200)), &requests); err != nil {
		t.Fatal(err)
	}
	if want := []Request{{newClock().Now(), "GET", "/things", "$top=1", "odata.maxpagesize=1", "application/json", 200}}; !reflect.DeepEqual(requests, want) {
		t.Errorf("requests: got %v, want %v", requests, want)
	}
	do(t, "PATCH", url+"things('a')", `{"n":5}`, "Content-Type", "application/json", "Authorization", "Bearer secret")
	wantText(t, "writes", send("GET", "writes", "", 200), `[{"method":"PATCH","set":"things","key":"a","body":"{\"n\":5}","status":204,"applied":true}]`)
	send("DELETE", "writes", "", 204)
	wantText(t, "forgotten writes", send("GET", "writes", "", 200), "null")
	if s.Calls() != 2 {
		t.Errorf("calls: got %d, want 2: refused ones do not count", s.Calls())
	}
}

// Calls counts requests for rows, whatever their answer, and no others.
func TestCalls(t *testing.T) {
	s, url := newThings(t, 1, Options{})
	for path, want := range map[string]int{"": 0, "$metadata": 0, "nope": 0, "things": 1, "things('a')": 1, "things('zz')": 1, "things/$count": 1, "things?$nope=1": 1} {
		before := s.Calls()
		get(t, url+path)
		if got := s.Calls() - before; got != want {
			t.Errorf("GET %s counts %d times, want %d", path, got, want)
		}
	}
}

// Stats can be computed from a copy: exact sums, and a hash of canonical values.
func TestStats(t *testing.T) {
	s := New(Options{Entities: []kedge.Entity{allTypes()}, NoVersion: true})
	if err := s.Put("values", valueRow(), Row("k", kedge.Int(-3), "big", kedge.Int(1<<62), "amount", kedge.Decimal("0.1")), Row("k", kedge.Int(2), "big", kedge.Int(1<<62))); err != nil {
		t.Fatal(err)
	}
	stats, err := s.Stats("values", "k", "amount", "big", "exact", "text")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"k": "0", "amount": "20", "big": "9232379236109516801", "exact": "0.0000001"}
	if stats.Count != 3 || !reflect.DeepEqual(stats.Sums, want) {
		t.Errorf("got %d and %v, want 3 and %v", stats.Count, stats.Sums, want)
	}
	hash := sha256.New()
	for _, r := range s.Records("values") {
		for _, f := range []string{"k", "amount", "big", "exact", "text"} {
			hash.Write(r.Get(f).AppendCanonical(nil))
		}
	}
	wantText(t, "hash", stats.Hash, hex.EncodeToString(hash.Sum(nil)))
}

// Only this machine may edit rows, and no page of another site through a
// browser on it.
func TestControlIsLocal(t *testing.T) {
	s := New(Options{Rows: 1})
	for _, tt := range []struct {
		remote, host string
		want         int
	}{
		{"127.0.0.1:1", "127.0.0.1:4004", 200}, {"[::1]:1", "[::1]:4004", 200}, {"127.0.0.1:1", "localhost:4004", 200},
		{"192.0.2.1:1", "127.0.0.1:4004", 403}, {"127.0.0.1:1", "evil.example", 403}, {"127.0.0.1:1", "127.0.0.1.evil.example:4004", 403}, {"", "127.0.0.1", 403},
	} {
		r := httptest.NewRequest(http.MethodGet, "/_test/requests", nil)
		r.RemoteAddr, r.Host = tt.remote, tt.host
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("from %s for %s: status %d, want %d", tt.remote, tt.host, w.Code, tt.want)
		}
	}
}

// Only so many requests are remembered.
func TestRequestLimit(t *testing.T) {
	var l requestLog
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for range maxRequests {
		l.add(r, time.Time{})
	}
	if len(l.list) != maxRequests {
		t.Errorf("at the limit: %d requests, want %d", len(l.list), maxRequests)
	}
	if l.add(r, time.Time{}); len(l.list) != maxRequests/2+1 {
		t.Errorf("past the limit: %d requests, want %d", len(l.list), maxRequests/2+1)
	}
}

// Rows of 16 MiB are taken, one byte more is not.
func TestCommandLimit(t *testing.T) {
	_, url := newThings(t, 0, Options{})
	row := `{"id":"a","name":"` + strings.Repeat("x", maxCommand-len(`{"id":"a","name":""}`)) + `"}`
	if r := do(t, "POST", url+"_test/rows/things", row); r.status != 204 {
		t.Errorf("at the limit: status %d, want 204: %s", r.status, r.raw)
	}
	if r := do(t, "POST", url+"_test/rows/things", row+" "); r.status != 400 || !strings.Contains(r.raw, "too large") {
		t.Errorf("past the limit: status %d, want 400: %s", r.status, r.raw)
	}
}
