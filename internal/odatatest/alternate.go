package odatatest

import (
	"slices"
	"sync"

	"github.com/kedge-sync/kedge"
)

// alternates finds rows by their alternate keys. Rows are added with every
// value that they ever had, so what is found has to be looked at.
type alternates struct {
	mu     sync.Mutex
	byText []map[kedge.Key][]*row // by alternate key, once it was asked for
}

// candidates returns the rows that may have these values of the alternate key
// that consists of props. ok is false if it is none.
func (t *table) candidates(props []int, want []kedge.Value) (rows []*row, ok bool) {
	n := slices.IndexFunc(t.alt, func(alt []int) bool { return slices.Equal(alt, props) })
	if n < 0 {
		return nil, false
	}
	t.alternates.mu.Lock()
	defer t.alternates.mu.Unlock()
	if t.alternates.byText == nil {
		t.alternates.byText = make([]map[kedge.Key][]*row, len(t.alt))
	}
	if t.alternates.byText[n] == nil {
		t.alternates.byText[n] = make(map[kedge.Key][]*row)
		for _, r := range t.rows {
			if r.base >= 0 {
				t.alternates.add(n, t.alt[n], r, t.set.Row(r.base))
			}
			for i := range r.versions {
				t.alternates.add(n, t.alt[n], r, r.versions[i].values)
			}
		}
	}
	return t.alternates.byText[n][kedge.NewKey(want...)], true
}

// note adds the values that a row has got.
func (t *table) note(r *row, values []kedge.Value) {
	t.alternates.mu.Lock()
	defer t.alternates.mu.Unlock()
	for n := range t.alternates.byText {
		if t.alternates.byText[n] != nil {
			t.alternates.add(n, t.alt[n], r, values)
		}
	}
}

func (a *alternates) add(n int, alt []int, r *row, values []kedge.Value) {
	if values == nil {
		return
	}
	if key := kedge.NewKey(pick(values, alt)...); key != "" && !slices.Contains(a.byText[n][key], r) {
		a.byText[n][key] = append(a.byText[n][key], r)
	}
}
