package syncer_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// withLookups maps contacts that belong to customers, which have a main contact
// and a parent customer: a cycle and a self-reference.
const withLookups = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    key: [{external: "No", local: "no"PRIMARY}]
    fields:
      - {external: Name, local: name}
      - {external: Contact, local: contact, lookup: {entity: person}}
      - {external: Parent, local: parent, lookup: {entity: customer}}
  - external: contacts
    local: person
    key: [{external: Id, local: id_no}]
    fields:
      - {external: Name, local: name}
      - {external: Customer, local: customer, lookup: {entity: customer}}
`

func eachLookup(t *testing.T, test func(t *testing.T, w *world)) {
	for name, primary := range map[string]string{"shared key": ", primary: true", "matched key": ""} {
		t.Run(name, func(t *testing.T) { each(t, strings.Replace(withLookups, "PRIMARY", primary, 1), test) })
	}
}

func (w *world) customer(fields ...string) {
	w.t.Helper()
	w.putFields("customers", fields, "No", "Name", "Contact", "Parent")
}

func (w *world) contact(fields ...string) {
	w.t.Helper()
	w.putFields("contacts", fields, "Id", "Name", "Customer")
}

// relations returns the lookups of the local rows by name.
func (w *world) relations() []string {
	w.t.Helper()
	key := "id"
	if !slices.Contains(w.columns("customer"), "id") {
		key = "no"
	}
	return append(
		w.rows("customer AS c LEFT JOIN person AS p ON CAST(p.id AS text) = CAST(c.contact AS text) LEFT JOIN customer AS q ON CAST(q."+key+" AS text) = CAST(c.parent AS text)",
			"c.name", "p.name", "q.name"),
		w.rows("person AS p LEFT JOIN customer AS c ON CAST(c."+key+" AS text) = CAST(p.customer AS text)", "p.name", "c.name")...)
}

func (w *world) columns(table string) []string {
	w.t.Helper()
	schema, err := w.local("").Schema(w.t.Context())
	w.check(err)
	var names []string
	for _, f := range schema.Entity(table).Fields {
		names = append(names, f.Name)
	}
	return names
}

func (w *world) same(what string, got []string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (w *world) pendingRefs() []string {
	w.t.Helper()
	return w.rows("integration_pendingref", "ext_key", "field")
}

func TestCyclesAndSelfReferences(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.source.pageSize = 1
		w.customer("C1", "Ann", "P1", "C2") // both targets come later
		w.customer("C2", "Bob", "P2", "C2")
		w.contact("P1", "Pat", "C2")
		w.contact("P2", "Pia", "C1")
		w.sync("all 4 new 4 updated 0 failed 0")
		w.same("relations", w.relations(), "Ann Pat Bob", "Bob Pia Bob", "Pat Bob", "Pia Ann")
		if left := w.pendingRefs(); len(left) > 0 {
			t.Errorf("references left: %q", left)
		}
	})
}

func TestLookupWaitsForItsTarget(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.customer("C1", "Ann", "P1", "C9")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.same("relations", w.relations(), "Ann - -")
		if left := w.pendingRefs(); len(left) != 2 {
			t.Errorf("references left: %q, want 2", left)
		}
		if n := w.codes()["ref_pending"]; n != 1 {
			t.Errorf("log %v, want ref_pending once", w.codes())
		}
		w.sync("all 0 new 0 updated 0 failed 0")
		if n := w.codes()["ref_pending"]; n != 1 {
			t.Errorf("log %v, want ref_pending told by the run that found it only", w.codes())
		}
		w.contact("P1", "Pat", "-")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.same("relations", w.relations(), "Ann Pat -", "Pat -")
		w.customer("C1", "Ann", "-", "-") // what it waited for does not matter any more
		w.customer("C9", "Zoe", "-", "-")
		w.sync("all 2 new 1 updated 1 failed 0")
		w.same("relations", w.relations(), "Ann - -", "Zoe - -", "Pat -")
		if left := w.pendingRefs(); len(left) > 0 {
			t.Errorf("references left: %q", left)
		}
	})
}

// TestDeletedRecordWaitsForNothing: its reference would be patched into a row
// that is gone, in every run.
func TestDeletedRecordWaitsForNothing(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.customer("C1", "Ann", "P1", "-")
		w.customer("C2", "Bob", "-", "-")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.delete("C1")
		w.sync("all 1 new 0 updated 1 failed 0")
		if left := w.pendingRefs(); len(left) > 0 {
			t.Errorf("references left: %q", left)
		}
	})
}

// TestRequiredReferences: the local column must not be null, so the record
// waits in the quarantine.
func TestRequiredReferences(t *testing.T) {
	each(t, strings.Replace(withLookups, "PRIMARY", ", primary: true", 1), func(t *testing.T, w *world) {
		w.exec("DROP TABLE customer")
		w.exec("CREATE TABLE customer (no text PRIMARY KEY, name text, contact text, parent text NOT NULL)")
		w.customer("C1", "Ann", "-", "C2")
		w.customer("C2", "Bob", "-", "C3")
		w.customer("C3", "Cid", "-", "C3") // itself: there is no way to store it
		w.customer("C4", "Dan", "-", "-")
		res := w.sync("all 4 new 0 updated 0 failed 4")
		if res.State != syncer.Partial {
			t.Errorf("state %s, want partial", res.State)
		}
		w.same("quarantine", w.quarantined(), "C1 reference ref_unresolved", "C2 reference ref_unresolved", "C3 reference ref_unresolved", "C4 reference ref_missing")
		if want := map[string]int{"ref_unresolved": 3, "ref_missing": 1}; !cmp.Equal(w.codes(), want) {
			t.Errorf("log has %v, want %v: each once, however often it was tried", w.codes(), want)
		}
		w.exec("INSERT INTO customer (no, name, parent) VALUES ('C9', 'Root', 'C9')")
		w.customer("C3", "Cid", "-", "C9")
		w.customer("C9", "Root", "-", "C9")
		w.sync("all 4 new 3 updated 1 failed 0")
		w.same("relations", w.relations(), "Ann - Bob", "Bob - Cid", "Cid - Root", "Root - Root")
		w.same("quarantine", w.quarantined(), "C4 reference ref_missing")
	})
}

func TestRequiredReferenceThatIsLinked(t *testing.T) {
	each(t, strings.Replace(withLookups, "PRIMARY", "", 1), func(t *testing.T, w *world) {
		w.require("person", "customer")
		w.contact("P1", "Pat", "C1")
		w.sync("all 1 new 0 updated 0 failed 1")
		w.customer("C1", "Ann", "P1", "-")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.same("relations", w.relations(), "Ann Pat -", "Pat Ann")
		w.same("quarantine", w.quarantined())
	})
}

// require makes a column of an empty table not nullable.
func (w *world) require(table, column string) {
	w.t.Helper()
	if w.store.Engine() == store.Postgres {
		w.exec("ALTER TABLE " + table + " ALTER COLUMN " + column + " SET NOT NULL")
		return
	}
	var sql string
	w.check(w.store.DB().QueryRowContext(w.t.Context(), "SELECT sql FROM sqlite_master WHERE name = ?", table).Scan(&sql))
	w.exec("DROP TABLE " + table)
	w.exec(regexp.MustCompile(`("`+column+`" \w+)`).ReplaceAllString(sql, "$1 NOT NULL"))
}

// quarantined returns the open quarantine rows as "key stage code".
func (w *world) quarantined() []string {
	w.t.Helper()
	rows, err := w.syncer.Quarantine(w.t.Context(), syncer.QuarantineQuery{Limit: 1000})
	w.check(err)
	list := []string{}
	for _, r := range rows {
		list = append(list, r.Key+" "+r.Stage+" "+r.Code)
	}
	slices.Sort(list)
	return list
}

var documents = []kedge.Entity{
	{Name: "orders", Key: []string{"Id"}, Fields: []kedge.Field{
		{Name: "Id", Type: kedge.TypeString},
		{Name: "No", Type: kedge.TypeString, Nullable: true},
		{Name: "Kind", Type: kedge.TypeInt, Nullable: true},
	}},
	{Name: "lines", Key: []string{"Id"}, Fields: []kedge.Field{
		{Name: "Id", Type: kedge.TypeString},
		{Name: "No", Type: kedge.TypeString, Nullable: true},
		{Name: "Kind", Type: kedge.TypeInt, Nullable: true},
	}},
}

const compositeLookup = `kedge: mapping/v1
entities:
  - external: lines
    local: line
    key: [{external: Id, local: id, primary: true}]
    fields:
      - {external: ["No", Kind], local: doc, lookup: {entity: doc, fields: ["No", Kind]}}
  - external: orders
    local: doc
    key: [{external: Id, local: id, primary: true}]
    fields:
      - {external: "No", local: "no"}
      - {external: Kind, local: kind}
