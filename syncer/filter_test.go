package syncer_test

import (
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/syncer"
)

func filtered(yaml, filter, rules string) string {
	return strings.Replace(yaml, "    fields:", "    downloadFilter: \""+filter+"\"\n    deletes: {"+rules+"}\n    fields:", 1)
}

func eachFiltered(t *testing.T, filter, rules string, test func(t *testing.T, w *world)) {
	for name, yaml := range mappings {
		t.Run(name, func(t *testing.T) { each(t, filtered(yaml, filter, rules), test) })
	}
}

func TestLeavingTheFilter(t *testing.T) {
	t.Parallel()
	for _, full := range []string{"incremental", "full", "full of a source that does not filter"} {
		for rule, left := range map[string][]string{"delete": {"C1 Ann 1"}, "keep": {"C1 Ann 1", "C2 Bob 2"}} {
			t.Run(full+" "+rule, func(t *testing.T) {
				eachFiltered(t, "Balance lt 10", "filterExit: "+rule, func(t *testing.T, w *world) {
					if strings.HasSuffix(full, "filter") {
						w.source.page = func(req connectors.ReadRequest) error { return nil }
						w.source.unfiltered = true
					}
					w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 30")
					w.sync("all 2 new 2 updated 0 failed 0")
					w.put("C2 Bob 20")
					res := w.run(syncer.Request{Full: full != "incremental"})
					e := res.Entities[0]
					if want := int64(2 - len(left)); e.Deleted != want || e.Kept != 1-want {
						t.Errorf("%+v, want %d deleted", e, want)
					}
					w.table(left...)
					w.put("C2 Bob 2")
					w.run(syncer.Request{})
					w.table("C1 Ann 1", "C2 Bob 2")
					w.put("C3 Cid 3")
					w.sync("all 1 new 1 updated 0 failed 0")
					w.delete("C3")
					w.sync("all 1 new 0 updated 1 failed 0")
					w.table("C1 Ann 1", "C2 Bob 2")
				})
			})
		}
	}
}

func TestFilterIsChanged(t *testing.T) {
	eachFiltered(t, "Balance lt 10", "maxRows: 5", func(t *testing.T, w *world) {
		i, err := w.syncer.Mapping(t.Context(), "crm")
		w.check(err)
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 30")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.save(strings.Replace(i.YAML, "lt 10", "gt 1", 1))
		w.sync("all 3 new 1 updated 2 failed 0")
		w.table("C2 Bob 2", "C3 Cid 30")
	})
}

// TestFilterIsTakenBack: a record that left by a change of the filter comes back
// with the version that it had.
func TestFilterIsTakenBack(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.source.unfiltered = true
		yaml := w.mapping(mappings)
		w.put("C1 Ann 1", "C2 Bob 20")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.save(filtered(yaml, "Balance lt 10", "filterExit: delete"))
		w.sync("all 2 new 0 updated 2 failed 0")
		w.table("C1 Ann 1")
		w.save(yaml)
		w.sync("all 2 new 1 updated 1 failed 0")
		w.table("C1 Ann 1", "C2 Bob 20")
	})
}

// TestImportDeletesNothing, not even later.
func TestImportDeletesNothing(t *testing.T) {
	eachFiltered(t, "Balance lt 10", "filterExit: delete", func(t *testing.T, w *world) {
		w.source.unfiltered = true
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 30")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.put("C2 Bob 20")
		res := w.run(syncer.Request{Op: syncer.Import})
		w.line(res, "all 1 new 0 updated 1 failed 0")
		if e := res.Entities[0]; e.Filtered != 2 || e.Read != 3 {
			t.Errorf("%+v, want 2 filtered of 3", e)
		}
		if list, err := w.syncer.PendingDeletes(t.Context(), "crm", 10); err != nil || len(list) != 0 {
			t.Errorf("pending deletes after an import: %v, %v", list, err)
		}
		w.table("C1 Ann 1", "C2 Bob 2")
		w.sync("all 1 new 0 updated 1 failed 0")
		w.table("C1 Ann 1")
	})
}

// TestPartialRecords: a delta may send changed fields only. What the filter
// needs is read again.
func TestPartialRecords(t *testing.T) {
	eachFiltered(t, "Blocked ne true", "filterExit: delete", func(t *testing.T, w *world) {
		put := func(fields ...string) { w.putFields("customers", fields, "No", "Name", "Balance", "Blocked") }
		put("C1", "Ann", "1", "false")
		put("C2", "Bob", "2", "false")
		put("C3", "Cid", "3", "false")
		w.sync("all 3 new 3 updated 0 failed 0")
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			for i := range p.Records {
				for j, name := range req.Fields {
					if name != "Name" && p.Records[i].Removed == kedge.Live {
						p.Records[i].Values[j] = kedge.Value{}
					}
				}
			}
		}
		put("C1", "Anna", "1", "false")
		put("C2", "Bob", "2", "true")
		w.sync("all 2 new 0 updated 2 failed 0")
		w.table("C1 Anna 1", "C3 Cid 3")
		if w.source.keyReads != 2 {
			t.Errorf("%d records were read again, want 2", w.source.keyReads)
		}
	})
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			for i := range p.Records {
				for j, name := range req.Fields {
					if name != "Name" {
						p.Records[i].Values[j] = kedge.Value{}
					}
				}
			}
		}
		w.put("C1 Anna 9")
		w.sync("all 1 new 0 updated 1 failed 0")
		w.table("C1 Anna 1", "C2 Bob 2")
		w.source.after = nil
		w.run(syncer.Request{Full: true})
		w.table("C1 Anna 9", "C2 Bob 2")
	})
}

func TestUncheckedFields(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		yaml := w.mapping(mappings)
		w.insertLocal("C1", "old", "7")
		w.save(strings.Replace(yaml, "local: balance}", "local: balance, enabled: false}", 1))
		w.source.page = func(req connectors.ReadRequest) error {
			for _, f := range req.Fields {
				if f == "Balance" {
					t.Error("an unchecked field was requested")
				}
			}
			return nil
		}
		w.put("C1 Ann 1", "C2 Bob 2")
		w.sync("all 2 new 1 updated 1 failed 0")
		w.table("C1 Ann 7", "C2 Bob -")

		// A field that is mapped later fills the rows that are there.
		w.source.page = nil
		w.save(yaml)
		w.sync("all 2 new 0 updated 2 failed 0")
		w.table("C1 Ann 1", "C2 Bob 2")
	})
}

// mapping returns that of some mappings, as they are written, which is in use.
func (w *world) mapping(all map[string]string) string {
	w.t.Helper()
	i, err := w.syncer.Mapping(w.t.Context(), "crm")
	w.check(err)
	for _, yaml := range all {
		if normal(w.t, yaml) == i.YAML {
			return yaml
		}
	}
	w.t.Fatal("another mapping is in use")
	return ""
}
