package syncer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

// plan returns what a preview says as "entity key action".
func (w *world) plan(req syncer.Request) []string {
	w.t.Helper()
	list := []string{}
	for _, d := range w.decisions(req) {
		list = append(list, d.Entity+" "+string(d.ExtKey)+" "+d.Action)
	}
	slices.Sort(list)
	return list
}

func (w *world) decisions(req syncer.Request) []syncer.Decision {
	w.t.Helper()
	req.Integration = "crm"
	var list []syncer.Decision
	for d, err := range w.syncer.Preview(w.t.Context(), req) {
		w.check(err)
		list = append(list, d)
	}
	return list
}

// dump returns the content of all tables but those named, as text.
func (w *world) dump(but ...string) string {
	w.t.Helper()
	tables := w.tableNames()
	var b strings.Builder
	for _, table := range tables {
		if slices.Contains(but, table) {
			continue
		}
		var rows []map[string]any
		w.check(w.store.DB().NewSelect().TableExpr("?", bun.Ident(table)).ColumnExpr("*").Scan(w.t.Context(), &rows))
		texts := make([]string, len(rows))
		for i, r := range rows {
			texts[i] = fmt.Sprint(r) // maps print in the order of their keys
		}
		slices.Sort(texts)
		fmt.Fprintf(&b, "%s\n%s\n", table, strings.Join(texts, "\n"))
	}
	return b.String()
}

func (w *world) tableNames() (tables []string) {
	w.t.Helper()
	q := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
	if w.store.Engine() == store.Postgres {
		q = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
	}
	w.check(w.store.DB().NewRaw(q).Scan(w.t.Context(), &tables))
	return tables
}

// TestPlanChangesNothing compares every table but those of runs and logs, in
// each state that an integration can be in.
func TestPlanChangesNothing(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		check := func(what string) {
			t.Helper()
			before, there := w.dump("integration_run", "integration_log"), w.anchorOf()
			for _, op := range []syncer.Op{syncer.Import, syncer.Sync} {
				w.plan(syncer.Request{PlanOf: op})
				w.plan(syncer.Request{PlanOf: op, IgnoreKey: true})
			}
			if diff := cmp.Diff(before, w.dump("integration_run", "integration_log")); diff != "" {
				t.Errorf("%s: a plan changed something:\n%s", what, diff)
			}
			if w.anchorOf() != there {
				t.Errorf("%s: a plan wrote to the source", what)
			}
		}
		check("before the first run")
		w.customer("C1", "Ann", "P1", "-")
		w.contact("P1", "Pat", "C1")
		check("with records")
		w.run(syncer.Request{})
		check("after a run")
		w.customer("C1", "Anna", "P9", "C9")
		w.contact("P2", "Pia", "C1")
		w.delete("C1")
		check("with changes")
		w.check(w.remote.Expire(t.Context(), "customers"))
		check("with an expired anchor")
	})
}

// TestImportLeavesAnchors byte for byte.
func TestImportLeavesAnchors(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.put("C2 Bob 2")
		anchors := func() []string {
			return w.rows("integration_syncanchor", "entity", "phase", "anchor", "page_token", "last_version", "generation", "fingerprint", "clean", "acked", "rows",
				"last_full_at", "updated_at", "run_id")
		}
		before := anchors()
		w.line(w.run(syncer.Request{Op: syncer.Import}), "all 2 new 1 updated 1 failed 0")
		w.same("anchors", anchors(), before...)
		res := w.sync("all 1 new 0 updated 1 failed 0")
		if n := res.Entities[0].Unchanged; n != 1 {
			t.Errorf("unchanged = %d, want 1: the import did the work", n)
		}
	})
}

// actions are the outcomes of an import that a plan foretells.
var actions = map[string]func(*syncer.Counts, int64){
	"create":     func(c *syncer.Counts, n int64) { c.Created += n },
	"update":     func(c *syncer.Counts, n int64) { c.Changed += n },
	"unchanged":  func(c *syncer.Counts, n int64) { c.Unchanged += n },
	"delete":     func(c *syncer.Counts, n int64) { c.Deleted += n },
	"quarantine": func(c *syncer.Counts, n int64) { c.Quarantined += n },
	"duplicate":  func(c *syncer.Counts, n int64) { c.Duplicates += n },
	"filtered":   func(c *syncer.Counts, n int64) { c.Filtered += n },
}

