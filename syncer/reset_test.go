package syncer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

// resetMappings are those whose resets are tested.
var resetMappings = map[string]string{"shared key": sharedKey, "matched key": matchedKey, "both ways": bothWays}

// eachReset runs a test for each of them, on both databases.
func eachReset(t *testing.T, test func(t *testing.T, w *world)) {
	for name, yaml := range resetMappings {
		t.Run(name, func(t *testing.T) { each(t, yaml, test) })
	}
}

func agree(syncer.Reset) error { return nil }

// reset runs a confirmed reset.
func (w *world) reset(want string) syncer.Result {
	w.t.Helper()
	res := w.run(syncer.Request{ResetLocal: true, Confirm: agree, By: "tester"})
	w.line(res, want)
	return res
}

// keyed is the name of the column with the key of the other side, and of that
// with the local one.
func (w *world) keyed() (external, local string) {
	if i, err := w.syncer.Mapping(w.t.Context(), "crm"); err == nil && strings.Contains(i.YAML, "erp_no") {
		return "erp_no", "id"
	}
	return "no", "no"
}

// insert adds a local customer whose local key is its external one with "x".
func (w *world) insert(no, name string) {
	w.t.Helper()
	if external, local := w.keyed(); external != local {
		w.exec("INSERT INTO customer (id, erp_no, name) VALUES (?, ?, ?)", "x"+no, no, name)
	} else {
		w.exec("INSERT INTO customer (no, name) VALUES (?, ?)", no, name)
	}
}

// database returns all rows of all tables of kedge's database.
func (w *world) database() map[string][]string {
	w.t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if w.store.Engine() == store.Postgres {
		query = "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
	}
	var tables []string
	w.check(w.store.DB().NewRaw(query).Scan(w.t.Context(), &tables))
	all := map[string][]string{}
	for _, name := range tables {
		all[name] = w.content(name)
	}
	return all
}

// content returns the rows of a table with all their columns.
func (w *world) content(table string) []string {
	w.t.Helper()
	rows, err := w.store.DB().QueryContext(w.t.Context(), "SELECT * FROM "+table)
	w.check(err)
	defer rows.Close()
	columns, err := rows.Columns()
	w.check(err)
	list := []string{}
	for rows.Next() {
		values := make([]any, len(columns))
		ptrs := make([]any, len(columns))
		for i := range values {
			ptrs[i] = &values[i]
		}
		w.check(rows.Scan(ptrs...))
		list = append(list, fmt.Sprintf("%v", values))
	}
	w.check(rows.Err())
	slices.Sort(list)
	return list
}

func TestReset(t *testing.T) {
	eachReset(t, func(t *testing.T, w *world) {
		external, local := w.keyed()
		w.put("A Anna 1.00", "B Bert 2.00", "C - -")
		w.run(syncer.Request{})
		before := w.rows("customer", external, local)
		w.exec("CREATE TABLE unmapped (id int)")
		w.exec("INSERT INTO unmapped VALUES (7)")

		// Edits, rows and deletions of the local side are lost.
		w.exec("UPDATE customer SET name = 'Edited' WHERE " + external + " = 'A'")
		w.exec("UPDATE customer SET name = 'Edited', balance = 9 WHERE " + external + " = 'C'")
		w.exec("DELETE FROM customer WHERE " + external + " = 'B'")
		w.insert("Z", "Zoe")
		w.put("D Dora 4.00")
		w.reset("all 4 new 2 updated 2 failed 0")
		w.table("A Anna 1.00", "B Bert 2.00", "C - -", "D Dora 4.00")
		if diff := cmp.Diff([]string{"7"}, w.rows("unmapped", "id")); diff != "" {
			t.Errorf("unmapped table (-want +got):\n%s", diff)
		}
		after := w.rows("customer", external, local)
		for _, row := range []string{before[0], before[2]} {
			if !slices.Contains(after, row) {
				t.Errorf("row %q has another local key: %v", row, after)
			}
		}
		w.both(w.quiet(), none)
		w.both(none, none)
		if got := w.far(); len(got) != 4 || got[0] != "A Anna 1.00" {
			t.Errorf("the other side became %v", got)
		}
		if n := len(w.rows("integration_stage", "ent")); n != 0 {
			t.Errorf("%d staged pages are left", n)
		}
		w.put("A Anne 1.00")
		w.delete("D")
		w.run(syncer.Request{})
		w.table("A Anne 1.00", "B Bert 2.00", "C - -")
	})
}

