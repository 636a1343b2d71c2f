package syncer

import (
	"context"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// deleteChunk is how many deletes one transaction applies.
const deleteChunk = 1000

// marks returns how many deletes of the entity are waiting.
func (e *entity) marks(ctx context.Context) (int64, error) {
	n, err := e.run.s.store.DB().NewSelect().Model((*link)(nil)).Where("ent = ? AND status = ?", e.row.ID, deleting).Count(ctx)
	return int64(n), err
}

// deleteLimit is the most deletes that a run applies unasked.
func (e *entity) deleteLimit() int64 {
	rules := e.plan.Rules.Deletes
	return max(int64(rules.MaxRows), e.row.Linked*int64(rules.MaxPercent)/100)
}

// tooManyDeletes tells whether the breaker trips. Deletes that change nothing
// here need no breaker.
func (e *entity) tooManyDeletes(marks int64) bool {
	return marks > e.deleteLimit() && !e.run.req.ForceDeletes && e.deleteRule != mapping.DeleteIgnore
}

// stop ends the entity until a person has confirmed.
func (e *entity) stop(text string) {
	e.state, e.confirm = Stopped, text
}

// deletes applies the marks of all entities, children first, unless the
// breaker of any of them trips: then none is applied.
func (r *run) deletes(ctx context.Context) {
	r.each(ctx, func(e *entity, ctx context.Context) (err error) {
		if e.pending, err = e.marks(ctx); err == nil && e.tooManyDeletes(e.pending) {
			e.stop(fmt.Sprintf("%d of %d records would be deleted, more than %d; see \"kedge deletes list %s\"; run again with --force-deletes, or \"kedge deletes discard %s\"",
				e.pending, e.row.Linked, e.deleteLimit(), r.name, r.name))
		}
		return err
	})
	entities := r.ordered()
	if slices.ContainsFunc(entities, func(e *entity) bool { return e.state == Stopped }) {
		return
	}
	for _, e := range slices.Backward(entities) {
		if e.pending > 0 && e.err == nil && ctx.Err() == nil {
			e.err = e.applyDeletes(ctx)
		}
	}
}

func (e *entity) applyDeletes(ctx context.Context) error {
	after := kedge.Key("")
	for {
		var links []*link
		err := e.run.s.store.DB().NewSelect().Model(&links).Where("ent = ? AND status = ? AND ext_key > ?", e.row.ID, deleting, after).
			Order("ext_key").Limit(deleteChunk).Scan(ctx)
		if err != nil || len(links) == 0 {
			return err
		}
		after = links[len(links)-1].ExtKey
		if err := e.deleteSome(ctx, links); err != nil {
			return err
		}
		e.run.s.hook("p11")
	}
}

// deleteSome does with links what the mapping says, in one transaction.
func (e *entity) deleteSome(ctx context.Context, links []*link) error {
	var g guarded
	var results []connectors.Result
	write := func(ctx context.Context, tx connectors.Tx) (err error) {
		if g, err = e.guard(ctx, tx, links); err != nil {
			return err
		}
		if changes := e.deleteChanges(g.apply); len(changes) > 0 {
			results, err = e.run.target.write(ctx, tx, changes)
		}
		return err
	}
	if !e.run.ownTables() {
		if err := write(ctx, nil); err != nil {
			return err
		}
	}
	return e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if e.deleteRule == mapping.DeleteRemove {
			if err := e.awaitReturn(ctx, tx, links); err != nil {
				return err
			}
		}
		if e.run.ownTables() {
			if err := write(ctx, tx); err != nil {
				return err
			}
		}
		if err := e.saveGuarded(ctx, tx, g); err != nil {
			return err
		}
		return e.rememberDeletes(ctx, tx, g.apply, results)
	})
}

// deleteChanges returns one change per link, or none if rows are to be kept.
func (e *entity) deleteChanges(links []*link) []kedge.Change {
	rules := e.plan.Rules.Deletes
	changes := make([]kedge.Change, len(links))
	fields := kedge.NewFields(rules.Soft.Field)
	for i, l := range links {
		changes[i] = kedge.Change{Op: kedge.Delete, Entity: e.plan.Local.Name, Key: l.LocalKey}
		if e.deleteRule == mapping.DeleteSoft {
			changes[i].Op, changes[i].Fields, changes[i].Values = kedge.Update, fields, []kedge.Value{rules.Soft.Value}
		}
	}
	if e.deleteRule == mapping.DeleteRemove || e.deleteRule == mapping.DeleteSoft {
		return changes
	}
	return nil
}

