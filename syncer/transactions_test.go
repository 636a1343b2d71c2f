package syncer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/syncer"
)

// A refuser is a remote system that refuses changes, or is short of time.
type refuser struct {
	*source
	kind  *kedge.Kind // nil: it takes them
	sends int
}

func (r *refuser) Write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	r.sends += len(changes)
	if r.kind == nil {
		return r.Driver.Write(ctx, changes)
	}
	results := make([]connectors.Result, len(changes))
	for i := range results {
		results[i] = connectors.Result{State: connectors.Rejected, Err: &kedge.Error{Kind: *r.kind, Err: errors.New("not today")}}
	}
	return results, nil
}

// refusing puts a refuser between the world and its remote system.
func (w *world) refusing() *refuser {
	r := &refuser{source: w.source}
	w.connect(r)
	return r
}

// connect makes d the remote system's driver.
func (w *world) connect(d connectors.Driver) {
	opts := w.opts
	opts.Connect = func(_ context.Context, name, integration string) (*connectors.Conn, error) {
		if name == "remote" {
			return connectors.New(d, nil), nil
		}
		return w.local(integration), nil
	}
	w.opts = opts
	w.syncer = syncer.New(opts)
}

// transactions returns those in a state.
func (w *world) transactions(state syncer.TransactionState) []*syncer.Transaction {
	w.t.Helper()
	rows, err := w.syncer.Transactions(w.t.Context(), syncer.TransactionQuery{Integration: "crm", State: state})
	w.check(err)
	return rows
}

func (w *world) oneTransaction(state syncer.TransactionState) *syncer.Transaction {
	w.t.Helper()
	rows := w.transactions(state)
	if len(rows) != 1 {
		w.t.Fatalf("%d transactions are %s, want 1", len(rows), state)
	}
	return rows[0]
}

func TestARefusedTransactionIsRetriedOnce(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		remote := w.refusing()
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Anne' WHERE erp_no = 'A'")
		invalid := kedge.Invalid
		remote.kind = &invalid
		res := w.both("all 1 new 0 updated 0 failed 1", none)
		if res.State != syncer.Partial {
			t.Errorf("state %s, want partial", res.State)
		}
		dead := w.oneTransaction(syncer.TxDead)
		if dead.ErrorKind != kedge.Invalid.String() || dead.Action != "update" || dead.DoneAt == nil {
			t.Errorf("dead transaction %+v", dead)
		}
		remote.sends = 0
		w.both(none, none) // it is not sent again by itself

		retry := func() {
			t.Helper()
			n, err := w.syncer.RetryTransactions(t.Context(), syncer.TransactionChoice{IDs: []string{dead.ID}}, "tester")
			w.check(err)
			if n != 1 {
				t.Fatalf("%d retried, want 1", n)
			}
		}
		retry()
		w.both("all 1 new 0 updated 0 failed 1", none)
		if remote.sends != 1 {
			t.Errorf("sent %d times, want once", remote.sends)
		}
		retry()
		remote.kind, remote.sends = nil, 0
		w.both("all 1 new 0 updated 1 failed 0", "all 1 new 0 updated 1 failed 0")
		w.equalSides("A Anne 1.00")
		w.both(none, none)
		if remote.sends != 1 {
			t.Errorf("sent %d times, want once", remote.sends)
		}
		if got := w.oneTransaction(syncer.TxApplied); got.ID != dead.ID {
			t.Errorf("transaction %s is applied, want %s", got.ID, dead.ID)
		}
		if n := w.codes()["transaction_retried"]; n != 2 {
			t.Errorf("%d events of retries, want 2", n)
		}
		if open, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{}); err != nil || len(open) != 0 {
			t.Errorf("%d records in quarantine after it was sent (%v), want none", len(open), err)
		}
	})
}

