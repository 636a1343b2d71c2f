package syncer_test

import (
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// byName matches customers by their names, so that local rows can go from one
// record to another.
const byName = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    key: [{external: Name, local: name}]
    fields:
      - {external: "No", local: erp_no}
      - {external: Balance, local: balance}
`

// withAlternates tries the name when the number is not known here.
const withAlternates = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    key: [{external: "No", local: erp_no}]
    alternateKeys: [[{external: Name, local: name}], [{external: Balance, local: balance}]]
    fields:
      - {external: Name, local: name}
      - {external: Balance, local: balance}
`

const linkOnly = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    fields:
      - {external: "No", local: erp_no}
      - {external: Name, local: name}
      - {external: Balance, local: balance}
`

func TestLinkOnly(t *testing.T) {
	each(t, linkOnly, func(t *testing.T, w *world) {
		w.exec("INSERT INTO customer (id, erp_no, name) VALUES ('00000000-0000-7000-8000-000000000001', 'C1', 'mine')")
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.table("C1 Ann 1", "C1 mine -", "C2 Bob 2")
		w.put("C1 Anna 1")
		w.sync("all 1 new 0 updated 1 failed 0")
		w.table("C1 Anna 1", "C1 mine -", "C2 Bob 2")
	})
}

func TestTwoRecordsWithOneKey(t *testing.T) {
	for name, pageSize := range map[string]int{"in one page": 0, "in two transactions": 1} {
		t.Run(name, func(t *testing.T) {
			each(t, byName, func(t *testing.T, w *world) {
				w.source.pageSize, w.opts.Limits.CommitRows = pageSize, max(pageSize, 0)
				w.syncer = syncer.New(w.opts)
				w.put("C1 Ann 1", "C2 Ann 2", "C3 Cid 3")
				res := w.sync("all 3 new 2 updated 0 failed 1")
				if n := res.Entities[0].Duplicates; n != 1 {
					t.Errorf("%d duplicates, want 1", n)
				}
				w.same("quarantine", w.quarantined(), "C2 match duplicate_key")
				w.same("rows", w.rows("customer", "erp_no", "name"), "C1 Ann", "C3 Cid")
			})
		})
	}
}

// TestKeyGoesToANewRecord is a record that is deleted and made again under
// another key: its local row must neither be deleted nor doubled.
func TestKeyGoesToANewRecord(t *testing.T) {
	each(t, byName, func(t *testing.T, w *world) {
		w.put("C5 Ann 1", "C6 Bob 1")
		w.sync("all 2 new 2 updated 0 failed 0")
		id := w.rows("customer", "name", "id")
		w.put("C1 Ann 2") // is read before the deletion of C5
		w.delete("C5")
		res := w.sync("all 2 new 0 updated 2 failed 0")
		if e := res.Entities[0]; e.Changed != 1 || e.Kept != 1 {
			t.Errorf("%+v, want 1 changed, 1 kept", e)
		}
		w.same("rows", w.rows("customer", "erp_no", "name", "balance"), "C1 Ann 2", "C6 Bob 1")
		w.same("ids", w.rows("customer", "name", "id"), id...)
		w.put("C5 Eve 5") // the old key is free again
		w.delete("C1")
		w.sync("all 2 new 1 updated 1 failed 0")
		w.same("rows", w.rows("customer", "erp_no", "name", "balance"), "C5 Eve 5", "C6 Bob 1")
	})
}

// TestKeyOfAMarkedRecord is the same when the deletion waits for a person.
func TestKeyOfAMarkedRecord(t *testing.T) {
	each(t, strings.Replace(byName, "    fields:", "    deletes: {maxRows: 0, maxPercent: 0}\n    fields:", 1), func(t *testing.T, w *world) {
		w.put("C5 Ann 1", "C6 Bob 1")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.delete("C5")
		if res := w.run(syncer.Request{}); res.State != syncer.Stopped {
			t.Fatalf("state %s, want stopped", res.State)
		}
		w.put("C1 Ann 2")
		res := w.sync("all 1 new 0 updated 1 failed 0")
		if res.State != syncer.Succeeded {
			t.Errorf("state %s, want succeeded: nothing is left to delete", res.State)
		}
		w.same("rows", w.rows("customer", "erp_no", "name", "balance"), "C1 Ann 2", "C6 Bob 1")
	})
}

func TestAlternateKeys(t *testing.T) {
	each(t, withAlternates, func(t *testing.T, w *world) {
		w.insertAlternate("1", "-", "Ann", "7")
		w.insertAlternate("2", "C2", "Bob", "8")
		w.insertAlternate("3", "-", "Cid", "9")
		w.insertAlternate("4", "-", "Cid", "9")
		w.put(
			"C1 Ann 1", // by name
			"C2 Ann 2", // by number
			"C3 Ann 3", // the row of that name belongs to C1: new
			"C4 Dan 4", // new
			"C5 Cid 5", // two rows
		)
		w.sync("all 5 new 2 updated 2 failed 1")
		w.same("quarantine", w.quarantined(), "C5 match match_ambiguous")
		w.table("- Cid 9", "- Cid 9", "C1 Ann 1", "C2 Ann 2", "C3 Ann 3", "C4 Dan 4")
	})
}

// TestOneRowMatchedInTwoWays: two records of one page want the same local row,
// one by its key and one by an alternate one.
func TestOneRowMatchedInTwoWays(t *testing.T) {
	each(t, withAlternates, func(t *testing.T, w *world) {
		w.insertAlternate("1", "C1", "Bob", "7")
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Eve 7")
		w.sync("all 3 new 2 updated 1 failed 0")
		w.table("C1 Ann 1", "C2 Bob 2", "C3 Eve 7")
	})
}

func (w *world) insertAlternate(id string, fields ...string) {
	w.t.Helper()
	args := []any{"00000000-0000-7000-8000-00000000000" + id}
	for _, f := range fields {
		if f == "-" {
			args = append(args, nil)
		} else {
			args = append(args, f)
		}
	}
	w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES (?, ?, ?, ?)", args...)
}

// TestRowDeletedHere: a local row that somebody deleted comes back when its
// record changes, and takes one that somebody made for it meanwhile.
func TestRowDeletedHere(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.exec("DELETE FROM customer")
		w.insertLocal("C2", "mine", "9")
		w.sync("all 0 new 0 updated 0 failed 0")
		w.put("C1 Anna 1", "C2 Bo 2")
		w.sync("all 2 new 1 updated 1 failed 0")
		w.table("C1 Anna 1", "C2 Bo 2")
		w.delete("C1", "C2")
		w.sync("all 2 new 0 updated 2 failed 0")
		w.table()
	})
}

// TestForgetsRowsDeletedOnBothSides: a record that was deleted here by hand and
// there while no changes were reported is new when it comes back.
func TestForgetsRowsDeletedOnBothSides(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.exec("DELETE FROM customer WHERE name = 'Ann'")
		w.delete("C1")
		w.check(w.remote.Expire(t.Context(), "customers"))
		w.run(syncer.Request{})
		w.put("C1 Ann 1")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.table("C1 Ann 1", "C2 Bob 2")
	})
}

// TestLocalKeyIsUsedAgain: SQLite gives the id of the last row, once that is
// deleted, to the next one.
func TestLocalKeyIsUsedAgain(t *testing.T) {
	for name, gone := range map[string]func(w *world){
		"deleted there": func(w *world) { w.delete("C1"); w.run(syncer.Request{}) },
		"deleted here":  func(w *world) { w.exec("DELETE FROM customer") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, storetest.SQLite(t, syncer.Migrations()...), matchedKey)
			w.exec("DROP TABLE customer")
			w.exec("CREATE TABLE customer (id integer PRIMARY KEY, erp_no text, name text, balance text)")
			w.put("C1 Ann 1")
			w.sync("all 1 new 1 updated 0 failed 0")
			gone(w)
			w.put("C2 Bob 2")
			w.sync("all 1 new 1 updated 0 failed 0")
			w.same("rows", w.rows("customer", "id", "erp_no", "name"), "1 C2 Bob")
			w.put("C1 Anna 1")
			w.sync("all 1 new 1 updated 0 failed 0")
			w.same("rows", w.rows("customer", "id", "erp_no", "name"), "1 C2 Bob", "2 C1 Anna")
		})
	}
}
