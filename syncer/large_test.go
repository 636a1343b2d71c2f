package syncer_test

import (
	"fmt"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/syncer"
)

// inTable tells whether the hashes are in the table, and checks that they are
// not in the log as well.
func (w *world) inTable() bool {
	w.t.Helper()
	table, log := len(w.rows("integration_hash", "key")) > 0, len(w.rows("integration_hashlog", "seq")) > 0
	if table && log {
		w.t.Error("hashes are in the table and in the log")
	}
	return table
}

// TestLargeEntity is a story of an entity that outgrows the limit: runs go on
// as if nothing had happened.
func TestLargeEntity(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.opts.Limits.HashSkipMaxRows = 6
		w.smallPages(2)
		rows := w.many(6)
		w.sync("all 6 new 6 updated 0 failed 0")
		if w.inTable() {
			t.Error("6 rows are in the table, want them in memory")
		}
		w.put("C0006 Ann 6", "C0007 Ann 7")
		w.sync("all 2 new 2 updated 0 failed 0")
		if !w.inTable() {
			t.Error("8 rows are in memory, want them in the table")
		}
		rows = append(rows, "C0006 Ann 6", "C0007 Ann 7")
		w.table(rows...)

		w.exec("UPDATE customer SET name = 'here' WHERE name = 'Ann' AND balance = 3")
		rows[3] = "C0003 here 3"
		res := w.run(syncer.Request{Full: true})
		w.line(res, "all 8 new 0 updated 8 failed 0")
		if n := res.Entities[0].Unchanged; n != 8 {
			t.Errorf("unchanged = %d, want 8", n)
		}
		w.table(rows...)

		// A full read that is cut knows what it saw.
		w.failAt(3, kedge.Transient)
		w.run(syncer.Request{Full: true})
		w.source.page = nil
		w.delete("C0007")
		w.put("C0001 Anna 1", "C0009 New 9")
		before := w.source.keyReads
		res = w.run(syncer.Request{})
		if e := res.Entities[0]; e.Reason != "the interrupted full read goes on" || e.Created != 1 || e.Deleted != 1 || e.Changed != 1 || w.source.keyReads-before > 1 {
			t.Errorf("%+v with %d reads by key, want 1 created, changed and deleted", e, w.source.keyReads-before)
		}
		rows[1], rows[7] = "C0001 Anna 1", "C0009 New 9"
		w.table(rows...)

		w.sync("all 0 new 0 updated 0 failed 0")
		w.same("plan", w.plan(syncer.Request{PlanOf: syncer.Sync}))
		w.delete("C0000", "C0009")
		w.sync("all 2 new 0 updated 2 failed 0")
		w.table(rows[1:7]...)
		w.put("C0000 Ann 0")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.table(rows[:7]...)
		w.sums()
	})
}

// TestLargeEntitySweeps is one whose source reports no changes.
func TestLargeEntitySweeps(t *testing.T) {
	for _, limit := range []int{1, 9, 10} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			eachRuled(t, "maxRows: 3, maxPercent: 1", func(t *testing.T, w *world) {
				w.source.edit = func(e *kedge.Entity) { e.Delta, e.Deletes = false, false }
				w.opts.Limits.HashSkipMaxRows = limit
				w.smallPages(3)
				rows := w.many(10)
				w.sync("all 10 new 10 updated 0 failed 0")
				if got := w.inTable(); got != (limit < 10) {
					t.Errorf("in table: %v", got)
				}
				w.deleteFirst(3)
				w.sync("all 10 new 0 updated 10 failed 0")
				w.table(rows[3:]...)
				w.deleteFirst(7)
				if res := w.run(syncer.Request{}); res.State != syncer.Stopped {
					t.Errorf("state %s, want stopped", res.State)
				}
				w.table(rows[3:]...)
				if n, err := w.syncer.DiscardDeletes(t.Context(), "crm", "me"); n != 4 || err != nil {
					t.Errorf("discarded %d, %v, want 4", n, err)
				}
				w.sync("all 3 new 0 updated 3 failed 0")
				w.table(rows[3:]...)
			})
		})
	}
}
