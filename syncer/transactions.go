package syncer

import (
	"context"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// A TransactionQuery selects transactions; empty fields select all.
type TransactionQuery struct {
	Integration string
	Entity      string
	State       TransactionState
	IDs         []string
	Limit       int // 0 means 100
}

// Transactions lists uploads, newest first.
func (s *Syncer) Transactions(ctx context.Context, q TransactionQuery) ([]*Transaction, error) {
	setDefault(&q.Limit, 100)
	var rows []*Transaction
	sel := s.store.DB().NewSelect().Model(&rows).Order("created_at DESC", "seq DESC").Limit(int64(q.Limit))
	if q.Integration != "" {
		sel = sel.Where("integration = ?", q.Integration)
	}
	if q.Entity != "" {
		sel = sel.Where("entity = ?", q.Entity)
	}
	if q.State != "" {
		sel = sel.Where("state = ?", q.State)
	}
	if len(q.IDs) > 0 {
		sel = sel.Where("id IN "+s.unpack(), jsonTexts(q.IDs))
	}
	return rows, sel.Scan(ctx)
}

// TransactionStates are the states that a transaction can be in.
var TransactionStates = []TransactionState{TxPending, TxInflight, TxApplied, TxFailed, TxUnknown, TxConflict, TxDead, TxArchived}

// A TransactionChoice names transactions by id, or all that failed: those that
// will be tried again by themselves, and those that are dead.
type TransactionChoice struct {
	IDs         []string
	AllFailed   bool
	Integration string // with AllFailed: only of this integration
	Entity      string // with AllFailed: only of this entity
}

// choose returns the transactions of a choice that are in one of the states, by
// integration, newest first.
func (s *Syncer) chooseTransactions(ctx context.Context, c TransactionChoice, states ...TransactionState) (map[string][]*Transaction, error) {
	var rows []*Transaction
	sel := s.store.DB().NewSelect().Model(&rows).Order("seq DESC", "id DESC").Where("state IN (?)", bun.List(states))
	if c.AllFailed {
		sel = sel.Where("state IN (?)", bun.List([]TransactionState{TxFailed, TxDead}))
		if c.Integration != "" {
			sel = sel.Where("integration = ?", c.Integration)
		}
		if c.Entity != "" {
			sel = sel.Where("entity = ?", c.Entity)
		}
	} else {
		sel = sel.Where("id IN "+s.unpack(), jsonTexts(c.IDs))
	}
	if err := sel.Scan(ctx); err != nil {
		return nil, err
	}
	chosen := map[string][]*Transaction{}
	for _, t := range rows {
		chosen[t.Integration] = append(chosen[t.Integration], t)
	}
	return chosen, nil
}

// RetryTransactions makes failed and dead transactions pending: the next run
// sends each of them once. It returns how many.
func (s *Syncer) RetryTransactions(ctx context.Context, c TransactionChoice, by string) (int, error) {
	return s.changeTransactions(ctx, c, by, "retried", s.wakeTransaction, TxFailed, TxDead)
}

// ArchiveTransactions puts transactions aside that are not under way. What they
// would have sent is sent only if the record changes again; a record whose
// deletion is put aside is no longer kept in step. It returns how many.
func (s *Syncer) ArchiveTransactions(ctx context.Context, c TransactionChoice, by string) (int, error) {
	return s.changeTransactions(ctx, c, by, "archived", s.archiveTransaction, TxPending, TxFailed, TxDead)
}

// changeTransactions changes the chosen transactions while no run is active.
func (s *Syncer) changeTransactions(ctx context.Context, c TransactionChoice, by, done string,
	change func(context.Context, *store.Tx, *Transaction) error, states ...TransactionState) (int, error) {
	chosen, err := s.chooseTransactions(ctx, c, states...)
	n := 0
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		if err != nil {
			break
		}
		err = s.withLease(ctx, name, func(ctx context.Context, r *run) error {
			changed := 0
			err := r.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
				changed = 0
				for _, t := range chosen[name] {
					if err := tx.NewSelect().Model(t).WherePK().Scan(ctx); err != nil {
						return err
					}
					if !slices.Contains(states, t.State) {
						continue // it has come further since it was chosen
					}
					if err := change(ctx, tx, t); err != nil {
						return err
					}
					changed++
					if err := r.eventIn(ctx, tx, t.Entity, "info", "transaction_"+done, "transaction "+done+" by "+by, t.ID); err != nil {
						return err
					}
				}
				return nil
			})
			if err == nil {
				n += changed
			}
			return err
		})
	}
	return n, err
}