// quiet is the line of the first upload after a reset, which may look at
// what was noted before it.
func (w *world) quiet() string {
	w.t.Helper()
	res := w.run(syncer.Request{})
	for _, d := range []syncer.Direction{syncer.Upload, syncer.Download} {
		if n := res.Counts(d); n.Created+n.Changed+n.Deleted+n.Failed() != 0 {
			w.t.Errorf("the first %s after the reset changed something: %+v", d, n)
		}
	}
	return none
}

func TestResetWithoutConfirmation(t *testing.T) {
	eachReset(t, func(t *testing.T, w *world) {
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		w.insert("Z", "Zoe")
		before := w.database()
		requests := w.source.requests
		for name, confirm := range map[string]func(syncer.Reset) error{
			"refused: reset-local deletes 2 local rows of 1 entity; confirm with --yes": nil,
			"no": func(r syncer.Reset) error {
				if diff := cmp.Diff([]syncer.ResetEntity{{Entity: "customer", Table: "customer", Rows: 2}}, r.Entities); diff != "" {
					t.Errorf("what was asked (-want +got):\n%s", diff)
				}
				return errors.New("no")
			},
		} {
			res := w.run(syncer.Request{ResetLocal: true, Confirm: confirm})
			if res.State != syncer.Stopped || res.Message != name {
				t.Errorf("run ended %s: %q, want %q", res.State, res.Message, name)
			}
		}
		if diff := cmp.Diff(before, w.database()); diff != "" {
			t.Errorf("the database changed (-want +got):\n%s", diff)
		}
		if w.source.requests != requests {
			t.Error("records were read")
		}
	})
}

func TestResetThatFailsChangesNothing(t *testing.T) {
	eachReset(t, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00", "C Carl 3.00")
		w.run(syncer.Request{})
		w.insert("Z", "Zoe")
		before := w.rows("customer", "name")
		w.source.pageSize = 2
		w.source.page = func(req connectors.ReadRequest) error {
			if req.Token != "" {
				return &kedge.Error{Kind: kedge.Invalid, Err: errors.New("broken")}
			}
			return nil
		}
		res, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm", ResetLocal: true, Confirm: agree})
		if err == nil || res.State != syncer.Failed || !strings.Contains(err.Error(), "changed nothing") {
			t.Errorf("run ended %s: %v", res.State, err)
		}
		if diff := cmp.Diff(before, w.rows("customer", "name")); diff != "" {
			t.Errorf("local rows (-want +got):\n%s", diff)
		}
		if n := len(w.rows("integration_stage", "ent")); n != 0 {
			t.Errorf("%d staged pages are left", n)
		}

		// Nor does a source that seems to be empty.
		w.source.page = nil
		w.delete("A", "B", "C")
		if _, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm", ResetLocal: true, Confirm: agree}); err == nil || !strings.Contains(err.Error(), "--force-deletes") {
			t.Errorf("an empty source: %v", err)
		}
		if diff := cmp.Diff(before, w.rows("customer", "name")); diff != "" {
			t.Errorf("local rows (-want +got):\n%s", diff)
		}
		w.run(syncer.Request{ResetLocal: true, Confirm: agree, ForceDeletes: true})
		w.table()
	})
}

