package syncer

import (
	"context"
	"encoding/binary"
	"fmt"
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
	missing, seen := 0, 0
	for i := range e.log.index.shards {
		for _, slot := range e.log.index.shards[i].slots {
			switch {
			case isLive(slot.word) == 0:
			case wordOutcome(slot.word) == notSeen:
				missing++
			default:
				seen++
			}
		}
	}
	if missing > 0 {
		if seen == 0 && !e.run.req.ForceDeletes {
			e.stop(fmt.Sprintf("the full read brought none of the %d records that are known; nothing is deleted; if they are really gone, run again with --force-deletes", missing))
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
// needed.
func (e *entity) endSweep(ctx context.Context) error {
	return e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		e.anchor.Clean = false
		if _, err := tx.NewUpdate().Model(e.anchor).Column("clean").WherePK().Exec(ctx); err != nil {
			return err
		}
		if _, err := tx.NewUpdate().Model(e.row).Column("linked").WherePK().Exec(ctx); err != nil {
			return err
		}
		e.run.s.hook("p11")
		return e.log.compact(ctx, tx)
	})
}

// confirmMissing asks for every missing record and reports whether it came to
// the end.
func (e *entity) confirmMissing(ctx context.Context) (bool, error) {
	marks, err := e.marks(ctx)
	if err != nil {
		return false, err
	}
	var chunk []mapped
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		n, err := e.confirmChunk(ctx, chunk)
		marks += n
		chunk = chunk[:0]
		return err
	}
	for m, err := range e.known(ctx) {
		if err != nil {
			return false, err
		}
		word, _ := e.log.index.get(mapping.KeyHash(m.ext))
		if isLive(word) == 0 || wordOutcome(word) != notSeen {
			continue
		}
		if chunk = append(chunk, m); len(chunk) < sweepChunk {
			continue
		}
		if err := flush(); err != nil {
			return false, err
		}
		if marks > e.deleteLimit() && !e.run.req.ForceDeletes {
			return false, nil // the breaker trips; the rest waits for a person
		}
	}
	return true, flush()
}

// A mapped key is a pair of keys that belong together.
type mapped struct{ ext, local kedge.Key }

// known yields the keys of all records that may be known: the links, or for
// entities with a shared key the local rows.
func (e *entity) known(ctx context.Context) func(yield func(mapped, error) bool) {
	if e.plan.SharedKey {
		return e.localRows(ctx)
	}
	return func(yield func(mapped, error) bool) {
		after := kedge.Key("")
		for {
			var links []*link
			err := e.run.s.store.DB().NewSelect().Model(&links).Where("ent = ? AND ext_key > ? AND status = 'linked'", e.row.ID, after).
				Order("ext_key").Limit(5000).Scan(ctx)
			if err != nil {
				yield(mapped{}, err)
				return
			}
			for _, l := range links {
				after = l.ExtKey
				if !yield(mapped{l.ExtKey, l.LocalKey}, nil) {
					return
				}
			}
			if len(links) == 0 {
				return
			}
		}
	}
}

func (e *entity) localRows(ctx context.Context) func(yield func(mapped, error) bool) {
	return func(yield func(mapped, error) bool) {
		for page, err := range e.run.loc.Pages(ctx, connectors.ReadRequest{Entity: e.plan.Local.Name, Fields: e.plan.Local.Key}) {
			if err != nil {
				yield(mapped{}, err)
				return
			}
			for _, r := range page.Records {
				if !yield(mapped{r.Key, r.Key}, nil) {
					return
				}
			}
		}
	}
}

// confirmChunk asks the source for each of the records. Those that are gone or
// have left the filter are marked; those that are there were missed by the
// read and are stored like any other. It returns the number of marks.
func (e *entity) confirmChunk(ctx context.Context, chunk []mapped) (int64, error) {
	keys := make([]kedge.Key, len(chunk))
	for i, m := range chunk {
		keys[i] = m.ext
	}
	found, err := e.run.ext.ReadKeys(ctx, e.plan.External.Name, e.plan.ExternalFields.Names(), keys)
	if kedge.KindOf(err) == kedge.Unsupported {
		found, err = make([]connectors.Found, len(keys)), nil // no way to ask: the full read has to do
	}
	if err != nil {
		return 0, err
	}
	now := e.run.s.now().UTC()
	var links []*link
	back := new(batch)
	for i, f := range found {
		reason := kedge.Deleted
		if f.OK {
			if passes(e.filter, &f.Record) {
				back.records = append(back.records, f.Record)
				continue
			}
			reason = kedge.LeftFilter
		}
		if l := e.markLink(chunk[i], reason, now); l != nil {
			links = append(links, l)
		}
	}
	err = e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error { return e.run.s.saveLinks(ctx, tx, links) })
	if err != nil || len(back.records) == 0 {
		return int64(len(links)), err
	}
	return int64(len(links)), e.applyAside(ctx, back)
}

// applyAside stores records that were read out of order: the position of the
// read stays as it is.
func (e *entity) applyAside(ctx context.Context, b *batch) error {
	b.exact, b.next = len(b.records), connectors.Token(e.anchor.PageToken)
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
	m := mapped{ext: it.rec.Key, local: it.rec.Key}
	if !e.plan.SharedKey {
		if it.link == nil {
			return nil
		}
		m.local = it.link.LocalKey
	}
	return e.markLink(m, it.rec.Removed, now)
}

func (e *entity) markLink(m mapped, reason kedge.Removal, now time.Time) *link {
	if reason == kedge.LeftFilter && e.plan.Rules.Deletes.FilterExit == mapping.ExitKeep {
		return nil
	}
	return &link{Ent: e.row.ID, ExtKey: m.ext, LocalKey: m.local, Status: deleting, Reason: reason.String(), At: now}
}
