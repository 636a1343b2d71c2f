package syncer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// settleBatch stores what became of a batch. What was applied is read back, so
// that the base is what the other side has, not what was sent. It returns how
// many transactions came further.
func (u *upload) settleBatch(ctx context.Context, batch []*outgoing, sendErr error) (int, error) {
	var applied, again []*outgoing
	for _, o := range batch {
		if o.done() {
			applied = append(applied, o)
		}
	}
	if err := u.readBack(ctx, applied); err != nil {
		return 0, err
	}
	settle := func(ctx context.Context, tx *store.Tx) error {
		again = again[:0]
		ops := make([]*Transaction, len(batch))
		for i, o := range batch {
			lost, err := u.settleOne(ctx, tx, o, sendErr)
			if err != nil {
				return err
			}
			if ops[i] = o.op; lost {
				again = append(again, o)
			}
		}
		if err := saveTransactions(ctx, tx, resultTable, store.Update, ops); err != nil {
			return err
		}
		return u.saveApplied(ctx, tx, applied)
	}
	var stored []kedge.Record
	for _, o := range applied {
		if o.stored != nil && !o.removes {
			stored = append(stored, *o.stored)
		}
	}
	var err error
	if len(stored) > 0 && u.run.ownTables() {
		u.before = settle
		err = u.absorb(ctx, stored)
		u.before = nil
	} else if err = u.run.inTx(ctx, settle); err == nil {
		err = u.absorb(ctx, stored)
	}
	if err != nil {
		return 0, err
	}
	for _, o := range batch {
		if o.as != notSeen {
			u.note(o.op.LocalKey, o.as)
		}
	}
	if len(again) > 0 {
		if err := u.lookAgain(ctx, again); err != nil {
			return 0, err
		}
	}
	progress := len(applied) + len(again)
	if kedge.KindOf(sendErr) == kedge.Throttled {
		progress++ // it is sent again
	}
	return progress, u.stopping(sendErr, batch)
}

// stopping returns the error that ends the upload of the entity. An unknown
// outcome is looked up later, and where the other side asks for patience the
// connection waits before its next request.
func (u *upload) stopping(err error, batch []*outgoing) error {
	switch kedge.KindOf(err) {
	case kedge.OutcomeUnknown:
		return nil
	case kedge.Throttled:
		if u.tries[batch[0].op.ID] < pushTries {
			return nil
		}
	}
	return err
}

func (o *outgoing) done() bool {
	switch o.result.State {
	case connectors.Inserted, connectors.Updated, connectors.Unchanged, connectors.Removed:
		return true
	}
	return false
}

// applied is the outcome of a change that was applied.
func (o *outgoing) applied() Outcome {
	switch {
	case o.removes:
		return Deleted
	case o.result.State == connectors.Inserted:
		return Created
	case o.result.State == connectors.Unchanged:
		return Unchanged
	}
	return Changed
}

// refusal is the kind of the error that a change was refused with.
func (o *outgoing) refusal() kedge.Kind {
	if o.result.Err == nil {
		return kedge.Internal
	}
	return o.result.Err.Kind
}

// key is the external key of the record.
func (o *outgoing) key() kedge.Key {
	if o.result.Key != "" {
		return o.result.Key
	}
	return o.change.Key
}

