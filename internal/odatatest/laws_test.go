package odatatest

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
)

// A copier keeps a copy of a set by what pages and deltas say, as simply as
// can be.
type copier struct {
	rows map[string]map[string]any
}

func (c *copier) take(t testing.TB, rows []map[string]any) {
	for _, r := range rows {
		if id, gone := removedID(r); gone {
			delete(c.rows, id)
			continue
		}
		id, ok := r["id"].(string)
		if !ok { // only @odata.id or @id
			id = idOf(fmt.Sprint(r["@odata.id"], r["@id"]))
		}
		if c.rows[id] == nil {
			c.rows[id] = map[string]any{}
		}
		for name, v := range r {
			if !strings.HasPrefix(name, "@") && name != "id" {
				c.rows[id][name] = v
			}
		}
	}
}

// removedID returns the id of a deleted entity, of 4.0 or 4.01.
func removedID(r map[string]any) (string, bool) {
	if context, _ := r["@odata.context"].(string); strings.HasSuffix(context, "$deletedEntity") {
		return idOf(r["id"].(string)), true
	}
	if r["@removed"] == nil {
		return "", false
	}
	if id, ok := r["@id"].(string); ok {
		return idOf(id), true
	}
	return r["id"].(string), true
}

func idOf(url string) string {
	return strings.Split(url, "'")[1]
}

// Full read, then deltas, with edits between any two pages: the copy equals
// the source, in every form of delta, with and without a filter.
func TestCopyEqualsSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{NoVersion: true, Entities: []kedge.Entity{things()}, Version: rapid.SampledFrom([]string{V40, V401}).Draw(rt, "version")}
		o.Delta = DeltaForm{Partial: rapid.Bool().Draw(rt, "partial"), IDOnly: rapid.Bool().Draw(rt, "idOnly"), Keys: rapid.Bool().Draw(rt, "keys"), Predicate: rapid.Bool().Draw(rt, "predicate")}
		if rapid.Bool().Draw(rt, "empty pages") {
			o.Quirks = append(o.Quirks, EmptyPages)
		}
		s := New(o)
		server := httptest.NewServer(s.Handler())
		defer server.Close()
		for _, id := range strings.Split(rapid.SampledFrom([]string{"", "bdf", "abcdefgh"}).Draw(rt, "first rows"), "") {
			if err := s.Put("things", thing(id, 1)); err != nil {
				rt.Fatal(err)
			}
		}
		edit := func() {
			for range rapid.IntRange(0, 3).Draw(rt, "edits") {
				id, n := rapid.SampledFrom(strings.Split("abcdefgh", "")).Draw(rt, "id"), rapid.IntRange(-2, 2).Draw(rt, "n")
				switch rapid.IntRange(0, 5).Draw(rt, "edit") {
				case 4: // a client's writes, in a group that fails, or not
					added := adding("2", "g", "")
					added.body = `{"id":"` + rapid.SampledFrom([]string{"x", "y", id}).Draw(rt, "added") + `","n":"1","name":"added"}`
					parts := []part{changing("1", "g", id, fmt.Sprint(n)), added,
						{id: "3", group: "g", method: "DELETE", url: "things('" + rapid.SampledFrom([]string{"a", "b", "x"}).Draw(rt, "removed") + "')"}}
					sendBatch(t, server.URL+"/", rapid.SampledFrom([]string{"multipart", "json"}).Draw(rt, "format"), parts)
				case 5:
					send(t, "PUT", server.URL+"/things('"+id+"')", fmt.Sprintf(`{"n":"%d","name":"put"}`, n))
				case 0:
					s.Delete("things", kedge.Key(id))
				case 1:
					s.Patch("things", Row("id", kedge.String(id), "n", kedge.Int(int64(n)))) // may not exist
				default:
					s.Put("things", thing(id, n))
				}
			}
		}
		query, in := "things?$select=id,n,name", func(int64) bool { return true }
		if rapid.Bool().Draw(rt, "filter") {
			query, in = query+"&$filter=n%20gt%200", func(n int64) bool { return n > 0 }
		}
		prefer := fmt.Sprintf("odata.track-changes,odata.maxpagesize=%d", rapid.IntRange(1, 4).Draw(rt, "size"))
		c := &copier{rows: map[string]map[string]any{}}
		url := server.URL + "/" + query
		for round := range 3 {
			for url != "" {
				if round < 2 {
					edit()
				}
				d := getPage(t, url, "Prefer", prefer)
				c.take(t, d.Value)
				if url = d.Next; url == "" {
					url = d.Delta
					break
				}
			}
		}
		for { // the last delta may have been cut short by its rounds; a delta ends all
			d := getPage(t, url, "Prefer", prefer)
			c.take(t, d.Value)
			if d.Next == "" {
				break
			}
			url = d.Next
		}
		want := map[string]string{}
		for _, r := range s.Records("things") {
			if in(r.Get("n").Int()) {
				want[string(r.Key)] = r.Get("n").Text() + " " + r.Get("name").Text()
			}
		}
		got := map[string]string{}
		for id, r := range c.rows {
			got[id] = fmt.Sprint(r["n"], " ", r["name"])
		}
		if !maps.Equal(got, want) {
			rt.Fatalf("copy %v, source %v", got, want)
		}
	})
}

