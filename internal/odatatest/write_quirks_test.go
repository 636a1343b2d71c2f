package odatatest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

// Every quirk of writing shows its effect, next to what an honest service does.
func TestWriteQuirks(t *testing.T) {
	failing := []part{adding("1", "g", "x"), adding("2", "g", "a"), adding("3", "g", "y"), reading("4", "things('x')")}
	answers := func(honest, odd string, parts ...part) func(t *testing.T, quirk string) {
		return func(t *testing.T, quirk string) {
			bothWays(t, quirk, honest, odd, func(s *Service, url string) string {
				var out []string
				for _, format := range []string{"multipart", "json"} {
					got, _ := sendBatch(t, url, format, parts, "Prefer", "odata.continue-on-error")
					out = append(out, fmt.Sprint(got))
					remove(t, s, "x", "y")
				}
				return strings.Join(out, " ")
			})
		}
	}
	cases := map[string]func(t *testing.T, quirk string){
		Batch201RolledBack: answers("[2=409 4=404] [g:1=424 g:2=409 g:3=424 4=404]",
			"[set1:1=201 set1:2=409 set1:3=424 4=404] [g:1=201 g:2=409 g:3=424 4=404]", failing...),
		BatchNullIDs: answers("[set1:1=201 2=200] [g:1=201 2=200]", "[set1:=201 =200] [g:=201 =200]", adding("1", "g", "x"), reading("2", "things")),
		BatchFlat:    answers("[set1:1=201 set1:2=201] [g:1=201 g:2=201]", "[1=201 2=201] [1=201 2=201]", adding("1", "g", "x"), adding("2", "g", "y")),
		BatchOmits: answers("[1=201 2=200 3=200 4=200] [1=201 2=200 3=200 4=200]", "[1=201 2=200 4=200] [1=201 2=200 4=200]",
			adding("1", "", "x"), reading("2", "things"), reading("3", "things"), reading("4", "things")),
		BatchNextLink: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "1 [1=200 2=200 3=200 4=200 5=201]", "3 [1=200 2=200 3=200 4=200 5=201]", func(s *Service, url string) string {
				got, _ := sendBatch(t, url, "json", []part{reading("1", "things"), reading("2", "things"), reading("3", "things"), reading("4", "things"), adding("5", "", "x")})
				if n := s.Inserted("things")["x"]; n != 1 {
					t.Errorf("the row was made %d times, want once", n)
				}
				return fmt.Sprint(len(s.Requests()), " ", got)
			})
		},
		BatchWrongHost: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "ROOT/things('x') true", "https://internal.example:44300/things('x') false", func(s *Service, url string) string {
				got, _ := sendBatch(t, url, "multipart", []part{adding("1", "", "x")})
				return relative(got[0].location, url) + " " + jsonBool(strings.Contains(got[0].body, url))
			})
		},
		Duplicate500: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "409 500", "500 500", func(s *Service, url string) string {
				r := send(t, "POST", url+"things", `{"id":"a"}`)
				if _, _, _ = errorOf(t, r); r.status < 400 { // the body is an OData error in both cases
					t.Error("a duplicate was accepted")
				}
				defer s.Fail(Failure{Status: 500})()
				return fmt.Sprint(r.status, " ", send(t, "POST", url+"things", `{"id":"b"}`).status)
			})
		},
		CSRF: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "204", "403 Required", func(_ *Service, url string) string {
				r := send(t, "PATCH", url+"things('a')", `{"n":"5"}`)
				return strings.TrimSpace(fmt.Sprint(r.status, " ", r.header.Get("X-CSRF-Token")))
			})
		},
		Normalise: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "' x ' v6", "'x' v7", func(s *Service, url string) string {
				s = New(Options{Entities: []kedge.Entity{things()}, Quirks: s.opts.Quirks})
				put(t, s, thing("a", 1), thing("b", 1), thing("c", 1), thing("d", 1), thing("e", 1))
				send(t, "PATCH", s.Start(t)+"things('a')", `{"name":" x "}`)
				r := s.Records("things")[0]
				return "'" + r.Get("name").Text() + "' v" + r.Get("RowVersion").Text()
			})
		},
	}
	everyName(t, WriteQuirks(), cases)
	for _, q := range WriteQuirks() {
		if test := cases[q.Name]; test != nil {
			t.Run(q.Name, func(t *testing.T) { test(t, q.Name) })
		}
	}
}

