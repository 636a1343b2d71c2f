package ingest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A model is what random requests should have stored: state, history, counts
// and feed of one table.
type model struct {
	live    map[[2]string]int // salary by group and id
	history []string          // "seq op group/id", and the salary that the change found
	after   []int             // the salary that each change left
	last    map[[2]string]int // number of the last change
}

func (m *model) change(op string, k [2]string, salary int) {
	before := ""
	if was, ok := m.live[k]; ok {
		before = fmt.Sprint(was)
	}
	m.history = append(m.history, fmt.Sprintf("%d %s %s/%s %s", len(m.history)+1, op, k[0], k[1], before))
	m.after = append(m.after, salary)
	m.last[k] = len(m.history)
	if m.live[k] = salary; op == "delete" {
		delete(m.live, k)
	}
}

func (m *model) event(k [2]string, salary int) string {
	was, ok := m.live[k]
	switch {
	case !ok:
		m.change("create", k, salary)
		return "created"
	case was != salary:
		m.change("update", k, salary)
		return "updated"
	}
	return "unchanged"
}

// bulk returns created, updated, unchanged, removed.
func (m *model) bulk(group string, ids []string, salaries []int) [4]int {
	var n [4]int
	for i, id := range ids {
		n[map[string]int{"created": 0, "updated": 1, "unchanged": 2}[m.event([2]string{group, id}, salaries[i])]]++
	}
	for _, k := range slices.SortedFunc(maps.Keys(m.live), func(a, b [2]string) int { return strings.Compare(a[1], b[1]) }) {
		if k[0] == group && !slices.Contains(ids, k[1]) {
			m.change("delete", k, m.live[k])
			n[3]++
		}
	}
	return n
}

func (m *model) remove(group, id string) bool {
	k := [2]string{group, id}
	if _, ok := m.live[k]; ok {
		m.change("delete", k, m.live[k])
		return true
	}
	return false
}

// Random sequences of events, bulks and deletes equal a small model in state,
// history, counts and feed; the feed from any number rebuilds the view.
func TestModel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, ingest.Options{})
		rapid.Check(t, func(rt *rapid.T) {
			for _, table := range []string{"ingest_resource", "ingest_change", "ingest_scope"} {
				w.exec("DELETE FROM " + table)
			}
			w.exec("UPDATE ingest_head SET seq = 0, floor_seq = 0")
			m := &model{live: map[[2]string]int{}, last: map[[2]string]int{}}
			ids := rapid.SampledFrom([]string{"a", "B", "b", "ä", "z,", "10", "9"})
			groups := rapid.SampledFrom([]string{"", "g"})
			for range rapid.IntRange(1, 12).Draw(rt, "steps") {
				w.step(rt, m, groups.Draw(rt, "group"), ids)
			}
			w.equals(rt, m)
		})
	}, ingest.Migrations()...)
}

func body(id string, salary int) string {
	text, _ := json.Marshal(map[string]any{"employeeId": id, "salary": salary})
	return string(text)
}

// step makes one random request and compares its answer.
func (w *world) step(rt *rapid.T, m *model, group string, ids *rapid.Generator[string]) {
	q := "?groupKey=" + group
	salary := rapid.IntRange(1, 2)
	var got answer
	var want []any
	switch rapid.IntRange(0, 2).Draw(rt, "op") {
	case 0:
		id, n := ids.Draw(rt, "id"), salary.Draw(rt, "salary")
		want = []any{"result", m.event([2]string{group, id}, n)}
		got = w.event(q, body(id, n))
	case 1:
		list := rapid.SliceOfNDistinct(ids, 0, 5, rapid.ID).Draw(rt, "ids")
		var salaries []int
		var bodies []string
		for _, id := range list {
			salaries = append(salaries, salary.Draw(rt, "salary"))
			bodies = append(bodies, body(id, salaries[len(salaries)-1]))
		}
		n := m.bulk(group, list, salaries)
		want = []any{"received", len(list), "created", n[0], "updated", n[1], "unchanged", n[2], "removed", n[3]}
		got = w.bulk(q+"&allowEmpty=true", "["+strings.Join(bodies, ",")+"]")
	default:
		list := rapid.SliceOfN(ids, 1, 3).Draw(rt, "ids")
		removed := 0
		for _, id := range list {
			if m.remove(group, id) {
				removed++
			}
		}
		text, _ := json.Marshal(list)
		want = []any{"removed", removed, "ignored", len(list) - removed}
		got = w.send("DELETE", base+"/bulk-event/employee"+q+"&resourceIds="+url.QueryEscape(string(text)), "")
	}
	if got.status != 200 {
		rt.Fatalf("%d: %s", got.status, got.raw)
	}
	for i := 0; i < len(want); i += 2 {
		if fmt.Sprint(got.body[want[i].(string)]) != fmt.Sprint(want[i+1]) {
			rt.Fatalf("%v: want %v: %s", want[i], want[i+1], got.raw)
		}
	}
	if fmt.Sprint(got.body["seq"]) != fmt.Sprint(len(m.history)) {
		rt.Fatalf("seq: want %d: %s", len(m.history), got.raw)
	}
}

