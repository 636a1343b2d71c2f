package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

const (
	pushBatch = 100 // changes of one batch, if the entity has no limit of its own
	pushTries = 4   // of one transaction in one run: each lost race against the other side takes one
)

// push sends what waits, in passes: a record may wait for another one that it
// refers to, and one that lost a race is looked at again.
func (u *upload) push(ctx context.Context, deletes bool) error {
	if err := u.open(ctx); err != nil {
		return err
	}
	for {
		sent := 0
		var last *Transaction
		for {
			ops, err := u.dueTransactions(ctx, u.run.s.store.DB(), deletes, last, u.batchSize())
			if err != nil {
				return err
			}
			if len(ops) == 0 {
				break
			}
			last = ops[len(ops)-1]
			page, span := u.span(ctx, "page", Upload)
			n, err := u.send(page, ops)
			endSpan(span, err)
			if sent += n; err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if sent == 0 {
			return nil
		}
	}
}

func (u *upload) batchSize() int {
	if n := u.plan.External.WriteBatch; n > 0 {
		return n
	}
	return pushBatch
}

// An outgoing is one transaction on its way out.
type outgoing struct {
	op         *Transaction
	link       *link
	base       *baseRow
	local      *kedge.Record
	remote     kedge.Record // what is sent, in external terms
	up         []bool
	change     kedge.Change
	result     connectors.Result
	fail       *failure
	end        TransactionState // how it ends without being sent
	as         Outcome
	wait       bool // for another record
	create     bool
	removes    bool          // the record, or what counts as removing it
	unlinks    bool          // the record is kept there and forgotten
	unresolved []int         // local fields of lookups to records that are not there yet
	stored     *kedge.Record // as the other side has it now
}

// send sends a batch: what it needs to know first is read, the intent is
// stored, the changes are written, the results are stored. It returns how many
// came to an end.
func (u *upload) send(ctx context.Context, ops []*Transaction) (int, error) {
	for _, op := range ops {
		u.tries[op.ID]++
	}
	k, err := u.knownBy(ctx, u.run.s.store.DB(), localKeysOf(ops))
	if err != nil {
		return 0, err
	}
	looked, err := u.lookFirst(ctx, ops, k)
	if err != nil {
		return 0, err
	}
	if looked {
		if k, err = u.knownBy(ctx, u.run.s.store.DB(), localKeysOf(ops)); err != nil {
			return 0, err
		}
	}
	batch, err := u.intend(ctx, ops, k)
	if err != nil {
		return 0, err
	}
	ended := 0
	var out []*outgoing
	for _, o := range batch {
		switch {
		case o.end != "":
			ended++
		case !o.wait:
			out = append(out, o)
		}
	}
	if len(out) == 0 {
		return ended, nil
	}
	u.run.s.hook("p8")
	if err := u.run.holds(ctx); err != nil {
		return ended, err
	}
	changes := make([]kedge.Change, len(out))
	for i, o := range out {
		changes[i] = o.change
	}
	results, sendErr := u.run.ext.Write(ctx, changes)
	u.run.s.hook("p9")
	for i := range out {
		out[i].result = results[i]
	}
	n, err := u.settleBatch(context.WithoutCancel(ctx), out, sendErr)
	u.run.s.hook("p10")
	return ended + n, err
}

// intend stores, in one transaction, what is about to be sent, so that a lost
// answer can be looked up.
func (u *upload) intend(ctx context.Context, ops []*Transaction, k known) ([]*outgoing, error) {
	batch := make([]*outgoing, 0, len(ops))
	var rows map[kedge.Key]*kedge.Record
	keys := localKeysOf(ops)
	if !u.run.ownTables() {
		var err error
		if rows, err = u.localByKey(ctx, nil, keys); err != nil {
			return nil, err
		}
	}
	err := u.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if u.run.ownTables() {
			if rows, err = u.localByKey(ctx, tx, keys); err != nil {
				return err
			}
		}
		for _, op := range ops {
			o := &outgoing{op: op, local: rows[op.LocalKey]}
			o.link, o.base = k.of(op.LocalKey)
			u.build(o)
			batch = append(batch, o)
		}
		if err := u.fillLookups(ctx, tx, batch); err != nil {
			return err
		}
		return u.saveIntents(ctx, tx, batch)
	})
	return batch, err
}