// Decimals are rounded to two places, half away from zero, and never refused
// for their digits; keys stay as they are.
func TestNormalise(t *testing.T) {
	s := New(Options{Rows: 1, Quirks: []string{Normalise}})
	url := s.Start(t)
	for sent, want := range map[string]string{"1.005": "1.01", "-1.005": "-1.01", "2": "2.00", "19.9": "19.90", "1e-7": "0.00"} {
		r := send(t, "PATCH", url+"customers('C00001')?$select=Balance", `{"Balance":"`+sent+`"}`, "Prefer", "return=representation")
		if !strings.Contains(r.raw, `"Balance":"`+want+`"`) {
			t.Errorf("%s: got %s, want %s", sent, r.raw, want)
		}
	}
	wantStatus(t, "POST", send(t, "POST", url+"customers", `{"No":" x ","Name":"  y "}`), 201)
	wantStatus(t, "the key with spaces", get(t, url+"customers('%20x%20')"), 200)
}

// The way of SAP Gateway: fetch a token from the root, send it with its cookie.
func TestCSRF(t *testing.T) {
	s, url := newThings(t, 1, Options{Quirks: []string{CSRF}})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	ask := func(method, url, token string) *http.Response {
		r, err := http.NewRequest(method, url, strings.NewReader(`{"n":"5"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", jsonType)
		r.Header.Set("X-CSRF-Token", token)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp
	}
	if got := ask("GET", url+"things", "Fetch").Header.Get("X-CSRF-Token"); got != "" {
		t.Errorf("things gave the token %q; only the root gives one", got)
	}
	token := ask("GET", url, "Fetch").Header.Get("X-CSRF-Token")
	for _, tt := range []struct {
		name, token string
		want        int
	}{{"no token", "", 403}, {"another token", "x", 403}, {"the word fetch", "Fetch", 403}, {"the token", token, 204}, {"again", token, 204}} {
		if r := ask("PATCH", url+"things('a')", tt.token); r.StatusCode != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, r.StatusCode, tt.want)
		}
	}
	wantStatus(t, "the token without its cookie", send(t, "PATCH", url+"things('a')", `{}`, "X-CSRF-Token", token), 403)
	s.ExpireCSRF()
	if r := ask("PATCH", url+"things('a')", token); r.StatusCode != 403 || r.Header.Get("X-CSRF-Token") != "Required" {
		t.Errorf("after the session: status %d and %q, want 403 and Required", r.StatusCode, r.Header.Get("X-CSRF-Token"))
	}
	if n := len(s.Writes()); n != 2 {
		t.Errorf("%d writes, want 2", n)
	}
}

// lose-reply cuts the connection when the row is there already; what was
// refused is answered.
func TestLoseReply(t *testing.T) {
	s, url := newThings(t, 1, Options{Faults: []string{"lose-reply=1"}})
	if r := send(t, "POST", url+"things", `{"id":"x"}`); r.err == nil || r.status != 0 {
		t.Errorf("POST: status %d, want a lost reply", r.status)
	}
	if rowOf(s, "x") == "" {
		t.Error("the row is not there")
	}
	wantStatus(t, "POST again", send(t, "POST", url+"things", `{"id":"x"}`), 409)
	wantStatus(t, "GET", get(t, url+"things"), 200)
	if n := s.Inserted("things")["x"]; n != 1 {
		t.Errorf("the row was made %d times, want once", n)
	}
}

// Other faults come before anything is written.
func TestWriteFaults(t *testing.T) {
	s, url := newThings(t, 1, Options{Faults: []string{"500=1"}})
	wantStatus(t, "500", send(t, "POST", url+"things", `{"id":"x"}`), 500)
	if err := s.SetFaults("429=1,3"); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, "429", send(t, "POST", url+"things", `{"id":"x"}`), 429)
	if err := s.SetFaults(); err != nil {
		t.Fatal(err)
	}
	stop := s.Fail(Failure{Status: 503})
	wantStatus(t, "Fail", send(t, "POST", url+"things", `{"id":"x"}`), 503)
	stop()
	if w := s.Writes(); rowOf(s, "x") != "" || len(w) != 0 {
		t.Errorf("row %q and writes %+v, want none", rowOf(s, "x"), w)
	}
}

// The errors of writing have other bodies than OData's under odd-errors.
func TestOddWriteErrors(t *testing.T) {
	_, url := newThings(t, 1, Options{Quirks: []string{OddErrors}, NeedIfMatch: true})
	for _, tt := range []struct {
		method, path, body string
		headers            []string
		status             int
		want               string // begin of the body
	}{
		{"POST", "things", `{"n":"1"}`, nil, 400, `{"error":{"code":400`},
		{"POST", "things", `{"id":"a"}`, nil, 409, "<!DOCTYPE html>"},
		{"PATCH", "things('a')", `{}`, []string{"If-Match", `"x"`}, 412, ""},
		{"PATCH", "things('a')", `{}`, nil, 428, `{"Message":`},
		{"PATCH", "things('x')", `{}`, []string{"If-Match", `*`}, 404, "<!DOCTYPE html>"},
	} {
		r := send(t, tt.method, url+tt.path, tt.body, tt.headers...)
		wantStatus(t, tt.method+" "+tt.path, r, tt.status)
		if !strings.HasPrefix(r.raw, tt.want) || tt.want == "" && r.raw != "" {
			t.Errorf("%s %s: got %q, want it to begin with %q", tt.method, tt.path, r.raw, tt.want)
		}
	}
}

// Repeatable Requests 1.0: the same request is carried out once.
func TestRepeatable(t *testing.T) {
	c := newClock()
	s, url := newThings(t, 1, Options{Repeatable: true, Now: c.Now})
	sent := c.Now().Format(http.TimeFormat)
	post := func(body, id, sent string) response {
		return send(t, "POST", url+"things", body, "Repeatability-Request-ID", id, "Repeatability-First-Sent", sent)
	}
	first := post(`{"id":"x"}`, "r1", sent)
	wantStatus(t, "first", first, 201)
	wantText(t, "result", first.header.Get("Repeatability-Result"), "accepted")
	patch(t, s, "id", kedge.String("x"), "n", kedge.Int(9))
	again := post(`{"id":"x"}`, "r1", sent)
	wantText(t, "again", fmt.Sprint(again.status, again.raw, again.header.Get("ETag"), again.header.Get("Location"), again.header.Get("Repeatability-Result")),
		fmt.Sprint(201, first.raw, first.header.Get("ETag"), first.header.Get("Location"), "accepted"))
	if n := s.Inserted("things")["x"]; n != 1 {
		t.Errorf("the row was made %d times, want once", n)
	}
	if w := s.Writes(); len(w) != 2 || !w[1].Replayed || w[1].Applied || w[1].Key != "x" {
		t.Errorf("the log of writes has %+v", w)
	}
	wantStatus(t, "what failed", post(`{"n":"1"}`, "r2", sent), 400)
	wantStatus(t, "what failed, right", post(`{"id":"y"}`, "r2", sent), 201)
	other := c.Now().Add(time.Second).Format(http.TimeFormat)
	c.Add(25 * time.Hour)
	for _, tt := range []struct {
		name, body, id, sent string
		status               int
		result               string
	}{
		{"no time", `{"id":"z"}`, "r3", "", 400, "rejected"},
		{"no date", `{"id":"z"}`, "r3", "yesterday", 400, "rejected"},
		{"no id", `{"id":"z"}`, "", sent, 400, "rejected"},
		{"the id with another time", `{"id":"x"}`, "r1", other, 400, "rejected"},
		{"the id with another body", `{"id":"z"}`, "r1", sent, 400, "rejected"},
		{"first sent too long ago", `{"id":"z"}`, "r4", sent, 412, "rejected"},
		{"a failure", `{"id":"a"}`, "r5", c.Now().Format(http.TimeFormat), 409, "accepted"},
		{"the id in capitals", `{"id":"x"}`, "R1", sent, 201, "accepted"},
	} {
		r := post(tt.body, tt.id, tt.sent)
		wantStatus(t, tt.name, r, tt.status)
		wantText(t, tt.name, r.header.Get("Repeatability-Result"), tt.result)
	}
	wantStatus(t, "known still", post(`{"id":"x"}`, "r1", sent), 201)
	if raw := get(t, url+"$metadata").raw; !strings.Contains(raw, `<Annotation Term="Org.OData.Repeatability.V1.Supported" Bool="true"/>`) {
		t.Error("the metadata does not announce it")
	}
	_, url = newThings(t, 0, Options{})
	wantText(t, "not supported", post(`{"id":"x"}`, "r1", sent).header.Get("Repeatability-Result"), "")
	wantStatus(t, "not supported, again", post(`{"id":"x"}`, "r1", sent), 409)
}
