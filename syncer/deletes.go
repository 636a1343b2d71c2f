package syncer

import (
	"context"
	"fmt"

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

// stop ends the entity until a person has confirmed.
func (e *entity) stop(text string) {
	e.state, e.confirm = Stopped, text
}

// deletes applies the marks of all entities, children first, unless the
// breaker of any of them trips: then none is applied.
func (r *run) deletes(ctx context.Context) error {
	held := false
	for _, e := range r.ordered() {
		n, err := e.marks(ctx)
		if err != nil {
			return err
		}
		if e.pending = n; n > e.deleteLimit() && !r.req.ForceDeletes {
			e.stop(fmt.Sprintf("%d of %d records would be deleted, more than %d; see \"kedge deletes list %s\"; run again with --force-deletes, or \"kedge deletes discard %s\"",
				n, e.row.Linked, e.deleteLimit(), r.name, r.name))
		}
		held = held || e.state == Stopped
	}
	if held {
		return nil
	}
	entities := r.ordered()
	for i := len(entities) - 1; i >= 0; i-- {
		e := entities[i]
		if e.pending == 0 || e.err != nil {
			continue
		}
		if err := e.applyDeletes(ctx); err != nil {
			return err
		}
	}
	return nil
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
	changes := e.deleteChanges(links)
	var results []connectors.Result
	var err error
	if !e.run.ownTables() && len(changes) > 0 {
		if results, err = e.run.target.write(ctx, nil, changes); err != nil {
			return err
		}
	}
	err = e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if e.run.ownTables() && len(changes) > 0 {
			var err error
			if results, err = e.run.target.write(ctx, tx, changes); err != nil {
				return err
			}
		}
		return e.rememberDeletes(ctx, tx, links, results)
	})
	return err
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
	now := e.run.s.now().UTC()
	var keep []*link
	var drop []kedge.Key
	var puts []byte
	var done []uint64
	for i, l := range links {
		if results != nil && results[i].State == connectors.Rejected && results[i].Err.Kind != kedge.NotFound {
			if err := e.event(ctx, tx, "warn", "delete_refused", "the local side refused a delete: "+results[i].Err.Error(), ""); err != nil {
				return err
			}
			continue
		}
		hash := mapping.KeyHash(l.ExtKey)
		puts = appendPut(puts, hash, 0)
		done = append(done, hash)
		l.At = now
		switch e.deleteRule {
		case mapping.DeleteUnlink:
			drop = append(drop, l.ExtKey)
		case mapping.DeleteIgnore:
			if l.Status = linked; e.plan.SharedKey {
				drop = append(drop, l.ExtKey)
			} else {
				keep = append(keep, l)
			}
		default:
			l.Status = tombstone
			keep = append(keep, l)
		}
	}
	e.row.Linked = max(0, e.row.Linked-int64(len(done)))
	steps := []func() error{
		func() error { return e.run.s.saveLinks(ctx, tx, keep) },
		func() error { return e.run.s.dropLinks(ctx, tx, e.row.ID, drop) },
		func() error { return e.log.append(ctx, tx, puts, nil) },
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
	outcome := Deleted
	if results == nil {
		outcome = Kept
	}
	store.OnCommit(ctx, func() { e.countDeletes(done, outcome) })
	return nil
}

func (e *entity) countDeletes(keys []uint64, as Outcome) {
	for _, key := range keys {
		word, _ := e.log.index.get(key)
		e.counts.count(wordOutcome(word), as)
		e.log.index.set(key, uint64(as))
	}
	e.pending -= int64(len(keys))
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
	for i := range e.log.index.shards {
		for j := range e.log.index.shards[i].slots {
			if slot := &e.log.index.shards[i].slots[j]; isLive(slot.word) == 1 && wordOutcome(slot.word) == notSeen {
				n++
				e.row.Linked--
				e.log.index.set(slot.key, 0)
			}
		}
	}
	return n, e.endSweep(ctx)
}

// A PendingDelete is a mark that waits for a person.
type PendingDelete struct {
	Entity   string    `json:"entity"`
	ExtKey   kedge.Key `json:"externalKey"`
	LocalKey kedge.Key `json:"localKey"`
	Reason   string    `json:"reason"`
}

// PendingDeletes lists the marks of an integration, by entity and key.
func (s *Syncer) PendingDeletes(ctx context.Context, integration string, limit int) ([]PendingDelete, error) {
	var rows []PendingDelete
	err := s.store.DB().NewSelect().TableExpr("integration_link AS l").
		Join("JOIN integration_entity AS e ON e.id = l.ent").
		ColumnExpr("e.name AS entity, l.ext_key, l.local_key, l.reason").
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
			if err := e.prepare(ctx); err != nil {
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