// equals compares all that is stored with the model.
func (w *world) equals(rt *rapid.T, m *model) {
	var history []string
	w.must(w.store.DB().NewRaw(`SELECT seq || ' ' || op || ' ' || group_key || '/' || id || ' ' || coalesce(`+w.salary("data")+`, '') FROM ingest_change ORDER BY seq`).Scan(w.t.Context(), &history))
	if !slices.Equal(history, m.history) {
		rt.Fatalf("history:\n%q\nwant\n%q", history, m.history)
	}
	want := map[string]string{}
	live := map[string]int{"": 0, "g": 0}
	for k, n := range m.live {
		want[k[0]+"/"+k[1]] = fmt.Sprint(n)
		live[k[0]]++
	}
	if got := w.rebuilt(0, nil); !maps.Equal(got, want) {
		rt.Fatalf("feed: %v, want %v", got, want)
	}
	// What was known at some number, and the feed from there, is the same.
	since := rapid.IntRange(0, len(m.history)).Draw(rt, "since")
	known := map[string]string{}
	for i, line := range m.history[:since] {
		f := strings.Fields(line)
		if known[f[2]] = fmt.Sprint(m.after[i]); f[1] == "delete" {
			delete(known, f[2])
		}
	}
	if got := w.rebuilt(since, known); !maps.Equal(got, want) {
		rt.Fatalf("feed from %d: %v, want %v", since, got, want)
	}
	for group, n := range live {
		if got := w.count("SELECT coalesce(sum(live), 0) FROM ingest_scope WHERE group_key = ?", group); got != n {
			rt.Fatalf("scope %q counts %d, want %d", group, got, n)
		}
	}
	for k, last := range m.last {
		w.historyEquals(rt, m, k, last)
		break
	}
	if got := w.count("SELECT count(*) FROM hr_employee"); got != len(m.live) {
		rt.Fatalf("the view has %d rows, want %d", got, len(m.live))
	}
}

// historyEquals compares the history of a resource, page by page.
func (w *world) historyEquals(rt *rapid.T, m *model, k [2]string, last int) {
	next := ""
	for n := last; n > 0; {
		got := w.send("GET", "/api/v1/ingest/tables/employee/resources/"+url.PathEscape(k[1])+"/history?limit=2&groupKey="+k[0]+next, "")
		for _, item := range got.body["items"].([]any) {
			ch := item.(map[string]any)
			for ; n > 0 && !strings.Contains(m.history[n-1], " "+k[0]+"/"+k[1]+" "); n-- {
			}
			if n == 0 || fmt.Sprint(ch["seq"]) != fmt.Sprint(n) || fmt.Sprint(ch["data"].(map[string]any)["salary"]) != fmt.Sprint(m.after[n-1]) {
				rt.Fatalf("history of %v: %s, want %d with %d", k, got.raw, n, m.after[n-1])
			}
			n--
		}
		cursor, ok := got.body["next"].(string)
		if !ok {
			return
		}
		next = "&cursor=" + cursor
	}
}

func (w *world) salary(column string) string {
	if w.store.Engine() == store.Postgres {
		return "(" + column + " ->> 'salary')"
	}
	return "(" + column + " -> '$.salary')"
}

// rebuilt applies the feed after a number to what was known.
func (w *world) rebuilt(since int, known map[string]string) map[string]string {
	w.t.Helper()
	out := maps.Clone(known)
	if out == nil {
		out = map[string]string{}
	}
	next := ""
	for {
		got := w.send("GET", fmt.Sprintf("/api/v1/ingest/tables/employee/changes?limit=3&since=%d%s", since, next), "").is(200)
		for _, item := range got.body["items"].([]any) {
			ch := item.(map[string]any)
			key := ch["groupKey"].(string) + "/" + ch["id"].(string)
			if ch["op"] == "delete" {
				delete(out, key)
			} else {
				out[key] = fmt.Sprint(ch["data"].(map[string]any)["salary"])
			}
		}
		cursor, ok := got.body["next"].(string)
		if !ok {
			return out
		}
		next = "&cursor=" + cursor
	}
}
