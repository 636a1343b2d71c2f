package syncer

import (
	"context"
	"fmt"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// A batch is what one page transaction stores: one or more whole pages.
type batch struct {
	records  []kedge.Record
	exact    int // records[:exact] are known to pass the filter
	rejected []connectors.BadRecord
	next     connectors.Token // where to go on
	anchor   kedge.Anchor     // of the last page
	last     bool
	total    int64
	bytes    int
}

// An item is one record on its way through a page transaction.
type item struct {
	rec     *kedge.Record
	keyHash uint64
	hash    uint64        // row word
	prev    uint64        // what the log knows: a row word, or 0
	link    *link         // of entities with links
	local   *kedge.Record // the local row, where it was looked up
	dst     kedge.Record  // mapped values; its Key is the local key, "" for one the local side makes
	create  bool
	pending []pendingRef
	fail    *failure
	outcome Outcome // decided already, notSeen else
}

// apply stores b in one page transaction. In a plan it only tells what it
// would do.
func (e *entity) apply(ctx context.Context, b *batch) error {
	items, err := e.screen(ctx, b)
	if err != nil {
		return err
	}
	if e.run.planning() {
		return e.preview(ctx, items)
	}
	if !e.run.ownTables() {
		// The other system is written first; the repeat after a crash is harmless.
		if err := e.decide(ctx, nil, items); err != nil {
			return err
		}
		if err := e.writeAll(ctx, nil, items); err != nil {
			return err
		}
		e.run.s.hook("p4")
	}
	err = e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if e.run.ownTables() {
			if err := e.decide(ctx, tx, items); err != nil {
				return err
			}
			if err := e.writeAll(ctx, tx, items); err != nil {
				return err
			}
		}
		e.run.s.hook("p2")
		return e.remember(ctx, tx, b, items)
	})
	if err != nil {
		return err
	}
	e.count(items)
	return e.tooManyBad()
}

