package syncer

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/uptrace/bun"
)

// A TransactionState says how far an upload of one record is.
type TransactionState string

// The states of a transaction.
const (
	TxPending  TransactionState = "pending"  // to be sent
	TxInflight TransactionState = "inflight" // sent, without an answer yet
	TxApplied  TransactionState = "applied"
	TxFailed   TransactionState = "failed"   // will be tried again
	TxUnknown  TransactionState = "unknown"  // the answer was lost; it is looked up
	TxConflict TransactionState = "conflict" // waits for a person
	TxDead     TransactionState = "dead"     // was refused or failed too often
	TxArchived TransactionState = "archived" // put aside, or no longer needed
)

// The actions of a transaction.
const (
	actionCreate = "create"
	actionUpdate = "update"
	actionDelete = "delete"
)

// A Transaction is the upload of one local record.
type Transaction struct {
	bun.BaseModel `bun:"table:integration_transaction" json:"-"`

	ID              string           `bun:",pk" json:"id"`
	Integration     string           `json:"integration"`
	Entity          string           `json:"entity"`
	LocalKey        kedge.Key        `json:"localKey"`
	ExtKey          kedge.Key        `json:"externalKey,omitempty"`
	Action          string           `json:"action"`
	FieldMask       string           `json:"-"` // the local values that were sent, as packValues writes them
	Payload         string           `json:"-"` // what was sent; personal data, shown by "transactions show" only
	BaseHash        int64            `json:"-"`
	ExpectedVersion string           `json:"expectedVersion,omitempty"`
	IdemKey         string           `json:"-"`
	GroupID         string           `json:"-"`
	Seq             int64            `json:"-"`
	State           TransactionState `json:"state"`
	Attempts        int64            `json:"attempts"`
	NextAt          time.Time        `json:"nextAt"`
	Fence           int64            `json:"-"`
	ResultKey       kedge.Key        `json:"resultKey,omitempty"`
	ResultVersion   string           `json:"resultVersion,omitempty"`
	ErrorKind       string           `json:"errorKind,omitempty"`
	ErrorText       string           `json:"error,omitempty"`
	RunID           string           `json:"run"`
	CreatedAt       time.Time        `json:"createdAt"`
	DoneAt          *time.Time       `json:"doneAt,omitempty"`
}

// An outboxEntry asks for something to be sent.
type outboxEntry struct {
	local, external kedge.Key
	action          string
}

// coalesce returns what remains to be sent when next follows a change that was
// not sent yet; "" if nothing does.
func coalesce(waiting, next string) string {
	switch {
	case waiting == actionCreate && next == actionDelete:
		return ""
	case waiting == actionCreate:
		return actionCreate
	case waiting == actionDelete && next == actionCreate:
		return actionUpdate
	}
	return next
}

// enqueue stores what is to be sent, together with what waits already.
func (e *entity) enqueue(ctx context.Context, tx *store.Tx, entries []outboxEntry) error {
	if len(entries) == 0 {
		return nil
	}
	keys := make([]kedge.Key, len(entries))
	for i, entry := range entries {
		keys[i] = entry.local
	}
	var rows []*Transaction
	err := tx.NewSelect().Model(&rows).Where("integration = ? AND entity = ? AND state IN (?, ?, ?)", e.run.name, e.plan.Name, TxPending, TxFailed, TxConflict).
		Where("local_key IN "+e.run.s.unpack(), jsonTexts(keys)).Scan(ctx)
	if err != nil {
		return err
	}
	waiting := make(map[kedge.Key]*Transaction, len(rows))
	for _, t := range rows {
		waiting[t.LocalKey] = t
	}
	var added []*Transaction
	for _, entry := range entries {
		t := waiting[entry.local]
		if t == nil {
			t = e.newTransaction(entry)
			waiting[entry.local] = t
			added = append(added, t)
			continue
		}
		// The record changed, so that one that failed or waits for a person may do now.
		t.State = TxPending
		if t.Action = coalesce(t.Action, entry.action); t.Action == "" {
			now := e.run.s.now().UTC()
			t.State, t.DoneAt = TxArchived, &now
		}
		if entry.external != "" {
			t.ExtKey = entry.external
		}
	}
	if err := saveTransactions(ctx, tx, notedTable, store.Update, rows); err != nil {
		return err
	}
	return saveTransactions(ctx, tx, transactionTable, store.Insert, added)
}

// wait stores that a transaction which was on its way waits to be sent again.
// If something newer of its record waits already, that one stands for both.
func (u *upload) wait(ctx context.Context, db bun.IDB, t *Transaction) error {
	var newer Transaction
	err := db.NewSelect().Model(&newer).Where("integration = ? AND entity = ? AND local_key = ? AND id <> ?", t.Integration, t.Entity, t.LocalKey, t.ID).
		Where("state IN (?, ?)", TxPending, TxFailed).Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	now := u.run.s.now().UTC()
	t.DoneAt = &now
	newer.State, newer.NextAt = t.State, t.NextAt
	if newer.Action = coalesce(t.Action, newer.Action); newer.Action == "" {
		newer.State, newer.DoneAt = TxArchived, &now
	}
	t.State = TxArchived
	_, err = db.NewUpdate().Model(&newer).Column("action", "state", "next_at", "done_at").WherePK().Exec(ctx)
	return err
}