// build decides what is sent of a record.
func (u *upload) build(o *outgoing) {
	known := o.link != nil && o.link.Status == linked
	switch {
	case u.tries[o.op.ID] > pushTries:
		o.wait = true // the other side changes it all the time; the next run goes on
	case o.link != nil && u.frozen[o.link.ExtKey]:
		o.end, o.as = TxConflict, Kept
		if u.parked[o.link.ExtKey] {
			o.as = Conflicted
		}
	case o.link != nil && o.link.Status == deleting:
		o.wait = true // the delete phase decides
	case o.op.Action == actionDelete && o.local == nil:
		u.buildDelete(o, known)
	case o.local == nil:
		o.end, o.as = TxArchived, Unchanged // it was deleted here meanwhile, which is read as such
	case !u.passesUpload(o.local):
		o.end, o.as = TxArchived, Filtered
	case !known && u.doubtful[quarantineKey(o.op.LocalKey)]:
		o.end, o.as = TxArchived, Unknown
	case !known:
		o.create = true
		u.buildChange(o, kedge.Insert, nil)
	default:
		u.buildUpdate(o)
	}
}

func (u *upload) buildUpdate(o *outgoing) {
	s := Sides{Local: o.local}
	if o.base != nil {
		s.Base = o.base.values
	}
	d := newDecision(s, u.plan, u.run.op())
	if o.up = d.up; !d.any(d.up) {
		o.end, o.as = TxApplied, Unchanged
		return
	}
	u.buildChange(o, kedge.Update, d.up)
}

func (u *upload) buildChange(o *outgoing, op kedge.Op, mask []bool) {
	if err := u.plan.Upload(&o.remote, o.local, mask, op == kedge.Insert); err != nil {
		o.fail = failMap(err)
		return
	}
	o.change = kedge.Change{Op: op, Entity: u.plan.External.Name, Fields: u.plan.ExternalFields, Values: o.remote.Values, Targets: u.lookupTargets(), Return: true}
	if op == kedge.Update {
		o.change.Key = o.link.ExtKey
		o.change.Version = u.versionOf(o.base)
		return
	}
	o.change.Key = u.externalKey(o.remote.Values)
}

// buildDelete does with a deletion here what the mapping says.
func (u *upload) buildDelete(o *outgoing, known bool) {
	rules := u.plan.Rules.Deletes
	switch {
	case !known:
		o.end, o.as = TxArchived, Unchanged
		return
	case rules.Upload == mapping.DeleteIgnore || rules.Upload == mapping.DeleteUnlink:
		o.end, o.as, o.unlinks = TxApplied, Kept, rules.Upload == mapping.DeleteUnlink
		return
	}
	o.removes = true
	o.change = kedge.Change{Op: kedge.Delete, Entity: u.plan.External.Name, Key: o.link.ExtKey, Version: u.versionOf(o.base), Fields: u.plan.ExternalFields}
	o.remote = kedge.Record{Fields: u.plan.ExternalFields, Values: make([]kedge.Value, u.plan.ExternalFields.Len())}
	if rules.Upload == mapping.DeleteSoft {
		u.buildSoft(o, rules.Soft)
	}
}

// buildSoft sets the field that marks a deleted record.
func (u *upload) buildSoft(o *outgoing, soft mapping.Soft) {
	at := u.plan.LocalFields.Index(soft.Field)
	if at < 0 {
		o.fail = failMap(&mapping.FieldError{Field: soft.Field, Code: "conversion", Err: errors.New("the field of soft deletes is not mapped")})
		return
	}
	marked := kedge.Record{Fields: u.plan.LocalRead, Values: make([]kedge.Value, u.plan.LocalRead.Len())}
	marked.Values[at] = soft.Value
	mask := make([]bool, u.plan.LocalFields.Len())
	mask[at] = true
	if err := u.plan.Upload(&o.remote, &marked, mask, false); err != nil {
		o.fail = failMap(err)
		return
	}
	o.change.Op, o.change.Values = kedge.Update, o.remote.Values
}

// externalKey returns the key that a new record brings along, "" if the other
// side makes it.
func (e *entity) externalKey(values []kedge.Value) kedge.Key {
	parts := make([]kedge.Value, len(e.plan.External.Key))
	for i, name := range e.plan.External.Key {
		if at := e.plan.ExternalFields.Index(name); at >= 0 {
			parts[i] = values[at]
		}
		if f := e.plan.External.Field(name); f != nil && f.Computed {
			return ""
		}
	}
	return kedge.NewKey(parts...)
}