// screen drops what needs no work: records that are unchanged, filtered or
// come again in the same batch.
func (e *entity) screen(ctx context.Context, b *batch) ([]*item, error) {
	if err := e.complete(ctx, b); err != nil {
		return nil, err
	}
	e.slab = grow(e.slab, len(b.records)+len(b.rejected))
	e.keyHashes = e.keyHashes[:0]
	clear(e.inBatch)
	items := e.items[:0]
	for i := range b.records {
		it := &e.slab[i]
		*it = item{rec: &b.records[i], keyHash: mapping.KeyHash(b.records[i].Key), dst: kedge.Record{Values: it.dst.Values[:0]}}
		e.keyHashes = append(e.keyHashes, it.keyHash)
		if earlier, again := e.inBatch[it.keyHash]; again && earlier.rec.Key == it.rec.Key {
			earlier.rec = nil // the later one wins
		}
		e.inBatch[it.keyHash] = it
	}
	if err := e.log.load(ctx, e.run.s.store.DB(), e.keyHashes); err != nil {
		return nil, err
	}
	for i := range b.records {
		it := &e.slab[i]
		if it.rec == nil {
			continue
		}
		if err := e.screenOne(it, i < b.exact); err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	for i, bad := range b.rejected {
		it := &e.slab[len(b.records)+i]
		*it = item{rec: &kedge.Record{Key: bad.Key}, fail: &failure{stage: "decode", code: "decode", field: bad.Field, err: bad.Err, as: Quarantined}}
		if bad.Key == "" {
			e.unreadable++
			it.rec.Key = kedge.Key(fmt.Sprintf("(key not readable, %d)", e.unreadable))
		}
		it.keyHash = mapping.KeyHash(it.rec.Key)
		it.prev, _ = e.log.index.get(it.keyHash)
		items = append(items, it)
	}
	e.items = items
	return items, nil
}

func grow(slab []item, n int) []item {
	if cap(slab) < n {
		return make([]item, n)
	}
	return slab[:n]
}

func (e *entity) screenOne(it *item, exact bool) error {
	it.prev, _ = e.log.index.get(it.keyHash)
	if it.rec.Removed == kedge.Live && !exact && e.filter != nil {
		truth, err := e.filter.Match(it.rec)
		if err != nil {
			it.fail = &failure{stage: "map", code: "filter", err: err, as: Quarantined}
			return nil
		}
		if truth != filter.Yes {
			it.rec.Removed = kedge.LeftFilter
		}
	}
	if it.rec.Removed != kedge.Live {
		if isLive(it.prev) == 0 {
			it.outcome = Unchanged // was never stored
			if it.rec.Removed == kedge.LeftFilter {
				it.outcome = Filtered
			}
		}
		return nil
	}
	it.hash = rowWord(e.plan.Hash(it.rec))
	if it.hash == wordHash(it.prev) && e.run.op() == Sync && !e.isOpen(it.rec.Key) {
		it.outcome = Unchanged
	}
	return nil
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
func (e *entity) complete(ctx context.Context, b *batch) error {
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
	found, err := e.run.ext.ReadKeys(ctx, e.plan.External.Name, e.plan.ExternalFields.Names(), keys)
	if err != nil {
		return err
	}
	for i, f := range found {
		if f.OK {
			b.records[at[keys[i]]] = f.Record
		} else {
			b.records[at[keys[i]]].Removed = kedge.Deleted
		}
	}
	return nil
}

// writeAll sends the changes of items and notes what became of them.
func (e *entity) writeAll(ctx context.Context, tx connectors.Tx, items []*item) error {
	if err := e.write(ctx, tx, items, false); err != nil {
		return err
	}
	// A linked row that somebody deleted here is made again, with defaults.
	var gone []*item
	for _, it := range items {
		if it.fail != nil && it.fail.stage == "write" && it.fail.code == kedge.NotFound.String() && it.link != nil {
			it.fail, it.create, it.dst.Key = nil, true, ""
			if err := e.mapOne(it); err != nil {
				return err
			}
			gone = append(gone, it)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := e.resolve(ctx, tx, gone); err != nil {
		return err
	}
	return e.write(ctx, tx, gone, true)
}

func (e *entity) write(ctx context.Context, tx connectors.Tx, items []*item, again bool) error {
	e.changes, e.changed = e.changes[:0], e.changed[:0]
	for _, it := range items {
		if it.fail != nil || it.outcome != notSeen && !again || it.rec.Removed != kedge.Live {
			continue
		}
		op := kedge.Update
		switch {
		case e.plan.SharedKey:
			op = kedge.Upsert
		case it.create:
			op = kedge.Insert
		}
		e.changes = append(e.changes, kedge.Change{Op: op, Entity: e.plan.Local.Name, Key: it.dst.Key, Fields: e.plan.LocalFields, Values: it.dst.Values})
		e.changed = append(e.changed, it)
	}
	if len(e.changes) == 0 {
		return nil
	}
	e.sortChanges()
	results, err := e.run.target.write(ctx, tx, e.changes)
	if err != nil {
		return err
	}
	for i, r := range results {
		it := e.changed[i]
		switch r.State {
		case connectors.Inserted:
			it.outcome = Created
		case connectors.Updated:
			it.outcome = Changed
		case connectors.Unchanged:
			it.outcome = Unchanged
		case connectors.Rejected:
			it.fail = failWrite(r.Err)
			continue
		default:
			return &kedge.Error{Op: "syncer", Entity: e.plan.Local.Name, Err: fmt.Errorf("result of a change is %v", r.State)}
		}
		if r.Key != "" {
			it.dst.Key = r.Key
		}
	}
	return nil
}

// remember stores everything that has to be known about a batch, and the
// position after it.
func (e *entity) remember(ctx context.Context, tx *store.Tx, b *batch, items []*item) error {
	now := e.run.s.now().UTC()
	e.puts, e.seen = e.puts[:0], e.seen[:0]
	var links []*link
	var failed []*item
	var freed []kedge.Key
	for _, it := range items {
		switch {
		case it.fail != nil:
			failed = append(failed, it)
		case it.rec.Removed != kedge.Live:
			if it.outcome == notSeen {
				if l := e.mark(it, now); l != nil {
					links = append(links, l)
				} else {
					it.outcome = Kept
				}
			}
		case it.hash != wordHash(it.prev):
			e.puts = appendPut(e.puts, it.keyHash, it.hash)
		}
		if it.fail == nil && it.outcome != notSeen && it.rec.Removed == kedge.Live {
			if l := e.linkFor(it, now); l != nil {
				links = append(links, l)
			}
		}
		if it.fail == nil && e.isOpen(it.rec.Key) {
			freed = append(freed, kedge.Key(quarantineKey(it.rec.Key)))
		}
		e.noteSeen(it)
	}
	steps := []func() error{
		func() error { return e.run.s.saveLinks(ctx, tx, links) },
		func() error { return e.log.append(ctx, tx, e.puts, e.seen) },
		func() error { return e.savePending(ctx, tx, items) },
		func() error { return e.quarantine(ctx, tx, failed) },
		func() error { return e.release(ctx, tx, freed) },
		func() error { return e.saveProgress(ctx, tx, b, items, now) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// noteSeen adds a known row that this full read met without storing it anew to
// the seen blob, so that an interrupted read still knows it.
func (e *entity) noteSeen(it *item) {
	stored := it.fail == nil && it.rec.Removed == kedge.Live && it.hash != wordHash(it.prev)
	if e.log.generation == 0 || stored || isLive(it.prev) == 0 || wordOutcome(it.prev) != notSeen {
		return
	}
	e.seen = appendKey(e.seen, it.keyHash)
}

// linkFor returns the link row that a stored record needs, or nil.
func (e *entity) linkFor(it *item, now time.Time) *link {
	switch {
	case it.link != nil && it.link.Status == linked && it.link.LocalKey == it.dst.Key:
		return nil
	case e.plan.SharedKey && it.link == nil:
		return nil
	case e.plan.SharedKey || it.dst.Key == "" && it.link != nil:
		// The record is back: its mark or tombstone has no meaning any more.
		return &link{Ent: e.row.ID, ExtKey: it.rec.Key, LocalKey: it.link.LocalKey, Status: linked, At: now}
	case it.dst.Key == "":
		return nil
	}
	return &link{Ent: e.row.ID, ExtKey: it.rec.Key, LocalKey: it.dst.Key, Status: linked, Version: it.rec.Version, At: now}
}

// count takes what became of the items into the run's numbers, once the page
// transaction has committed.
func (e *entity) count(items []*item) {
	for _, it := range items {
		prev, next := wordOutcome(it.prev), it.outcome
		switch {
		case it.fail != nil:
			next = it.fail.as
		case next == notSeen:
			next = seenEarlier // marked; the delete phase counts it
		}
		word := wordHash(it.prev)
		if it.fail == nil && it.rec.Removed == kedge.Live {
			word = it.hash
		}
		next = prev.then(next)
		e.counts.count(prev, next)
		e.log.index.set(it.keyHash, word|uint64(next))
	}
}