// foretold compares a plan with the run that follows it.
func (w *world) foretold(op syncer.Op) []string {
	w.t.Helper()
	plan := w.plan(syncer.Request{PlanOf: op})
	want := map[string]*syncer.Counts{}
	for _, line := range plan {
		parts := strings.Split(line, " ")
		c := want[parts[0]]
		if c == nil {
			c = &syncer.Counts{}
			want[parts[0]] = c
		}
		actions[parts[len(parts)-1]](c, 1)
		c.Read++
	}
	for _, e := range w.run(syncer.Request{Op: op}).Entities {
		c := want[e.Entity]
		if c == nil {
			c = &syncer.Counts{}
		}
		if diff := cmp.Diff(*c, e.Counts); diff != "" {
			w.t.Errorf("%s of %s (-plan +run):\n%s", op, e.Entity, diff)
		}
	}
	return plan
}

func TestPlanForetellsAnImport(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 3", "C4 Dan 4")
		w.insertLocal("C2", "Bob", "2")
		w.insertLocal("C3", "old", "3")
		plan := w.foretold(syncer.Import)
		w.same("plan", plan, "customer C1 create", "customer C2 unchanged", "customer C3 update", "customer C4 create")
		w.put("C4 Dana 4")
		w.exec("UPDATE customer SET name = 'here' WHERE name = 'Ann'")
		w.foretold(syncer.Import)
		w.foretold(syncer.Import)
	})
}

// TestPlanIsWhatTheImportDoes: what the plan says of each record, done by hand
// to the rows from before, gives the rows from after.
func TestPlanIsWhatTheImportDoes(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1.50", "C2 Bob 2", "C3 Cid 3", "C4 - 4", "C5 Eve -")
		w.insertLocal("C2", "Bob", "2")
		w.insertLocal("C3", "old", "3")
		w.insertLocal("C5", "Eve", "5")
		w.insertLocal("X9", "mine", "9")
		for round := range 3 {
			rows := w.customerRows()
			for _, d := range w.decisions(syncer.Request{PlanOf: syncer.Import}) {
				w.do(rows, d)
			}
			w.run(syncer.Request{Op: syncer.Import})
			if diff := cmp.Diff(rows, w.customerRows()); diff != "" {
				t.Errorf("round %d: rows (-plan +import):\n%s", round, diff)
			}
			w.put(fmt.Sprintf("C1 Ann %d", round), "C4 Dan 4", fmt.Sprintf("D%d New 1", round))
			w.exec("UPDATE customer SET name = 'here' WHERE name = 'Bob'")
		}
	})
}

// customerRows returns the customer table as fields by number.
func (w *world) customerRows() map[string][]string {
	w.t.Helper()
	key := "no"
	if !slices.Contains(w.columns("customer"), "no") {
		key = "erp_no"
	}
	rows := map[string][]string{}
	for _, r := range w.rows("customer", key, "name", "balance") {
		fields := strings.Fields(r)
		rows[fields[0]] = fields[1:]
	}
	return rows
}

// do changes rows as a decision says.
func (w *world) do(rows map[string][]string, d syncer.Decision) {
	w.t.Helper()
	row := rows[string(d.ExtKey)]
	if (d.Action == "create") != (row == nil) || (d.Action == "unchanged") != (len(d.Changes) == 0) {
		w.t.Errorf("%+v, but the row is %q", d, row)
	}
	if row == nil {
		row = []string{"-", "-"}
		rows[string(d.ExtKey)] = row
	}
	text := func(v any) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprint(v)
	}
	for _, c := range d.Changes {
		at := slices.Index([]string{"name", "balance"}, c.Field)
		if at < 0 {
			continue // the key
		}
		if row[at] != text(c.From) {
			w.t.Errorf("%s of %s is %s, and the plan says it is %s", c.Field, d.ExtKey, row[at], text(c.From))
		}
		row[at] = text(c.To)
	}
}