// versionOf is the version that the other side must still have.
func (u *upload) versionOf(b *baseRow) string {
	if b == nil || !u.plan.External.Concurrency {
		return ""
	}
	return b.ExtVersion
}

// saveIntents stores the batch as it is about to be sent.
func (u *upload) saveIntents(ctx context.Context, tx *store.Tx, batch []*outgoing) error {
	now := u.run.s.now().UTC()
	var logs []*writeRow
	var ops []*Transaction
	var unlinked, ended []kedge.Key
	for _, o := range batch {
		switch {
		case o.wait && o.fail == nil:
			continue
		case o.fail != nil:
			if err := u.quarantineLocal(ctx, tx, o.op.LocalKey, o.local, o.fail); err != nil {
				return err
			}
			o.op.ErrorKind, o.op.ErrorText = kedge.Invalid.String(), o.fail.err.Error()
			o.end, o.as = TxDead, o.fail.as
			fallthrough
		case o.end != "":
			o.op.State = o.end
			if o.end != TxConflict {
				o.op.DoneAt = &now
			}
			if o.fail == nil && o.as != Unknown {
				ended = append(ended, o.op.LocalKey) // nothing of it has to be sent any more
			}
			if o.unlinks {
				unlinked = append(unlinked, o.link.ExtKey)
			}
		default:
			u.intent(o)
			logs = append(logs, u.newWrite(o, o.change.Key, "", &o.remote))
		}
		ops = append(ops, o.op)
	}
	store.OnCommit(ctx, func() {
		for _, o := range batch {
			if o.end != "" {
				u.note(o.op.LocalKey, o.as)
			}
		}
	})
	steps := []func() error{
		func() error { return saveTransactions(ctx, tx, intentTable, store.Update, ops) },
		func() error { return logWrites(ctx, tx, logs) },
		func() error { return u.releaseLocal(ctx, tx, ended) },
		func() error { return u.run.s.dropLinks(ctx, tx, u.row.ID, unlinked) },
		func() error { return u.dropBases(ctx, tx, unlinked) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// intent notes in the transaction what is sent.
func (u *upload) intent(o *outgoing) {
	t := o.op
	t.State, t.Fence, t.RunID = TxInflight, u.run.lease.Fence, u.run.id
	t.Attempts++
	t.ExtKey, t.ExpectedVersion = o.change.Key, o.change.Version
	t.Payload = packValues(u.plan.ExternalFields, o.remote.Values)
	t.FieldMask = packValues(u.plan.LocalFields, u.sentValues(o))
	t.BaseHash = 0
	if o.base != nil {
		t.BaseHash = o.base.LocalHash
	}
	t.ErrorKind, t.ErrorText = "", ""
	t.IdemKey = idempotencyKey(u.run.name, u.plan.Name, string(t.LocalKey), o.change.Op.String(), t.Payload, strconv.FormatInt(t.BaseHash, 16), t.ID)
	o.change.IdempotencyKey = t.IdemKey
}

// sentValues returns the local values that are sent, the others missing.
func (u *upload) sentValues(o *outgoing) []kedge.Value {
	values := make([]kedge.Value, u.plan.LocalFields.Len())
	for i := range values {
		if (o.create || o.up != nil && o.up[i]) && !slices.Contains(o.unresolved, i) {
			values[i] = value(o.local, i)
		}
	}
	return values
}

// idempotencyKey is the same for the same change, also after a restart.
func idempotencyKey(parts ...string) string {
	var d, second xxhash.Digest
	d.Reset()
	second.ResetWithSeed(1)
	for _, p := range parts {
		for _, h := range []*xxhash.Digest{&d, &second} {
			_, _ = h.WriteString(strconv.Itoa(len(p)))
			_, _ = h.WriteString(":" + p)
		}
	}
	return fmt.Sprintf("%016x%016x", d.Sum64(), second.Sum64())
}

// word is the row word of an external record, as the hash log has it.
func (e *entity) word(r *kedge.Record) uint64 { return rowWord(e.plan.Hash(r) ^ e.salt) }
