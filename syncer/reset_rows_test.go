package syncer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

func TestResetLeavesUploadsAlone(t *testing.T) {
	yaml := matchedKey + `  - external: contacts
    local: person
    direction: upload
    key: [{external: Id, local: id_no}]
    fields:
      - {external: Name, local: name}
`
	each(t, yaml, func(t *testing.T, w *world) {
		w.put("A Anna 1.00")
		w.insert("Z", "Zoe")
		w.exec("INSERT INTO person (id, id_no, name) VALUES ('p1', 'P1', 'Paul')")
		w.run(syncer.Request{})
		w.exec("INSERT INTO person (id, id_no, name) VALUES ('p2', 'P2', 'Pia')")
		before := w.content("person")
		res := w.run(syncer.Request{ResetLocal: true, Confirm: func(r syncer.Reset) error {
			if len(r.Entities) != 1 || r.Entities[0].Entity != "customer" {
				t.Errorf("asked about %+v", r.Entities)
			}
			return nil
		}})
		if diff := cmp.Diff(before, w.content("person")); diff != "" {
			t.Errorf("rows of the entity that is only uploaded (-want +got):\n%s", diff)
		}
		if n := res.Counts(syncer.Upload); n.Created != 1 {
			t.Errorf("uploads of the reset: %+v, want one new record", n)
		}
		w.table("A Anna 1.00")
		w.both(none, none)
	})
}

func TestResetTakesTheFilteredRecords(t *testing.T) {
	yaml := strings.Replace(matchedKey, "    fields:", "    downloadFilter: \"Balance ge 2\"\n    fields:", 1)
	for _, unfiltered := range []bool{false, true} {
		each(t, yaml, func(t *testing.T, w *world) {
			w.source.unfiltered = unfiltered
			w.put("A Anna 1.00", "B Bert 2.00", "C Carl 3.00")
			w.insert("A", "Anna")
			w.insert("B", "Bert")
			w.run(syncer.Request{ResetLocal: true, Confirm: agree})
			w.table("B Bert 2.00", "C Carl 3.00")
			if got := w.rows("customer", "id"); !slices.Contains(got, "xB") || len(got) != 2 {
				t.Errorf("local keys are %v", got)
			}
			w.both(none, none)
		})
	}
}

// Rows that are kept are as new: defaults count, and what is only sent or was
// never mapped by the other side's record does not stay.
func TestResetRowsAreAsNew(t *testing.T) {
	yaml := `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    direction: bidirectional
    key: [{external: "No", local: erp_no}]
    fields:
      - {external: Name, local: name, default: "nobody"}
      - {external: Balance, local: balance}
      - {external: Contact, local: contact, direction: upload}
`
	each(t, yaml, func(t *testing.T, w *world) {
		w.exec("ALTER TABLE customer ADD COLUMN mine text")
		w.put("A - 1.00", "B Bert 2.00")
		w.exec("INSERT INTO customer (id, erp_no, name, contact, mine) VALUES ('xA', 'A', 'Anna', 'me', 'note')")
		w.run(syncer.Request{ResetLocal: true, Confirm: agree})
		want := []string{"A xA nobody 1.00 - note"}
		if got := w.rows("customer", "erp_no", "id", "name", "balance", "contact", "mine"); len(got) != 2 || got[0] != want[0] {
			t.Errorf("rows are %q, want %q first", got, want)
		}
		w.both(w.quiet(), none)
		w.exec("UPDATE customer SET contact = 'you' WHERE erp_no = 'A'")
		w.both("all 1 new 0 updated 1 failed 0", "all 1 new 0 updated 1 failed 0")
	})
}

