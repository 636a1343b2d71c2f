package odata_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// Random batches of changes under faults and quirks, by a caller that repeats
// what may be repeated and looks first where the outcome is unknown: in the end
// the service has what the caller believes it has, and nothing was made twice.
func TestWriteLaws(t *testing.T) {
	services := map[string]odatatest.Options{
		"plain":       {},
		"lost":        {Faults: []string{"lose-reply=0.2"}},
		"errors":      {Faults: []string{"500=0.1", "429=0.1,0"}},
		"throttled":   {Faults: []string{"part-429=0.2,0"}},
		"cut":         {Faults: []string{"cut=0.1"}},
		"repeatable":  {Repeatable: true, Faults: []string{"lose-reply=0.2"}},
		"omits":       {Quirks: []string{odatatest.BatchOmits}},
		"null ids":    {Quirks: []string{odatatest.BatchNullIDs}, Faults: []string{"lose-reply=0.1"}},
		"500 for 409": {NoUpsert: true, Quirks: []string{odatatest.Duplicate500}, Faults: []string{"500=0.1"}},
	}
	for name, o := range services {
		t.Run(name, func(t *testing.T) {
			everyForm(t, func(t *testing.T, options map[string]any) {
				for seed := range uint64(4) {
					o.Seed = seed
					s, d := widgets(t, o, options)
					h := &writing{t: t, d: d, rnd: rand.New(rand.NewPCG(seed, 7)), have: map[kedge.Key]int64{}, made: map[kedge.Key]int{}}
					for round := range 15 {
						h.round(round)
					}
					h.compare(s)
				}
			})
		})
	}
}

// A writing is one history of changes, with what the caller believes.
type writing struct {
	t    *testing.T
	d    *odata.Driver
	rnd  *rand.Rand
	have map[kedge.Key]int64
	made map[kedge.Key]int // how often a record may have been created
	next int64
}

// round writes one batch of changes of distinct keys until all are settled.
func (h *writing) round(n int) {
	h.t.Helper()
	var open []kedge.Change
	for _, i := range h.rnd.Perm(12)[:1+h.rnd.IntN(8)] {
		key := kedge.Key(fmt.Sprint("k", i))
		h.next++
		c := change(kedge.Upsert, "widgets", key, values{"int": kedge.Int(h.next)})
		_, exists := h.have[key]
		switch h.rnd.IntN(4) {
		case 0:
			c.Op = kedge.Delete
		case 1:
			if c.Op = kedge.Insert; exists {
				c.Op = kedge.Update
			}
		}
		if !exists && c.Op != kedge.Delete {
			h.made[key]++
		}
		c.IdempotencyKey = fmt.Sprint(n, "/", key)
		open = append(open, c)
	}
	for try := 0; len(open) > 0; try++ {
		if try == 60 {
			h.t.Fatalf("round %d: %d changes are not settled", n, len(open))
		}
		results, err := h.d.Write(h.t.Context(), open)
		var rest []kedge.Change
		for i, r := range results {
			if !h.settled(open[i], r, err) {
				rest = append(rest, open[i])
			}
		}
		open = rest
	}
}

// settled takes the result of a change and reports whether it is final.
func (h *writing) settled(c kedge.Change, r connectors.Result, err error) bool {
	h.t.Helper()
	switch {
	case r.State == connectors.Inserted || r.State == connectors.Updated:
		h.have[c.Key] = c.Values[0].Int()
		return true
	case r.State == connectors.Removed || r.State == connectors.Unchanged:
		delete(h.have, c.Key)
		return true
	case r.State == connectors.Rejected && r.Err.Kind == kedge.Transient, r.State == connectors.Rejected && r.Err.Kind == kedge.Throttled:
		return false
	case r.State == connectors.Rejected && r.Err.Kind == kedge.Conflict && c.Op == kedge.Insert:
		// Refused because it is there: an earlier try of the same change made it.
	case r.State == connectors.Unset && err != nil:
	default:
		h.t.Fatalf("%v: got %v (%v) beside %v", c.Op, r.State, r.Err, err)
	}
	var found []connectors.Found
	for try := 0; ; try++ {
		var err error
		if found, err = h.d.ReadKeys(h.t.Context(), "widgets", []string{"int"}, []kedge.Key{c.Key}); err == nil {
			break
		}
		if kind := kedge.KindOf(err); try == 20 || kind != kedge.Transient && kind != kedge.Throttled {
			h.t.Fatal(err)
		}
	}
	if c.Op == kedge.Delete {
		return false
	}
	if found[0].OK && found[0].Record.Get("int").Int() == c.Values[0].Int() {
		h.have[c.Key] = c.Values[0].Int()
		return true
	}
	return false
}

func (h *writing) compare(s *odatatest.Service) {
	h.t.Helper()
	records := s.Records("widgets")
	if len(records) != len(h.have) {
		h.t.Errorf("the service has %d records, want %d", len(records), len(h.have))
	}
	for _, r := range records {
		if want, ok := h.have[r.Key]; !ok || r.Get("int").Int() != want {
			h.t.Errorf("%s has %d, want %d (%v)", r.Key, r.Get("int").Int(), want, ok)
		}
	}
	for key, n := range s.Inserted("widgets") {
		if n > h.made[key] {
			h.t.Errorf("%s was created %d times, want at most %d", key, n, h.made[key])
		}
	}
}