`

func TestCompositeLookup(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, compositeLookup, documents...)
		put := func(entity string, fields ...string) { t.Helper(); w.putFields(entity, fields, "Id", "No", "Kind") }
		put("orders", "O1", "1,1", "1") // a comma in a value is not one between values
		put("orders", "O2", "1,1", "2")
		put("orders", "O3", "3", "1")
		put("orders", "O4", "3", "1")
		put("lines", "L1", "1,1", "2")
		put("lines", "L2", "9", "1")
		put("lines", "L3", "3", "1")
		put("lines", "L4", "-", "1")
		res := w.run(syncer.Request{})
		w.line(res, "all 8 new 7 updated 0 failed 1")
		w.same("lines", w.rows("line", "id", "doc"), "L1 O2", "L2 -", "L4 -")
		w.same("quarantine", w.quarantined(), "L3 reference ref_ambiguous")
		w.same("references left", w.pendingRefs(), "L2 doc")
		put("orders", "O9", "9", "1")
		w.check(w.remote.Delete(t.Context(), "orders", "O4"))
		w.sync("all 2 new 1 updated 1 failed 0")
		w.same("lines", w.rows("line", "id", "doc"), "L1 O2", "L2 O9", "L4 -")
		w.line(w.run(syncer.Request{Op: syncer.Retry}), "all 1 new 1 updated 0 failed 0")
		w.same("lines", w.rows("line", "id", "doc"), "L1 O2", "L2 O9", "L3 O3", "L4 -")
	}, syncer.Migrations()...)
}

// TestLookupTargetOutOfUse: the target of a lookup may be disabled or held.
func TestLookupTargetOutOfUse(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.contact("P1", "Pat", "-")
		w.customer("C1", "Ann", "P1", "-")
		w.sync("all 2 new 2 updated 0 failed 0")
		i, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		w.save(strings.Replace(i.YAML, "local: person\n", "local: person\n    enabled: false\n", 1))
		w.customer("C2", "Bob", "P1", "-")
		w.customer("C3", "Cid", "P2", "-")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.same("relations", w.relations(), "Ann Pat -", "Bob Pat -", "Cid - -", "Pat -")

		w.save(i.YAML)
		w.source.edit = func(e *kedge.Entity) {
			if e.Name == "contacts" { // its key is gone, so the entity is held
				e.Field("Id").Name, e.Key = "Ident", []string{"Ident"}
			}
		}
		w.customer("C4", "Dan", "P1", "-")
		res := w.run(syncer.Request{})
		if e := res.Entities[1]; e.Entity != "person" || e.State != syncer.Failed {
			t.Errorf("%+v, want person held", e)
		}
		w.same("names", w.rows("customer", "name"), "Ann", "Bob", "Cid", "Dan")
	})
}

// TestLookupNeedsPlainFields: what is compared with local rows must have been
// stored as it is.
func TestLookupNeedsPlainFields(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s, compositeLookup, documents...)
		w.putFields("lines", []string{"L1", "1", "1"}, "Id", "No", "Kind")
		w.putFields("orders", []string{"O1", "1", "1"}, "Id", "No", "Kind")
		w.save(strings.Replace(compositeLookup, "      - {external: Kind, local: kind}\n", "", 1))
		res := w.run(syncer.Request{})
		if res.State != syncer.Partial {
			t.Errorf("state %s, want partial", res.State)
		}
		for _, e := range res.Entities {
			if e.Entity == "line" && !strings.Contains(e.Error, "lookup field Kind of doc is not downloaded as it is") {
				t.Errorf("line: %q, want it held with the field", e.Error)
			}
		}
	}, syncer.Migrations()...)
}

// TestTargetComesBack with another local key, which must be found although the
// records that refer to it have not changed.
func TestTargetComesBack(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.contact("P1", "Pat", "C1")
		w.customer("C1", "Ann", "P1", "C1")
		w.customer("C2", "Bob", "P1", "C1")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.delete("C1")
		w.check(w.remote.Delete(t.Context(), "contacts", "P1"))
		w.sync("all 2 new 0 updated 2 failed 0")
		w.same("relations", w.relations(), "Bob - -")
		w.customer("C1", "Ann", "-", "-")
		w.contact("P1", "Pat", "C1")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.same("relations", w.relations(), "Ann - -", "Bob Pat Ann", "Pat Ann")
	})
}