// What refers to a row that is kept survives, whatever the table says about
// deletes, and rows go in an order that foreign keys allow.
func TestResetWithForeignKeys(t *testing.T) {
	each(t, strings.Replace(withLookups, "PRIMARY", "", 1), func(t *testing.T, w *world) {
		w.exec("DROP TABLE person")
		w.exec("DROP TABLE customer")
		w.exec(`CREATE TABLE customer (id varchar(36) PRIMARY KEY DEFAULT 'made', no text UNIQUE, name text, contact text, parent varchar(36) REFERENCES customer (id))`)
		w.exec(`CREATE TABLE person (id varchar(36) PRIMARY KEY, id_no text, name text, customer varchar(36) REFERENCES customer (id))`)
		w.exec(`CREATE TABLE note (id text PRIMARY KEY, customer varchar(36) NOT NULL REFERENCES customer (id) ON DELETE CASCADE)`)
		w.exec("INSERT INTO customer (id, no, name) VALUES ('1', 'A', 'Anna'), ('2', 'L', 'Local')")
		w.exec("UPDATE customer SET parent = '2' WHERE id = '1'")
		w.exec("INSERT INTO person (id, id_no, name, customer) VALUES ('1', 'P1', 'Paul', '2'), ('2', 'P2', 'Pia', '2')")
		w.exec("INSERT INTO note VALUES ('n', '1')")
		w.customer("A", "Anna")
		w.contact("P1", "Paul", "A")
		w.run(syncer.Request{ResetLocal: true, Confirm: agree})
		if diff := cmp.Diff([]string{"Anna - -", "Paul Anna"}, w.relations()); diff != "" {
			t.Errorf("relations (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"n 1"}, w.rows("note", "id", "customer")); diff != "" {
			t.Errorf("unmapped table (-want +got):\n%s", diff)
		}

		if w.store.Engine() == store.SQLite {
			return // it does not enforce them here
		}
		// A row that something else needs cannot go: then nothing changes.
		w.exec("INSERT INTO customer (id, no, name) VALUES ('3', 'N', 'Needed')")
		w.exec(`CREATE TABLE bill (customer varchar(36) NOT NULL REFERENCES customer (id))`)
		w.exec("INSERT INTO bill VALUES ('3')")
		w.exec("UPDATE customer SET name = 'Edited' WHERE id = '1'")
		before := w.content("customer")
		_, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm", ResetLocal: true, Confirm: agree})
		if err == nil || !strings.Contains(err.Error(), "customer") || !strings.Contains(err.Error(), "refuses to delete") {
			t.Errorf("error %v", err)
		}
		if diff := cmp.Diff(before, w.content("customer")); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

func TestResetOfUnreadableRecords(t *testing.T) {
	eachReset(t, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.source.after = func(_ connectors.ReadRequest, p *connectors.Page) {
			p.Records = slices.DeleteFunc(p.Records, func(r kedge.Record) bool { return r.Key == "B" })
			p.Rejected = append(p.Rejected, connectors.BadRecord{Key: "B", Field: "Balance", Err: errors.New("not a decimal"), Raw: "{}"})
		}
		res := w.run(syncer.Request{ResetLocal: true, Confirm: agree})
		if n := res.Counts(syncer.Download); n.Quarantined != 1 || res.State != syncer.Partial {
			t.Errorf("run ended %s: %+v, want one quarantined record", res.State, n)
		}
		w.table("A Anna 1.00")
		w.source.after = nil
		w.run(syncer.Request{Full: true})
		w.table("A Anna 1.00", "B Bert 2.00")
	})
}

func TestResetIsCancelled(t *testing.T) {
	eachReset(t, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.insert("Z", "Zoe")
		before := w.content("customer")
		for _, point := range []string{"r1", "r2"} {
			ctx, cancel := context.WithCancel(t.Context())
			w.opts.Hook = func(p string) {
				if p == point {
					cancel()
				}
			}
			w.syncer = syncer.New(w.opts)
			res, err := w.syncer.Run(ctx, syncer.Request{Integration: "crm", ResetLocal: true, Confirm: agree})
			if err != nil || res.State != syncer.Cancelled {
				t.Errorf("run ended %s: %v, want cancelled", res.State, err)
			}
			if diff := cmp.Diff(before, w.content("customer")); diff != "" {
				t.Errorf("rows after %s (-want +got):\n%s", point, diff)
			}
		}
	})
}
