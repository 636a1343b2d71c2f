package syncer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

// ruled adds delete rules to a mapping.
func ruled(yaml, rules string) string {
	return strings.Replace(yaml, "    fields:", "    deletes: {"+rules+"}\n    fields:", 1)
}

func eachRuled(t *testing.T, rules string, test func(t *testing.T, w *world)) {
	for name, yaml := range mappings {
		t.Run(name, func(t *testing.T) { each(t, ruled(yaml, rules), test) })
	}
}

// many puts n customers and returns them.
func (w *world) many(n int) []string {
	w.t.Helper()
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf("C%04d Ann %d", i, i)
	}
	w.put(rows...)
	return rows
}

func (w *world) deleteFirst(n int) {
	w.t.Helper()
	keys := make([]kedge.Key, n)
	for i := range keys {
		keys[i] = kedge.Key(fmt.Sprintf("C%04d", i))
	}
	w.delete(keys...)
}

func TestDeleteRules(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]struct {
		rows, back []string
		deleted    int64
	}{
		"delete": {[]string{"C2 Bob 2"}, []string{"C1 Ann 1", "C2 Bob 2"}, 1},
		"ignore": {[]string{"C1 here 1", "C2 Bob 2"}, []string{"C1 Ann 1", "C2 Bob 2"}, 0},
		"unlink": {[]string{"C1 here 1", "C2 Bob 2"}, []string{"C1 Ann 1", "C2 Bob 2"}, 0},
		"soft":   {[]string{"C1 gone 1", "C2 Bob 2"}, []string{"C1 Ann 1", "C2 Bob 2"}, 1},
	} {
		t.Run(rule, func(t *testing.T) {
			eachRuled(t, "download: "+rule+", soft: {field: name, value: gone}", func(t *testing.T, w *world) {
				w.put("C1 Ann 1", "C2 Bob 2")
				w.sync("all 2 new 2 updated 0 failed 0")
				w.exec("UPDATE customer SET name = 'here' WHERE name = 'Ann'")
				w.delete("C1")
				res := w.sync("all 1 new 0 updated 1 failed 0")
				if e := res.Entities[0]; e.Deleted != want.deleted || e.Kept != 1-want.deleted || e.Pending != 0 {
					t.Errorf("%+v, want %d deleted", e, want.deleted)
				}
				w.table(want.rows...)
				w.sync("all 0 new 0 updated 0 failed 0")
				w.put("C1 Ann 1")
				w.run(syncer.Request{})
				w.table(want.back...)
				w.delete("C1")
				w.run(syncer.Request{})
				w.run(syncer.Request{Full: true})
				if got := w.rows("integration_entity", "name", "linked"); got[0] != "customer 1" {
					t.Errorf("linked: %q, want 1", got)
				}
			})
		})
	}
}

// TestIgnoredDeletesNeedNobody: nothing is deleted, so there is no breaker.
func TestIgnoredDeletesNeedNobody(t *testing.T) {
	eachRuled(t, "download: ignore, maxRows: 1, maxPercent: 1", func(t *testing.T, w *world) {
		rows := w.many(10)
		w.sync("all 10 new 10 updated 0 failed 0")
		w.deleteFirst(5)
		if res := w.sync("all 5 new 0 updated 5 failed 0"); res.State != syncer.Succeeded {
			t.Errorf("state %s, want succeeded", res.State)
		}
		w.table(rows...)
	})
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rules              string
		rows, limit, total int
	}{
		{"maxRows: 3, maxPercent: 5", 20, 3, 20}, // rows count more than percents
		{"maxRows: 3, maxPercent: 25", 20, 5, 20},
		{"maxRows: 0, maxPercent: 6", 33, 1, 33}, // 1.98 is not yet 2
		{"maxRows: 0, maxPercent: 0", 5, 0, 5},
	} {
		t.Run(tt.rules, func(t *testing.T) {
			for _, how := range []string{"delta", "sweep"} {
				t.Run(how, func(t *testing.T) {
					eachRuled(t, tt.rules, func(t *testing.T, w *world) {
						if how == "sweep" {
							w.source.edit = func(e *kedge.Entity) { e.Delta, e.Deletes = false, false }
						}
						rows := w.many(tt.rows)
						w.run(syncer.Request{})
						w.deleteFirst(tt.limit + 1)
						res := w.run(syncer.Request{})
						if e := res.Entities[0]; res.State != syncer.Stopped || e.Pending != int64(tt.limit+1) || e.Deleted != 0 ||
							!strings.HasPrefix(e.Error, fmt.Sprintf("%d of %d records would be deleted, more than %d;", tt.limit+1, tt.rows, tt.limit)) {
							t.Errorf("one past the limit: %s, %+v, want stopped", res.State, e)
						}
						w.table(rows...)
						if res = w.run(syncer.Request{}); res.State != syncer.Stopped {
							t.Errorf("again: %s, want stopped until somebody confirms", res.State)
						}
						w.put(rows[tt.limit]) // back again, unchanged
						res = w.run(syncer.Request{})
						if e := res.Entities[0]; res.State != syncer.Succeeded || e.Deleted != int64(tt.limit) {
							t.Errorf("at the limit: %s, %+v, want %d deleted", res.State, e, tt.limit)
						}
						w.table(rows[tt.limit:]...)
					})
				})
			}
		})
	}
}

