package syncer_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/syncer"
)

// Histories that the model of both directions found.

// A record that was sent before anything was read is known to be gone when the
// first read does not bring it.
func TestDeletedThereBeforeTheFirstRead(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		w.put("Z Stays 1.00")
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'A', 'Anna', '1.00'), ('x2', 'B', 'Bert', '2.00')")
		w.failAt(1, kedge.Transient)
		w.run(syncer.Request{})
		w.source.page = nil
		w.delete("A")
		w.exec("UPDATE customer SET name = 'Berta' WHERE erp_no = 'B'")
		w.run(syncer.Request{})
		w.run(syncer.Request{})
		w.equalSides("B Berta 2.00", "Z Stays 1.00")
	})
}

// A record that was sent, and that is gone there before a download has brought
// it, is gone here as well.
func TestDeletedThereBeforeItCameBack(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		w.put("Z Stays 1.00")
		w.run(syncer.Request{})
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'A', 'Anna', '1.00')")
		asked := 0
		w.source.keys = func([]kedge.Key) error {
			if asked++; asked == 2 { // at first it was looked for, now it is read back
				return &kedge.Error{Kind: kedge.Transient, Err: errors.New("the test said so")}
			}
			return nil
		}
		w.failAt(1, kedge.Transient)
		w.run(syncer.Request{})
		w.source.keys, w.source.page = nil, nil
		if n := len(w.far()); n != 2 || asked != 2 {
			t.Fatalf("%d records there after %d looks, want 2 and 2", n, asked)
		}
		w.delete("A")
		w.run(syncer.Request{})
		w.equalSides("Z Stays 1.00")
		w.both(none, none)
	})
}

// A deletion here that wins over an edit there deletes what was edited.
func TestDeletionWinsOverEdit(t *testing.T) {
	each(t, strings.Replace(bothWays, "    key:", "    conflict: {editVsDelete: local_wins}\n    key:", 1), func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.exec("DELETE FROM customer WHERE erp_no = 'A'")
		w.put("A Anne 5.00")
		w.run(syncer.Request{})
		w.run(syncer.Request{})
		w.equalSides("B Bert 2.00")
	})
}

// A conflict is reported once, however often it is met, and an edit that makes
// both sides equal ends it.
func TestConflictIsReportedOnce(t *testing.T) {
	each(t, strings.Replace(bothWays, "    key:", "    conflict: manual\n    key:", 1), func(t *testing.T, w *world) {
		w.source.edit = func(e *kedge.Entity) { e.Concurrency = false }
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Here' WHERE erp_no = 'A'")
		w.put("A There 1.00")
		for range 2 {
			w.run(syncer.Request{})
			w.run(syncer.Request{Full: true})
		}
		all, err := w.syncer.Conflicts(t.Context(), syncer.ConflictQuery{All: true})
		w.check(err)
		if n := w.codes()["conflict"]; len(all) != 1 || n != 1 {
			t.Errorf("%d conflicts and %d log entries, want 1 and 1", len(all), n)
		}
		w.exec("UPDATE customer SET name = 'There' WHERE erp_no = 'A'")
		w.run(syncer.Request{})
		open, err := w.syncer.Conflicts(t.Context(), syncer.ConflictQuery{})
		w.check(err)
		if len(open) != 0 {
			t.Errorf("%d conflicts are open", len(open))
		}
		w.equalSides("A There 1.00")
		w.both(none, none)
	})
}

// An edit of a record whose upload failed takes its place.
func TestEditAfterFailedUpload(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		p := w.talkTo(&peer{})
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		for _, name := range []string{"Anne", "Anni"} {
			p.fault = func([]kedge.Change) peerFault { return busyOne }
			w.exec("UPDATE customer SET name = ? WHERE erp_no = 'A'", name)
			w.run(syncer.Request{})
		}
		waiting, err := w.syncer.Transactions(t.Context(), syncer.TransactionQuery{})
		w.check(err)
		if len(waiting) != 1 || waiting[0].State != syncer.TxFailed {
			t.Errorf("transactions %+v, want one that failed", waiting)
		}
		p.fault = nil
		w.exec("UPDATE customer SET name = 'Annika' WHERE erp_no = 'A'")
		w.run(syncer.Request{})
		w.equalSides("A Annika 1.00")
		w.run(syncer.Request{})
		if w.both(none, none); p.writes != 1 {
			t.Errorf("%d writes there, want 1", p.writes)
		}
	})
}

// A deletion that the other side could not do is tried again, though no other
// one waits.
func TestFailedDeleteIsRetried(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		p := &peer{source: w.source, remote: w.remote}
		w.connect(p)
		w.put("A Anna 1.00", "B Bert 2.00", "Z Zed 1.00")
		w.run(syncer.Request{})
		w.exec("DELETE FROM customer WHERE erp_no = 'A'")
		p.fault = func([]kedge.Change) peerFault { return busyOne }
		w.run(syncer.Request{})
		p.fault = nil
		w.now = w.now.Add(3 * time.Hour)
		w.run(syncer.Request{})
		w.equalSides("B Bert 2.00", "Z Zed 1.00")
		w.run(syncer.Request{})
		w.both(none, none)
	})
}
