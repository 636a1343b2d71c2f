package syncer

import (
	"context"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// What a download does with the records of an entity whose local edits are
// sent. Every record passes Decide, with its local row locked, so that no edit
// made meanwhile is lost.

// decideBoth compares each record with its local row and its base.
func (e *entity) decideBoth(ctx context.Context, tx connectors.Tx, todo []*item) error {
	var external, local, asked []kedge.Key
	items := make([]*item, 0, len(todo))
	for _, it := range todo {
		if it.fail != nil || it.outcome != notSeen || it.rec.Removed != kedge.Live {
			continue
		}
		items = append(items, it)
		if it.dst.Key != "" {
			local = append(local, it.dst.Key)
		}
		if _, known := e.settled[it.rec.Key]; known {
			continue
		}
		if it.link != nil || it.takes != nil { // else nothing was agreed on
			external = append(external, it.agreedKey())
		}
		if it.dst.Key != "" {
			asked = append(asked, it.dst.Key)
		}
	}
	if len(items) == 0 {
		return nil
	}
	if e.run.whole != nil { // what is here does not count
		for _, it := range items {
			it.after = e.newBase(it.rec.Key, nil, &it.dst, &it.dst, it.rec.Version)
		}
		return nil
	}
	bases, err := e.bases(ctx, e.run.db(tx), external)
	if err != nil {
		return err
	}
	rows, err := e.localByKey(ctx, tx, local)
	if err != nil {
		return err
	}
	sent, err := e.unanswered(ctx, e.run.db(tx), asked)
	if err != nil {
		return err
	}
	for _, it := range items {
		answer := sent[it.dst.Key]
		if it.lost != nil {
			answer = it.lost
		}
		base := e.agreed(bases[it.agreedKey()], answer, it)
		if s, known := e.settled[it.rec.Key]; known {
			base = s.base
		}
		if err := e.decideOne(it, base, rows[it.dst.Key]); err != nil {
			return err
		}
	}
	return nil
}

// agreedKey is the key by which both sides knew the record the last time: that
// of the record which gives its local one up, if it is one made anew there.
func (it *item) agreedKey() kedge.Key {
	if it.takes != nil {
		return it.takes.ExtKey
	}
	return it.rec.Key
}

// localByKey returns local rows by key, with all fields that an upload reads.
func (e *entity) localByKey(ctx context.Context, tx connectors.Tx, keys []kedge.Key) (map[kedge.Key]*kedge.Record, error) {
	found := make(map[kedge.Key]*kedge.Record, len(keys))
	if len(keys) == 0 {
		return found, nil
	}
	rows, err := e.run.target.find(ctx, tx, e.plan.Local, e.plan.LocalRead.Names(), nil, keys)
	for i := range rows {
		found[rows[i].Key] = &rows[i]
	}
	return found, err
}

func (e *entity) decideOne(it *item, base *baseRow, local *kedge.Record) error {
	it.local = local
	s := Sides{Local: local, Remote: &it.dst}
	if base != nil {
		s.Base = base.values
	}
	if at := e.plan.Modified.External; at >= 0 {
		s.RemoteModified = it.rec.Values[at]
	}
	if local != nil {
		e.forgetPending(it)
	}
	if e.resolving != nil {
		return e.resolving.decide(it, s)
	}
	if e.frozen[it.rec.Key] && e.run.op() != Sync {
		it.outcome = Kept // neither an import nor an export ends a conflict
		return nil
	}
	v := Decide(s, e.plan, e.run.op())
	if e.frozen[it.rec.Key] && v.Action != Park {
		it.thaw = true
	}
	switch v.Action {
	case CreateLocal:
		it.after = e.newBase(it.rec.Key, nil, &it.dst, &it.dst, it.rec.Version)
	case DeleteRemote:
		it.outcome, it.send = Kept, actionDelete
		after := *base
		after.ExtVersion = it.rec.Version // what is deleted is what was seen
		it.after = &after
	case Park:
		it.outcome, it.conflict = Conflicted, e.newConflict(it, s, v)
	default:
		e.take(it, s, v)
	}
	return nil
}

// forgetPending leaves lookups alone whose target is not here yet, and their
// local values with them.
func (e *entity) forgetPending(it *item) {
	for _, p := range it.pending {
		it.dst.Values[e.plan.LocalFields.Index(p.Field)] = kedge.Value{}
	}
}

// take writes what the remote side changed, and notes that there is something
// to send.
func (e *entity) take(it *item, s Sides, v Verdict) {
	after := kedge.Record{Fields: e.plan.LocalFields, Values: make([]kedge.Value, e.plan.LocalFields.Len())}
	writes := false
	for i := range after.Values {
		after.Values[i] = value(s.Local, i)
		if v.Action == Merge && v.Down[i] {
			after.Values[i], writes = it.dst.Values[i], true
		}
		if v.Action == Merge && v.Up[i] {
			it.send = actionUpdate
		}
	}
	it.after = e.newBase(it.rec.Key, s.Base, &it.dst, &after, it.rec.Version)
	for i := range it.dst.Values {
		if v.Action != Merge || !v.Down[i] {
			it.dst.Values[i] = kedge.Value{}
		}
	}
	if !writes {
		it.outcome = Unchanged
	}
	for _, i := range v.Fields {
		it.decided = append(it.decided, e.plan.LocalFields.Name(i))
	}
}

// rememberBoth stores what decideBoth found out about items that were written.
func (e *entity) rememberBoth(ctx context.Context, tx *store.Tx, mode store.PutMode, items []*item) error {
	if !e.sends {
		return nil
	}
	var bases []*baseRow
	var conflicts []*conflictRow
	var thawed, taken []kedge.Key
	var ops []outboxEntry
	for _, it := range items {
		if e.resolving != nil {
			if err := e.resolving.finishItem(ctx, tx, it); err != nil {
				return err
			}
		}
		if s, known := e.settled[it.rec.Key]; known && (it.fail != nil || it.after == nil) {
			bases = append(bases, s.base)
		}
		if it.fail != nil {
			continue
		}
		if it.after != nil {
			if it.send != "" {
				it.after.LocalHash = 0
			}
			bases = append(bases, it.after)
		}
		if it.takes != nil {
			taken = append(taken, it.takes.ExtKey)
		}
		if it.thaw {
			thawed = append(thawed, it.rec.Key)
		}
		if it.conflict != nil {
			conflicts = append(conflicts, it.conflict)
		}
		if it.send != "" && it.dst.Key != "" {
			ops = append(ops, outboxEntry{local: it.dst.Key, external: it.rec.Key, action: it.send})
		}
		if len(it.decided) > 0 {
			text := "both sides changed " + strings.Join(it.decided, ", ") + "; decided by the conflict policy"
			if err := e.event(ctx, tx, "info", "conflict_decided", text, ""); err != nil {
				return err
			}
		}
	}
	steps := []func() error{
		func() error { return e.dropBases(ctx, tx, taken) },
		func() error { return saveBases(ctx, tx, mode, bases) },
		func() error { return e.closeConflicts(ctx, tx, thawed, "both sides agree again") },
		func() error { return e.saveConflicts(ctx, tx, conflicts) },
		func() error { return e.enqueue(ctx, tx, ops) },
		func() error { return e.consumeEchoes(ctx, tx) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
