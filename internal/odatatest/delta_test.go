package odatatest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

const track = "odata.track-changes"

// start reads all things with change tracking and returns the delta link.
func start(t *testing.T, url, query string) string {
	t.Helper()
	_, _, delta := readAll(t, url+"things?"+query, "Prefer", track)
	if delta == "" {
		t.Fatal("the last page has no delta link")
	}
	return delta
}

// edits makes a change of each kind to three things a, b and c.
func edits(t *testing.T, s *Service) {
	t.Helper()
	patch(t, s, "id", kedge.String("a"), "n", kedge.Int(7))
	remove(t, s, "b")
	put(t, s, thing("d", 9))
	patch(t, s, "id", kedge.String("c"), "n", kedge.Int(-1))
}

// valueOf returns the array "value" of a delta, one line per object.
func valueOf(t *testing.T, raw, url string) string {
	t.Helper()
	var d struct{ Value []json.RawMessage }
	if err := json.Unmarshal([]byte(raw), &d); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	var lines []string
	for _, v := range d.Value {
		lines = append(lines, relative(string(v), url))
	}
	return strings.Join(lines, "\n")
}

// Protocol 4.01, 11.3; JSON Format 4.0, 14 and 15; JSON Format 4.01, 15. Of the
// filter n gt 0 the edit of c makes it leave, which is "changed".
func TestDeltaForms(t *testing.T) {
	const (
		inserted  = `{"id":"d","n":9,"name":"thing d"}`
		changedA  = `{"id":"a","n":7,"name":"thing a"}`
		partialA  = `{"id":"a","n":7}`
		deleted40 = `{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"ROOT/things('b')","reason":"deleted"}`
		left40    = `{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"ROOT/things('c')","reason":"changed"}`
	)
	for _, tt := range []struct {
		name   string
		o      Options
		accept string
		want   []string
	}{
		{"4.0", Options{Version: V40}, "", []string{changedA, deleted40, inserted, left40}},
		{"4.0, partial rows", Options{Delta: DeltaForm{Partial: true}}, "", []string{partialA, deleted40, inserted, left40}},
		{"4.0, partial rows with their id only", Options{Delta: DeltaForm{Partial: true, IDOnly: true}}, "",
			[]string{`{"@odata.id":"ROOT/things('a')","n":7}`, deleted40, inserted, left40}},
		{"4.0, no reason", Options{Delta: DeltaForm{NoReason: true}}, "", []string{changedA,
			`{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"ROOT/things('b')"}`, inserted,
			`{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"ROOT/things('c')"}`}},
		{"4.0, predicates", Options{Delta: DeltaForm{Predicate: true}}, "", []string{changedA,
			`{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"things('b')","reason":"deleted"}`, inserted,
			`{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"things('c')","reason":"changed"}`}},
		{"4.0, bare keys", Options{Quirks: []string{BareID}}, "", []string{changedA,
			`{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"b","reason":"deleted"}`, inserted,
			`{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"c","reason":"changed"}`}},
		{"4.0, no metadata", Options{}, "application/json;odata.metadata=none", []string{changedA,
			`{"id":"ROOT/things('b')","reason":"deleted"}`, inserted, `{"id":"ROOT/things('c')","reason":"changed"}`}},
		{"4.01", Options{Version: V401}, "", []string{changedA,
			`{"@removed":{"reason":"deleted"},"@id":"ROOT/things('b')"}`, inserted, `{"@removed":{"reason":"changed"},"@id":"ROOT/things('c')"}`}},
		{"4.01, keys instead of ids", Options{Version: V401, Delta: DeltaForm{Keys: true}}, "", []string{changedA,
			`{"@removed":{"reason":"deleted"},"id":"b"}`, inserted, `{"@removed":{"reason":"changed"},"id":"c"}`}},
		{"4.01, no reason", Options{Version: V401, Delta: DeltaForm{NoReason: true}}, "", []string{changedA,
			`{"@removed":{},"@id":"ROOT/things('b')"}`, inserted, `{"@removed":{},"@id":"ROOT/things('c')"}`}},
		{"mixed", Options{Quirks: []string{MixedRemoved}}, "", []string{changedA,
			`{"@odata.removed":{"reason":"deleted"},"@id":"ROOT/things('b')"}`, inserted,
			`{"@odata.removed":{"reason":"changed"},"@id":"ROOT/things('c')"}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.NoVersion = true
			s, url := newThings(t, 3, tt.o)
			accept := tt.accept
			if accept == "" {
				accept = "application/json"
			}
			link := start(t, url, "$select=id,n,name&$filter=n%20gt%200")
			edits(t, s)
			wantText(t, "delta", valueOf(t, get(t, link, "Accept", accept).raw, url), strings.Join(tt.want, "\n"))
		})
	}
}

// The other half of mixed-removed.
func TestMixedRemovedSecond(t *testing.T) {
	s, url := newThings(t, 2, Options{Quirks: []string{MixedRemoved}})
	link := start(t, url, "")
	remove(t, s, "a")
	remove(t, s, "b")
	got := valueOf(t, get(t, link).raw, url)
	if !strings.Contains(got, `{"@odata.removed":{"reason":"deleted"},"@id":`) || !strings.Contains(got, `{"@removed":{"reason":"deleted"},"@odata.id":`) {
		t.Errorf("got %s, want both mixed spellings", got)
	}
}

// JSON Format 4.0, 14.3 and 14.4; JSON Format 4.01, 15.2, 15.4 and 15.5:
// changed relationships.
func TestDeltaLinks(t *testing.T) {
	const links = `{"CTX":"ROOT/$metadata#things/$deletedLink","source":"ROOT/things('b')","relationship":"ownerThing","target":"ROOT/things('a')"}
{"CTX":"ROOT/$metadata#things/$link","source":"ROOT/things('b')","relationship":"ownerThing","target":"ROOT/things('c')"}`
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"links and rows", Options{Delta: DeltaForm{Links: true}}, links + "\n" + `{"id":"b","owner":"c"}`},
		{"links only", Options{Delta: DeltaForm{Links: true, Partial: true}}, links},
		{"links only, 4.01", Options{Version: V401, Delta: DeltaForm{Links: true, Partial: true}}, links},
		{"nested", Options{Version: V401, Delta: DeltaForm{Nested: true}},
			`{"id":"b","owner":"c","ownerThing@delta":[{"@removed":{"reason":"changed"},"@id":"ROOT/things('a')"},{"@id":"ROOT/things('c')"}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.NoVersion = true
			s, url := newThings(t, 3, tt.o)
			patch(t, s, "id", kedge.String("b"), "owner", kedge.String("a"))
			link := start(t, url, "$select=id,owner")
			patch(t, s, "id", kedge.String("b"), "owner", kedge.String("c"))
			context := "@odata.context"
			if tt.o.Version == V401 {
				context = "@context"
			}
			wantText(t, "delta", valueOf(t, get(t, link).raw, url), strings.ReplaceAll(tt.want, "CTX", context))
		})
	}
}

// Protocol 4.01, 11.3: the whole answers, from the first page to an empty delta.
func TestDeltaStory(t *testing.T) {
	s, url := newThings(t, 3, Options{NoVersion: true})
	first := get(t, url+"things?$select=id", "Prefer", track)
	wantText(t, "Preference-Applied", first.header.Get("Preference-Applied"), track)
	if d := getPage(t, url+"things?$select=id"); d.Delta != "" {
		t.Error("without track-changes there is a delta link")
	}
	if d := getPage(t, url+"things?$top=1", "Prefer", track); d.Delta != "" {
		t.Error("with $top there is a delta link")
	}
	link := getPage(t, start(t, url, "$select=id")).Delta
	wantText(t, "nothing changed", relative(get(t, link).raw, url),
		`{"@odata.context":"ROOT/$metadata#things(id)/$delta","value":[],"@odata.deltaLink":"`+relative(link, url)+`"}`)
	edits(t, s)
	rows, pages, next := readAll(t, link, "Prefer", "odata.maxpagesize=1")
	if len(rows) != 4 || pages != 4 {
		t.Errorf("got %d rows in %d pages, want 4 in 4", len(rows), pages)
	}
	if d := getPage(t, next); len(d.Value) != 0 {
		t.Errorf("after the delta: got %v, want nothing", d.Value)
	}
	again, _, _ := readAll(t, link)
	if len(again) != 4 {
		t.Errorf("the same link again: got %d rows, want 4", len(again))
	}
}

// A row that comes and goes between two deltas was never seen.
func TestDeltaOfUnseenRows(t *testing.T) {
	s, url := newThings(t, 1, Options{})
	link := getPage(t, start(t, url, "$filter=n%20gt%200")).Delta
	put(t, s, thing("x", 5))
	remove(t, s, "x")
	put(t, s, thing("y", -5)) // never in the filter
	patch(t, s, "id", kedge.String("y"), "n", kedge.Int(-6))
	if d := getPage(t, link); len(d.Value) != 0 {
		t.Errorf("got %v, want nothing", d.Value)
	}
}

// Pages are read while edits go on, so the client has seen states that lie
// between its delta links: they count.
func TestDeltaAfterConcurrentEdits(t *testing.T) {
	s, url := newThings(t, 3, Options{NoVersion: true, Delta: DeltaForm{Partial: true}})
	d := getPage(t, url+"things?$select=id,n", "Prefer", track+",odata.maxpagesize=1")
	put(t, s, thing("b2", 1))
	patch(t, s, "id", kedge.String("c"), "n", kedge.Int(30))
	rows, _, link := readAll(t, d.Next)
	wantText(t, "the pages after", ids(rows), "b b2 c")
	remove(t, s, "b2")
	patch(t, s, "id", kedge.String("c"), "n", kedge.Int(3)) // as it was at first
	wantText(t, "delta", valueOf(t, get(t, link).raw, url), `{"@odata.context":"ROOT/$metadata#things/$deletedEntity","id":"ROOT/things('b2')","reason":"deleted"}
{"id":"c","n":3}`)
}

// A row that is edited again while a delta is read comes in the next delta,
// with all that has changed.
func TestDeltaPagesAreOfOneMoment(t *testing.T) {
	s, url := newThings(t, 2, Options{NoVersion: true, Delta: DeltaForm{Partial: true}})
	link := start(t, url, "$select=id,n,name")
	patch(t, s, "id", kedge.String("a"), "n", kedge.Int(10))
	patch(t, s, "id", kedge.String("b"), "n", kedge.Int(20))
	d := getPage(t, link, "Prefer", "odata.maxpagesize=1")
	patch(t, s, "id", kedge.String("b"), "name", kedge.String("later"))
	rows, _, next := readAll(t, d.Next)
	if len(rows) != 1 || rows[0]["n"] != 20.0 || rows[0]["name"] != nil {
		t.Errorf("second page: got %v, want b with n 20 and no name", rows)
	}
	if d := getPage(t, next); len(d.Value) != 1 || d.Value[0]["name"] != "later" || d.Value[0]["n"] != nil {
		t.Errorf("next delta: got %v, want b with its name and no n", d.Value)
	}
}

// Protocol 4.01, 11.3.2: 410 for links that are no longer known.
func TestExpire(t *testing.T) {
	s, url := newThings(t, 3, Options{})
	link := start(t, url, "")
	edits(t, s)
	d := getPage(t, link, "Prefer", "odata.maxpagesize=1")
	s.Expire()
	for name, u := range map[string]string{"delta link": link, "next link of a delta": d.Next} {
		if r := get(t, u); r.status != http.StatusGone || !strings.Contains(r.raw, "syncStateNotFound") {
			t.Errorf("%s: status %d, want 410: %s", name, r.status, r.raw)
		}
	}
	if r := get(t, start(t, url, "")); r.status != http.StatusOK {
		t.Errorf("a new delta link: status %d, want 200", r.status)
	}
}

// A service that was started anew has another history: it must not say that
// nothing has changed. Links that only count keys stay good.
func TestLinksOfAnEarlierProcess(t *testing.T) {
	_, url := newThings(t, 3, Options{})
	size := []string{"Prefer", "odata.maxpagesize=1"}
	links := map[string]string{
		"delta link":                  start(t, url, ""),
		"next link of a tracked read": getPage(t, url+"things", "Prefer", track+",odata.maxpagesize=1").Next,
		"next link of a read":         getPage(t, url+"things", size...).Next,
	}
	for _, quirks := range [][]string{nil, {DeltaForgets}} {
		_, later := newThings(t, 3, Options{Quirks: quirks})
		for name, link := range links {
			want := http.StatusGone
			if name == "next link of a read" || quirks != nil {
				want = http.StatusOK
			}
			if r := get(t, strings.Replace(link, url, later, 1)); r.status != want {
				t.Errorf("%s, quirks %v: status %d, want %d: %s", name, quirks, r.status, want, r.raw)
			}
		}
	}
}

// Versions and times are given when a transaction begins, deltas go by when
// it ends.
func TestHold(t *testing.T) {
	c := newClock()
	s, url := newThings(t, 1, Options{Now: c.Now})
	commit, err := s.Hold("things", thing("held", 1))
	if err != nil {
		t.Fatal(err)
	}
	c.Add(time.Minute)
	put(t, s, thing("z", 2))
	link := start(t, url, "")
	rows, _, _ := readAll(t, url+"things?$orderby=RowVersion")
	wantText(t, "before the commit", ids(rows), "a z")
	commit()
	rows, _, _ = readAll(t, url+"things?$orderby=RowVersion")
	wantText(t, "after the commit", ids(rows), "a held z")
	rows, _, _ = readAll(t, url+"things?$orderby=ModifiedAt%20desc&$top=1")
	wantText(t, "the newest", ids(rows), "z")
	rows, _, _ = readAll(t, link)
	wantText(t, "delta", ids(rows), "held")
}

// A service without deltas ignores the preference.
func TestNoDelta(t *testing.T) {
	_, url := newThings(t, 1, Options{NoDelta: true})
	r := get(t, url+"things", "Prefer", track)
	if strings.Contains(r.raw, "deltaLink") || r.header.Get("Preference-Applied") != "" {
		t.Errorf("got a delta link or Preference-Applied %q", r.header.Get("Preference-Applied"))
	}
}