// What is written of transactions: all of new ones, and what changes when they
// are noted again, about to be sent, and answered.
var (
	transactionTable = newTransactionTable("integration", "entity", "local_key", "group_id", "seq", "created_at", "ext_key", "action", "state", "done_at", "next_at",
		"field_mask", "payload", "base_hash", "expected_version", "idem_key", "attempts", "fence", "run_id", "result_key", "result_version", "error_kind", "error_text")
	notedTable  = newTransactionTable("ext_key", "action", "state", "done_at")
	intentTable = newTransactionTable("ext_key", "state", "done_at",
		"field_mask", "payload", "base_hash", "expected_version", "idem_key", "attempts", "fence", "run_id", "error_kind", "error_text")
	resultTable = newTransactionTable("state", "done_at", "next_at", "attempts", "result_key", "result_version", "error_kind", "error_text")
)

func newTransactionTable(columns ...string) *store.Table {
	return &store.Table{Name: "integration_transaction", Key: []string{"id"}, Values: columns}
}

func saveTransactions(ctx context.Context, tx *store.Tx, table *store.Table, mode store.PutMode, ts []*Transaction) error {
	return tx.Put(ctx, table, mode, len(ts), func(i int, row []any) []any {
		row = append(row, ts[i].ID)
		for _, c := range table.Values {
			row = append(row, ts[i].column(c))
		}
		return row
	})
}

// column is the value of a column as the database takes it.
func (t *Transaction) column(name string) any {
	switch name {
	case "integration":
		return t.Integration
	case "entity":
		return t.Entity
	case "local_key":
		return string(t.LocalKey)
	case "ext_key":
		return string(t.ExtKey)
	case "action":
		return t.Action
	case "field_mask":
		return t.FieldMask
	case "payload":
		return t.Payload
	case "base_hash":
		return t.BaseHash
	case "expected_version":
		return t.ExpectedVersion
	case "idem_key":
		return t.IdemKey
	case "group_id":
		return t.GroupID
	case "seq":
		return t.Seq
	case "state":
		return string(t.State)
	case "attempts":
		return t.Attempts
	case "next_at":
		return t.NextAt
	case "fence":
		return t.Fence
	case "result_key":
		return string(t.ResultKey)
	case "result_version":
		return t.ResultVersion
	case "error_kind":
		return t.ErrorKind
	case "error_text":
		return t.ErrorText
	case "run_id":
		return t.RunID
	case "created_at":
		return t.CreatedAt
	case "done_at":
		if t.DoneAt == nil {
			return nil
		}
		return *t.DoneAt
	}
	panic("integration_transaction has no column " + name)
}

func (e *entity) newTransaction(entry outboxEntry) *Transaction {
	e.seq++
	return e.run.newTransaction(e.plan.Name, entry, e.seq)
}

func (r *run) newTransaction(entity string, entry outboxEntry, seq int64) *Transaction {
	now := r.s.now().UTC()
	return &Transaction{
		ID: newID(), Integration: r.name, Entity: entity, LocalKey: entry.local, ExtKey: entry.external, Action: entry.action,
		FieldMask: "{}", Payload: "{}", State: TxPending, NextAt: now, RunID: r.id, CreatedAt: now, Seq: now.UnixMicro() + seq,
	}
}

// dueTransactions returns up to n transactions that are to be sent and come
// after one. A record whose last change has an unknown outcome waits for that.
// Each state is asked for alone: so its index has them in order, and what was
// sent long ago, or waits behind these, is not looked at.
func (e *entity) dueTransactions(ctx context.Context, db bun.IDB, deletes bool, after *Transaction, n int) ([]*Transaction, error) {
	var due []*Transaction
	for _, state := range []TransactionState{TxPending, TxFailed} {
		var rows []*Transaction
		q := db.NewSelect().Model(&rows).Where("integration = ? AND entity = ? AND state = ?", e.run.name, e.plan.Name, state).
			Where("NOT EXISTS (SELECT 1 FROM integration_transaction AS u WHERE u.integration = ?TableAlias.integration AND u.entity = ?TableAlias.entity AND u.local_key = ?TableAlias.local_key AND u.state = ?)", TxUnknown).
			Order("seq", "id").Limit(int64(n))
		if state == TxFailed {
			q = q.Where("next_at <= ?", e.run.s.now())
		}
		if deletes {
			q = q.Where("action = ?", actionDelete)
		} else {
			q = q.Where("action <> ?", actionDelete)
		}
		if after != nil {
			q = q.Where("seq >= ? AND (seq, id) > (?, ?)", after.Seq, after.Seq, after.ID)
		}
		if err := q.Scan(ctx); err != nil {
			return nil, err
		}
		due = append(due, rows...)
	}
	slices.SortFunc(due, func(a, b *Transaction) int { return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.ID, b.ID)) })
	return due[:min(n, len(due))], nil
}

// retryDelay is how long a failed upload waits: a minute, doubled with each
// attempt, an hour at most.
func retryDelay(attempts int64) time.Duration {
	return min(time.Minute<<min(attempts, 10), time.Hour)
}

// maxAttempts is how often an upload is tried.
const maxAttempts = 8