// readBack finds out what the other side has now: where its answer did not
// tell, it is asked.
func (u *upload) readBack(ctx context.Context, applied []*outgoing) error {
	var keys []kedge.Key
	var asked []*outgoing
	for _, o := range applied {
		if o.stored = o.result.Stored; o.stored != nil {
			continue
		}
		if o.change.Op != kedge.Delete && o.key() != "" {
			keys, asked = append(keys, o.key()), append(asked, o)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	answers, err := u.readKeys(ctx, keys)
	if err != nil {
		if kind := kedge.KindOf(err); kind == kedge.Internal || kind == kedge.Invalid {
			return err
		}
		return nil // what was applied is stored all the same; the next download brings the rest
	}
	for i, a := range answers {
		if a.found {
			asked[i].stored = &answers[i].record
		}
	}
	return nil
}

// settleOne stores the result of one change in its transaction. lost tells that
// the other side was faster.
func (u *upload) settleOne(ctx context.Context, tx *store.Tx, o *outgoing, sendErr error) (lost bool, err error) {
	now := u.run.s.now().UTC()
	t := o.op
	switch kind := o.refusal(); {
	case o.done():
		t.State, t.DoneAt, t.ResultKey, t.ResultVersion = TxApplied, &now, o.key(), o.result.Version
		if o.stored != nil {
			t.ResultVersion = o.stored.Version
		}
		o.as = o.applied()
	case o.result.State == connectors.Unset && kedge.KindOf(sendErr) == kedge.OutcomeUnknown,
		o.result.State == connectors.Rejected && kind == kedge.OutcomeUnknown,
		// Only the same request again is harmless, whatever becomes of the record here.
		o.result.State == connectors.Rejected && kind == kedge.Transient && o.change.Op == kedge.Insert && u.plan.External.Idempotent && t.Attempts < maxAttempts:
		t.State, t.NextAt, t.ErrorKind = TxUnknown, now.Add(u.run.s.lostReplyWait()), kedge.OutcomeUnknown.String()
		o.as = Unknown
	case o.result.State == connectors.Unset: // it was not sent
		t.State = TxPending
		t.Attempts--
	case kind == kedge.Conflict, kind == kedge.NotFound && o.change.Op == kedge.Update:
		t.State, lost = TxPending, true
		u.reject(t, o)
	case kind == kedge.Throttled || kind == kedge.Transient:
		u.postpone(t, o, now)
	default:
		u.reject(t, o)
		t.State, t.DoneAt, o.as = TxDead, &now, Refused
		f := failWrite(o.result.Err)
		if errors.Is(o.result.Err, errNoLookup) {
			f.code, o.as = codeUnknownOutcome, Unknown
			u.doubtful[quarantineKey(t.LocalKey)] = true
		}
		if err := u.quarantineLocal(ctx, tx, t.LocalKey, o.local, f); err != nil {
			return false, err
		}
	}
	if t.State == TxPending || t.State == TxFailed {
		if err := u.wait(ctx, tx, t); err != nil {
			return false, err
		}
	}
	return lost, nil
}

// reject notes why the other side refused a change, in its own words.
func (u *upload) reject(t *Transaction, o *outgoing) {
	t.ErrorKind, t.ErrorText = o.result.Err.Kind.String(), o.result.Err.Error()
	if o.result.Remote != "" {
		t.ErrorText = o.result.Remote
	}
}

// postpone lets a transaction wait for its next try, or gives it up. A wait that
// the other side asked for is no failed attempt.
func (u *upload) postpone(t *Transaction, o *outgoing, now time.Time) {
	u.reject(t, o)
	o.as = Refused
	if o.result.Err.Kind == kedge.Throttled {
		t.Attempts--
	}
	if t.Attempts >= maxAttempts {
		t.State, t.DoneAt = TxDead, &now
		return
	}
	wait := max(o.result.Err.RetryAfter, rand.N(retryDelay(t.Attempts)))
	t.State, t.NextAt = TxFailed, now.Add(wait)
}

// saveApplied stores links, bases and the write log of what was applied.
func (u *upload) saveApplied(ctx context.Context, tx *store.Tx, applied []*outgoing) error {
	now := u.run.s.now().UTC()
	u.settled = map[kedge.Key]settled{}
	var links []*link
	var bases []*baseRow
	var gone, sent []kedge.Key
	var hashes []hashState
	var later []outboxEntry
	var writes []*writeRow
	for _, o := range applied {
		key := o.key()
		sent = append(sent, o.op.LocalKey)
		if o.removes {
			gone = append(gone, key)
			l := &link{Ent: u.row.ID, ExtKey: key, LocalKey: o.op.LocalKey, Status: tombstone, Reason: kedge.Deleted.String(), At: now}
			state := hashState{key: mapping.KeyHash(key)}
			if o.stored != nil { // it is only marked there, and stays known as it is
				l.Version, state.word = versionHash(o.stored.Version), u.word(o.stored)
			}
			links, hashes = append(links, l), append(hashes, state)
			continue
		}
		if key == "" {
			continue // the other side does not tell; the next download finds it by its key
		}
		version := o.result.Version
		if o.stored != nil {
			version = o.stored.Version
		}
		l := &link{Ent: u.row.ID, ExtKey: key, LocalKey: o.op.LocalKey, Status: linked, Version: versionHash(version)}
		base, err := u.sentBase(o, key, version)
		if err != nil {
			return err
		}
		if o.stored != nil && u.before != nil { // the same transaction goes on with it
			u.settled[o.stored.Key] = settled{l, base}
		} else {
			links, bases = append(links, l), append(bases, base)
			if o.create { // it may be gone again before a download has brought it
				hashes = append(hashes, hashState{mapping.KeyHash(key), rowWord(0)})
			}
		}
		if len(o.unresolved) > 0 {
			later = append(later, outboxEntry{local: o.op.LocalKey, external: key, action: actionUpdate})
		}
		as := &o.remote
		if o.stored != nil {
			as = o.stored
		}
		writes = append(writes, u.newWrite(o, key, version, as))
	}
	u.hadLinks = true
	steps := []func() error{
		func() error { return saveLinks(ctx, tx, store.Replace, links) },
		func() error { return saveBases(ctx, tx, store.Replace, bases) },
		func() error { return logWrites(ctx, tx, writes) },
		func() error { return u.dropBases(ctx, tx, gone) },
		func() error { return u.saveHashes(ctx, tx, hashes) },
		func() error { return u.releaseLocal(ctx, tx, sent) },
		func() error { return u.enqueue(ctx, tx, later) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// forget notes that records are gone from the other side.
func (e *entity) forget(ctx context.Context, tx *store.Tx, hashes []uint64) error {
	states := make([]hashState, len(hashes))
	for i, h := range hashes {
		states[i].key = h
	}
	return e.saveHashes(ctx, tx, states)
}

// saveHashes notes what the other side has of records: nothing where the word
// is 0.
func (e *entity) saveHashes(ctx context.Context, tx *store.Tx, states []hashState) error {
	if len(states) == 0 {
		return nil
	}
	hashes := make([]uint64, len(states))
	for i, s := range states {
		hashes[i] = s.key
	}
	if err := e.log.load(ctx, tx, hashes); err != nil {
		return err
	}
	var puts []byte
	for _, s := range states {
		e.row.Linked = max(0, e.row.Linked+int64(isLive(s.word)-isLive(e.log.get(s.key))))
		puts = appendPut(puts, s.key, s.word)
	}
	store.OnCommit(ctx, func() {
		for _, s := range states {
			e.log.index.set(s.key, s.word)
		}
	})
	if _, err := tx.NewUpdate().Model(e.row).Column("linked").WherePK().Exec(ctx); err != nil {
		return err
	}
	if e.log.table {
		return e.log.saveRows(ctx, tx, states)
	}
	return e.log.append(ctx, tx, puts, nil)
}

// sentBase is the base after a change was applied: what was sent is agreed on.
func (u *upload) sentBase(o *outgoing, key kedge.Key, version string) (*baseRow, error) {
	sent, err := unpackValues(o.op.FieldMask, u.plan.Local, u.plan.LocalFields)
	if err != nil {
		return nil, err
	}
	for _, i := range o.unresolved {
		if o.create {
			sent.Values[i] = kedge.Null() // so the other side has none, and ours is an edit
		}
	}
	for i := range sent.Values {
		if o.base != nil && sent.Values[i].IsMissing() {
			sent.Values[i] = value(o.base.values, i)
		}
	}
	base := u.newBase(key, nil, sent, o.local, version)
	base.values = sent
	return base, nil
}