// What waits to be sent, conflicts and quarantined records end with a reset.
func TestResetDropsWhatWaits(t *testing.T) {
	yaml := strings.Replace(bothWays, "    fields:", "    conflict: {policy: manual}\n    fields:", 1)
	each(t, yaml, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Sent' WHERE erp_no = 'B'")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Here' WHERE erp_no = 'A'")
		w.put("A There 1.00")
		w.run(syncer.Request{})
		if got := w.rows("integration_conflict", "state"); !slices.Equal(got, []string{"open"}) {
			t.Fatalf("conflicts: %v", got)
		}
		w.exec("UPDATE integration_transaction SET state = 'failed', next_at = '2030-01-01 00:00:00+00:00' WHERE action = 'update'")
		if !slices.Contains(w.rows("integration_transaction", "state"), "failed") {
			t.Fatal("nothing waits to be sent")
		}
		w.exec("UPDATE customer SET name = 'Edited' WHERE erp_no = 'B'")
		w.reset("all 2 new 0 updated 2 failed 0")
		if got := w.rows("integration_conflict", "state"); !slices.Equal(got, []string{"superseded"}) {
			t.Errorf("conflicts: %v", got)
		}
		for _, state := range w.rows("integration_transaction", "state") {
			if state != "archived" && state != "applied" {
				t.Errorf("a transaction is %s", state)
			}
		}
		w.both(w.quiet(), none)
		w.equalSides("A There 1.00", "B Sent 2.00")
		w.exec("UPDATE customer SET name = 'Anne' WHERE erp_no = 'A'")
		w.run(syncer.Request{})
		w.equalSides("A Anne 1.00", "B Sent 2.00")
	})
}

func TestResetCountsQuarantine(t *testing.T) {
	each(t, matchedKey, func(t *testing.T, w *world) {
		w.exec("DROP TABLE customer")
		w.exec("CREATE TABLE customer (id text PRIMARY KEY, erp_no text, name text UNIQUE, balance numeric CHECK (balance < 5))")
		w.insert("A", "Bert") // the name that another record needs
		w.insert("Q", "Anna")
		w.insert("R", "Ria")
		w.put("A Anna 1.00", "B Bert 2.00", "R Ria 9.00")
		w.reset("all 3 new 1 updated 1 failed 1")
		if got := w.rows("customer", "erp_no", "name"); !slices.Equal(got, []string{"A Anna", "B Bert"}) {
			t.Errorf("local rows are %v", got)
		}
	})
}

// Rows of other entities that refer to replaced rows keep doing so.
func TestResetOfOneEntity(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.customer("A", "Anna", "P1")
		w.customer("B", "Bert", "-", "A")
		w.contact("P1", "Paul", "A")
		w.run(syncer.Request{})
		before := w.relations()
		check := func(when string) {
			t.Helper()
			if diff := cmp.Diff(before, w.relations()); diff != "" {
				t.Errorf("%s: relations (-want +got):\n%s", when, diff)
			}
		}
		w.exec("DELETE FROM customer")
		w.run(syncer.Request{ResetLocal: true, Confirm: agree, Entities: []string{"customer"}})
		check("one entity")
		w.exec("DELETE FROM person")
		w.run(syncer.Request{ResetLocal: true, Confirm: agree})
		check("both")
		w.exec("UPDATE customer SET contact = NULL, parent = NULL")
		w.run(syncer.Request{ResetLocal: true, Confirm: agree})
		check("edited lookups")
		w.sync(none)
		check("after a sync")
	})
}

// A two-way entity settles also if its lookups form a cycle.
func TestResetOfLookupsBothWays(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		i, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		w.save(strings.ReplaceAll(i.YAML, "    key:", "    direction: bidirectional\n    key:"))
		w.customer("A", "Anna", "P1", "B")
		w.customer("B", "Bert", "-", "A")
		w.contact("P1", "Paul", "A")
		w.run(syncer.Request{})
		before := w.relations()
		w.exec("DELETE FROM customer")
		w.exec("UPDATE person SET customer = NULL")
		w.reset("all 3 new 2 updated 1 failed 0")
		if diff := cmp.Diff(before, w.relations()); diff != "" {
			t.Errorf("relations (-want +got):\n%s", diff)
		}
		w.both(w.quiet(), none)
	})
}

