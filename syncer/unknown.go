package syncer

import (
	"context"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// lostReplyWait is how long after a lost answer the request can hardly arrive
// any more.
func (s *Syncer) lostReplyWait() time.Duration {
	if s.opts.LostReplyWait > 0 {
		return s.opts.LostReplyWait
	}
	return 5 * time.Second
}

// adopt makes the transactions of a run that died unknown: whether they were
// sent is not known.
func (u *upload) adopt(ctx context.Context) error {
	return u.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.NewUpdate().Model((*Transaction)(nil)).Set("state = ?, next_at = ?", TxUnknown, u.run.s.now().UTC().Add(u.run.s.lostReplyWait())).
			Where("integration = ? AND entity = ? AND state = ? AND fence < ?", u.run.name, u.plan.Name, TxInflight, u.run.lease.Fence).Exec(ctx)
		return err
	})
}

// unknowns returns the transactions whose outcome has to be looked up, and how
// long it takes until the last of them may be.
func (u *upload) unknowns(ctx context.Context) (rows []*Transaction, wait time.Duration, err error) {
	err = u.run.s.store.DB().NewSelect().Model(&rows).Where("integration = ? AND entity = ? AND state = ?", u.run.name, u.plan.Name, TxUnknown).
		Order("seq", "id").Scan(ctx)
	for _, t := range rows {
		wait = max(wait, t.NextAt.Sub(u.run.s.now()))
	}
	return rows, wait, err
}

