package syncer

import (
	"cmp"
	"math/bits"
	"slices"
)

// What is known of a row is one word: 60 bits of the hash of its mapped
// fields and, in memory only, the outcome it had in this run in the low 4 bits.
// A row that is gone has no hash bits.
const (
	outcomeMask = 1<<4 - 1
	goneUnseen  = outcomeMask // stands for a zero word, which marks a free slot

	// seenEarlier is the outcome of a row that an interrupted full read met in
	// an earlier run: not to be swept, and not counted in this run.
	seenEarlier = Outcome(outcomeMask - 1)
)

// rowWord returns the word of a row with that hash, without an outcome.
func rowWord(hash uint64) uint64 {
	return max(hash&^outcomeMask, outcomeMask+1) // 0 is kept for rows that are gone
}

func wordHash(w uint64) uint64 { return w &^ outcomeMask }

func wordOutcome(w uint64) Outcome {
	if w == goneUnseen {
		return notSeen
	}
	return Outcome(w & outcomeMask)
}

// A hashIndex maps key hashes to row words. Its shards grow one at a time by a
// third, so that it needs about 21 bytes a row at any size and never two
// copies of itself.
type hashIndex struct {
	shards [256]hashShard // by the highest byte of the key hash
	live   int            // rows with hash bits
}

// A hashShard is an open-addressed table with linear probing.
type hashShard struct {
	slots []hashSlot
	used  int
}

type hashSlot struct{ key, word uint64 }

// get returns the word stored for key, and whether anything is.
func (x *hashIndex) get(key uint64) (uint64, bool) {
	s := &x.shards[key>>56]
	if len(s.slots) == 0 {
		return 0, false
	}
	slot := s.find(key)
	return slot.word, slot.word != 0
}

// set stores word for key.
func (x *hashIndex) set(key, word uint64) {
	if word == 0 {
		word = goneUnseen
	}
	s := &x.shards[key>>56]
	if s.used*6 >= len(s.slots)*5 {
		s.grow()
	}
	slot := s.find(key)
	if slot.word == 0 {
		s.used++
	}
	x.live += isLive(word) - isLive(slot.word)
	*slot = hashSlot{key, word}
}

func isLive(word uint64) int {
	if wordHash(word) != 0 {
		return 1
	}
	return 0
}

// spread makes the places of keys independent of their order: compacted blobs
// hold them sorted, and those of one end of a shard must not crowd there.
const spread = 0x9e3779b97f4a7c15

// find returns the slot of key, or the free slot where it belongs.
func (s *hashShard) find(key uint64) *hashSlot {
	hi, _ := bits.Mul64(key*spread, uint64(len(s.slots)))
	for i := int(hi); ; i++ {
		if i == len(s.slots) {
			i = 0
		}
		if slot := &s.slots[i]; slot.word == 0 || slot.key == key {
			return slot
		}
	}
}

func (s *hashShard) grow() {
	old := s.slots
	s.slots = make([]hashSlot, max(16, len(old)*4/3))
	for _, slot := range old {
		if slot.word != 0 {
			*s.find(slot.key) = slot
		}
	}
}

// sorted calls yield with the rows that exist, without outcomes, by key hash.
func (x *hashIndex) sorted(yield func(key, word uint64) bool) {
	for i := range x.shards {
		rows := make([]hashSlot, 0, x.shards[i].used)
		for _, slot := range x.shards[i].slots {
			if isLive(slot.word) == 1 {
				rows = append(rows, hashSlot{slot.key, wordHash(slot.word)})
			}
		}
		slices.SortFunc(rows, func(a, b hashSlot) int { return cmp.Compare(a.key, b.key) })
		for _, row := range rows {
			if !yield(row.key, row.word) {
				return
			}
		}
	}
}
