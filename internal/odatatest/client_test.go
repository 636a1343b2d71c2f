package odatatest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

// A response is an answer as a client sees it.
type response struct {
	status int
	header http.Header
	raw    string
	err    error // of reading the body
}

// get sends a GET with headers given as names and values.
func get(t testing.TB, url string, headers ...string) response {
	t.Helper()
	return do(t, http.MethodGet, url, "", headers...)
}

func do(t testing.TB, method, url, body string, headers ...string) response {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r) // follows no redirects
	if err != nil {
		return response{err: err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, string(raw), err}
}

// A document is a page as a client reads it.
type document struct {
	Count *int             `json:"@odata.count"`
	Next  string           `json:"@odata.nextLink"`
	Delta string           `json:"@odata.deltaLink"`
	Value []map[string]any `json:"value"`
}

// page gets a page and fails the test unless it is one.
func getPage(t testing.TB, url string, headers ...string) document {
	t.Helper()
	r := get(t, url, headers...)
	if r.status != http.StatusOK || r.err != nil {
		t.Fatalf("GET %s: status %d (%v), want 200: %s", url, r.status, r.err, r.raw)
	}
	var d document
	if err := json.Unmarshal([]byte(r.raw), &d); err != nil {
		t.Fatalf("GET %s: %v in %s", url, err, r.raw)
	}
	if d.Next == "" && d.Delta == "" { // in 4.01 the names have no prefix
		var d401 struct {
			Next  string `json:"@nextLink"`
			Delta string `json:"@deltaLink"`
		}
		json.Unmarshal([]byte(r.raw), &d401) // cannot fail after the first
		d.Next, d.Delta = d401.Next, d401.Delta
	}
	return d
}

// readAll follows next links and returns all entities and the delta link.
func readAll(t testing.TB, url string, headers ...string) (rows []map[string]any, pages int, delta string) {
	t.Helper()
	for url != "" {
		d := getPage(t, url, headers...)
		rows, url, delta = append(rows, d.Value...), d.Next, d.Delta
		if pages++; pages > 1000 {
			t.Fatal("more than 1000 pages")
		}
	}
	return rows, pages, delta
}

// ids returns the property id of each row.
func ids(rows []map[string]any) string {
	var out []string
	for _, r := range rows {
		id, _ := r["id"].(string)
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

func wantText(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// A clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func field(name string, t kedge.Type) kedge.Field {
	return kedge.Field{Name: name, Type: t, Nullable: true}
}

// things is a set that is quickly filled.
func things() kedge.Entity {
	return kedge.Entity{Name: "things", Key: []string{"id"}, AlternateKeys: [][]string{{"code"}}, Fields: []kedge.Field{
		{Name: "id", Type: kedge.TypeString},
		field("n", kedge.TypeInt), field("name", kedge.TypeString), field("code", kedge.TypeString),
		{Name: "owner", Type: kedge.TypeString, Nullable: true, Lookup: []kedge.LookupTarget{{Entity: "things", Field: "id", Navigation: "ownerThing"}}},
	}}
}

// newThings serves n things with the ids "a", "b" … and n from 1.
func newThings(t testing.TB, n int, o Options) (*Service, string) {
	t.Helper()
	if o.Now == nil {
		o.Now = newClock().Now
	}
	o.Entities = []kedge.Entity{things()}
	s := New(o)
	for i := range n {
		put(t, s, thing(string(rune('a'+i)), i+1))
	}
	return s, s.Start(t)
}

func thing(id string, n int) kedge.Record {
	return Row("id", kedge.String(id), "n", kedge.Int(int64(n)), "name", kedge.String("thing "+id), "code", kedge.String("code "+id))
}

func put(t testing.TB, s *Service, records ...kedge.Record) {
	t.Helper()
	if err := s.Put("things", records...); err != nil {
		t.Fatal(err)
	}
}

func patch(t testing.TB, s *Service, namesAndValues ...any) {
	t.Helper()
	if err := s.Patch("things", Row(namesAndValues...)); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, s *Service, keys ...kedge.Key) {
	t.Helper()
	if err := s.Delete("things", keys...); err != nil {
		t.Fatal(err)
	}
}

// relative replaces the origin of the service in an answer, so that it can be
// written down.
func relative(text, url string) string { return strings.ReplaceAll(text, url, "ROOT/") }

// everyName fails the test unless cases has exactly the given names.
func everyName[T any](t *testing.T, list []Name, cases map[string]T) {
	t.Helper()
	for _, n := range list {
		if _, ok := cases[n.Name]; !ok {
			t.Errorf("%s has no test", n.Name)
		}
	}
	for name := range cases {
		if !slices.Contains(names(list), name) {
			t.Errorf("%s is tested but does not exist", name)
		}
	}
}
