package syncer

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// sweepChunk is how many keys are confirmed and marked at once.
const sweepChunk = 500

func appendKey(data []byte, key uint64) []byte { return binary.LittleEndian.AppendUint64(data, key) }

// sweep marks the records that a full read did not bring although they are
// known, after the source has confirmed for each that it is gone: a page that
// was skipped by mistake must not delete anything. It ends early when the
// breaker will hold the deletes back anyway.
func (e *entity) sweep(ctx context.Context) error {
	missing, seen, err := e.log.unseen(ctx, e.run.s.store.DB())
	if err != nil {
		return err
	}
	if missing > 0 {
		if seen == 0 && !e.run.req.ForceDeletes {
			e.stop(fmt.Sprintf("the full read brought none of the %d records that are known; nothing is deleted; read again with --full, or, if they are really gone, run with --force-deletes", missing))
			return nil
		}
		done, err := e.confirmMissing(ctx)
		if err != nil || !done {
			return err
		}
	}
	return e.endSweep(ctx)
}

// endSweep notes that the sweep is done; what the full read saw is no longer
// needed. A record that was not asked for has no local one any more and is
// forgotten.
func (e *entity) endSweep(ctx context.Context) error {
	return e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		n, err := e.log.dropUnseen(ctx, tx)
		if err != nil {
			return err
		}
		e.row.Linked = max(0, e.row.Linked-n)
		e.anchor.Clean = false
		if _, err := tx.NewUpdate().Model(e.anchor).Column("clean").WherePK().Exec(ctx); err != nil {
			return err
		}
		if _, err := tx.NewUpdate().Model(e.row).Column("linked").WherePK().Exec(ctx); err != nil {
			return err
		}
		e.run.s.hook("p11")
		if n > 0 || e.log.table || e.log.grown() {
			return e.log.compact(ctx, tx)
		}
		return e.log.forgetSeen(ctx, tx)
	})
}

// confirmMissing asks for every missing record and reports whether it came to
// the end.
func (e *entity) confirmMissing(ctx context.Context) (bool, error) {
	for chunk, err := range e.missing(ctx) {
		if err == nil {
			err = e.confirmChunk(ctx, chunk)
		}
		if err != nil {
			return false, err
		}
		marks, err := e.marks(ctx)
		if err != nil {
			return false, err
		}
		if len(chunk) == sweepChunk && e.tooManyDeletes(marks) {
			return false, nil // the breaker trips; the rest waits for a person
		}
	}
	return true, nil
}

// missing yields the known records that the full read did not bring, some at a
// time.
func (e *entity) missing(ctx context.Context) func(yield func([]mapped, error) bool) {
	return func(yield func([]mapped, error) bool) {
		var known, chunk []mapped
		screen := func() error {
			hashes := make([]uint64, len(known))
			for i, m := range known {
				hashes[i] = mapping.KeyHash(m.ext)
			}
			if err := e.log.load(ctx, e.run.s.store.DB(), hashes); err != nil {
				return err
			}
			for i, m := range known {
				if e.log.isUnseen(hashes[i]) {
					chunk = append(chunk, m)
				}
			}
			known = known[:0]
			return nil
		}
		for m, err := range e.known(ctx) {
			if known = append(known, m); err == nil && len(known) < sweepChunk {
				continue
			}
			if err == nil {
				err = screen()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for len(chunk) >= sweepChunk {
				if !yield(chunk[:sweepChunk:sweepChunk], nil) {
					return
				}
				chunk = chunk[sweepChunk:]
			}
		}
		if err := screen(); err != nil {
			yield(nil, err)
			return
		}
		for part := range slices.Chunk(chunk, sweepChunk) {
			if !yield(part, nil) {
				return
			}
		}
	}
}

// A mapped key is a pair of keys that belong together.
type mapped struct {
	ext, local kedge.Key
	version    int64 // of the link
}

// known yields the keys of all records that may be known: the links, or for
// entities with a shared key the local rows.
func (e *entity) known(ctx context.Context) func(yield func(mapped, error) bool) {
	if e.plan.SharedKey {
		return e.rowsByPage(ctx)
	}
	return func(yield func(mapped, error) bool) {
		after := kedge.Key("")
		for {
			var links []*link
			err := e.run.s.store.DB().NewSelect().Model(&links).Where("ent = ? AND ext_key > ? AND status <> ?", e.row.ID, after, tombstone).
				Order("ext_key").Limit(5000).Scan(ctx)
			if err != nil {
				yield(mapped{}, err)
				return
			}
			for _, l := range links {
				after = l.ExtKey
				if !yield(mapped{l.ExtKey, l.LocalKey, l.Version}, nil) {
					return
				}
			}
			if len(links) == 0 {
				return
			}
		}
	}
}

func (e *entity) rowsByPage(ctx context.Context) func(yield func(mapped, error) bool) {
	return func(yield func(mapped, error) bool) {
		for page, err := range e.run.loc.Pages(ctx, connectors.ReadRequest{Entity: e.plan.Local.Name, Fields: e.plan.Local.Key}) {
			if err != nil {
				yield(mapped{}, err)
				return
			}
			for _, r := range page.Records {
				if !yield(mapped{ext: r.Key, local: r.Key}, nil) {
					return
				}
			}
		}
	}
}

// confirmChunk asks the source for each of the records. Those that are gone or
// have left the filter are marked; those that are there were missed by the
// read and are stored like any other.
func (e *entity) confirmChunk(ctx context.Context, chunk []mapped) error {
	gone, back, err := e.askFor(ctx, chunk)
	if err != nil {
		return err
	}
	now := e.run.s.now().UTC()
	var links []*link
	var states []hashState
	for _, g := range gone {
		hash := mapping.KeyHash(g.ext)
		outcome := Kept
		if l := e.markLink(g.mapped, g.reason, now); l != nil {
			links = append(links, l)
			outcome = seenEarlier
		}
		states = append(states, hashState{hash, wordHash(e.log.get(hash)) | uint64(outcome)})
	}
	err = e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := saveLinks(ctx, tx, store.Replace, links); err != nil || !e.log.table {
			return err
		}
		return e.log.saveRows(ctx, tx, states)
	})
	if err != nil {
		return err
	}
	e.hasMarks = e.hasMarks || len(links) > 0
	for _, s := range states {
		e.counts.count(e.outcomeBefore(hashState{s.key, e.log.get(s.key)}), wordOutcome(s.word))
		e.log.index.set(s.key, s.word)
	}
	if len(back.records)+len(back.rejected) == 0 {
		return nil
	}
	return e.applyAside(ctx, back)
}