// rememberDeletes turns marks into tombstones, or into what the rule for
// deletions leaves of them, and forgets the rows' hashes, so that a record
// that comes back is new.
func (e *entity) rememberDeletes(ctx context.Context, tx *store.Tx, links []*link, results []connectors.Result) error {
	hashes := make([]uint64, len(links))
	for i, l := range links {
		hashes[i] = mapping.KeyHash(l.ExtKey)
	}
	if err := e.log.load(ctx, tx, hashes); err != nil {
		return err
	}
	done, err := e.takeDeletes(ctx, tx, links, hashes, results)
	if err != nil {
		return err
	}
	steps := []func() error{
		func() error { return saveLinks(ctx, tx, store.Replace, done.keep) },
		func() error { return e.run.s.dropLinks(ctx, tx, e.row.ID, done.drop) },
		func() error { return e.dropPending(ctx, tx, done.keys, "") },
		func() error { return e.dropBases(ctx, tx, done.keys) },
		func() error {
			if e.log.table {
				return e.log.saveRows(ctx, tx, done.states)
			}
			return e.log.append(ctx, tx, e.puts, nil)
		},
		func() error {
			_, err := tx.NewUpdate().Model(e.row).Column("linked").WherePK().Exec(ctx)
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	store.OnCommit(ctx, func() {
		e.pending -= int64(len(done.keys))
		for _, s := range done.states {
			e.counts.count(e.outcomeBefore(hashState{s.key, e.log.get(s.key)}), wordOutcome(s.word))
			e.log.index.set(s.key, s.word)
		}
	})
	return nil
}

// deletesDone is what is to be remembered of records that were deleted.
type deletesDone struct {
	keys   []kedge.Key // external
	keep   []*link
	drop   []kedge.Key // whose links are forgotten
	states []hashState
}

// takeDeletes sorts what became of deletes: without results, no local record
// was touched. A refused one stays as it was.
func (e *entity) takeDeletes(ctx context.Context, tx *store.Tx, links []*link, hashes []uint64, results []connectors.Result) (done deletesDone, err error) {
	e.puts = e.puts[:0]
	for i, l := range links {
		word := e.log.get(hashes[i])
		if results != nil && results[i].State == connectors.Rejected && results[i].Err.Kind != kedge.NotFound {
			if err := e.event(ctx, tx, "warn", "delete_refused", "the local side refused a delete: "+results[i].Err.Error(), ""); err != nil {
				return done, err
			}
			done.states = append(done.states, hashState{hashes[i], wordHash(word) | uint64(Refused)})
			continue
		}
		outcome := Deleted
		if results == nil {
			outcome = Kept
		}
		done.states = append(done.states, hashState{hashes[i], uint64(outcome)})
		e.puts = appendPut(e.puts, hashes[i], 0)
		done.keys = append(done.keys, l.ExtKey)
		e.row.Linked = max(0, e.row.Linked-int64(isLive(word)))
		switch l.At = e.run.s.now().UTC(); {
		case e.deleteRule == mapping.DeleteUnlink, e.deleteRule == mapping.DeleteIgnore && e.plan.SharedKey:
			done.drop = append(done.drop, l.ExtKey)
		case e.deleteRule == mapping.DeleteIgnore:
			l.Status, l.Reason = linked, ""
			done.keep = append(done.keep, l)
		default:
			l.Status = tombstone
			done.keep = append(done.keep, l)
		}
	}
	return done, nil
}

// discard takes the marks of the entity back, and gives up on what the sweep
// that made them had still to look at.
func (e *entity) discard(ctx context.Context) (int64, error) {
	n, err := e.marks(ctx)
	if err != nil {
		return 0, err
	}
	if err := e.applyDeletes(ctx); err != nil || !e.anchor.Clean {
		return n, err
	}
	missing, _, err := e.log.unseen(ctx, e.run.s.store.DB())
	if err != nil {
		return n, err
	}
	return n + int64(missing), e.endSweep(ctx)
}

// A PendingDelete is a mark that waits for a person.
type PendingDelete struct {
	Integration string    `json:"integration"`
	Entity      string    `json:"entity"`
	ExtKey      kedge.Key `json:"externalKey"`
	LocalKey    kedge.Key `json:"localKey"`
	Reason      string    `json:"reason"`
}

// PendingDeletes lists the marks of an integration, by entity and key.
func (s *Syncer) PendingDeletes(ctx context.Context, integration string, limit int) ([]PendingDelete, error) {
	var rows []PendingDelete
	err := s.store.DB().NewSelect().TableExpr("integration_link AS l").
		Join("JOIN integration_entity AS e ON e.id = l.ent").
		ColumnExpr("e.integration, e.name AS entity, l.ext_key, l.local_key, l.reason").
		Where("e.integration = ? AND l.status = ?", integration, deleting).
		OrderExpr("e.name, l.ext_key").Limit(int64(limit)).Scan(ctx, &rows)
	return rows, err
}

// DiscardDeletes takes the marks of an integration back: the local rows stay,
// and their records are no longer expected to be there. It returns how many.
func (s *Syncer) DiscardDeletes(ctx context.Context, integration, by string) (int64, error) {
	var n int64
	err := s.withLease(ctx, integration, func(ctx context.Context, r *run) error {
		if err := r.load(ctx); err != nil {
			return err
		}
		for _, e := range r.ordered() {
			if err := e.prepareAside(ctx); err != nil {
				return err
			}
			e.deleteRule = mapping.DeleteIgnore
			discarded, err := e.discard(ctx)
			if err != nil {
				return err
			}
			n += discarded
		}
		return r.event(ctx, "", "info", "deletes_discarded", fmt.Sprintf("%d deletes discarded by %s", n, by), "")
	})
	return n, err
}
