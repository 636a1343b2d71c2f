package odatatest

import (
	"slices"
	"sort"

	"github.com/kedge-sync/kedge"
)

// A place is a row with its values in the order of a collection.
type place struct {
	row  *row
	keys []kedge.Value
}

// A sequence is the rows of a table in some order.
type sequence struct {
	order ordering
	n     int
	at    func(i int) place
}

// sequence returns the rows in the order of q. Orders other than that of the
// keys are sorted once and kept until the next edit.
func (s *Service) sequence(t *table, o ordering) sequence {
	if o.keyed {
		return sequence{o, len(t.rows), func(i int) place { return place{t.rows[i], t.rows[i].keys} }}
	}
	t.sortMu.Lock()
	defer t.sortMu.Unlock()
	sorted, ok := t.sorted[o.text]
	if !ok || sorted.seq != s.seq {
		sorted = sortedRows{seq: s.seq, places: make([]place, 0, t.live)}
		for _, r := range t.rows {
			if values := t.values(r, s.seq); values != nil {
				sorted.places = append(sorted.places, place{r, pick(values, o.props)})
			}
		}
		slices.SortFunc(sorted.places, func(a, b place) int { return o.compare(a.keys, b.keys) })
		if len(t.sorted) > 8 || t.sorted == nil {
			t.sorted = make(map[string]sortedRows)
		}
		t.sorted[o.text] = sorted
	}
	return sequence{o, len(sorted.places), func(i int) place { return sorted.places[i] }}
}

type sortedRows struct {
	seq    int64
	places []place
}

// compare compares as many values as both have.
func (o *ordering) compare(a, b []kedge.Value) int {
	for i := range min(len(a), len(b)) {
		c := order(a[i], b[i])
		if o.desc[i] {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// from returns the index of the first row at or after the values.
func (q *sequence) from(values []kedge.Value) int {
	return sort.Search(q.n, func(i int) bool { return q.order.compare(q.at(i).keys, values) >= 0 })
}

// after returns the index of the first row after the values.
func (q *sequence) after(values []kedge.Value) int {
	return sort.Search(q.n, func(i int) bool { return q.order.compare(q.at(i).keys, values) > 0 })
}