// RetryUploads lets the next sync send the quarantined records of an integration
// again that could not be sent. It returns how many, and the ids of the rows
// that are not about uploads.
func (s *Syncer) RetryUploads(ctx context.Context, integration string, ids []string, by string) (n int, rest []string, err error) {
	rows, err := s.Quarantine(ctx, QuarantineQuery{IDs: ids, Limit: len(ids)})
	if err != nil {
		return 0, nil, err
	}
	uploads := slices.DeleteFunc(rows, func(q *QuarantineRow) bool {
		if q.Direction == Upload && q.State == "open" {
			return false
		}
		rest = append(rest, q.ID)
		return true
	})
	if len(uploads) == 0 {
		return 0, rest, nil
	}
	err = s.withLease(ctx, integration, func(ctx context.Context, r *run) error {
		return r.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			for i, q := range uploads {
				if err := r.retryUpload(ctx, tx, q, int64(i)); err != nil {
					return err
				}
				if err := r.eventIn(ctx, tx, q.Entity, "info", "upload_retried", "upload retried by "+by, q.ID); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return len(uploads), rest, err
}

// retryUpload makes the newest transaction of a record pending. One that came
// to no transaction gets one.
func (r *run) retryUpload(ctx context.Context, tx *store.Tx, q *QuarantineRow, seq int64) error {
	var newest []*Transaction
	err := tx.NewSelect().Model(&newest).Where("integration = ? AND entity = ? AND local_key = ?", r.name, q.Entity, q.Key).
		Where("state NOT IN (?, ?)", TxApplied, TxArchived).Order("seq DESC", "id DESC").Limit(1).Scan(ctx)
	switch {
	case err != nil:
		return err
	case len(newest) == 0:
		_, err := tx.NewInsert().Model(r.newTransaction(q.Entity, outboxEntry{local: kedge.Key(q.Key), action: actionUpdate}, seq)).Exec(ctx)
		return err
	case newest[0].State == TxFailed || newest[0].State == TxDead:
		return r.s.wakeTransaction(ctx, tx, newest[0])
	}
	return nil // it is sent anyhow
}

// wakeTransaction makes a transaction pending. If something newer of its record
// waits, that one is sent instead: it sends everything.
func (s *Syncer) wakeTransaction(ctx context.Context, tx *store.Tx, t *Transaction) error {
	now := s.now().UTC()
	var waiting []*Transaction
	err := tx.NewSelect().Model(&waiting).Where("integration = ? AND entity = ? AND local_key = ? AND id <> ?", t.Integration, t.Entity, t.LocalKey, t.ID).
		Where("state IN (?, ?)", TxPending, TxFailed).Order("seq DESC").Limit(1).Scan(ctx)
	if err != nil {
		return err
	}
	if len(waiting) > 0 {
		t.State, t.DoneAt = TxArchived, &now
		if err := updateTransaction(ctx, tx, t); err != nil {
			return err
		}
		t = waiting[0]
	}
	t.State, t.DoneAt, t.NextAt = TxPending, nil, now
	return updateTransaction(ctx, tx, t)
}

// archiveTransaction puts a transaction aside.
func (s *Syncer) archiveTransaction(ctx context.Context, tx *store.Tx, t *Transaction) error {
	now := s.now().UTC()
	t.State, t.DoneAt = TxArchived, &now
	if err := updateTransaction(ctx, tx, t); err != nil {
		return err
	}
	const ent = "ent = (SELECT id FROM integration_entity WHERE integration = ? AND name = ?)"
	_, err := tx.NewUpdate().Model((*QuarantineRow)(nil)).Set("state = 'dropped', payload = '{}'").
		Where(ent, t.Integration, t.Entity).Where("direction = ? AND state = 'open' AND key = ?", Upload, quarantineKey(t.LocalKey)).Exec(ctx)
	if err != nil || t.Action != actionDelete {
		return err
	}
	var external []kedge.Key
	err = tx.NewSelect().Model((*link)(nil)).Column("ext_key").Where(ent, t.Integration, t.Entity).
		Where("local_key = ? AND status = ?", t.LocalKey, linked).Scan(ctx, &external)
	if err != nil || len(external) == 0 {
		return err
	}
	for _, model := range []any{(*link)(nil), (*baseRow)(nil)} {
		_, err := tx.NewDelete().Model(model).Where(ent, t.Integration, t.Entity).Where("ext_key IN "+s.unpack(), jsonTexts(external)).Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

func updateTransaction(ctx context.Context, tx *store.Tx, t *Transaction) error {
	_, err := tx.NewUpdate().Model(t).Column("state", "next_at", "done_at").WherePK().Exec(ctx)
	return err
}
