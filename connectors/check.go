package connectors

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/kedge-sync/kedge"
)

// broken is the error for a driver that does not keep its contract.
func broken(op, entity, format string, args ...any) error {
	return &kedge.Error{Op: op, Kind: kedge.Internal, Entity: entity, Err: fmt.Errorf("broken driver: "+format, args...)}
}

func checkSchema(s *kedge.Schema) error {
	if s == nil {
		return broken("connectors.Schema", "", "no schema and no error")
	}
	for i := range s.Entities {
		e := &s.Entities[i]
		if i > 0 && s.Entities[i-1].Name >= e.Name {
			return broken("connectors.Schema", e.Name, "entities are not sorted or not distinct")
		}
		for _, k := range e.Key {
			if e.Field(k) == nil {
				return broken("connectors.Schema", e.Name, "key field %s is not a field", k)
			}
		}
	}
	return nil
}

// A pageChecker checks the pages of one read. It costs a hash and a table
// probe per record.
type pageChecker struct {
	op      string
	req     ReadRequest // of the page that is checked
	keyed   bool        // the entity has a key
	fields  *kedge.Fields
	keys    keySet
	tokens  map[uint64]struct{} // hashes of the tokens of this read
	hashing maphash.Seed
}

func newPageChecker(op string, req ReadRequest, keyed bool) *pageChecker {
	return &pageChecker{op: op, req: req, keyed: keyed, tokens: map[uint64]struct{}{}, hashing: maphash.MakeSeed()}
}

func (c *pageChecker) broken(format string, args ...any) error {
	return broken(c.op, c.req.Entity, format, args...)
}

// page checks p and moves on to the request of the page after it.
func (c *pageChecker) page(p *Page) error {
	if p == nil {
		return c.broken("no page and no error")
	}
	if n := len(p.Records) + len(p.Rejected); n > 2*c.req.Size {
		return c.broken("a page of %d records, more than twice the %d wanted", n, c.req.Size)
	}
	for i := range p.Records {
		if err := c.record(&p.Records[i]); err != nil {
			return err
		}
	}
	if c.keyed && c.keys.repeats(p.Records) {
		return c.broken("a key comes twice in one page")
	}
	return c.next(p)
}

func (c *pageChecker) record(r *kedge.Record) error {
	if r.Key == "" && c.keyed {
		return c.broken("a record without key")
	}
	if len(r.Values) == 0 && r.Removed != kedge.Live {
		return nil
	}
	if len(r.Values) != len(c.req.Fields) {
		return c.broken("a record of %d values for %d fields", len(r.Values), len(c.req.Fields))
	}
	if r.Fields != c.fields || r.Fields == nil {
		if !slices.Equal(r.Fields.Names(), c.req.Fields) {
			return c.broken("a record whose fields are not those asked for")
		}
		c.fields = r.Fields
	}
	return nil
}

func (c *pageChecker) next(p *Page) error {
	if p.Next == "" {
		return nil
	}
	if p.Anchor != "" {
		return c.broken("an anchor on a page that is not the last")
	}
	if len(p.Next) > MaxToken {
		return c.broken("a page token of %d bytes, more than %d", len(p.Next), MaxToken)
	}
	if c.req.Token != "" {
		c.tokens[maphash.String(c.hashing, string(c.req.Token))] = struct{}{}
	}
	if _, seen := c.tokens[maphash.String(c.hashing, string(p.Next))]; seen {
		return c.broken("a page token that came before in this read")
	}
	c.req.Token = p.Next
	return nil
}

// found checks the answer to a read by key.
func (c *pageChecker) found(found []Found, keys []kedge.Key) error {
	if len(found) != len(keys) {
		return c.broken("%d answers for %d keys", len(found), len(keys))
	}
	for i := range found {
		if !found[i].OK {
			continue
		}
		if err := c.record(&found[i].Record); err != nil {
			return err
		}
		if found[i].Record.Key != keys[i] {
			return c.broken("a record that answers for another key")
		}
	}
	return nil
}

// A keySet finds repeated keys in a page without an allocation per page: an
// open-addressing table of key hashes, at most half full.
type keySet struct {
	seed  maphash.Seed
	slots []uint64
}

func (s *keySet) repeats(records []kedge.Record) bool {
	size := 1 << bits.Len(uint(2*len(records)))
	if len(s.slots) < size {
		s.seed, s.slots = maphash.MakeSeed(), make([]uint64, size)
	} else {
		clear(s.slots)
	}
	mask := uint64(len(s.slots) - 1)
	for i := range records {
		h := maphash.String(s.seed, string(records[i].Key)) | 1 // 0 marks a free slot
		for at := h >> 1; ; at++ {
			slot := &s.slots[at&mask]
			if *slot == 0 {
				*slot = h
				break
			}
			if *slot == h && holdsKey(records[:i], records[i].Key) {
				return true
			}
		}
	}
	return false
}

// holdsKey confirms a hash that was met before.
func holdsKey(records []kedge.Record, k kedge.Key) bool {
	return slices.ContainsFunc(records, func(r kedge.Record) bool { return r.Key == k })
}

// maxRemote is the most that a result may keep of the system's own words, in bytes.
const maxRemote = 4 << 10

// checkResults checks what Write returned for changes. Results may be missing
// only beside an error.
func checkResults(results []Result, changes []kedge.Change, err error) error {
	entity := changes[0].Entity
	if err != nil && len(results) == 0 {
		return nil
	}
	if len(results) != len(changes) {
		return broken(opWrite, entity, "%d results for %d changes", len(results), len(changes))
	}
	for i := range results {
		r := &results[i]
		switch {
		case r.State > Rejected:
			return broken(opWrite, entity, "a result of an unknown state")
		case r.State == Unset && err == nil:
			return broken(opWrite, entity, "a change without a result")
		case (r.State == Rejected) != (r.Err != nil):
			return broken(opWrite, entity, "a result that is rejected without an error, or has an error without being rejected")
		case r.State == Inserted && r.Key == "" && changes[i].Key == "":
			return broken(opWrite, entity, "an inserted record without key")
		}
	}
	return nil
}