// A goneRecord is one that a full read did not bring and that the source
// confirmed to be gone.
type goneRecord struct {
	mapped
	reason kedge.Removal
}

// askFor asks the source for records. It returns those that are gone or have
// left the filter, and those that are there.
func (e *entity) askFor(ctx context.Context, asked []mapped) (gone []goneRecord, back *chunk, err error) {
	keys := make([]kedge.Key, len(asked))
	for i, m := range asked {
		keys[i] = m.ext
	}
	answers, err := e.readKeys(ctx, keys)
	if kedge.KindOf(err) == kedge.Unsupported && err != nil {
		answers, err = make([]answer, len(keys)), nil // no way to ask: the full read has to do
	}
	if err != nil {
		return nil, nil, err
	}
	back = new(chunk)
	for i, a := range answers {
		switch {
		case a.bad != nil:
			back.rejected = append(back.rejected, *a.bad)
		case a.found && passes(e.filter, &a.record):
			back.records = append(back.records, a.record)
		case a.found:
			gone = append(gone, goneRecord{asked[i], kedge.LeftFilter})
		default:
			gone = append(gone, goneRecord{asked[i], kedge.Deleted})
		}
	}
	return gone, back, nil
}

// applyAside stores records that were read out of order: the position of the
// read stays as it is.
func (e *entity) applyAside(ctx context.Context, b *chunk) error {
	b.exact, b.next = len(b.records), connectors.Token(e.anchor.PageToken)
	e.aside = true
	defer func() { e.aside = false }()
	return e.apply(ctx, b)
}

func passes(f *filter.Expr, r *kedge.Record) bool {
	if f == nil {
		return true
	}
	truth, err := f.Match(r)
	return err != nil || truth == filter.Yes
}

// mark returns the link row that marks a record for the delete phase, or nil
// if the mapping keeps such records.
func (e *entity) mark(it *item, now time.Time) *link {
	m := mapped{ext: it.rec.Key, local: it.rec.Key, version: versionHash(it.rec.Version)}
	if !e.plan.SharedKey {
		if it.link == nil {
			return nil
		}
		m.local, m.version = it.link.LocalKey, it.link.Version
	}
	return e.markLink(m, it.rec.Removed, now)
}

func (e *entity) markLink(m mapped, reason kedge.Removal, now time.Time) *link {
	if reason == kedge.LeftFilter && e.plan.Rules.Deletes.FilterExit == mapping.ExitKeep {
		return nil
	}
	l := &link{Ent: e.row.ID, ExtKey: m.ext, LocalKey: m.local, Status: deleting, Reason: reason.String(), At: now}
	if reason == kedge.Deleted { // what left the filter may come back with the version it has
		l.Version = m.version
	}
	return l
}
