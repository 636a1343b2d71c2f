package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/nearest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// A Take says which side of a conflict counts.
type Take string

// The ways to end a conflict.
const (
	TakeLocal  Take = "local"
	TakeRemote Take = "remote"
	TakeMerged Take = "merged" // what only one side changed, from that side; the rest as it is set
)

// A Resolution is a person's decision about a conflict.
type Resolution struct {
	Take Take
	Set  map[string]string // TakeMerged: values by local field, as text
	By   string
}

// ResolveConflict ends a conflict. It looks at both sides as they are now,
// writes what the local side lacks, and leaves to the next sync what the other
// side lacks, or to the next export if the entity is only downloaded. It reports whether there is something to send.
func (s *Syncer) ResolveConflict(ctx context.Context, id string, how Resolution) (sends bool, err error) {
	found, err := s.Conflicts(ctx, ConflictQuery{IDs: []string{id}})
	if err != nil {
		return false, err
	}
	if len(found) == 0 {
		return false, &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("there is no conflict %s; see \"kedge conflicts list\"", id)}
	}
	c := found[0]
	r := s.newRun(Request{Integration: c.Integration, Entities: []string{c.Entity}})
	err = s.withLeaseOf(ctx, r, func(ctx context.Context, r *run) error {
		if err := r.load(ctx); err != nil {
			return err
		}
		defer r.close()
		e := r.entities[c.Entity]
		if e.plan == nil || len(r.ordered()) == 0 {
			return invalid("", fmt.Errorf("entity %s of integration %s is not synced any more; its conflicts have no effect", c.Entity, c.Integration))
		}
		if !e.sends { // an export met the conflict, and the next one sends what is left of it
			r.req.Op = Export
			e.sendsEdits()
		}
		res := &resolving{entity: e, id: id, how: how, key: c.ExternalKey}
		if err := res.parseSet(); err != nil {
			return err
		}
		if err := e.prepareAside(ctx); err != nil {
			return err
		}
		sends, err = res.run(ctx)
		return err
	})
	return sends, err
}

// A resolving is a resolution under way.
type resolving struct {
	*entity
	id    string
	how   Resolution
	key   kedge.Key
	set   []kedge.Value // aligned with LocalFields
	done  bool
	sends bool
}

// parseSet types the values that a person gave.
func (r *resolving) parseSet() error {
	fields := r.plan.LocalFields
	r.set = make([]kedge.Value, fields.Len())
	for name, text := range r.how.Set {
		i := fields.Index(name)
		if i < 0 {
			hint := "; mapped fields are " + strings.Join(fields.Names(), ", ")
			if near := nearest.Name(name, fields.Names()); near != "" {
				hint = fmt.Sprintf("; did you mean %q?", near)
			}
			return invalid(r.plan.Name, fmt.Errorf("there is no mapped local field %q%s", name, hint))
		}
		if !r.plan.Uploads(i) {
			return invalid(r.plan.Name, fmt.Errorf("field %q is not sent to the other side, so it cannot be set", name))
		}
		f := r.plan.Local.Field(name)
		if text == "" && f.Type != kedge.TypeString {
			r.set[i] = kedge.Null()
			continue
		}
		v, err := kedge.ParseText(f.Type, text)
		if err != nil {
			return invalid(r.plan.Name, fmt.Errorf("the value for field %q is not of its type, %s", name, f.Type))
		}
		r.set[i] = v
	}
	return nil
}

// run reads both sides and ends the conflict.
func (r *resolving) run(ctx context.Context) (bool, error) {
	answers, err := r.readKeys(ctx, []kedge.Key{r.key})
	switch {
	case err != nil:
		return false, fmt.Errorf("reading the record of the other side: %w", err)
	case answers[0].bad != nil:
		return false, fmt.Errorf("the record of the other side cannot be read: %w", answers[0].bad.Err)
	}
	there := answers[0].found
	if there && r.how.Take == TakeRemote && !passes(r.filter, &answers[0].record) {
		there = false // it left the filter, so it counts as gone
	}
	if !there {
		return r.sends, r.withoutRemote(ctx)
	}
	e := r.entity
	e.resolving, e.force, e.silent = r, map[kedge.Key]bool{r.key: true}, true
	defer func() { e.resolving, e.force, e.silent = nil, nil, false }()
	if err := e.applyAside(ctx, &chunk{records: []kedge.Record{answers[0].record}}); err != nil {
		return false, err
	}
	if !r.done {
		return false, errors.New("the record is no longer linked; the next sync decides about it anew")
	}
	return r.sends, nil
}