func TestAllFailedTransactions(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		remote := w.refusing()
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Anne'")
		transient := kedge.Transient
		remote.kind = &transient
		w.both("all 2 new 0 updated 0 failed 2", none)
		if n := len(w.transactions(syncer.TxFailed)); n != 2 {
			t.Fatalf("%d transactions failed, want 2", n)
		}
		// An edit made meanwhile waits in a transaction of its own, which sends all.
		w.exec("UPDATE customer SET name = 'Bertha' WHERE erp_no = 'B'")
		remote.kind = nil
		n, err := w.syncer.RetryTransactions(t.Context(), syncer.TransactionChoice{AllFailed: true, Integration: "crm", Entity: "customer"}, "tester")
		w.check(err)
		if n != 2 {
			t.Errorf("%d retried, want 2", n)
		}
		w.run(syncer.Request{})
		w.equalSides("A Anne 1.00", "B Bertha 2.00")

		n, err = w.syncer.RetryTransactions(t.Context(), syncer.TransactionChoice{AllFailed: true}, "tester")
		w.check(err)
		if n != 0 {
			t.Errorf("%d retried, want none", n)
		}
	})
}

func TestArchivedTransactions(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		remote := w.refusing()
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Anne' WHERE erp_no = 'A'")
		invalid := kedge.Invalid
		remote.kind = &invalid
		w.run(syncer.Request{})
		remote.kind, remote.sends = nil, 0
		n, err := w.syncer.ArchiveTransactions(t.Context(), syncer.TransactionChoice{AllFailed: true}, "tester")
		w.check(err)
		if n != 1 {
			t.Errorf("%d archived, want 1", n)
		}
		w.both(none, none)
		if remote.sends != 0 || len(w.transactions(syncer.TxDead)) != 0 {
			t.Errorf("%d sent, %d still dead; want none", remote.sends, len(w.transactions(syncer.TxDead)))
		}
		if open, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{}); err != nil || len(open) != 0 {
			t.Errorf("%d records in quarantine (%v), want none", len(open), err)
		}

		// What came to an end expires, and so does the write log.
		w.exec("UPDATE customer SET name = 'Bertha' WHERE erp_no = 'B'")
		w.run(syncer.Request{})
		if len(w.transactions(syncer.TxApplied)) != 1 || w.count("integration_writelog") == 0 {
			t.Fatalf("the edit left %d applied transactions and %d rows in the write log", len(w.transactions(syncer.TxApplied)), w.count("integration_writelog"))
		}
		w.now = w.now.Add(4 * 24 * time.Hour)
		w.run(syncer.Request{})
		if w.count("integration_transaction") != 2 || w.count("integration_writelog") != 0 {
			t.Errorf("after 4 days %d transactions and %d rows in the write log, want 2 and 0", w.count("integration_transaction"), w.count("integration_writelog"))
		}
		w.now = w.now.Add(91 * 24 * time.Hour)
		w.run(syncer.Request{})
		if n := w.count("integration_transaction"); n != 0 {
			t.Errorf("after 91 days %d transactions, want 0", n)
		}
	})
}

func (w *world) count(table string) int {
	w.t.Helper()
	var n int
	w.check(w.store.DB().QueryRowContext(w.t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}

// TestAnArchivedDeletionIsNotSent shows what the breaker's text promises.
func TestAnArchivedDeletionIsNotSent(t *testing.T) {
	each(t, bothWays+"    deletes: {maxRows: 1, maxPercent: 0}\n", func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00", "C Carl 3.00")
		w.run(syncer.Request{})
		w.exec("DELETE FROM customer WHERE erp_no <> 'A'")
		if res := w.run(syncer.Request{}); res.State != syncer.Stopped {
			t.Fatalf("state %s, want stopped", res.State)
		}
		pending := w.transactions(syncer.TxPending)
		if len(pending) != 2 {
			t.Fatalf("%d pending, want 2", len(pending))
		}
		_, err := w.syncer.ArchiveTransactions(t.Context(), syncer.TransactionChoice{IDs: []string{pending[0].ID}}, "tester")
		w.check(err)
		if res := w.run(syncer.Request{}); res.State != syncer.Succeeded {
			t.Errorf("state %s, want succeeded: %+v", res.State, res.Entities)
		}
		if n := len(w.far()); n != 2 {
			t.Errorf("%d records there, want 2: %v", n, w.far())
		}
		w.table("A Anna 1.00")
		w.both(none, none)
	})
}
