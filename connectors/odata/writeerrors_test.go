package odata_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// An oddService has the metadata of a service and answers of its own to what
// writes, alone or as the only part of a batch.
type oddService struct {
	status int
	header http.Header
	body   string
	there  bool     // what reads by key find
	reads  int      // status of reads by key; 0 for an honest one
	sent   []string // methods that came
	path   string   // of the last request
	head   http.Header
	text   string // body of the last request
}

func startOdd(t testing.TB, o *oddService, options map[string]any) *odata.Driver {
	t.Helper()
	service := odatatest.New(odatatest.Options{Entities: []kedge.Entity{conntest.Widgets, conntest.Parts}})
	if err := service.Put("widgets", newRecord("there", 1)); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "$metadata") {
			service.Handler().ServeHTTP(w, r)
			return
		}
		o.sent = append(o.sent, r.Method)
		if r.Method == http.MethodGet {
			if o.reads != 0 {
				w.WriteHeader(o.reads)
				return
			}
			if !o.there {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			io.WriteString(w, `{"id":"w","RowVersion":"1"}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		o.path, o.head, o.text = r.URL.Path, r.Header, string(body)
		for name, values := range o.header {
			w.Header()[name] = values
		}
		w.WriteHeader(o.status)
		io.WriteString(w, o.body)
	}))
	t.Cleanup(server.Close)
	return newDriver(t, server.URL+"/", options)
}

const odataError = `{"error":{"code":"E1","message":"secret words","target":"int","details":[{"code":"d","message":"more secret words"}]}}`

// What each status means for each operation, and what is kept of its words.
func TestWriteErrors(t *testing.T) {
	for _, tt := range []struct {
		op     kedge.Op
		etag   bool
		status int
		body   string
		there  bool
		want   string
		kind   kedge.Kind // of the call; 0 for none
		sent   string
	}{
		{op: kedge.Insert, status: 400, body: odataError, want: "rejected:invalid", sent: "POST"},
		{op: kedge.Insert, status: 403, body: odataError, want: "rejected:forbidden", sent: "POST"},
		{op: kedge.Insert, status: 405, want: "rejected:unsupported", sent: "POST"},
		{op: kedge.Insert, status: 409, body: odataError, want: "rejected:conflict", sent: "POST"},
		{op: kedge.Insert, status: 413, want: "rejected:too_large", sent: "POST"},
		{op: kedge.Insert, status: 424, want: "rejected:transient", sent: "POST"},
		{op: kedge.Insert, status: 501, want: "rejected:unsupported", sent: "POST"},
		{op: kedge.Insert, status: 401, want: "unset", kind: kedge.Unauthorized, sent: "POST"},
		{op: kedge.Insert, status: 429, want: "unset", kind: kedge.Throttled, sent: "POST POST POST POST POST POST"},
		{op: kedge.Insert, status: 500, body: odataError, there: true, want: "rejected:conflict", sent: "POST GET"},
		{op: kedge.Insert, status: 500, body: odataError, want: "rejected:transient", sent: "POST GET"},
		{op: kedge.Insert, status: 500, body: "<html>", want: "unset", kind: kedge.OutcomeUnknown, sent: "POST"},
		{op: kedge.Insert, status: 502, want: "unset", kind: kedge.OutcomeUnknown, sent: "POST"},
		{op: kedge.Insert, status: 503, want: "unset", kind: kedge.OutcomeUnknown, sent: "POST"},
		{op: kedge.Insert, status: 302, want: "rejected:invalid", sent: "POST"},
		{op: kedge.Update, status: 404, want: "rejected:not_found", sent: "PATCH"},
		{op: kedge.Update, status: 412, want: "rejected:not_found", sent: "PATCH"}, // If-Match: * matches any record
		{op: kedge.Update, status: 428, want: "rejected:invalid", sent: "PATCH"},
		{op: kedge.Update, status: 500, body: odataError, want: "rejected:transient", sent: "PATCH PATCH PATCH PATCH PATCH PATCH"},
		{op: kedge.Update, status: 503, want: "unset", kind: kedge.Transient, sent: "PATCH PATCH PATCH PATCH PATCH PATCH"},
		{op: kedge.Update, etag: true, status: 412, want: "rejected:conflict", sent: "PATCH"},
		{op: kedge.Update, etag: true, status: 500, body: odataError, want: "unset", kind: kedge.OutcomeUnknown, sent: "PATCH"},
		{op: kedge.Delete, status: 410, want: "unchanged", sent: "DELETE"},
		{op: kedge.Delete, etag: true, status: 412, there: true, want: "rejected:conflict", sent: "DELETE GET"},
		{op: kedge.Delete, etag: true, status: 412, want: "unchanged", sent: "DELETE GET"},
	} {
		t.Run(fmt.Sprint(tt.op, " ", tt.status, " ", tt.etag, " ", tt.there), func(t *testing.T) {
			o := &oddService{status: tt.status, body: tt.body, there: tt.there, header: http.Header{}}
			d := startOdd(t, o, map[string]any{"batch": "none"})
			c := change(tt.op, "widgets", "w", values{"string": str("private value")})
			if tt.etag {
				c.Version = `W/"1"`
			}
			results, err := d.Write(t.Context(), []kedge.Change{c})
			if got := outcomes(results); got != tt.want || err == nil && tt.kind != 0 || err != nil && kedge.KindOf(err) != tt.kind {
				t.Errorf("got %s and %v, want %s and kind %v", got, err, tt.want, tt.kind)
			}
			if got := strings.Join(o.sent, " "); got != tt.sent {
				t.Errorf("sent %s, want %s", got, tt.sent)
			}
			text := fmt.Sprint(err)
			if r := results[0]; r.Err != nil {
				text = r.Err.Error()
				if tt.body == odataError && (r.Remote != "secret words\nmore secret words" || !strings.Contains(text, "code E1, target int")) {
					t.Errorf("got the text %q and the service's words %q", text, r.Remote)
				}
				if r.Err.Key != "w" || r.Err.Op != "odata.Write" || r.Err.Entity != "widgets" {
					t.Errorf("the error is about %q %q %q", r.Err.Op, r.Err.Entity, r.Err.Key)
				}
			}
			for _, secret := range []string{"secret", "private", "('w')"} {
				if strings.Contains(text, secret) {
					t.Errorf("the error %q tells what it must not", text)
				}
			}
		})
	}
}

// Of an error body at most 4 KiB are kept, whatever its form.
func TestRemoteWords(t *testing.T) {
	long := strings.Repeat("é", 10_000)
	for _, body := range []string{
		long, `{"error":{"code":1,"message":"` + long + `"}}`, "<html>" + long, `{"error":{"message":{"lang":"en","value":"` + long + `"}}}`,
	} {
		d := startOdd(t, &oddService{status: 400, body: body}, map[string]any{"batch": "none"})
		r := write(t, d, change(kedge.Insert, "widgets", "w", nil))[0]
		if n := len(r.Remote); n > 4<<10 || n < 4<<10-4 || !strings.HasSuffix(r.Remote, "é") {
			t.Errorf("%.20s…: kept %d bytes", body, n)
		}
	}
}

// An answer without body gives the key by one of its headers; hosts there do
// not matter. Without any key, nobody knows which record was made.
func TestKeyOfNewRecord(t *testing.T) {
	for name, tt := range map[string]struct {
		header http.Header
		status int
		body   string
		key    kedge.Key
	}{
		"entity id":         {http.Header{"Odata-Entityid": {"https://elsewhere.example/x/widgets('a%27%27b')"}}, 204, "", "a'b"},
		"location":          {http.Header{"Location": {"widgets('c')"}}, 201, "", "c"},
		"key as segment":    {http.Header{"Location": {"https://elsewhere.example/widgets/c%2Fd"}}, 201, "", "c/d"},
		"body":              {http.Header{"Location": {"widgets('c')"}}, 201, `{"id":"e","RowVersion":"5"}`, "e"},
		"body cut":          {http.Header{"Location": {"widgets('c')"}}, 201, `{"id":"e`, "c"},
		"id of another set": {http.Header{"Location": {"others(5)"}}, 201, "", ""},
		"nothing":           {nil, 204, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := &oddService{status: tt.status, header: tt.header, body: tt.body}
			d := startOdd(t, o, map[string]any{"batch": "none"})
			results, err := d.Write(t.Context(), []kedge.Change{change(kedge.Insert, "widgets", "", values{"string": str("x")})})
			if results[0].Key != tt.key || (tt.key == "") != (kedge.KindOf(err) == kedge.OutcomeUnknown) {
				t.Errorf("got %v with key %q and %v, want key %q", results[0].State, results[0].Key, err, tt.key)
			}
			if slices.Contains(o.sent[1:], http.MethodPost) {
				t.Error("the record was sent twice")
			}
		})
	}
}

// A record that was inserted counts as inserted, also if it cannot be read to
// see what the service made of it.
func TestInsertedButUnreadable(t *testing.T) {
	for _, status := range []int{0, 401, 403, 500, 503} {
		o := &oddService{status: 204, header: http.Header{"Odata-Entityid": {"widgets('new')"}, "Etag": {`W/"7"`}}, reads: status}
		d := startOdd(t, o, map[string]any{"batch": "none"})
		results, err := d.Write(t.Context(), []kedge.Change{change(kedge.Insert, "widgets", "", values{"int": kedge.Int(1)})})
		if r := results[0]; r.State != connectors.Inserted || r.Key != "new" || r.Version != `W/"7"` {
			t.Errorf("reads answered with %d: got %v with key %q, version %q, and %v", status, r.State, r.Key, r.Version, err)
		}
	}
}

// What a change looks like on the wire.
func TestRequestOnTheWire(t *testing.T) {
	o := &oddService{status: 204}
	d := startOdd(t, o, map[string]any{"batch": "none", "headers": map[string]string{"Accept-Language": "en-US"}})
	c := change(kedge.Update, "widgets", "a/b", values{"int": kedge.Int(1)})
	c.Version = `W/"x, y"`
	write(t, d, c)
	for name, want := range map[string]string{
		"If-Match": `W/"x, y"`, "Content-Type": "application/json;IEEE754Compatible=true", "Odata-Version": "4.0", "Odata-Maxversion": "4.01",
		"Prefer": "return=minimal", "Accept-Language": "en-US", "Accept": "application/json;odata.metadata=minimal;IEEE754Compatible=true",
	} {
		if got := o.head.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if o.text != `{"int":"1"}` {
		t.Errorf("sent %s", o.text)
	}
	c.Version = ""
	if write(t, d, c); o.head.Get("If-Match") != "*" {
		t.Errorf("without a version, If-Match is %q", o.head.Get("If-Match"))
	}
	d = startOdd(t, o, map[string]any{"batch": "none", "flavor": "graph"})
	if write(t, d, c); o.head.Get("If-Match") != "" {
		t.Errorf("graph gets If-Match %q", o.head.Get("If-Match"))
	}
}

// The envelope of a batch asks to go on after errors, and Business Central for
// isolation of a group.
func TestBatchOnTheWire(t *testing.T) {
	o := &oddService{status: 403}
	d := startOdd(t, o, map[string]any{"flavor": "businesscentral", "company": "A & B", "atomic": true})
	changes := []kedge.Change{change(kedge.Insert, "widgets", "a", nil), change(kedge.Insert, "widgets", "b", nil)}
	if _, err := d.Write(t.Context(), changes); kedge.KindOf(err) != kedge.Forbidden {
		t.Errorf("got %v, want forbidden", err)
	}
	if o.path != "/$batch" || o.head.Get("Isolation") != "snapshot" || o.head.Get("Prefer") != "odata.continue-on-error" || o.head.Get("Accept") != "application/json" {
		t.Errorf("sent %v to %s", o.head, o.path)
	}
	if !strings.Contains(o.text, `"url":"Company(%27A%20%26%20B%27)/widgets"`) || strings.Count(o.text, `"atomicityGroup":"g1"`) != 2 {
		t.Errorf("sent %s", o.text)
	}
	d = startOdd(t, o, map[string]any{"flavor": "graph"})
	if _, err := d.Write(t.Context(), changes); kedge.KindOf(err) != kedge.Forbidden || !strings.Contains(o.text, `"url":"/widgets"`) {
		t.Errorf("graph: got %v, sent %s", err, o.text)
	}
	d = startOdd(t, o, map[string]any{"batch": "multipart"})
	if _, err := d.Write(t.Context(), changes); kedge.KindOf(err) != kedge.Forbidden {
		t.Errorf("got %v, want forbidden", err)
	}
	if o.head.Get("Isolation") != "" || o.head.Get("Accept") != "multipart/mixed" || strings.Count(o.text, "POST widgets HTTP/1.1\r\n") != 2 {
		t.Errorf("sent %v\n%s", o.head, o.text)
	}
}

// A batch that is refused as a whole is cut in halves by the caller, down to
// what the service takes or to the change that it cannot take.
func TestBatchTooLarge(t *testing.T) {
	s, d := widgets(t, odatatest.Options{BatchMax: 10}, map[string]any{"batch": "json"})
	results, err := connectors.New(d, nil).Write(t.Context(), inserts(30, -1))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.State != connectors.Inserted {
			t.Errorf("change %d: got %v (%v)", i, r.State, r.Err)
		}
	}
	if n := len(s.Records("widgets")); n != 30 {
		t.Errorf("there are %d records, want 30", n)
	}
}

// What changes cannot say is refused before anything is sent.
func TestWriteRefusesWhatItCannotSend(t *testing.T) {
	s, d := widgets(t, odatatest.Options{}, map[string]any{"batch": "none"})
	results := write(t, d,
		change(kedge.Insert, "widgets", "a", values{"nope": kedge.Int(1)}),
		change(kedge.Insert, "widgets", "a", values{"int": str("1")}),
		change(kedge.Insert, "widgets", "a", values{"string": str("\xff")}),
		change(kedge.Update, "parts", "not-two-parts", nil),
	)
	wantOutcomes(t, "changes", results, "rejected:invalid rejected:invalid rejected:invalid rejected:invalid")
	if !strings.Contains(results[1].Err.Error(), "field int: string does not fit Edm.Int64") {
		t.Errorf("got %v", results[1].Err)
	}
	if n := len(s.Writes()); n != 0 {
		t.Errorf("%d changes were sent", n)
	}
	if _, err := d.Write(t.Context(), []kedge.Change{{Op: kedge.Insert, Entity: "nope"}}); kedge.KindOf(err) != kedge.NotFound {
		t.Errorf("an unknown entity: got %v", err)
	}
	_, d = widgets(t, odatatest.Options{}, map[string]any{"upsert": "off"})
	wantOutcomes(t, "upsert off", write(t, d, change(kedge.Upsert, "widgets", "a", nil)), "rejected:unsupported")
}

// What an entity can do follows from options and from what was seen.
func TestWriteCapabilities(t *testing.T) {
	able := func(d *odata.Driver) string {
		readAll(t, d, connectors.ReadRequest{Entity: "widgets", Size: 10}, local{}, nil)
		s, err := d.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e := s.Entity("widgets")
		text, err := json.Marshal([]any{e.Insert, e.Update, e.Upsert, e.Delete, e.Concurrency, e.Idempotent, e.WriteBatch})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, tt := range []struct {
		service odatatest.Options
		options map[string]any
		want    string
	}{
		{odatatest.Options{}, nil, "[true,true,true,true,true,false,100]"},
		{odatatest.Options{Repeatable: true}, map[string]any{"batchSize": 7}, "[true,true,true,true,true,true,7]"},
		{odatatest.Options{}, map[string]any{"upsert": "off", "ifMatch": "never"}, "[true,true,false,true,false,false,100]"},
		{odatatest.Options{NoVersion: true}, nil, "[true,true,true,true,false,false,100]"},
	} {
		s, d := widgets(t, tt.service, tt.options)
		if err := s.Put("widgets", newRecord("a", 1)); err != nil {
			t.Fatal(err)
		}
		if got := able(d); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.options, got, tt.want)
		}
	}
}
