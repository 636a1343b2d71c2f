package syncer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
)

// A batch is what one page transaction stores: one or more whole pages.
type batch struct {
	records  []kedge.Record
	exact    int // records[:exact] are known to pass the filter
	rejected []connectors.BadRecord
	before   []int            // rejected[i] came after records[:before[i]]
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
	stored  bool     // the local side took it
	stale   bool     // came with the version that it was deleted with
	takes   *link    // of another record that gives the local one up
	taken   bool     // another record of this batch takes the local one
	unknown []string // plan: lookups to records that are yet to be made
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
	clear(e.claimed)
	return e.limitMemory(ctx)
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
	for i := range b.records {
		it := &e.slab[i]
		*it = item{rec: &b.records[i], keyHash: mapping.KeyHash(b.records[i].Key), dst: kedge.Record{Values: it.dst.Values[:0]}}
		e.enter(it)
	}
	for i, bad := range b.rejected {
		it := &e.slab[len(b.records)+i]
		*it = e.rejected(bad)
		if later := e.inBatch[it.keyHash]; later != nil && later.rec.Key == it.rec.Key && later.fail == nil && e.at(later) >= b.beforeOf(i) {
			it.rec = nil // it came again and was fine
			continue
		}
		e.enter(it)
	}
	if err := e.log.load(ctx, e.run.s.store.DB(), e.keyHashes); err != nil {
		return nil, err
	}
	items := e.items[:0]
	for i := range e.slab[:len(b.records)+len(b.rejected)] {
		it := &e.slab[i]
		if it.rec == nil {
			continue
		}
		it.prev = e.log.get(it.keyHash)
		if it.fail == nil {
			e.screenOne(it, i < b.exact)
		}
		items = append(items, it)
	}
	e.items = items
	return items, nil
}

// enter notes an item of the batch. Of two with one key the later wins.
func (e *entity) enter(it *item) {
	e.keyHashes = append(e.keyHashes, it.keyHash)
	if earlier, again := e.inBatch[it.keyHash]; again && earlier.rec.Key == it.rec.Key {
		earlier.rec = nil
	}
	e.inBatch[it.keyHash] = it
}

// at is the position of an item in the slab.
func (e *entity) at(it *item) int {
	return slices.IndexFunc(e.slab, func(other item) bool { return other.rec == it.rec })
}

func (b *batch) beforeOf(i int) int {
	if i < len(b.before) {
		return b.before[i]
	}
	return len(b.records)
}

// rejected makes the item of a record that could not be decoded.
func (e *entity) rejected(bad connectors.BadRecord) item {
	it := item{rec: &kedge.Record{Key: bad.Key}, fail: &failure{stage: "decode", code: "decode", field: bad.Field, err: bad.Err, as: Quarantined}}
	if bad.Key == "" {
		e.unreadable++
		it.rec.Key = kedge.Key(fmt.Sprintf("(key not readable, %d)", e.unreadable))
		it.fail.code = codeKeyUnreadable
	}
	it.keyHash = mapping.KeyHash(it.rec.Key)
	return it
}

func grow(slab []item, n int) []item {
	if cap(slab) < n {
		return make([]item, n)
	}
	return slab[:n]
}