// decide does with an item what the person said, in place of [Decide].
func (r *resolving) decide(it *item, s Sides) error {
	if s.Local != nil {
		return r.merge(it, s)
	}
	switch r.how.Take {
	case TakeRemote:
		it.after = r.newBase(it.rec.Key, nil, &it.dst, &it.dst, it.rec.Version)
	case TakeLocal:
		it.after = r.newBase(it.rec.Key, s.Base, &it.dst, nil, it.rec.Version)
		it.outcome, it.send = Kept, actionDelete
	default:
		return errNoMerge
	}
	return nil
}

var errNoMerge = invalid("", errors.New("one side deleted the record, so there is nothing to merge; take local or remote"))

// merge brings two records together. The base becomes the remote one, so that
// the rest counts as edited here.
func (r *resolving) merge(it *item, s Sides) error {
	d := newDecision(s, r.plan, r.entity.run.op())
	merged := kedge.Record{Fields: r.plan.LocalFields, Values: make([]kedge.Value, len(it.dst.Values))}
	writes := make([]kedge.Value, len(it.dst.Values))
	var open []string
	writesAny := false
	for i := range merged.Values {
		local, remote := value(s.Local, i), it.dst.Values[i]
		down, up := d.down[i], d.up[i]
		differ := !local.IsMissing() && !remote.IsMissing() && !r.plan.Equal(i, local, remote)
		take := remote
		switch {
		case r.how.Take == TakeRemote && differ && r.plan.Downloads(i):
			down, up = true, false
		case r.how.Take == TakeLocal && differ && d.uploads(i):
			down, up = false, true
		case r.how.Take == TakeMerged && !r.set[i].IsMissing():
			take = r.set[i]
			down, up = !r.plan.Equal(i, local, take), !r.plan.Equal(i, remote, take)
		case r.how.Take == TakeMerged && down && up:
			open = append(open, r.plan.LocalFields.Name(i))
		}
		if merged.Values[i] = local; down {
			merged.Values[i], writes[i], writesAny = take, take, true
		}
		if up {
			it.send = actionUpdate
		}
	}
	if len(open) > 0 {
		return invalid(r.plan.Name, fmt.Errorf("both sides changed %s; say what it shall be with --set %s=VALUE", strings.Join(open, ", "), open[0]))
	}
	if err := r.sendable(s.Local, merged.Values); err != nil {
		return err
	}
	it.after = r.newBase(it.rec.Key, s.Base, &it.dst, &merged, it.rec.Version)
	it.dst.Values = writes
	if !writesAny {
		it.outcome = Unchanged
	}
	return nil
}

// sendable tells whether the values that a person set can be sent.
func (r *resolving) sendable(local *kedge.Record, values []kedge.Value) error {
	mask := make([]bool, len(values))
	for i, v := range r.set {
		mask[i] = !v.IsMissing()
	}
	if !slices.Contains(mask, true) {
		return nil
	}
	rec := kedge.Record{Key: local.Key, Fields: r.plan.LocalRead, Values: slices.Clone(local.Values)}
	copy(rec.Values, values)
	var out kedge.Record
	if err := r.plan.Upload(&out, &rec, mask, false); err != nil {
		return invalid(r.plan.Name, err)
	}
	return nil
}

// withoutRemote ends the conflict of a record that is gone from the other side.
func (r *resolving) withoutRemote(ctx context.Context) error {
	if r.how.Take == TakeMerged {
		return errNoMerge
	}
	links, err := r.entity.run.s.linksBy(ctx, r.entity.run.s.store.DB(), r.row.ID, "ext_key", []kedge.Key{r.key})
	if err != nil {
		return err
	}
	l := links[r.key]
	if l == nil {
		return errors.New("the record is no longer linked; the next sync decides about it anew")
	}
	here, err := r.entity.run.loc.ReadKeys(ctx, r.plan.Local.Name, r.plan.LocalRead.Names(), []kedge.Key{l.LocalKey})
	if err != nil {
		return err
	}
	if here[0].OK && r.how.Take == TakeLocal {
		return r.entity.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error { return r.revive(ctx, tx, l) })
	}
	return r.removeLocal(ctx, l)
}

