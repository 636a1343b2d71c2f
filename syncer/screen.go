package syncer

import (
	"context"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/mapping"
)

// screen takes what needs work of a chunk into the batch. The rest, above all
// what is unchanged, is counted at once.
func (e *entity) screen(ctx context.Context, c *chunk) error {
	if err := e.complete(ctx, c); err != nil {
		return err
	}
	e.keyHashes = e.keyHashes[:0]
	for i := range c.records {
		e.keyHashes = append(e.keyHashes, mapping.KeyHash(c.records[i].Key))
	}
	bad := make([]item, len(c.rejected))
	for i := range c.rejected {
		bad[i] = e.rejected(c.rejected[i])
		e.keyHashes = append(e.keyHashes, bad[i].keyHash)
	}
	if err := e.log.load(ctx, e.run.reader(), e.keyHashes); err != nil {
		return err
	}
	first, r := len(e.batch.items), 0
	for i := 0; ; i++ {
		for ; r < len(bad) && c.beforeOf(r) <= i; r++ {
			bad[r].prev = e.log.get(bad[r].keyHash)
			e.enter(&bad[r])
		}
		if i == len(c.records) {
			break
		}
		it := item{rec: &c.records[i], keyHash: e.keyHashes[i], prev: e.log.get(e.keyHashes[i])}
		e.judge(&it, i < c.exact)
		e.enter(&it)
	}
	e.batch.take(c, first)
	return nil
}

// enter takes an item into the batch, or settles it. Of two with one key the
// later wins.
func (e *entity) enter(it *item) {
	if earlier := e.inBatch[it.keyHash]; earlier != nil && earlier.rec.Key == it.rec.Key {
		earlier.rec = nil
		delete(e.inBatch, it.keyHash)
	}
	settled := (it.outcome == Unchanged || it.outcome == Echoed) && it.rec.Removed == kedge.Live && !e.hasMarks
	if settled && !e.log.table && !e.run.planning() {
		e.settle(it)
		return
	}
	place := e.batch.slab.add(*it)
	e.inBatch[it.keyHash] = place
	e.batch.items = append(e.batch.items, place)
}

// settle counts a record that needs no work. Should the batch not be stored,
// it is read again.
func (e *entity) settle(it *item) {
	e.noteSeen(it)
	prev, next, word := e.outcomeOf(it)
	e.counts.count(prev, next)
	e.log.index.set(it.keyHash, word)
}

// take moves the position of b behind c. The items from first on came with c;
// if they are few they are copied, so that they do not keep whole pages in
// memory.
func (b *batch) take(c *chunk, first int) {
	if b.rows == 0 {
		b.since = c.since
	}
	b.next, b.anchor, b.last = c.next, c.anchor, c.last
	b.rows += int64(len(c.records))
	b.version = laterVersion(b.version, c.version)
	for i := range c.records {
		if c.version == "" {
			b.version = laterVersion(b.version, c.records[i].Version)
		}
	}
	if items := b.items[first:]; len(items) > 0 && len(items)*4 > len(c.records) {
		b.bytes += c.bytes
	} else {
		for _, it := range items {
			if it.rec != nil {
				r := it.rec.Clone()
				it.rec = &r
				b.bytes += textBytes(r.Values)
			}
		}
	}
}

func (c *chunk) beforeOf(i int) int {
	if i < len(c.before) {
		return c.before[i]
	}
	return len(c.records)
}

// rejected makes the item of a record that could not be decoded.
func (e *entity) rejected(bad connectors.BadRecord) item {
	it := item{rec: &kedge.Record{Key: bad.Key}, fail: &failure{stage: "decode", code: "decode", field: bad.Field, err: bad.Err, as: Quarantined, raw: bad.Raw}}
	if bad.Key == "" {
		e.unreadable++
		it.rec.Key = kedge.Key(fmt.Sprintf("(key not readable, %d)", e.unreadable))
		it.fail.code = codeKeyUnreadable
	}
	it.keyHash = mapping.KeyHash(it.rec.Key)
	return it
}

// judge finds out whether a record needs work.
func (e *entity) judge(it *item, exact bool) {
	if err := checkKey(it.rec.Key); err != nil {
		it.fail = &failure{stage: "match", code: codeKeyInvalid, err: err, as: Quarantined}
		return
	}
	if it.rec.Removed == kedge.Live && !exact && e.filter != nil {
		truth, err := e.filter.Match(it.rec)
		if err != nil {
			it.fail = &failure{stage: "map", code: "filter", err: err, as: Quarantined}
			return
		}
		if truth != filter.Yes {
			it.rec.Removed = kedge.LeftFilter
		}
	}
	switch {
	case it.rec.Removed == kedge.LeftFilter && (isLive(it.prev) == 0 || e.run.op() == Import):
		it.outcome = Filtered // and an import deletes nothing
	case it.rec.Removed != kedge.Live && (isLive(it.prev) == 0 || e.run.op() == Import):
		it.outcome = Unchanged
	case it.rec.Removed != kedge.Live:
	default:
		it.hash = e.word(it.rec)
		if it.hash == wordHash(it.prev) && e.run.op() == Sync && !e.isOpen(it.rec.Key) && !e.force[it.rec.Key] {
			it.outcome = Unchanged
		}
		if e.echo(it) {
			it.outcome = Echoed
		}
	}
}

func (e *entity) isOpen(k kedge.Key) bool {
	if len(e.open) == 0 {
		return false
	}
	_, open := e.open[quarantineKey(k)]
	return open
}

// complete reads the records again that were delivered in part and lack a
// field that the filter needs.
func (e *entity) complete(ctx context.Context, b *chunk) error {
	if e.filter == nil {
		return nil
	}
	var keys []kedge.Key
	at := map[kedge.Key]int{}
	for i := b.exact; i < len(b.records); i++ {
		r := &b.records[i]
		if r.Removed != kedge.Live {
			continue
		}
		if _, err := e.filter.Match(r); errorsIsMissing(err) {
			at[r.Key] = i
			keys = append(keys, r.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	answers, err := e.readKeys(ctx, keys)
	if kedge.KindOf(err) == kedge.Unsupported {
		return nil // they go to the quarantine
	}
	if err != nil {
		return err
	}
	for i, a := range answers {
		r := &b.records[at[keys[i]]]
		switch {
		case a.bad != nil: // goes to the quarantine
		case a.found:
			*r = a.record
		default:
			r.Removed = kedge.Deleted
		}
	}
	return nil
}