func TestFirstSyncResets(t *testing.T) {
	yaml := strings.Replace(matchedKey, "entities:", "firstSync: reset\nentities:", 1)
	each(t, yaml, func(t *testing.T, w *world) {
		w.put("A Anna 1.00")
		w.insert("A", "Old")
		w.insert("Z", "Zoe")
		before := w.database()
		if res := w.run(syncer.Request{}); res.State != syncer.Stopped {
			t.Errorf("unconfirmed run ended %s", res.State)
		}
		if diff := cmp.Diff(before, w.database()); diff != "" {
			t.Errorf("the database changed (-want +got):\n%s", diff)
		}
		warned := false
		for d, err := range w.syncer.Preview(t.Context(), syncer.Request{Integration: "crm", PlanOf: syncer.Sync}) {
			w.check(err)
			warned = warned || d.Action == "warning" && strings.Contains(d.Reason, "delete all local rows that match no record")
		}
		if !warned {
			t.Error("a plan does not tell of the reset")
		}
		res := w.run(syncer.Request{Confirm: agree})
		w.line(res, "all 1 new 0 updated 1 failed 0")
		w.table("A Anna 1.00")
		if got := w.rows("customer", "id"); !slices.Equal(got, []string{"xA"}) {
			t.Errorf("local keys are %v", got)
		}
		w.insert("Z", "Zoe")
		w.sync(none) // only the first one resets
		w.table("A Anna 1.00", "Z Zoe -")
	})
}

func TestResetIsRefused(t *testing.T) {
	uploads := strings.Replace(bothWays, "bidirectional", "upload", 1)
	for name, c := range map[string]struct {
		yaml string
		req  syncer.Request
		set  func(w *world)
		want string
	}{
		"import":   {matchedKey, syncer.Request{Op: syncer.Import}, nil, "for a sync only"},
		"export":   {matchedKey, syncer.Request{Op: syncer.Export}, nil, "for a sync only"},
		"uploads":  {uploads, syncer.Request{}, nil, "no entity is downloaded"},
		"not full": {matchedKey, syncer.Request{}, func(w *world) { w.source.edit = func(e *kedge.Entity) { e.Full = false } }, "cannot be read in whole"},
		"foreign": {matchedKey, syncer.Request{}, func(w *world) {
			w.opts.OwnDatabase = func(string) bool { return false }
			w.syncer = syncer.New(w.opts)
		}, "not in kedge's own database"},
		"one table": {matchedKey + "  - {name: second, external: contacts, local: customer, key: [{external: Id, local: erp_no}], fields: [{external: Name, local: name}]}\n", syncer.Request{}, nil, "has the same local table"},
		"held":      {matchedKey, syncer.Request{}, func(w *world) { w.exec("DROP TABLE customer") }, "is held"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, c.yaml, func(t *testing.T, w *world) {
				w.insert("Z", "Zoe")
				if c.set != nil {
					c.set(w)
				}
				before := w.database()
				c.req.Integration, c.req.ResetLocal, c.req.Confirm = "crm", true, agree
				_, err := w.syncer.Run(t.Context(), c.req)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want one with %q", err, c.want)
				}
				if diff := cmp.Diff(before, w.database()); diff != "" {
					t.Errorf("the database changed (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Many pages need many transactions; the last one sees all of them.
func TestResetOfManyPages(t *testing.T) {
	eachReset(t, func(t *testing.T, w *world) {
		w.opts.Limits.CommitRows = 8
		w.syncer = syncer.New(w.opts)
		w.source.pageSize = 3
		var want []string
		for i := range 40 {
			row := fmt.Sprintf("K%02d Name%d %d.00", i, i, i)
			want = append(want, row)
			w.put(row)
			w.insert(fmt.Sprintf("K%02d", i*2), "Old")
		}
		w.reset("all 40 new 20 updated 20 failed 0")
		w.table(want...)
		w.both(w.quiet(), none)
	})
}
