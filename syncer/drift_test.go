package syncer_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

func drifting(yaml, policy string) string {
	return strings.Replace(yaml, "entities:", "drift: "+policy+"\nentities:", 1)
}

// dropField takes a field out of the external schema.
func (w *world) dropField(name string) {
	w.source.edit = func(e *kedge.Entity) {
		e.Fields = slices.DeleteFunc(e.Fields, func(f kedge.Field) bool { return f.Name == name })
	}
}

func eachDrift(t *testing.T, policy string, test func(t *testing.T, w *world)) {
	for name, yaml := range mappings {
		t.Run(name, func(t *testing.T) { each(t, drifting(yaml, policy), test) })
	}
}

func TestDriftWarn(t *testing.T) {
	eachDrift(t, "warn", func(t *testing.T, w *world) {
		w.put("C1 Ann 1")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.dropField("Balance")
		w.put("C1 Anna 9", "C2 Bob 2")
		res := w.run(syncer.Request{})
		if res.State != syncer.Succeeded {
			t.Errorf("state %s, want succeeded without the field", res.State)
		}
		w.table("C1 Anna 1", "C2 Bob -")
		if n := w.codes()["field_suspended"]; n != 1 {
			t.Errorf("log %v, want field_suspended once", w.codes())
		}
		if got := res.Entities[0].Warnings; len(got) != 1 || !strings.Contains(got[0], "no field Balance") {
			t.Errorf("warnings %q, want one about Balance", got)
		}
		w.source.edit = nil // it is back
		w.run(syncer.Request{})
		w.table("C1 Anna 9", "C2 Bob 2")
		w.source.edit = func(e *kedge.Entity) { // something new is nobody's business
			e.Fields = append(e.Fields, kedge.Field{Name: "Name3", Type: kedge.TypeString, Nullable: true})
		}
		before := len(w.codes())
		w.sync("all 0 new 0 updated 0 failed 0")
		if len(w.codes()) != before {
			t.Errorf("a new field was logged: %v", w.codes())
		}
	})
}

// TestDriftOfAKey holds the entity, and only that.
func TestDriftOfAKey(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.contact("P1", "Pat", "-")
		w.customer("C1", "Ann")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.source.edit = func(e *kedge.Entity) {
			if e.Name == "customers" {
				e.Field("No").Name, e.Key = "Number", []string{"Number"}
			}
		}
		w.contact("P1", "Patty", "-")
		res := w.run(syncer.Request{})
		if res.State != syncer.Partial {
			t.Errorf("state %s, want partial", res.State)
		}
		for _, e := range res.Entities {
			if e.Entity == "customer" && (e.State != syncer.Failed || !strings.Contains(e.Error, "key field No is not in customers; set up a new key, for example with external field Number")) {
				t.Errorf("customer: %+v, want it held", e)
			}
		}
		w.same("people", w.rows("person", "name"), "Patty")
		i, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		findings, err := w.syncer.Check(t.Context(), i)
		w.check(err)
		var found []mapping.Finding
		for _, f := range findings {
			if f.Code == mapping.KeyMissing {
				found = append(found, f)
			}
		}
		if len(found) != 1 || found[0].Side != mapping.SideExternal || found[0].Entity != "customer" || found[0].Field != "No" || !strings.Contains(found[0].Fix, "Number") {
			t.Errorf("findings %+v, want one of key_missing that names a candidate", found)
		}
	})
}

func TestDriftHold(t *testing.T) {
	eachDrift(t, "hold", func(t *testing.T, w *world) {
		w.put("C1 Ann 1")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.source.edit = func(e *kedge.Entity) {
			if f := e.Field("Name"); e.Name == "customers" {
				f.MaxLength = 10
			}
		}
		w.put("C1 Anna 1")
		if res := w.run(syncer.Request{}); res.State != syncer.Failed || !strings.HasPrefix(res.Entities[0].Error, "held: ") {
			t.Errorf("%s, %+v, want held", res.State, res.Entities)
		}
		w.table("C1 Ann 1")
		_, diffs, err := w.syncer.Discover(t.Context(), "remote") // somebody has looked at it
		w.check(err)
		want := []syncer.SchemaDiff{{Entity: "customers", Field: "Name", Change: "changed", From: "string", To: "string(10)"}}
		if diff := cmp.Diff(want, diffs); diff != "" {
			t.Errorf("differences (-want +got):\n%s", diff)
		}
		w.sync("all 1 new 0 updated 1 failed 0")
		w.table("C1 Anna 1")
	})
}