// revive lets the next sync make the record again on the other side.
func (r *resolving) revive(ctx context.Context, tx *store.Tx, l *link) error {
	if err := r.finish(ctx, tx, l.LocalKey, true); err != nil {
		return err
	}
	keys := []kedge.Key{r.key}
	steps := []func() error{
		func() error { return r.forget(ctx, tx, []uint64{mapping.KeyHash(r.key)}) },
		func() error { return r.entity.run.s.dropLinks(ctx, tx, r.row.ID, keys) },
		func() error { return r.dropBases(ctx, tx, keys) },
		func() error {
			return r.enqueue(ctx, tx, []outboxEntry{{local: l.LocalKey, action: actionCreate}})
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// removeLocal does with the local record what the mapping says of deletions.
func (r *resolving) removeLocal(ctx context.Context, l *link) error {
	var results []connectors.Result
	write := func(ctx context.Context, tx connectors.Tx) (err error) {
		if changes := r.deleteChanges([]*link{l}); len(changes) > 0 {
			results, err = r.entity.run.target.write(ctx, tx, changes)
		}
		if err == nil && len(results) > 0 && results[0].State == connectors.Rejected && results[0].Err.Kind != kedge.NotFound {
			err = fmt.Errorf("the local side refused to delete the record: %w", results[0].Err)
		}
		return err
	}
	if !r.entity.run.ownTables() {
		if err := write(ctx, nil); err != nil {
			return err
		}
	}
	return r.entity.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if r.entity.run.ownTables() {
			if err := write(ctx, tx); err != nil {
				return err
			}
		}
		if err := r.rememberDeletes(ctx, tx, []*link{l}, results); err != nil {
			return err
		}
		return r.finish(ctx, tx, l.LocalKey, false)
	})
}

// finishItem closes the conflict if the item could be stored.
func (r *resolving) finishItem(ctx context.Context, tx *store.Tx, it *item) error {
	if it.fail != nil {
		return fmt.Errorf("the local record cannot be written: %s: %w", it.fail.stage, it.fail.err)
	}
	local := it.dst.Key
	if it.link != nil {
		local = it.link.LocalKey // transactions have the key that the record had
	}
	return r.finish(ctx, tx, local, it.send != "")
}

// finish closes the conflict in the transaction that ends it. What waited to be
// sent of the record goes on, or is no longer needed.
func (r *resolving) finish(ctx context.Context, tx *store.Tx, local kedge.Key, sends bool) error {
	res, err := tx.NewUpdate().Model((*conflictRow)(nil)).Set("state = ?, resolution = ?, ? = ?", conflictResolved, r.how.Take, identBy, r.how.By).
		Where("id = ? AND state = ?", r.id, conflictOpen).Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, &kedge.Error{Kind: kedge.Conflict, Err: fmt.Errorf("conflict %s is not open any more; see \"kedge conflicts list\"", r.id)})
	}
	if err := r.release(ctx, tx, []string{quarantineKey(r.key)}); err != nil {
		return err
	}
	if err := r.thawTransactions(ctx, tx, local, sends); err != nil {
		return err
	}
	store.OnCommit(ctx, func() {
		r.done, r.sends = true, sends
		delete(r.frozen, r.key)
	})
	text := fmt.Sprintf("resolved by %s: %s", r.how.By, r.how.Take)
	return r.event(ctx, tx, "info", "conflict_resolved", text, r.id)
}

// thawTransactions lets the newest transaction of a record that waited for the
// conflict go on. Those that are not needed are archived.
func (r *resolving) thawTransactions(ctx context.Context, tx *store.Tx, local kedge.Key, sends bool) error {
	var rows []*Transaction
	err := tx.NewSelect().Model(&rows).Where("integration = ? AND entity = ? AND local_key = ?", r.entity.run.name, r.plan.Name, local).
		Where("state IN (?, ?, ?)", TxPending, TxFailed, TxConflict).Order("seq DESC").Scan(ctx)
	if err != nil {
		return err
	}
	now := r.entity.run.s.now().UTC()
	keep := slices.IndexFunc(rows, func(t *Transaction) bool { return t.State != TxConflict })
	if keep < 0 {
		keep = 0
	}
	for i, t := range rows {
		if i == keep && sends {
			continue
		}
		t.State, t.DoneAt = TxArchived, &now
		if err := updateTransaction(ctx, tx, t); err != nil {
			return err
		}
	}
	if len(rows) == 0 || !sends {
		return nil
	}
	t := rows[keep] // once no other one is pending
	t.State, t.DoneAt, t.NextAt = TxPending, nil, now
	return updateTransaction(ctx, tx, t)
}