func TestSixPercent(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		rows := w.many(1000)
		w.sync("all 1000 new 1000 updated 0 failed 0")
		w.deleteFirst(60)
		res := w.run(syncer.Request{})
		if res.State != syncer.Stopped || res.Entities[0].Pending != 60 {
			t.Errorf("state %s, %d pending, want stopped with 60", res.State, res.Entities[0].Pending)
		}
		list, err := w.syncer.PendingDeletes(t.Context(), "crm", 100)
		if err != nil || len(list) != 60 || list[0].ExtKey != "C0000" || list[0].Reason != "deleted" {
			t.Errorf("%d pending deletes, %v, first %+v", len(list), err, list[:1])
		}
		w.table(rows...)
		res = w.run(syncer.Request{ForceDeletes: true})
		w.line(res, "all 60 new 0 updated 60 failed 0")
		w.table(rows[60:]...)
	})
}

func TestDiscardDeletes(t *testing.T) {
	for _, how := range []string{"delta", "sweep"} {
		t.Run(how, func(t *testing.T) {
			eachRuled(t, "maxRows: 3, maxPercent: 1", func(t *testing.T, w *world) {
				if how == "sweep" {
					w.source.edit = func(e *kedge.Entity) { e.Delta, e.Deletes = false, false }
				}
				rows := w.many(700)
				w.run(syncer.Request{})
				w.deleteFirst(600) // more than the sweep asks for before it stops
				if res := w.run(syncer.Request{}); res.State != syncer.Stopped {
					t.Fatalf("state %s, want stopped", res.State)
				}
				n, err := w.syncer.DiscardDeletes(t.Context(), "crm", "me")
				if err != nil || n != 600 {
					t.Errorf("discarded %d, %v, want 600", n, err)
				}
				for range 2 {
					if res := w.run(syncer.Request{}); res.State != syncer.Succeeded || res.Entities[0].Deleted != 0 {
						t.Errorf("after it: %s, %+v, want nothing to delete", res.State, res.Entities[0])
					}
				}
				w.table(rows...)
				w.put("C0001 New 1")
				w.run(syncer.Request{})
				rows[1] = "C0001 New 1"
				w.table(rows...)
			})
		})
	}
}

// TestMarkIsTakenBack: a record that comes back as it was, before its deletion
// was confirmed, must not be deleted by the confirmation.
func TestMarkIsTakenBack(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprint("full ", full), func(t *testing.T) {
			eachRuled(t, "maxRows: 0, maxPercent: 0", func(t *testing.T, w *world) {
				w.put("C1 Ann 1", "C2 Bob 2")
				w.sync("all 2 new 2 updated 0 failed 0")
				w.delete("C1")
				w.run(syncer.Request{})
				w.put("C1 Ann 1")
				if res := w.run(syncer.Request{Full: full}); res.State != syncer.Succeeded {
					t.Errorf("state %s, want succeeded", res.State)
				}
				w.run(syncer.Request{ForceDeletes: true})
				w.table("C1 Ann 1", "C2 Bob 2")
				list, err := w.syncer.PendingDeletes(t.Context(), "crm", 10)
				if err != nil || len(list) != 0 {
					t.Errorf("pending deletes: %v, %v, want none", list, err)
				}
			})
		})
	}
}

// TestDeletedAndBackInOneRun has both in different pages of one read.
func TestDeletedAndBackInOneRun(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.smallPages(1)
		w.put("C2 Bo 2", "C1 Ann 1")
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			if len(p.Records) > 0 && p.Records[0].Key == "C2" {
				p.Records = append(p.Records, kedge.Record{Key: "C1", Removed: kedge.Deleted})
			}
		}
		w.sync("all 2 new 0 updated 2 failed 0")
		w.table("C1 Ann 1", "C2 Bo 2")
	})
}

// TestOldNewsOfADeletedRecord: a source that lags delivers a record again with
// the version that was here when it was deleted.
func TestOldNewsOfADeletedRecord(t *testing.T) {
	each(t, matchedKey, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.put("C1 Anna 1") // version 3
		w.sync("all 1 new 0 updated 1 failed 0")
		w.delete("C1")
		w.sync("all 1 new 0 updated 1 failed 0")
		version := "3"
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			r := kedge.Record{Fields: kedge.NewFields(req.Fields...), Key: "C1", Version: version}
			for _, name := range req.Fields {
				r.Values = append(r.Values, map[string]kedge.Value{"No": kedge.String("C1"), "Name": kedge.String("Anna"), "Balance": kedge.Decimal("1")}[name])
			}
			p.Records = append(p.Records, r)
		}
		for range 2 { // the tombstone stays
			w.sync("all 1 new 0 updated 1 failed 0")
			w.table("C2 Bob 2")
		}
		version = "5"
		w.sync("all 1 new 1 updated 0 failed 0")
		w.table("C1 Anna 1", "C2 Bob 2")
	})
}

