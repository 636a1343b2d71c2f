package syncer

import (
	"context"
	"fmt"
	"github.com/uptrace/bun"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// makeUploads prepares the entities whose local edits are sent: they have links
// and a base for every record, and their local tables note their changes.
func (r *run) makeUploads(ctx context.Context) error {
	for _, e := range r.ordered() {
		if !e.sends {
			continue
		}
		if err := r.listen(ctx, e); err != nil {
			return err
		}
	}
	if err := r.learnCapture(ctx); err != nil {
		return err
	}
	for _, e := range r.ordered() {
		var err error
		if e.up, err = e.newUpload(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sendsEdits makes e an entity whose records are kept by links and bases, also
// where the keys of both sides are the same.
func (e *entity) sendsEdits() {
	if !e.plan.Rules.Direction.Uploads() && e.run.op() != Export {
		return
	}
	plan := *e.plan
	plan.SharedKey = false
	e.plan, e.sends = &plan, true
	if plan.Rules.Direction.Uploads() {
		e.salt = twoWaySalt
	}
}

// twoWaySalt makes the hashes of an entity different from those that it has
// while it is only downloaded: then its records have no base.
const twoWaySalt = 0x9e3779b97f4a7c15

// listen asks for the changes of the local table. In a database that is not
// kedge's own a person decides first ("kedge connections capture"); until then
// all of its rows are compared.
func (r *run) listen(ctx context.Context, e *entity) error {
	capturer, ok := r.loc.Driver().(connectors.Capturer)
	if !ok || r.planning() || r.op() != Sync {
		return nil
	}
	listeners := map[string][]string{r.name: slices.Clone(e.plan.LocalRead.Names())}
	if !r.own {
		err := capturer.SetListeners(ctx, nil, e.plan.Local.Name, listeners)
		if kedge.KindOf(err) == kedge.Unsupported {
			return nil
		}
		return err
	}
	return r.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		return capturer.SetListeners(ctx, tx, e.plan.Local.Name, listeners)
	})
}

// learnCapture finds out which local entities report their changes.
func (r *run) learnCapture(ctx context.Context) error {
	if !slices.ContainsFunc(r.ordered(), func(e *entity) bool { return e.sends }) {
		return nil
	}
	schema, err := r.loc.Refresh(ctx)
	if err != nil {
		return err
	}
	for _, e := range r.ordered() {
		if ent := schema.Entity(e.plan.Local.Name); ent != nil {
			e.localDelta = ent.Delta
		}
	}
	return nil
}

// eachUpload does a part of the work for the uploads that have not failed, in
// the order of writing.
func (r *run) eachUpload(ctx context.Context, do func(*upload, context.Context) error) {
	for _, e := range r.ordered() {
		if u := e.up; u != nil && u.err == nil && ctx.Err() == nil {
			ctx, span := e.span(ctx, "entity", Upload)
			u.err = do(u, ctx)
			endSpan(span, u.err)
		}
	}
}

// upload sends the changes of the entities that are chosen: records first,
// parents before children, then deletions the other way round.
func (r *run) upload(ctx context.Context, chosen func(*upload) bool) {
	r.eachUpload(ctx, func(u *upload, ctx context.Context) error {
		if !chosen(u) {
			return nil
		}
		return u.collect(ctx)
	})
	r.pushAll(ctx)
}

// pushAll sends everything that waits, deletions only if no entity has too many
// of them.
func (r *run) pushAll(ctx context.Context) {
	if r.planning() {
		return
	}
	for progress := true; progress; { // a record may wait for one of an entity that comes later
		before := r.sentSoFar()
		r.eachUpload(ctx, func(u *upload, ctx context.Context) error { return u.push(ctx, false) })
		progress = r.sentSoFar() > before && r.anyMissing()
	}
	r.eachUpload(ctx, (*upload).countDeletes)
	entities := r.ordered()
	if slices.ContainsFunc(entities, func(e *entity) bool { return e.up != nil && e.up.state == Stopped }) {
		return
	}
	for _, e := range slices.Backward(entities) {
		if u := e.up; u != nil && u.err == nil && (u.deletes > 0 || u.again) && ctx.Err() == nil {
			u.err = u.push(ctx, true)
			if u.err == nil {
				u.err = u.countDeletes(ctx)
			}
		}
	}
}

func (r *run) sentSoFar() (n int64) {
	for _, e := range r.ordered() {
		if e.up != nil {
			n += e.up.counts.Created + e.up.counts.Changed
		}
	}
	return n
}

func (r *run) anyMissing() bool {
	return slices.ContainsFunc(r.ordered(), func(e *entity) bool { return e.up != nil && len(e.up.missing) > 0 })
}

// countDeletes counts the deletions that are to be sent, and stops the entity
// if they are too many. Those that are tried again were let through before.
func (u *upload) countDeletes(ctx context.Context) error {
	waiting := func(state TransactionState) *bun.SelectQuery {
		return u.run.s.store.DB().NewSelect().Model((*Transaction)(nil)).
			Where("integration = ? AND entity = ? AND action = ? AND state = ?", u.run.name, u.plan.Name, actionDelete, state)
	}
	var err error
	if u.again, err = waiting(TxFailed).Where("next_at <= ?", u.run.s.now()).Exists(ctx); err != nil {
		return err
	}
	n, err := waiting(TxPending).Count(ctx)
	u.deletes = int64(n)
	rule := u.plan.Rules.Deletes.Upload
	harmless := rule == mapping.DeleteIgnore || rule == mapping.DeleteUnlink
	if err == nil && u.deletes > u.deleteLimit() && !u.run.req.ForceDeletes && !harmless {
		u.state = Stopped
		u.confirm = fmt.Sprintf("%d of %d records would be deleted on the other side, more than %d; run again with --force-deletes, or put them aside with \"kedge transactions archive\"",
			u.deletes, u.row.Linked, u.deleteLimit())
	}
	return err
}

// finishUpload looks up what became of changes without an answer, and tells of
// the records that still wait for another one.
func (r *run) finishUpload(ctx context.Context) {
	r.eachUpload(ctx, (*upload).resolveUnknown)
	r.pushAll(ctx)
	r.eachUpload(ctx, func(u *upload, ctx context.Context) error {
		if len(u.missing) == 0 {
			return nil
		}
		return u.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			for key, f := range u.missing {
				if err := u.quarantineLocal(ctx, tx, key, nil, f); err != nil {
					return err
				}
				u.note(key, Quarantined)
			}
			return nil
		})
	})
}

// tidyUploads takes over what runs that died left behind.
func (r *run) tidyUploads(ctx context.Context) {
	r.eachUpload(ctx, (*upload).adopt)
	r.eachUpload(ctx, (*upload).resolveUnknown)
}

// result is what the upload did.
func (u *upload) result(ended bool) EntityResult {
	res := EntityResult{Entity: u.plan.Name, Direction: Upload, Mode: u.mode, Reason: u.reason, State: Succeeded, Counts: u.counts}
	switch {
	case u.err != nil && ended && canceled(u.err):
		res.State = Cancelled
	case u.err != nil:
		err := store.Error("", "", u.err)
		res.State, res.Error, res.Kind = Failed, err.Error(), kedge.KindOf(err).String()
	case u.state == Stopped:
		res.State, res.Error, res.Pending = Stopped, u.confirm, u.deletes
	case u.counts.Failed() > 0:
		res.State = Partial
	}
	return res
}
