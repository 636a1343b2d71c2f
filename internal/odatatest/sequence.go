package odatatest

import (
	"slices"
	"sort"

	"github.com/kedge-sync/kedge"
)

// A sequence is the rows of a table in some order.
type sequence struct {
	order  ordering
	n      int
	row    func(i int) *row
	values func(i int) []kedge.Value // of the order
}

// A place is a row with its values in the order of a collection.
type place struct {
	row    *row
	values []kedge.Value
}

// sequence returns the rows in the order o.
func (s *Service) sequence(t *table, o ordering) sequence {
	if o.keyed {
		return sequence{o, len(t.rows), func(i int) *row { return t.rows[i] }, func(i int) []kedge.Value { return t.rows[i].keys() }}
	}
	places := t.sort(o, s.seq)
	return sequence{o, len(places), func(i int) *row { return places[i].row }, func(i int) []kedge.Value { return places[i].values }}
}

// maxOrders is the most orders of a table that are kept.
const maxOrders = 8

// A sorted list is kept for each order that was asked for: the rows as they
// were at the start, which never change, and all rows as of a commit.
type sorted struct {
	start []place
	now   []place
	seq   int64
}

// sort returns the rows as of commit seq in the order o. After an edit only
// the rows that were ever edited are sorted again.
func (t *table) sort(o ordering, seq int64) []place {
	t.sortMu.Lock()
	defer t.sortMu.Unlock()
	list := t.sorted[o.text]
	if list == nil {
		if len(t.sorted) >= maxOrders || t.sorted == nil {
			t.sorted = make(map[string]*sorted)
		}
		list = &sorted{start: t.startPlaces(&o), seq: -1}
		t.sorted[o.text] = list
	}
	if list.seq != seq {
		list.now, list.seq = t.merge(&o, list.start, seq), seq
	}
	return list.now
}

// startPlaces returns the rows as they were at the start, sorted.
func (t *table) startPlaces(o *ordering) []place {
	out := make([]place, 0, t.set.Rows)
	slab := make([]kedge.Value, 0, t.set.Rows*len(o.props))
	for _, r := range t.rows {
		if r.base < 0 {
			continue
		}
		values := t.set.Row(r.base)
		for _, p := range o.props {
			slab = append(slab, values[p])
		}
		out = append(out, place{r, slab[len(slab)-len(o.props):]})
	}
	o.sort(out)
	return out
}

// merge returns all rows as of commit seq, sorted, given those of the start.
func (t *table) merge(o *ordering, start []place, seq int64) []place {
	var edited []place
	seen := make(map[*row]bool)
	for _, e := range t.log {
		if seen[e.row] {
			continue
		}
		seen[e.row] = true
		if values := t.values(e.row, seq); values != nil {
			edited = append(edited, place{e.row, pick(values, o.props)})
		}
	}
	o.sort(edited)
	out := make([]place, 0, len(start)+len(edited))
	for _, p := range start {
		if len(p.row.versions) > 0 {
			continue
		}
		for len(edited) > 0 && o.compare(edited[0].values, p.values) < 0 {
			out, edited = append(out, edited[0]), edited[1:]
		}
		out = append(out, p)
	}
	return append(out, edited...)
}

func (o *ordering) sort(list []place) {
	slices.SortFunc(list, func(a, b place) int { return o.compare(a.values, b.values) })
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
	return sort.Search(q.n, func(i int) bool { return q.order.compare(q.values(i), values) >= 0 })
}

// after returns the index of the first row after the values.
func (q *sequence) after(values []kedge.Value) int {
	return sort.Search(q.n, func(i int) bool { return q.order.compare(q.values(i), values) > 0 })
}
