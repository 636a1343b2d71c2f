package syncer

import (
	"context"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// loadLost loads the changes that made records on the other side, or did not:
// their answers were lost, and the records have no key to be looked up by.
func (e *entity) loadLost(ctx context.Context) error {
	var open []string
	db := e.run.s.store.DB()
	err := db.NewSelect().Model((*QuarantineRow)(nil)).Column("key").
		Where("ent = ? AND direction = ? AND state = 'open' AND code = ?", e.row.ID, Upload, codeUnknownOutcome).Scan(ctx, &open)
	if err != nil {
		return err
	}
	e.lost = nil
	err = db.NewSelect().Model(&e.lost).Where("integration = ? AND entity = ? AND action = ? AND ext_key = ''", e.run.name, e.plan.Name, actionCreate).
		Where("state IN (?, ?)", TxUnknown, TxDead).Order("seq", "id").Scan(ctx)
	e.lost = slices.DeleteFunc(e.lost, func(t *Transaction) bool {
		return t.State == TxDead && !slices.Contains(open, quarantineKey(t.LocalKey))
	})
	return err
}

// matchLost gives records that nothing else matches to the local ones that were
// sent with just these values: they are what became of them, and would be here
// twice.
func (e *entity) matchLost(ctx context.Context, tx connectors.Tx, free []*item) error {
	for _, it := range free {
		for _, t := range e.lost {
			if e.claimed[t.LocalKey] != "" || !e.isSent(t, it) {
				continue
			}
			rows, err := e.run.target.find(ctx, tx, e.plan.Local, e.plan.LocalFields.Names(), nil, []kedge.Key{t.LocalKey})
			if err != nil {
				return err
			}
			taken, err := e.run.s.linksBy(ctx, e.run.db(tx), e.row.ID, "local_key", []kedge.Key{t.LocalKey})
			if err != nil {
				return err
			}
			if err := e.takeHit(it, rows, taken, false); err != nil {
				return err
			}
			if !it.create {
				it.lost = t
				break
			}
		}
	}
	return nil
}

// isSent tells whether a record has all values that a change sent, and it sent
// some.
func (e *entity) isSent(t *Transaction, it *item) bool {
	sent, err := unpackValues(t.FieldMask, e.plan.Local, e.plan.LocalFields)
	if err != nil {
		return false
	}
	some := false
	for i, v := range sent.Values {
		if v.IsMissing() {
			continue
		}
		if !e.plan.Equal(i, v, value(&it.dst, i)) {
			return false
		}
		some = some || !v.IsEmpty()
	}
	return some
}

// settleLost ends the changes whose records were found. What they made is
// linked in the same transaction.
func (e *entity) settleLost(ctx context.Context, tx *store.Tx, items []*item) error {
	now := e.run.s.now().UTC()
	var keys []kedge.Key
	for _, it := range items {
		if it.lost == nil || it.fail != nil {
			continue
		}
		t := *it.lost // which stays as it is if this transaction is rolled back
		t.State, t.DoneAt, t.ResultKey, t.ResultVersion = TxApplied, &now, it.rec.Key, it.rec.Version
		if err := updateTransaction(ctx, tx, &t); err != nil {
			return err
		}
		keys = append(keys, t.LocalKey)
	}
	return e.releaseLocal(ctx, tx, keys)
}