// Paging changes nothing: whatever is asked for, the pages together are the
// one page.
func TestPagesEqualOnePage(t *testing.T) {
	s := New(Options{Entities: []kedge.Entity{things()}})
	for i := range 12 {
		put(t, s, Row("id", kedge.String(string(rune('a'+i))), "n", kedge.Int(int64(i%3)), "name", kedge.String(strings.Repeat("x", i%2))))
		if i%4 == 3 {
			patch(t, s, "id", kedge.String(string(rune('a'+i))), "n", kedge.Null())
		}
	}
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	rapid.Check(t, func(rt *rapid.T) {
		var options []string
		for _, values := range [][]string{
			{"", "$filter=n%20gt%200", "$filter=n%20ge%201%20and%20id%20lt%20'i'", "$filter=id%20gt%20'c'"},
			{"", "$orderby=n", "$orderby=n%20desc", "$orderby=name,n%20desc", "$orderby=id", "$orderby=id%20desc"},
			{"", "$top=0", "$top=3", "$top=7"}, {"", "$skip=1", "$skip=4"},
		} {
			if o := rapid.SampledFrom(values).Draw(rt, "option"); o != "" {
				options = append(options, o)
			}
		}
		url := server.URL + "/things?" + strings.Join(options, "&")
		whole, _, _ := readAll(t, url)
		paged, _, _ := readAll(t, url, "Prefer", fmt.Sprintf("odata.maxpagesize=%d", rapid.IntRange(1, 5).Draw(rt, "size")))
		if ids(whole) != ids(paged) {
			rt.Fatalf("%v: one page %q, pages %q", options, ids(whole), ids(paged))
		}
	})
}

// Whatever is asked for, the answer is one of the standard: never a panic, and
// never a 500.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"things?$filter=n%20gt%201&$orderby=n&$top=1", "things('a')", "things(code='x')?$select=id", "things?$expand=ownerThing($select=id;$expand=ownerThing)",
		"things?$skiptoken=eyJzIjoidGhpbmdzIiwiYSI6WyJhIl19", "things?$deltatoken=eyJzIjoidGhpbmdzIn0", "$metadata?$format=json", "things/$count", "values(1)?$select=home/city",
		"things(", "things('a%27')", "things?$skiptoken=eyJzIjoidGhpbmdzIiwibiI6LTEsImwiOi0xLCJvIjotMX0", "things?$deltatoken=eyJzIjoidGhpbmdzIn0&$skiptoken=eyJzIjoidGhpbmdzIiwiaSI6LTV9",
	} {
		f.Add(seed, "application/json", "odata.maxpagesize=2")
	}
	s := New(Options{Entities: append(goldenSets(), things())})
	if err := s.Put("things", thing("a", 1), thing("b", 2), thing("c", 3)); err != nil {
		f.Fatal(err)
	}
	if err := s.Put("values", valueRow()); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, accept, prefer string) {
		r, err := http.NewRequest(http.MethodGet, "http://odatatest.example/"+path, nil)
		if err != nil {
			return
		}
		r.Header["Accept"], r.Header["Prefer"] = []string{accept}, []string{prefer}
		a, _ := s.answer(r)
		if !slices.Contains([]int{200, 400, 404, 406, 410, 501}, a.status) {
			t.Errorf("status %d: %s", a.status, a.body)
		}
	})
}

// Sorted lists are kept and only mended after edits: they stay what sorting
// all rows gives.
func TestOrderAfterEdits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := New(Options{Rows: 12})
		url := "http://odatatest.example/customers?$select=No&$orderby=Balance%20desc,RowVersion"
		for range 4 {
			for range rapid.IntRange(0, 3).Draw(rt, "edits") {
				key := s.table("customers").set.Row(rapid.IntRange(0, 11).Draw(rt, "row"))[0]
				if rapid.Bool().Draw(rt, "new") {
					key = kedge.String(key.Text() + "x")
				}
				if rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
					s.Delete("customers", kedge.NewKey(key))
					continue
				}
				s.Put("customers", Row("No", key, "Balance", kedge.Decimal(rapid.SampledFrom([]string{"0", "500.00", "99999"}).Draw(rt, "balance"))))
			}
			rows := s.Records("customers")
			slices.SortFunc(rows, func(a, b kedge.Record) int {
				if c := order(b.Get("Balance"), a.Get("Balance")); c != 0 {
					return c
				}
				return order(a.Get("RowVersion"), b.Get("RowVersion"))
			})
			var want []string
			for _, r := range rows {
				want = append(want, `{"@odata.etag":`+string(appendString(nil, etag(r.Get("RowVersion").Int())))+`,"No":"`+string(r.Key)+`"}`)
			}
			r, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				rt.Fatal(err)
			}
			a, _ := s.answer(r)
			if got := valueOf(t, string(a.body), "-"); got != strings.Join(want, "\n") {
				rt.Fatalf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
			}
		}
	})
}
