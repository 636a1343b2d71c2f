package syncer

import (
	"context"
	"errors"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
)

const codeUnknownOutcome = "write_outcome_unknown"

var (
	errNoLookup     = errors.New("the answer to a change was lost, and the record has no key by which it could be looked up")
	errStillUnknown = errors.New("the answer to a change was lost again")
)

// unanswered returns the changes of local records that were sent and of which
// it is not known whether they were done.
func (e *entity) unanswered(ctx context.Context, db bun.IDB, local []kedge.Key) (map[kedge.Key]*Transaction, error) {
	if len(local) == 0 {
		return nil, nil
	}
	var rows []*Transaction
	err := db.NewSelect().Model(&rows).Where("integration = ? AND entity = ? AND action <> ?", e.run.name, e.plan.Name, actionDelete).
		Where("state IN (?, ?)", TxInflight, TxUnknown).Where("local_key IN "+e.run.s.unpack(), jsonTexts(local)).Scan(ctx)
	sent := make(map[kedge.Key]*Transaction, len(rows))
	for _, t := range rows {
		sent[t.LocalKey] = t
	}
	return sent, err
}

// agreed is the base of a record that comes while the answer to a change of it
// is missing: where it has what was sent, that is agreed on. Else an edit made
// here since would look like one that contradicts it.
func (e *entity) agreed(base *baseRow, t *Transaction, it *item) *baseRow {
	if t == nil || (base == nil) != (t.Action == actionCreate) {
		return base
	}
	sent, err := unpackValues(t.FieldMask, e.plan.Local, e.plan.LocalFields)
	if err != nil {
		return base
	}
	if base == nil {
		for _, l := range e.plan.UploadLookups {
			if sent.Values[l.Local].IsMissing() {
				sent.Values[l.Local] = kedge.Null() // it was sent without
			}
		}
		return &baseRow{Ent: e.row.ID, ExtKey: it.rec.Key, Base: packValues(sent.Fields, sent.Values), values: sent}
	}
	both := *base
	both.values = &kedge.Record{Fields: base.values.Fields, Values: slices.Clone(base.values.Values)}
	for i, v := range sent.Values {
		if !v.IsMissing() && e.plan.Equal(i, v, value(&it.dst, i)) {
			both.values.Values[i] = v
		}
	}
	both.Base = packValues(both.values.Fields, both.values.Values)
	return &both
}

// loadDoubtful loads the local records whose creation has an unknown outcome
// that nobody can look up. They are not made again until a person says so.
func (u *upload) loadDoubtful(ctx context.Context) error {
	var keys []string
	err := u.run.s.store.DB().NewSelect().Model((*QuarantineRow)(nil)).Column("key").
		Where("ent = ? AND direction = ? AND state = 'open' AND code = ?", u.row.ID, Upload, codeUnknownOutcome).Scan(ctx, &keys)
	u.doubtful = make(map[string]bool, len(keys))
	for _, k := range keys {
		u.doubtful[k] = true
	}
	return err
}