func TestPlanShowsWhatChanges(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C3 Cid 3")
		w.insertLocal("C3", "old", "3")
		list := w.decisions(syncer.Request{})
		want := []syncer.Diff{{Field: "name", From: "old", To: "Cid"}}
		if len(list) != 1 || !cmp.Equal(list[0].Changes, want) || list[0].LocalKey == "" {
			t.Errorf("%+v, want changes %v", list, want)
		}
	})
}

func TestPlanIgnoresKeys(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.insertLocal("C3", "old", "3")
		w.put("C3 Cid 3")
		w.same("plan", w.plan(syncer.Request{}), "customer C1 unchanged", "customer C2 unchanged", "customer C3 update")
		w.same("plan by link only", w.plan(syncer.Request{IgnoreKey: true}), "customer C1 unchanged", "customer C2 unchanged", "customer C3 create")
	})
}

// TestPlanForetellsKeysAndReferences across page transactions: what the run
// would have stored by then is not there.
func TestPlanForetellsKeysAndReferences(t *testing.T) {
	each(t, byName, func(t *testing.T, w *world) {
		w.smallPages(1)
		w.put("C1 Ann 1", "C2 Ann 2", "C3 Bob 3")
		w.insertAlternate("1", "-", "Bob", "7")
		plan := w.foretold(syncer.Import)
		w.same("plan", plan, "customer C1 create", "customer C2 duplicate", "customer C3 update")
	})
	eachLookup(t, func(t *testing.T, w *world) {
		w.smallPages(1)
		w.exec("DROP TABLE person")
		id := "id integer PRIMARY KEY, "
		if w.store.Engine() == store.Postgres {
			id = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
		}
		w.exec("CREATE TABLE person (" + id + "id_no text, name text, customer text NOT NULL)")
		w.contact("P1", "Pat", "C1") // its customer is in the same layer
		w.contact("P2", "Pia", "C9") // is never there
		w.contact("P3", "Pim", "-")
		w.customer("C1", "Ann", "-", "C2")
		w.customer("C2", "Bob", "-", "-")
		plan := w.foretold(syncer.Import)
		w.same("plan", plan, "customer C1 create", "customer C2 create", "person P1 create", "person P2 quarantine", "person P3 quarantine")
	})
}

func TestPlanForetellsASync(t *testing.T) {
	for _, delta := range []bool{true, false} {
		t.Run(fmt.Sprint("delta ", delta), func(t *testing.T) {
			eachMapping(t, func(t *testing.T, w *world) {
				w.source.edit = func(e *kedge.Entity) { e.Delta, e.Deletes = delta, delta }
				w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 3")
				w.foretold(syncer.Sync)
				w.put("C2 Bo 2", "C4 Dan 4")
				w.delete("C3")
				plan := w.foretold(syncer.Sync)
				if !slices.Contains(plan, "customer C3 delete") {
					t.Errorf("plan %q, want C3 deleted", plan)
				}
				w.table("C1 Ann 1", "C2 Bo 2", "C4 Dan 4")
			})
		})
	}
}

func TestPlanThatNobodyReadsToItsEnd(t *testing.T) {
	each(t, sharedKey, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		for range w.syncer.Preview(t.Context(), syncer.Request{Integration: "crm"}) {
			break
		}
		runs, err := w.syncer.Runs(t.Context(), "crm", 10)
		if err != nil || len(runs) != 1 || runs[0].State != syncer.Succeeded || runs[0].Op != syncer.Plan {
			t.Errorf("runs: %+v, %v, want one plan that succeeded", runs, err)
		}
		all, err := w.syncer.Status(t.Context())
		if err != nil || len(all) != 1 || all[0].LastRun != nil {
			t.Errorf("status: %+v, %v, want no run: a plan is none", all, err)
		}
	})
}
