package odata

import (
	"crypto/rand"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"sync"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A batch is what one answer of the service gives: rows, and how to go on.
type batch struct {
	records  []kedge.Record
	rejected []connectors.BadRecord
	next     *token // nil on the last page
	anchor   kedge.Anchor
	exact    bool
	approx   bool
	version  string // greatest
}

func (b *batch) len() int { return len(b.rejected) + len(b.records) }

// slice returns n rows from offset on, rejected ones first.
func (b *batch) slice(offset, n int) (records []kedge.Record, rejected []connectors.BadRecord) {
	end := min(offset+n, b.len())
	if offset < len(b.rejected) {
		rejected = b.rejected[offset:min(end, len(b.rejected))]
	}
	from := max(offset-len(b.rejected), 0)
	if to := end - len(b.rejected); to > from {
		records = b.records[from:to]
	}
	return records, rejected
}

// sum returns a hash of the keys of the first n rows.
func (b *batch) sum(n int) string {
	h := fnv.New64a()
	records, rejected := b.slice(0, n)
	for i := range rejected {
		io.WriteString(h, string(rejected[i].Key)+"\x00")
	}
	for i := range records {
		io.WriteString(h, string(records[i].Key)+"\x00")
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// maxSpilled is how many answers are kept. More than one read of a connection
// at a time is rare.
const maxSpilled = 4

// spill keeps answers that are larger than a page, to be handed out in slices.
type spill struct {
	mu      sync.Mutex
	batches []spilled // oldest first
}

type spilled struct {
	id    string
	batch *batch
}

func (s *spill) put(b *batch) (id string) {
	id = rand.Text()[:10]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batches) == maxSpilled {
		s.batches = slices.Delete(s.batches, 0, 1)
	}
	s.batches = append(s.batches, spilled{id, b})
	return id
}

func (s *spill) get(id string) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.batches {
		if have.id == id {
			return have.batch
		}
	}
	return nil
}

func (s *spill) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = slices.DeleteFunc(s.batches, func(have spilled) bool { return have.id == id })
}

func (s *spill) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = nil
}