func (e *entity) screenOne(it *item, exact bool) {
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
		it.hash = rowWord(e.plan.Hash(it.rec))
		if it.hash == wordHash(it.prev) && e.run.op() == Sync && !e.isOpen(it.rec.Key) {
			it.outcome = Unchanged
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

// A memory is what has to be stored about a batch beside its rows.
type memory struct {
	links  []*link
	drop   []kedge.Key // of links
	unmark []kedge.Key // records that are here, whatever was thought before
	failed []*item
	freed  []string // of the quarantine
}

// remember stores everything that has to be known about a batch, and the
// position after it.
func (e *entity) remember(ctx context.Context, tx *store.Tx, b *batch, items []*item) error {
	now := e.run.s.now().UTC()
	e.puts, e.seen, e.states = e.puts[:0], e.seen[:0], e.states[:0]
	var m memory
	for _, it := range items {
		if it.takes != nil && it.fail == nil {
			if giver := e.inBatch[mapping.KeyHash(it.takes.ExtKey)]; giver != nil && giver.rec.Key == it.takes.ExtKey {
				giver.taken = true
			}
		}
	}
	for _, it := range items {
		switch {
		case it.fail != nil:
			m.failed = append(m.failed, it)
		case it.rec.Removed != kedge.Live:
			e.rememberRemoved(&m, it, now)
		default:
			e.rememberStored(&m, it, now)
		}
		if key := quarantineKey(it.rec.Key); it.fail == nil && e.isOpen(it.rec.Key) {
			m.freed = append(m.freed, key)
		}
		e.noteSeen(it)
	}
	for _, it := range items {
		_, _, word := e.outcomeOf(it)
		e.states = append(e.states, hashState{it.keyHash, word})
	}
	if err := e.takeOver(ctx, tx, &m, items); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return e.run.s.dropLinks(ctx, tx, e.row.ID, m.drop) },
		func() error { return e.dropStale(ctx, tx, items) },
		func() error { return e.run.s.saveLinks(ctx, tx, m.links) },
		func() error { return e.unmark(ctx, tx, m.unmark) },
		func() error { return e.saveStates(ctx, tx) },
		func() error { return e.savePending(ctx, tx, items) },
		func() error { return e.quarantine(ctx, tx, m.failed) },
		func() error { return e.release(ctx, tx, m.freed) },
		func() error { return e.saveProgress(ctx, tx, b, items, now) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (e *entity) rememberRemoved(m *memory, it *item, now time.Time) {
	if it.outcome != notSeen {
		return
	}
	l := e.mark(it, now)
	switch {
	case it.taken:
		it.outcome = Kept
	case l == nil:
		it.outcome = Kept
	default:
		m.links = append(m.links, l)
		e.hasMarks = true
	}
}

func (e *entity) rememberStored(m *memory, it *item, now time.Time) {
	if it.hash != wordHash(it.prev) {
		e.puts = appendPut(e.puts, it.keyHash, it.hash)
	}
	if it.takes != nil {
		m.drop = append(m.drop, it.takes.ExtKey)
	}
	switch {
	case it.stale:
	case !it.stored:
		if e.hasMarks {
			m.unmark = append(m.unmark, it.rec.Key)
		}
	case e.plan.SharedKey && it.link != nil:
		m.drop = append(m.drop, it.rec.Key) // the record is back: its mark or tombstone has no meaning any more
	case !e.plan.SharedKey:
		if l := e.linkFor(it, now); l != nil {
			m.links = append(m.links, l)
		}
	}
}

// takeOver forgets the records that gave their local ones up to others.
func (e *entity) takeOver(ctx context.Context, tx *store.Tx, m *memory, items []*item) error {
	var keys []uint64
	for _, it := range items {
		if it.takes != nil && it.fail == nil && it.takes.Status != tombstone {
			keys = append(keys, mapping.KeyHash(it.takes.ExtKey))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	inBatch := map[uint64]bool{}
	for _, s := range e.states {
		inBatch[s.key] = true
	}
	var given []hashState
	for _, key := range keys {
		e.puts = appendPut(e.puts, key, 0)
		e.row.Linked = max(0, e.row.Linked-1)
		if !inBatch[key] {
			given = append(given, hashState{key, 0})
		}
	}
	for i := range e.states {
		if slices.Contains(keys, e.states[i].key) {
			e.states[i].word &= outcomeMask
		}
	}
	e.states = append(e.states, given...)
	store.OnCommit(ctx, func() {
		for _, s := range given {
			if !e.log.table {
				e.log.index.set(s.key, s.word)
			}
		}
	})
	return nil
}

// dropStale drops the links to the local keys of new rows: a database may give
// the key of a row that was deleted to a new one.
func (e *entity) dropStale(ctx context.Context, tx *store.Tx, items []*item) error {
	if e.plan.SharedKey || !e.hadLinks {
		return nil
	}
	var keys []kedge.Key
	for _, it := range items {
		if it.stored && it.create {
			keys = append(keys, it.dst.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	_, err := tx.NewDelete().Model((*link)(nil)).Where("ent = ?", e.row.ID).
		Where("local_key IN "+e.run.s.unpack(), jsonTexts(keys)).Exec(ctx)
	return err
}

// saveStates stores what is now known of the rows of a batch.
func (e *entity) saveStates(ctx context.Context, tx *store.Tx) error {
	if e.log.table {
		return e.log.saveRows(ctx, tx, e.states)
	}
	return e.log.append(ctx, tx, e.puts, e.seen)
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

// linkFor returns the link row that a stored record needs, or nil. It holds the
// version, so that a delete remembers which one is old news.
func (e *entity) linkFor(it *item, now time.Time) *link {
	if it.link != nil && it.link.Status == linked && it.link.LocalKey == it.dst.Key && it.link.Version == it.rec.Version || it.dst.Key == "" {
		return nil
	}
	return &link{Ent: e.row.ID, ExtKey: it.rec.Key, LocalKey: it.dst.Key, Status: linked, Version: it.rec.Version, At: now}
}

// unmark takes the marks of records back that came unchanged.
func (e *entity) unmark(ctx context.Context, tx bun.IDB, keys []kedge.Key) error {
	if len(keys) == 0 {
		return nil
	}
	where := func(q bun.QueryBuilder) bun.QueryBuilder {
		return q.Where("ent = ? AND status = ?", e.row.ID, deleting).Where("ext_key IN "+e.run.s.unpack(), jsonTexts(keys))
	}
	if e.plan.SharedKey {
		_, err := tx.NewDelete().Model((*link)(nil)).ApplyQueryBuilder(where).Exec(ctx)
		return err
	}
	_, err := tx.NewUpdate().Model((*link)(nil)).Set("status = ?, reason = ''", linked).ApplyQueryBuilder(where).Exec(ctx)
	return err
}

// outcomeOf returns the outcome that a record had in this run before, the one
// that it has now, and its word.
func (e *entity) outcomeOf(it *item) (prev, next Outcome, word uint64) {
	prev, next = e.outcomeBefore(hashState{it.keyHash, it.prev}), it.outcome
	switch {
	case it.fail != nil:
		next = it.fail.as
	case next == notSeen:
		next = seenEarlier // marked; the delete phase counts it
	}
	word = wordHash(it.prev)
	switch {
	case it.taken && it.fail == nil:
		word = 0
	case it.fail == nil && it.rec.Removed == kedge.Live:
		word = it.hash
	}
	next = prev.then(next)
	return prev, next, word | uint64(next)
}

// outcomeBefore returns the outcome that a record had in this run so far.
func (e *entity) outcomeBefore(s hashState) Outcome {
	prev := wordOutcome(s.word)
	if prev == notSeen && e.before != nil {
		word, _ := e.before.get(s.key)
		prev = wordOutcome(word)
	}
	return prev
}

// count takes what became of the items into the run's numbers, once the page
// transaction has committed.
func (e *entity) count(items []*item) {
	for _, it := range items {
		prev, next, word := e.outcomeOf(it)
		e.counts.count(prev, next)
		e.log.index.set(it.keyHash, word)
	}
}
