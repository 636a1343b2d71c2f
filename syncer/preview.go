package syncer

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Decision is what a run would do with one record.
type Decision struct {
	Entity    string    `json:"entity"`
	Direction Direction `json:"direction"`
	Action    string    `json:"action"` // create, update, delete, unchanged, kept, conflict, quarantine, duplicate, filtered; of entities: schema, held, warning
	ExtKey    kedge.Key `json:"externalKey"`
	LocalKey  kedge.Key `json:"localKey,omitempty"`
	Changes   []Diff    `json:"changes,omitempty"`
	Reason    string    `json:"reason,omitempty"`
}

// A Diff is the change of one local field. From is nil in a create.
type Diff struct {
	Field string `json:"field"`
	From  any    `json:"from"`
	To    any    `json:"to"`
}

var errEnough = errors.New("the caller has seen enough")

// Preview yields what a run would do, record by record. It writes nothing but
// its run and log rows. It reads and decides with the same code as [Syncer.Run].
func (s *Syncer) Preview(ctx context.Context, req Request) iter.Seq2[Decision, error] {
	req.Op = Plan
	if req.PlanOf == "" {
		req.PlanOf = Import
	}
	return func(yield func(Decision, error) bool) {
		r := s.newRun(req)
		r.emit = func(d Decision) error {
			if !yield(d, nil) {
				return errEnough
			}
			return nil
		}
		err := r.record(ctx)
		if err == nil {
			err = r.preview(ctx)
		}
		enough := errors.Is(err, errEnough)
		if enough {
			err = nil
		}
		res := r.result()
		if finishErr := r.finish(context.WithoutCancel(ctx), &res, err); err == nil {
			err = finishErr
		}
		if err != nil && !enough {
			yield(Decision{}, err)
		}
	}
}

func (r *run) preview(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	defer r.close()
	for _, d := range r.aboutEntities() {
		if err := r.emit(d); err != nil {
			return err
		}
	}
	if err := r.previewReset(ctx); err != nil {
		return err
	}
	for _, e := range r.ordered() {
		if e.up == nil {
			continue
		}
		if err := e.up.collect(ctx); err != nil {
			return e.failPreview(err)
		}
	}
	for _, e := range r.ordered() {
		if r.op() == Export || r.op() == Sync && !e.plan.Rules.Direction.Downloads() {
			continue
		}
		if err := e.download(ctx); err != nil {
			return e.failPreview(err)
		}
	}
	return r.previewWaiting(ctx)
}

// aboutEntities says what a run would do before it reads, and what it would
// leave out.
func (r *run) aboutEntities() []Decision {
	var all []Decision
	add := func(entity, action, reason string) {
		all = append(all, Decision{Entity: entity, Direction: Download, Action: action, Reason: reason})
	}
	for _, step := range r.missing {
		add(step.Entity, "schema", step.Text)
	}
	held := r.held()
	for _, name := range slices.Sorted(mapKeys(held)) {
		add(name, "held", held[name])
	}
	for _, e := range r.ordered() {
		for _, text := range r.warnings[e.plan.Name] {
			add(e.plan.Name, "warning", text)
		}
	}
	return all
}

func (e *entity) failPreview(err error) error {
	if !errors.Is(err, errEnough) {
		e.err = err
	}
	return err
}

var errRollback = errors.New("a plan changes nothing")

// preview decides about items, tells what would be done, and keeps what later
// items must know: which records would exist by then.
func (e *entity) preview(ctx context.Context, items []*item) error {
	err := e.run.s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := e.decide(ctx, tx, items); err != nil {
			return err
		}
		if err := e.findLocal(ctx, tx, items); err != nil {
			return err
		}
		return errRollback
	})
	if !errors.Is(err, errRollback) {
		return err
	}
	done := make([]*item, 0, len(items))
	for _, it := range items {
		if it.fail != nil && it.fail.code == codeUnresolved && !e.run.final {
			e.planned.waiting = append(e.planned.waiting, *it.rec)
			continue // a run tries it again at its end
		}
		if err := e.run.emit(e.decision(it)); err != nil {
			return err
		}
		e.foresee(it)
		done = append(done, it)
	}
	e.count(done)
	return nil
}

// findLocal looks up the local rows of linked items, to show what changes.
func (e *entity) findLocal(ctx context.Context, tx connectors.Tx, items []*item) error {
	byKey := map[kedge.Key]*item{}
	var keys []kedge.Key
	for _, it := range items {
		if e.run.req.IgnoreKey && it.create {
			continue
		}
		if it.fail == nil && it.outcome == notSeen && it.local == nil && it.dst.Key != "" && it.rec.Removed == kedge.Live {
			byKey[it.dst.Key] = it
			keys = append(keys, it.dst.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := e.run.target.find(ctx, tx, e.plan.Local, e.plan.LocalFields.Names(), nil, keys)
	for i := range rows {
		if it := byKey[rows[i].Key]; it != nil {
			it.local = &rows[i]
		}
	}
	return err
}

// decision says what would become of an item, and notes its outcome.
func (e *entity) decision(it *item) Decision {
	d := Decision{Entity: e.plan.Name, Direction: Download, ExtKey: it.rec.Key, LocalKey: it.dst.Key}
	switch {
	case it.fail != nil:
		d.Action, d.Reason = "quarantine", it.fail.err.Error()
		if it.fail.as == Duplicate {
			d.Action = "duplicate"
		}
	case it.outcome == Filtered:
		d.Action = "filtered"
	case it.conflict != nil:
		d.Action, d.Reason = "conflict", it.conflict.reason()
	case it.outcome == Kept:
		d.Action = "kept"
	case it.outcome != notSeen:
		d.Action = "unchanged"
	case it.rec.Removed != kedge.Live:
		d.Action, d.Reason = "delete", it.rec.Removed.String()
		it.outcome = Deleted
	case it.local == nil:
		d.Action, it.outcome = "create", Created
		d.Changes = e.diff(it)
	default:
		if d.Changes = e.diff(it); len(d.Changes) == 0 {
			d.Action, it.outcome = "unchanged", Unchanged
		} else {
			d.Action, it.outcome = "update", Changed
		}
	}
	return d
}

// newRecord stands for the local key of a record that is yet to be made.
const newRecord = "(new)"

// diff compares the mapped values of an item with the local row.
func (e *entity) diff(it *item) []Diff {
	var changes []Diff
	for i, v := range it.dst.Values {
		if v.IsMissing() {
			continue
		}
		name := e.plan.LocalFields.Name(i)
		if it.local == nil {
			if !v.IsNull() {
				changes = append(changes, Diff{Field: name, To: v.Any()})
			}
			continue
		}
		if from := it.local.Get(name); !kedge.Equal(from, v) {
			changes = append(changes, Diff{Field: name, From: from.Any(), To: v.Any()})
		}
	}
	for _, name := range it.unknown {
		d := Diff{Field: name, To: newRecord}
		if it.local != nil {
			d.From = it.local.Get(name).Any()
		}
		changes = append(changes, d)
	}
	return changes
}