// TestChildrenGoFirst: the local tables refer to each other.
func TestChildrenGoFirst(t *testing.T) {
	each(t, strings.Replace(withLookups, "PRIMARY", ", primary: true", 1), func(t *testing.T, w *world) {
		// Without the cycle, contacts are children of customers.
		w.save(strings.Replace(strings.Replace(withLookups, "PRIMARY", ", primary: true", 1), "      - {external: Contact, local: contact, lookup: {entity: person}}\n", "", 1))
		w.exec("DROP TABLE person")
		id := "id integer PRIMARY KEY"
		if w.store.Engine() == store.Postgres {
			id = "id uuid PRIMARY KEY DEFAULT gen_random_uuid()"
		}
		w.exec("CREATE TABLE person (" + id + ", id_no text, name text, customer text REFERENCES customer (no))")
		if w.store.Engine() == store.SQLite { // which does not enforce references unless it is told to
			w.exec("CREATE TRIGGER in_use BEFORE DELETE ON customer WHEN EXISTS (SELECT 1 FROM person WHERE customer = OLD.no) BEGIN SELECT RAISE(ABORT, 'in use'); END")
		}
		w.customer("C1", "Ann")
		w.customer("C2", "Bob")
		w.contact("P1", "Pat", "C1")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.delete("C1")
		w.check(w.remote.Delete(t.Context(), "contacts", "P1"))
		w.sync("all 2 new 0 updated 2 failed 0")
		w.same("customers", w.rows("customer", "no"), "C2")

		// A child that is not deleted keeps its parent.
		w.contact("P2", "Pia", "C2")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.delete("C2")
		res := w.sync("all 1 new 0 updated 0 failed 1")
		if res.Entities[0].Refused != 1 || w.codes()["delete_refused"] != 1 {
			t.Errorf("%+v, log %v, want 1 refused", res.Entities[0], w.codes())
		}
		w.same("customers", w.rows("customer", "no"), "C2")
		w.check(w.remote.Delete(t.Context(), "contacts", "P2"))
		w.sync("all 2 new 0 updated 2 failed 0")
		w.same("customers", w.rows("customer", "no"))
	})
}

// TestFailingSourceDeletesNothing: a full read that did not end sweeps nothing.
func TestFailingSourceDeletesNothing(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.smallPages(1)
		w.put("C1 A 1", "C2 B 2", "C3 C 3")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.delete("C1", "C2", "C3")
		w.put("C4 D 4")
		w.failAt(2, kedge.Transient)
		w.put("C5 E 5")
		if res := w.run(syncer.Request{Full: true, ForceDeletes: true}); res.State != syncer.Failed {
			t.Errorf("state %s, want failed", res.State)
		}
		w.table("C1 A 1", "C2 B 2", "C3 C 3", "C4 D 4")
	})
}

// TestImportDuringAnInterruptedRead: an import between the halves of a full
// read takes nothing from what the first half saw.
func TestImportDuringAnInterruptedRead(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.smallPages(2)
		w.put("C1 A 1", "C2 B 2", "C3 C 3", "C4 D 4", "C5 E 5")
		w.sync("all 5 new 5 updated 0 failed 0")
		w.failAt(2, kedge.Transient)
		w.run(syncer.Request{Full: true})
		w.source.page = nil
		w.put("C1 a 1", "C2 b 2")
		w.line(w.run(syncer.Request{Op: syncer.Import}), "all 5 new 0 updated 5 failed 0")
		before := w.source.keyReads
		w.run(syncer.Request{})
		if n := w.source.keyReads - before; n != 0 {
			t.Errorf("the sweep asked for %d records, want 0: all were seen", n)
		}
		w.table("C1 a 1", "C2 b 2", "C3 C 3", "C4 D 4", "C5 E 5")
	})
}

func TestTombstonesExpire(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.delete("C1")
		w.sync("all 1 new 0 updated 1 failed 0")
		w.same("links", w.rows("integration_link", "ext_key", "status")[:1], "C1 tombstone")
		w.now = w.now.AddDate(0, 0, 90)
		w.failAt(1, kedge.Transient) // the position stays, and forgets
		w.run(syncer.Request{})
		w.source.page = nil
		for _, l := range w.rows("integration_link", "ext_key", "status") {
			if strings.Contains(l, "tombstone") {
				t.Errorf("link %q is older than 90 days", l)
			}
		}
		res := w.sync("all 1 new 0 updated 1 failed 0")
		if e := res.Entities[0]; e.Mode != "full" || e.Reason != "the anchor is older than the oldest tombstone" {
			t.Errorf("mode %s (%s), want full because of tombstones", e.Mode, e.Reason)
		}
	})
}