func TestDriftAdopt(t *testing.T) {
	eachDrift(t, "adopt", func(t *testing.T, w *world) {
		w.dropField("Parent")
		w.put("C1 Ann 1")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.exec("ALTER TABLE customer ADD COLUMN parent text")
		w.source.edit = nil
		w.putFields("customers", []string{"C2", "Bob", "2", "C1"}, "No", "Name", "Balance", "Parent")
		w.sync("all 2 new 1 updated 1 failed 0") // full, as the mapping changed
		w.same("rows", w.rows("customer", "name", "parent"), "Ann -", "Bob C1")
		i, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		if i.Revision != 2 || i.Author != "drift: adopt" || !strings.Contains(i.YAML, "Parent") {
			t.Errorf("revision %d by %s:\n%s", i.Revision, i.Author, i.YAML)
		}
		w.sync("all 0 new 0 updated 0 failed 0")
		if i, err = w.syncer.Mapping(t.Context(), "crm"); err != nil || i.Revision != 2 {
			t.Errorf("revision %d, %v, want 2: nothing new came", i.Revision, err)
		}
	})
}

// TestUpdateSchema shows what is new and what is missing, and touches neither
// the mapping nor the rows.
func TestUpdateSchema(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1")
		w.sync("all 1 new 1 updated 0 failed 0")
		before, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		w.source.edit = func(e *kedge.Entity) {
			if e.Name == "customers" {
				e.Fields = slices.DeleteFunc(e.Fields, func(f kedge.Field) bool { return f.Name == "Balance" })
				e.Fields = append(e.Fields, kedge.Field{Name: "Phone", Type: kedge.TypeString, Nullable: true})
			}
			if e.Name == "contacts" {
				e.Name = "clients"
			}
		}
		_, diffs, err := w.syncer.Discover(t.Context(), "remote")
		w.check(err)
		want := []syncer.SchemaDiff{
			{Entity: "customers", Field: "Phone", Change: "new", To: "string"},
			{Entity: "customers", Field: "Balance", Change: "missing", From: "decimal"},
			{Entity: "clients", Change: "new"},
			{Entity: "contacts", Change: "missing"},
		}
		slices.SortFunc(diffs, func(a, b syncer.SchemaDiff) int {
			return slices.Index(want, a) - slices.Index(want, b)
		})
		if diff := cmp.Diff(want, diffs); diff != "" {
			t.Errorf("differences (-want +got):\n%s", diff)
		}
		if _, diffs, err = w.syncer.Discover(t.Context(), "remote"); err != nil || len(diffs) != 0 {
			t.Errorf("the second time: %+v, %v, want nothing", diffs, err)
		}
		after, err := w.syncer.Mapping(t.Context(), "crm")
		if err != nil || after.Revision != before.Revision || after.YAML != before.YAML {
			t.Errorf("revision %d, %v, want %d unchanged", after.Revision, err, before.Revision)
		}
		w.table("C1 Ann 1")
	})
}

// TestCleanUp takes the missing external items out of the mapping and touches
// no data.
func TestCleanUp(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.dropField("Balance")
		i, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		m, err := i.Parse()
		w.check(err)
		for range 2 { // the second time there is nothing to do
			findings, err := w.syncer.Check(t.Context(), i)
			w.check(err)
			m, _ = mapping.CleanUp(m, findings)
			w.save(string(m.Marshal()))
			i, err = w.syncer.Mapping(t.Context(), "crm")
			w.check(err)
			if i.Revision != 2 || strings.Contains(i.YAML, "Balance") {
				t.Errorf("revision %d, want 2 without the field:\n%s", i.Revision, i.YAML)
			}
		}
		w.table("C1 Ann 1")
	})
}

// TestMappingTravels: an export imports into an empty database as the same
// mapping, and the second export is the first, byte for byte.
func TestMappingTravels(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		first, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		w.check(w.syncer.Delete(t.Context(), "crm"))
		w.save(first.YAML)
		second, err := w.syncer.Mapping(t.Context(), "crm")
		if err != nil || second.YAML != first.YAML || second.Hash != first.Hash {
			t.Errorf("%v, second export:\n%s\nfirst:\n%s", err, second.YAML, first.YAML)
		}
		w.put("C1 Ann 1")
		w.sync("all 1 new 1 updated 0 failed 0")
	})
}

