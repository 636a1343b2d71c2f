package syncer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// A batch is what the next page transaction stores: what needs work of one or
// more whole pages.
type batch struct {
	items   []*item
	next    connectors.Token // where to go on
	anchor  kedge.Anchor     // of the last page
	last    bool
	since   time.Time // when the first page came
	bytes   int
	rows    int64  // records read, also those that need no work
	version string // the latest of theirs
	slab    slab
}

// rowsPerCommit bounds what an interrupted read repeats: a batch covers at most
// so many times CommitRows.
const rowsPerCommit = 16

// due tells whether the batch has to be stored now. A read that meets almost
// only what it knows needs few page transactions.
func (e *entity) due() bool {
	b, limits := &e.batch, e.run.s.limits
	return b.last || len(b.items) >= limits.CommitRows || b.rows >= int64(rowsPerCommit*limits.CommitRows) ||
		b.bytes >= commitBytes || e.run.s.now().Sub(b.since) >= commitAfter || e.log.table || e.run.planning()
}

// reset makes the batch empty, keeping its memory.
func (b *batch) reset() {
	items, slab := b.items[:0], b.slab
	clear(b.items)
	slab.reset()
	*b = batch{items: items, slab: slab}
}

// A slab holds the items of a batch.
type slab struct {
	parts [][]item
	used  int
}

const slabPart = 1024

// reset lets go of the items and of the pages that they point into.
func (s *slab) reset() {
	for i := range s.used {
		place := &s.parts[i/slabPart][i%slabPart]
		values := place.dst.Values
		clear(values)
		*place = item{dst: kedge.Record{Values: values}}
	}
	s.used = 0
}

// add returns the place of a copy of it, which reuses the memory for mapped
// values of the item that was there.
func (s *slab) add(it item) *item {
	if s.used == len(s.parts)*slabPart {
		s.parts = append(s.parts, make([]item, slabPart))
	}
	place := &s.parts[s.used/slabPart][s.used%slabPart]
	s.used++
	it.dst.Values = place.dst.Values[:0]
	*place = it
	return place
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
	stored  bool     // the local side took it
	stale   bool     // came with the version that it was deleted with
	takes   *link    // of another record that gives the local one up
	taken   bool     // another record of this batch takes the local one
	unknown []string // plan: lookups to records that are yet to be made
	pending []pendingRef
	fail    *failure
	outcome Outcome // decided already, notSeen else

	// Of entities whose local edits are sent.
	after    *baseRow // the base once the item is stored
	conflict *conflictRow
	thaw     bool         // it had a conflict and has none any more
	send     string       // what the other side is to be told
	decided  []string     // fields that a policy decided
	lost     *Transaction // of a creation whose answer was lost: this is what it made
}

// apply stores a chunk in one page transaction. In a plan it only tells what
// it would do.
func (e *entity) apply(ctx context.Context, c *chunk) error {
	if err := e.screen(ctx, c); err != nil {
		return err
	}
	return e.store(ctx)
}

// store stores the batch.
func (e *entity) store(ctx context.Context) (err error) {
	ctx, span := e.span(ctx, "page", Download)
	defer func() { endSpan(span, err) }()
	b := &e.batch
	items := slices.DeleteFunc(b.items, func(it *item) bool { return it.rec == nil })
	defer func() {
		b.reset()
		clear(e.inBatch)
		clear(e.settled)
		e.seen = e.seen[:0]
	}()
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
		if e.before != nil {
			if err := e.before(ctx, tx); err != nil {
				return err
			}
		}
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
	e.noteInStep(items)
	clear(e.claimed)
	return e.limitMemory(ctx)
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
	if err := e.match(ctx, tx, gone); err != nil {
		return err
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
		it.stored = true
		if r.Key != "" {
			it.dst.Key = r.Key
		}
	}
	return nil
}
