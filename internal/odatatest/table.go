package odatatest

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/kedge-sync/kedge"
)

// A table holds the rows of a set, each with all its versions, so that a delta
// can tell what a client has seen.
type table struct {
	*model
	rows    []*row // sorted by key, deleted ones too
	log     []edit // sorted by commit
	live    int
	version int64 // last row version given out
	made    int64 // last number of a key that the service made

	alternates alternates

	sortMu sync.Mutex
	sorted map[string]*sorted // by $orderby
}

type row struct {
	of       *model
	base     int           // number of the generated row it starts as, or -1
	own      []kedge.Value // key, of a row that was not generated or was near a write
	versions []version
}

// keys returns the values of the key.
func (r *row) keys() []kedge.Value {
	if r.own != nil {
		return r.own
	}
	return pick(r.of.set.Row(r.base), r.of.key)
}

// A version is a row as of a commit. No values: it was deleted.
type version struct {
	seq    int64
	number int64 // row version
	values []kedge.Value
	mask   []bool // which values the edit changed
}

type edit struct {
	row *row
	at  int // index of the version
}

func (e edit) version() *version { return &e.row.versions[e.at] }

// checkedRows is how many rows are looked at to see that their keys ascend.
const checkedRows = 1000

func newTable(m *model) *table {
	t := &table{model: m, live: m.set.Rows, version: int64(m.set.Rows)}
	t.rows = make([]*row, 0, m.set.Rows)
	rows := make([]row, m.set.Rows)
	for i := range rows {
		rows[i] = row{of: m, base: i}
		t.rows = append(t.rows, &rows[i])
	}
	for i := range min(len(rows), checkedRows) - 1 {
		if compareKeys(rows[i].keys(), rows[i+1].keys()) >= 0 {
			panic("odatatest: rows of " + m.ent.Name + " are not in the order of their keys")
		}
	}
	return t
}

// values returns the row as of commit seq, or nil if it did not exist.
func (t *table) values(r *row, seq int64) []kedge.Value {
	for i := len(r.versions) - 1; i >= 0; i-- {
		if r.versions[i].seq <= seq {
			return r.versions[i].values
		}
	}
	if r.base >= 0 {
		return t.set.Row(r.base)
	}
	return nil
}

// number returns the row version of r as it is now.
func (r *row) number() int64 {
	if n := len(r.versions); n > 0 {
		return r.versions[n-1].number
	}
	return int64(r.base) + 1
}

// find returns where the row with the given key is, or would be.
func (t *table) find(keys []kedge.Value) (int, bool) {
	i := sort.Search(len(t.rows), func(i int) bool { return compareKeys(t.rows[i].keys(), keys) >= 0 })
	return i, i < len(t.rows) && compareKeys(t.rows[i].keys(), keys) == 0
}

// write adds a version to the row with these keys. nil values delete it.
func (t *table) write(seq, number int64, keys, values []kedge.Value) {
	i, ok := t.find(keys)
	t.keepKeys(i)
	if !ok {
		if values == nil {
			return
		}
		t.rows = slices.Insert(t.rows, i, &row{of: t.model, base: -1, own: keys})
	}
	r := t.rows[i]
	before := t.values(r, seq)
	v := version{seq: seq, number: number, values: values}
	switch {
	case before == nil && values == nil:
		return
	case before == nil:
		t.live++
	case values == nil:
		t.live--
	default:
		v.mask = make([]bool, len(values))
		for j := range values {
			v.mask[j] = !kedge.Equal(before[j], values[j]) || before[j].Text() != values[j].Text()
		}
	}
	r.versions = append(r.versions, v)
	t.log = append(t.log, edit{row: r, at: len(r.versions) - 1})
	t.note(r, values)
}

// keepKeys keeps the keys of the rows that a search for row i looks at: making
// them again and again would take most of the time of a write.
func (t *table) keepKeys(i int) {
	sort.Search(len(t.rows), func(j int) bool {
		t.rows[j].own = t.rows[j].keys()
		return j >= i
	})
}

// editsAfter returns the edits of commits after seq.
func (t *table) editsAfter(seq int64) []edit {
	i := sort.Search(len(t.log), func(i int) bool { return t.log[i].version().seq > seq })
	return t.log[i:]
}

func compareKeys(a, b []kedge.Value) int {
	for i := range a {
		if c := order(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// order compares two values of one field: null is the least (URL Conventions
// 4.01, 5.1.7), and what has no order is compared by its text.
func order(a, b kedge.Value) int {
	if a.IsEmpty() || b.IsEmpty() {
		return cmp.Compare(boolInt(!a.IsEmpty()), boolInt(!b.IsEmpty()))
	}
	if c, ok := kedge.Compare(a, b); ok {
		return c
	}
	return strings.Compare(a.Text(), b.Text())
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func pick(values []kedge.Value, index []int) []kedge.Value {
	out := make([]kedge.Value, len(index))
	for i, j := range index {
		out[i] = values[j]
	}
	return out
}
