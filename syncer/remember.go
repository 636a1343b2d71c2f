package syncer

import (
	"context"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
)

// A memory is what has to be stored about a batch beside its rows.
type memory struct {
	links  []*link
	mode   store.PutMode // Insert if there are no links and bases of the records yet
	drop   []kedge.Key   // of links
	unmark []kedge.Key   // records that are here, whatever was thought before
	failed []*item
	freed  []string // of the quarantine
}

// remember stores everything that has to be known about a batch, and the
// position after it.
func (e *entity) remember(ctx context.Context, tx *store.Tx, b *batch, items []*item) error {
	now := e.run.s.now().UTC()
	e.puts, e.states = e.puts[:0], e.states[:0]
	m := memory{mode: e.putMode(items)}
	for _, it := range items {
		if it.takes != nil && it.fail == nil {
			if giver := e.inBatch[mapping.KeyHash(it.takes.ExtKey)]; giver != nil && giver.rec.Key == it.takes.ExtKey {
				giver.taken = true
			}
		}
	}
	for _, it := range items {
		links := len(m.links)
		switch {
		case it.fail != nil:
			m.failed = append(m.failed, it)
		case it.rec.Removed != kedge.Live:
			e.rememberRemoved(&m, it, now)
		default:
			e.rememberStored(&m, it, now)
		}
		if s, known := e.settled[it.rec.Key]; known && len(m.links) == links {
			m.links = append(m.links, s.link)
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
		func() error { return saveLinks(ctx, tx, m.mode, m.links) },
		func() error { return e.unmark(ctx, tx, m.unmark) },
		func() error { return e.saveStates(ctx, tx) },
		func() error { return e.savePending(ctx, tx, items) },
		func() error { return e.rememberBoth(ctx, tx, m.mode, items) },
		func() error { return e.quarantine(ctx, tx, m.failed) },
		func() error { return e.release(ctx, tx, m.freed) },
		func() error { return e.settleLost(ctx, tx, items) },
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
	case e.sends && it.dst.Key != "":
		if l := e.linkFor(it, now); l != nil {
			m.links = append(m.links, l)
		}
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

// putMode is Insert if nothing is known of the records of a batch.
func (e *entity) putMode(items []*item) store.PutMode {
	if e.hadLinks || slices.ContainsFunc(items, func(it *item) bool { return it.link != nil }) {
		return store.Replace
	}
	return store.Insert
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
	if it.link != nil && it.link.Status == linked && it.link.LocalKey == it.dst.Key && it.link.Version == versionHash(it.rec.Version) || it.dst.Key == "" {
		return nil
	}
	return &link{Ent: e.row.ID, ExtKey: it.rec.Key, LocalKey: it.dst.Key, Status: linked, Version: versionHash(it.rec.Version)}
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
	if prev == notSeen && e.earlier != nil {
		word, _ := e.earlier.get(s.key)
		prev = wordOutcome(word)
	}
	return prev
}

// count takes what became of the items into the run's numbers, once the page
// transaction has committed.
func (e *entity) count(items []*item) {
	for _, it := range items {
		prev, next, word := e.outcomeOf(it)
		if e.silent {
			word = wordHash(word) | uint64(prev)
		} else {
			e.counts.count(prev, next)
		}
		e.log.index.set(it.keyHash, word)
	}
}

// countKey counts a record whose hash is known to be gone or stays as it is.
func (e *entity) countKey(k kedge.Key, o Outcome) {
	hash := mapping.KeyHash(k)
	word := e.log.get(hash)
	prev := e.outcomeBefore(hashState{hash, word})
	e.counts.count(prev, prev.then(o))
	e.log.index.set(hash, wordHash(word)|uint64(prev.then(o)))
}