// TestDeletedIntegration: its records stay, and one of the same name starts
// from nothing.
func TestDeletedIntegration(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		i, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		w.opts.Limits.HashSkipMaxRows = 1
		w.syncer = syncer.New(w.opts)
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.check(w.syncer.Delete(t.Context(), "crm"))
		for _, table := range []string{"link", "hashlog", "hash", "pendingref", "quarantine", "entity", "syncanchor", "mapping", "base", "conflict", "transaction", "writelog"} {
			if n := w.rows("integration_"+table, "count(*)"); n[0] != "0" {
				t.Errorf("%s has %s rows, want 0", table, n[0])
			}
		}
		w.save(i.YAML)
		w.table("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 0 updated 2 failed 0")
		w.table("C1 Ann 1", "C2 Bob 2")
	})
}

// TestImportTakesTheRemoteSide: an import ignores the direction and leaves
// anchors alone.
func TestImportTakesTheRemoteSide(t *testing.T) {
	each(t, strings.Replace(sharedKey, "    key:", "    direction: bidirectional\n    key:", 1), func(t *testing.T, w *world) {
		w.put("C1 Ann 1")
		w.line(w.run(syncer.Request{Op: syncer.Import}), "all 1 new 1 updated 0 failed 0")
		w.line(w.run(syncer.Request{Op: syncer.Import}), "all 1 new 0 updated 1 failed 0")
		w.both("all 1 new 0 updated 1 failed 0", "all 1 new 0 updated 1 failed 0")
		w.both(none, none)
	})
}

// TestSomeEntities: the entities that a request names are read, no others.
func TestSomeEntities(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.customer("C1", "Ann", "P1", "-")
		w.contact("P1", "Pat", "C1")
		w.line(w.run(syncer.Request{Entities: []string{"customer"}}), "all 1 new 1 updated 0 failed 0")
		w.line(w.run(syncer.Request{Entities: []string{"person"}}), "all 1 new 1 updated 0 failed 0")
		w.sync("all 0 new 0 updated 0 failed 0") // fills in what was not there
		w.same("relations", w.relations(), "Ann Pat -", "Pat Ann")
		_, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm", Entities: []string{"nobody"}})
		if kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), "customer, person") {
			t.Errorf("unknown entity: %v, want the names", err)
		}
		if _, err = w.syncer.Run(t.Context(), syncer.Request{Integration: "erp"}); kedge.KindOf(err) != kedge.NotFound {
			t.Errorf("unknown integration: %v, want not found", err)
		}
	})
}

// TestBigVersions keep every digit.
func TestBigVersions(t *testing.T) {
	const big = "9007199254740993"
	entity := kedge.Entity{Name: "rows", Key: []string{"Id"}, Version: "Version", Fields: []kedge.Field{
		{Name: "Id", Type: kedge.TypeInt}, {Name: "Version", Type: kedge.TypeInt}, {Name: "Amount", Type: kedge.TypeDecimal, Nullable: true}}}
	for name, yaml := range map[string]string{
		"shared key":  "kedge: mapping/v1\nentities:\n  - external: rows\n    local: line\n    key: [{external: Id, local: no, primary: true}]\n    fields: [{external: Version, local: version}, {external: Amount, local: amount}]\n",
		"matched key": "kedge: mapping/v1\nentities:\n  - external: rows\n    local: line\n    key: [{external: Id, local: no}]\n    fields: [{external: Version, local: version}, {external: Amount, local: amount}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				w := newWorld(t, s, yaml, entity)
				w.source.after = func(_ connectors.ReadRequest, p *connectors.Page) {
					for i := range p.Records {
						p.Records[i].Version = big
					}
				}
				w.putFields("rows", []string{big, big, "9007199254740993.10"}, "Id", "Version", "Amount")
				w.sync("all 1 new 1 updated 0 failed 0")
				rows := w.rows("line", "no", "version", "amount")
				if len(rows) != 1 || !strings.HasPrefix(rows[0], big+" "+big+" "+big+".1") {
					t.Errorf("rows %q", rows)
				}
				anchors, err := w.syncer.Anchors(t.Context(), "crm")
				if err != nil || len(anchors) != 1 || anchors[0].LastVersion != big {
					t.Errorf("anchors %+v, %v, want last version %s", anchors, err, big)
				}
			}, syncer.Migrations()...)
		})
	}
}
