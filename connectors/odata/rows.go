package odata

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"math/bits"

	"github.com/kedge-sync/kedge"
)

// lastOfEach removes all but the last record of each key, in place. A record
// that has only some values (in a delta) gets the others from the ones before.
// It costs a hash and a probe of a table per record.
func lastOfEach(records []kedge.Record) []kedge.Record {
	if len(records) < 2 {
		return records
	}
	seed := maphash.MakeSeed()
	slots := make([]int32, 1<<bits.Len(uint(2*len(records)))) // index + 1; 0 is free
	mask := uint64(len(slots) - 1)
	repeated := false
	for i := range records {
		for at := maphash.String(seed, string(records[i].Key)); ; at++ {
			slot := &slots[at&mask]
			if *slot == 0 {
				*slot = int32(i) + 1
				break
			}
			if earlier := &records[*slot-1]; earlier.Key == records[i].Key {
				records[i] = merged(*earlier, records[i])
				earlier.Fields = nil // marks it as gone
				*slot, repeated = int32(i)+1, true
				break
			}
		}
	}
	if !repeated {
		return records
	}
	kept := records[:0]
	for _, r := range records {
		if r.Fields != nil {
			kept = append(kept, r)
		}
	}
	return kept
}

// merged returns later with what it lacks taken from earlier. Nothing is kept
// over a removal.
func merged(earlier, later kedge.Record) kedge.Record {
	if later.Removed != kedge.Live || earlier.Removed != kedge.Live {
		return later
	}
	for i, v := range later.Values {
		if v.IsMissing() {
			later.Values[i] = earlier.Values[i]
		}
	}
	if later.Version == "" {
		later.Version = earlier.Version
	}
	return later
}

// follow notes that the page at t.Link is the next one, and fails if the links
// go in a circle. It compares each link with one that it keeps, at distances
// that double (R. Brent, 1980), so a circle of any length is found at last.
func (t *token) follow() error {
	sum := sha256.Sum256([]byte(t.Link))
	hash := hex.EncodeToString(sum[:8])
	if hash == t.Mark {
		return &kedge.Error{Kind: kedge.Invalid, Err: errors.New("the links from page to page go in a circle")}
	}
	if t.Pages++; t.Pages&(t.Pages-1) == 0 {
		t.Mark = hash
	}
	return nil
}