// resolveUnknown finds out what became of changes whose answer was lost. None
// is sent again before that.
func (u *upload) resolveUnknown(ctx context.Context) error {
	rows, wait, err := u.unknowns(ctx)
	if err != nil || len(rows) == 0 {
		return err
	}
	if err := u.run.s.sleep(ctx, wait); err != nil {
		return err
	}
	if err := u.open(ctx); err != nil {
		return err
	}
	for part := range slices.Chunk(rows, pushBatch) {
		if err := u.resolveSome(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (u *upload) resolveSome(ctx context.Context, rows []*Transaction) error {
	var batch []*outgoing
	var keys []kedge.Key
	for _, t := range rows {
		o, err := u.recall(t)
		if err != nil {
			return err
		}
		batch = append(batch, o)
		if t.ExtKey != "" {
			keys = append(keys, t.ExtKey)
		}
	}
	there := map[kedge.Key]*kedge.Record{}
	lookup := true
	if len(keys) > 0 {
		answers, err := u.readKeys(ctx, keys)
		if lookup = kedge.KindOf(err) != kedge.Unsupported || err == nil; err != nil && lookup {
			return err
		}
		for i, a := range answers {
			if a.found {
				there[keys[i]] = &answers[i].record
			}
		}
	}
	for _, o := range batch {
		if err := u.conclude(ctx, o, there[o.op.ExtKey], lookup); err != nil {
			return err
		}
	}
	k, err := u.knownBy(ctx, u.run.s.store.DB(), localKeysOf(rows))
	if err != nil {
		return err
	}
	for _, o := range batch {
		o.link, o.base = k.of(o.op.LocalKey)
	}
	_, err = u.settleBatch(context.WithoutCancel(ctx), batch, nil)
	return err
}

func localKeysOf(rows []*Transaction) []kedge.Key {
	keys := make([]kedge.Key, len(rows))
	for i, t := range rows {
		keys[i] = t.LocalKey
	}
	return keys
}

// recall makes the change of a transaction again as it was sent.
func (u *upload) recall(t *Transaction) (*outgoing, error) {
	sent, err := unpackValues(t.Payload, u.plan.External, u.plan.ExternalFields)
	if err != nil {
		return nil, err
	}
	o := &outgoing{op: t, remote: *sent}
	o.change = kedge.Change{Op: kedge.Update, Entity: u.plan.External.Name, Key: t.ExtKey, Fields: u.plan.ExternalFields, Values: sent.Values, Targets: u.lookupTargets(), Version: t.ExpectedVersion, IdempotencyKey: t.IdemKey}
	switch t.Action {
	case actionDelete:
		o.change.Op, o.removes = kedge.Delete, true
	case actionCreate:
		o.change.Op, o.create = kedge.Insert, true
		return o, u.recallUnresolved(o)
	}
	return o, nil
}

// recallUnresolved finds out which lookups a new record was sent without.
func (u *upload) recallUnresolved(o *outgoing) error {
	sent, err := unpackValues(o.op.FieldMask, u.plan.Local, u.plan.LocalFields)
	if err != nil {
		return err
	}
	for _, l := range u.plan.UploadLookups {
		if sent.Values[l.Local].IsMissing() {
			o.unresolved = append(o.unresolved, l.Local)
		}
	}
	return nil
}

// conclude tells from what the other side has now what became of a change. What
// was not applied is sent again, as a result Unset says.
func (u *upload) conclude(ctx context.Context, o *outgoing, there *kedge.Record, lookup bool) error {
	create := o.change.Op == kedge.Insert
	repeats := create && u.plan.External.Idempotent
	if repeats {
		if done, err := u.repeat(ctx, o); done || err != nil {
			return err
		}
	}
	if create && o.change.Key == "" {
		found, known, err := u.findSent(ctx, o)
		if err != nil {
			return err
		}
		there, lookup = found, known
	}
	switch {
	case create && there != nil:
		o.result = connectors.Result{State: connectors.Inserted, Key: there.Key, Version: there.Version}
	case repeats && o.op.Attempts < maxAttempts:
		o.result = rejected(kedge.OutcomeUnknown, u.plan.Name, errStillUnknown)
	case !lookup:
		o.result = rejected(kedge.Invalid, u.plan.Name, errNoLookup)
	case o.change.Op == kedge.Delete && there == nil:
		o.result.State = connectors.Removed
	case o.change.Op == kedge.Update && there != nil && sameValues(&o.remote, there):
		o.result = connectors.Result{State: connectors.Updated, Key: there.Key, Version: there.Version}
	}
	return nil
}

func rejected(kind kedge.Kind, entity string, err error) connectors.Result {
	return connectors.Result{State: connectors.Rejected, Err: &kedge.Error{Op: "syncer", Kind: kind, Entity: entity, Err: err}}
}

// repeat sends the same request again, to a service that does it once. It
// reports false if the service does not know any more whether it has.
func (u *upload) repeat(ctx context.Context, o *outgoing) (done bool, err error) {
	o.op.Attempts++
	results, err := u.run.ext.Write(ctx, []kedge.Change{o.change})
	if results[0].State != connectors.Unset {
		o.result = results[0]
		return true, nil
	}
	if kedge.KindOf(err) == kedge.OutcomeUnknown {
		err = nil
	}
	return false, err
}

// sameValues tells whether a record has all values that were sent.
func sameValues(sent, has *kedge.Record) bool {
	for i, v := range sent.Values {
		if !v.IsMissing() && !kedge.Equal(v, has.Values[i]) {
			return false
		}
	}
	return true
}

// findSent looks for a record that was created without a key of its own. known
// tells whether there is a way to look.
func (u *upload) findSent(ctx context.Context, o *outgoing) (found *kedge.Record, known bool, err error) {
	if !u.plan.External.Filter {
		return nil, false, nil
	}
	for _, pairs := range append([][]mapping.Pair{u.plan.Key}, u.plan.AlternateKeys...) {
		k := externalPairs(&o.remote, pairs)
		if k == "" {
			continue
		}
		records, err := u.findBy(ctx, pairs, []kedge.Key{k})
		if err != nil || len(records) == 0 {
			return nil, true, err
		}
		return &records[0], true, nil
	}
	return nil, false, nil
}

// sleep waits, or returns the cause why ctx ended.
func (s *Syncer) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	if s.opts.Sleep != nil {
		return s.opts.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
