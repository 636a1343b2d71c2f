package lanes_test

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge/subscriptions/lanes"
)

// A table of rows, of which a queue reads some at a time, is emptied in the
// order of each lane, one at a time, whatever the answers are.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := lanes.NewQueue("q", 1)
		q.Concurrency = rapid.IntRange(1, 5).Draw(t, "concurrency")
		var table []*lanes.Row
		now, id := int64(1000), int64(0)
		flying := map[int64]*lanes.Row{}
		finished := 0
		read := func() {
			if lane, ids := q.Missing(); len(ids) > 0 {
				var rows []*lanes.Row
				for _, r := range table {
					if slices.Contains(ids, r.ID) {
						rows = append(rows, new(*r))
					}
				}
				q.Fill(lane, len(ids), rows, now)
				return
			}
			if !q.Wants() {
				return
			}
			after := q.Scan()
			var rows []*lanes.Row
			limit := rapid.IntRange(1, 40).Draw(t, "limit")
			for _, r := range table {
				if r.ID > after && len(rows) < limit {
					rows = append(rows, new(*r))
				}
			}
			if rapid.IntRange(0, 9).Draw(t, "late") == 0 { // others come while these are read
				id++
				table = append(table, &lanes.Row{ID: id, Lane: rapid.Int64Range(0, 3).Draw(t, "lane")})
				q.Wake()
			}
			q.Add(rows, len(rows) == limit, now)
		}
		step := func(answer int) {
			r := q.Next(now, math.MaxInt)
			if r != nil {
				if flying[r.Lane] != nil {
					t.Fatalf("lane %d has two rows in flight", r.Lane)
				}
				for _, other := range table {
					if other.Lane == r.Lane && other.ID < r.ID {
						t.Fatalf("row %d of lane %d was sent before %d", r.ID, r.Lane, other.ID)
					}
				}
				flying[r.Lane] = r
			}
			if len(flying) > q.Concurrency || len(flying) != q.InFlight() {
				t.Fatalf("%d rows in flight (counted %d), limit %d", len(flying), q.InFlight(), q.Concurrency)
			}
			for lane, r := range flying {
				if answer == 0 {
					break
				}
				delete(flying, lane)
				if answer == 1 {
					table = slices.DeleteFunc(table, func(x *lanes.Row) bool { return x.ID == r.ID })
					finished++
					q.Done(r, now)
				} else {
					r.Due = now + int64(answer)
					table[slices.IndexFunc(table, func(x *lanes.Row) bool { return x.ID == r.ID })].Due = r.Due
					q.Retry(r, now)
				}
				break
			}
		}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "act") {
			case 0:
				for range rapid.IntRange(1, 60).Draw(t, "rows") {
					id++
					table = append(table, &lanes.Row{ID: id, Lane: rapid.Int64Range(0, 3).Draw(t, "lane")})
				}
				q.Wake()
			case 1:
				read()
			case 2:
				now += rapid.Int64Range(0, 20).Draw(t, "time")
			default:
				step(rapid.SampledFrom([]int{0, 1, 1, 1, 5, 50}).Draw(t, "answer"))
			}
		}
		for i := 0; len(table) > 0; i++ {
			if i > 200_000 {
				t.Fatalf("%d rows never end; in memory: %d", len(table), q.Rows())
			}
			read()
			now += 10
			step(1)
		}
		if int64(finished) != id || q.Rows() != 0 {
			t.Fatalf("%d of %d rows ended, %d are in memory", finished, id, q.Rows())
		}
	})
}

// Ten failures in a row close the way for 10 s, then one probe at a time, with
// the rest doubled to 5 minutes; a success opens it.
func TestBreaker(t *testing.T) {
	q := lanes.NewQueue("q", 1)
	q.Concurrency = 100
	var rows []*lanes.Row
	for i := range int64(100) {
		rows = append(rows, &lanes.Row{ID: i + 1, Lane: i})
	}
	q.Add(rows, false, 0)
	now := int64(0)
	for i := range 10 {
		if q.Open() {
			t.Fatalf("open after %d failures", i)
		}
		r := q.Next(now, 100)
		q.Failed(now)
		r.Due = now
		q.Retry(r, now)
	}
	for _, rest := range []int64{10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000} {
		if !q.Open() || q.Next(now+rest-1, 100) != nil {
			t.Fatalf("something was sent before %d ms", rest)
		}
		now += rest
		r := q.Next(now, 100)
		if r == nil || q.Next(now, 100) != nil {
			t.Fatalf("after %d ms: not exactly one probe", rest)
		}
		q.Failed(now)
		r.Due = now
		q.Retry(r, now)
	}
	now += 300_000
	r := q.Next(now, 100)
	q.Succeeded()
	q.Done(r, now)
	for i := range 99 {
		if q.Next(now, 100) == nil {
			t.Fatalf("after the success only %d rows were sent", i)
		}
	}
}

// A queue with a large backlog leaves room to the others, and replays use half
// of the requests.
func TestFairShare(t *testing.T) {
	s := lanes.NewSet(10)
	for _, name := range []string{"a", "b"} {
		q := lanes.NewQueue(name, 1)
		q.Concurrency = 8
		var rows []*lanes.Row
		for i := range int64(50) {
			rows = append(rows, &lanes.Row{ID: i + 1, Lane: i, Replay: map[string]int64{"b": 7}[name]})
		}
		q.Add(rows, false, 0)
		s.Put(q)
	}
	got := map[string]int{}
	for q, r := s.Next(0); r != nil; q, r = s.Next(0) {
		got[q.ID]++
	}
	if got["b"] != 4 || got["a"] < 5 || s.InFlight() != got["a"]+got["b"] {
		t.Errorf("in flight %v, want 4 of the replays and the rest of the others", got)
	}
}
