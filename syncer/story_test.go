package syncer_test

import (
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/syncer"
)

// mappings are the two ways of matching; most stories must hold for both.
var mappings = map[string]string{"shared key": sharedKey, "matched key": matchedKey}

func eachMapping(t *testing.T, test func(t *testing.T, w *world)) {
	for name, yaml := range mappings {
		t.Run(name, func(t *testing.T) { each(t, yaml, test) })
	}
}

func TestFullThenIncremental(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1.50", "C2 Bob 2.00", "C3 Cid -")
		res := w.sync("all 3 new 3 updated 0 failed 0")
		if mode := res.Entities[0].Mode; mode != "full" {
			t.Errorf("first read is %s, want full", mode)
		}
		w.table("C1 Ann 1.50", "C2 Bob 2.00", "C3 Cid -")

		w.put("C2 Bo 2.00", "C4 Dan 4")
		w.delete("C3")
		res = w.sync("all 3 new 1 updated 2 failed 0")
		if e := res.Entities[0]; e.Mode != "incremental" || e.Deleted != 1 || e.Changed != 1 {
			t.Errorf("second read: %+v, want incremental with 1 changed and 1 deleted", e)
		}
		w.table("C1 Ann 1.50", "C2 Bo 2.00", "C4 Dan 4")

		before := w.source.requests
		w.sync("all 0 new 0 updated 0 failed 0")
		if n := w.source.requests - before; n != 1 {
			t.Errorf("an idle run made %d requests, want 1", n)
		}
	})
}

func TestFullAgainWritesNothing(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1.50", "C2 Bob 2.00")
		w.sync("all 2 new 2 updated 0 failed 0")
		// A hash skip is seen by what it leaves alone: an edit made here.
		w.exec("UPDATE customer SET name = 'here'")
		res := w.run(syncer.Request{Full: true})
		w.line(res, "all 2 new 0 updated 2 failed 0")
		if n := res.Entities[0].Unchanged; n != 2 {
			t.Errorf("unchanged = %d, want 2", n)
		}
		w.table("C1 here 1.50", "C2 here 2.00")
	})
}

func TestImport(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1.50", "C2 Bob 2.00")
		w.line(w.run(syncer.Request{Op: syncer.Import}), "all 2 new 2 updated 0 failed 0")
		w.exec("UPDATE customer SET name = 'here'")
		w.line(w.run(syncer.Request{Op: syncer.Import}), "all 2 new 0 updated 2 failed 0")
		w.table("C1 Ann 1.50", "C2 Bob 2.00")
		anchors, err := w.syncer.Anchors(t.Context(), "crm")
		if err != nil || len(anchors) != 0 {
			t.Errorf("anchors after an import: %v, %v, want none", anchors, err)
		}
		w.sync("all 2 new 0 updated 2 failed 0")
	})
}

// TestMatchesRowsThatAreThere is why the first sync merges: local rows are
// somebody's data.
func TestMatchesRowsThatAreThere(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1.50", "C2 Bob 2.00", "C3 Cid 3")
		if key := w.rows("customer", "count(*)"); key[0] != "0" {
			t.Fatal("the table is not empty")
		}
		w.insertLocal("C2", "old", "9")
		w.insertLocal("X9", "mine", "7")
		w.sync("all 3 new 2 updated 1 failed 0")
		w.table("C1 Ann 1.50", "C2 Bob 2.00", "C3 Cid 3", "X9 mine 7")
		w.delete("C1", "C2", "C3")
		w.sync("all 3 new 0 updated 3 failed 0")
		w.table("X9 mine 7")
	})
}

// insertLocal adds a row that kedge did not make.
func (w *world) insertLocal(no, name, balance string) {
	w.t.Helper()
	i, err := w.syncer.Mapping(w.t.Context(), "crm")
	w.check(err)
	if i.YAML == normal(w.t, matchedKey) {
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES (?, ?, ?, ?)", "own-"+no, no, name, balance)
		return
	}
	w.exec("INSERT INTO customer (no, name, balance) VALUES (?, ?, ?)", no, name, balance)
}

func TestSweep(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.source.edit = func(e *kedge.Entity) { e.Delta, e.Deletes = false, false }
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 3")
		w.insertLocal("X9", "mine", "7")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.delete("C2")
		w.put("C3 Cy 3")
		res := w.sync("all 3 new 0 updated 3 failed 0")
		if e := res.Entities[0]; e.Deleted != 1 || e.Changed != 1 || e.Unchanged != 1 {
			t.Errorf("%+v, want 1 deleted, 1 changed, 1 unchanged", e)
		}
		w.table("C1 Ann 1", "C3 Cy 3", "X9 mine 7")
		w.put("C2 Bea 2")
		w.sync("all 3 new 1 updated 2 failed 0")
		w.table("C1 Ann 1", "C2 Bea 2", "C3 Cy 3", "X9 mine 7")
	})
}

// TestSweepAsksBeforeItDeletes is the source that loses a row from its pages.
func TestSweepAsksBeforeItDeletes(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 3")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.put("C2 Bo 2")
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			for i := range p.Records {
				if p.Records[i].Key == "C2" {
					p.Records = append(p.Records[:i], p.Records[i+1:]...)
					return
				}
			}
		}
		res := w.run(syncer.Request{Full: true})
		w.line(res, "all 3 new 0 updated 3 failed 0")
		w.table("C1 Ann 1", "C2 Bo 2", "C3 Cid 3")
	})
}

func TestEmptySourceDeletesNothing(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.delete("C1", "C2")
		w.check(w.remote.Expire(t.Context(), "customers"))
		res := w.sync("all 0 new 0 updated 0 failed 0")
		if res.State != syncer.Stopped {
			t.Errorf("state %s, want stopped", res.State)
		}
		w.table("C1 Ann 1", "C2 Bob 2")
		res = w.run(syncer.Request{ForceDeletes: true})
		w.line(res, "all 2 new 0 updated 2 failed 0")
		w.table()
	})
}
