package syncer_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/syncer"
)

// findings returns what a check of a mapping says, as "severity code field".
func (w *world) findings(yaml string) []string {
	w.t.Helper()
	found, err := w.syncer.Check(w.t.Context(), &syncer.Integration{Name: "crm", External: "remote", Local: "local", YAML: yaml})
	w.check(err)
	list := []string{}
	for _, f := range found {
		list = append(list, strings.TrimSpace(string(f.Severity)+" "+string(f.Code)+" "+f.Field))
		if f.Message == "" || f.Entity == "" {
			w.t.Errorf("finding without entity or message: %+v", f)
		}
	}
	return list
}

// TestChecks looks at mappings against both live schemas, as a run does first.
func TestChecks(t *testing.T) {
	each(t, sharedKey, func(t *testing.T, w *world) {
		w.exec("ALTER TABLE customer ADD COLUMN day date")
		w.exec("ALTER TABLE customer ADD COLUMN contact text")
		change := func(old, now string) string {
			y := strings.Replace(sharedKey, old, now, 1)
			if y == sharedKey {
				t.Fatalf("%q is not in the mapping", old)
			}
			return y
		}
		for _, tt := range []struct {
			name, yaml string
			want       []string
		}{
			{"fine", sharedKey, nil},
			{"external field missing", change("external: Balance", "external: Balanc"), []string{"error external_field_missing Balanc"}},
			{"local field missing", change("local: balance", "local: balanc"), []string{"error local_field_missing balanc"}},
			{"another local field is chosen", change("local: balance", "local: contact"), nil},
			{"external entity missing", change("external: customers", "external: customer"), []string{"error external_entity_missing"}},
			{"local entity missing", change("local: customer", "local: client"), []string{"error local_entity_missing"}},
			{"external key missing", change(`external: "No"`, `external: "Number"`), []string{"error key_missing Number"}},
			{"local key missing", change(`local: "no"`, `local: "number"`), []string{"error key_missing number"}},
			{"types do not convert", change("external: Balance, local: balance", "external: Blocked, local: day"), []string{"error type_incompatible day"}},
			{"lookup without target", change("external: Balance, local: balance", "external: Contact, local: contact, lookup: {entity: people}"), []string{"error lookup_target_missing contact"}},
			{"local field twice", change("external: Balance, local: balance", "external: Balance, local: name"), []string{"error local_field_twice name"}},
			{"filter on an unknown field", change("    fields:", "    downloadFilter: Blockd eq true\n    fields:"), []string{"error filter_invalid downloadFilter"}},
			{"filter of a wrong type", change("    fields:", "    downloadFilter: Blocked eq 1\n    fields:"), []string{"error filter_invalid downloadFilter"}},
			{"technical entity", change("local: customer", "local: integration_log"), []string{"error technical_entity"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				var errors []string
				for _, f := range w.findings(tt.yaml) {
					if strings.HasPrefix(f, "error ") {
						errors = append(errors, f)
					}
				}
				if diff := cmp.Diff(tt.want, errors); diff != "" {
					t.Errorf("errors (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// TestOnlySavedMappingsCount: a check of edits that are not saved has no effect
// on runs.
func TestOnlySavedMappingsCount(t *testing.T) {
	each(t, sharedKey, func(t *testing.T, w *world) {
		w.put("C1 Ann 1")
		edited := strings.Replace(sharedKey, "      - {external: Balance, local: balance}\n", "", 1)
		w.findings(edited)
		w.sync("all 1 new 1 updated 0 failed 0")
		w.table("C1 Ann 1")
		w.save(edited)
		w.put("C2 Bob 2")
		w.run(syncer.Request{})
		w.table("C1 Ann 1", "C2 Bob -")
	})
}

// TestDownloadsWriteNothingThere, and imports ignore directions.
func TestDownloadsWriteNothingThere(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		w.customer("C1", "Ann", "P1", "C1")
		w.contact("P1", "Pat", "C1")
		before := w.anchorOf()
		for _, req := range []syncer.Request{{Op: syncer.Import}, {}, {Full: true}, {ForceDeletes: true}, {Op: syncer.Retry}} {
			w.run(req)
		}
		if after := w.anchorOf(); after != before {
			t.Errorf("the source was written to: %s, before %s", after, before)
		}
	})
}

// anchorOf returns the anchors of the source, which change with every write.
func (w *world) anchorOf() string {
	w.t.Helper()
	conn, err := w.opts.Connect(w.t.Context(), "remote", "")
	w.check(err)
	var text string
	for _, entity := range []string{"customers", "contacts"} {
		for page, err := range conn.Pages(w.t.Context(), connectors.ReadRequest{Entity: entity, Fields: []string{"Name"}}) {
			w.check(err)
			text += string(page.Anchor) + " "
		}
	}
	return text
}

// TestTechnicalTables: each entity that is downloaded has one anchor row, and
// the tables of the integration are no entities to map.
func TestTechnicalTables(t *testing.T) {
	eachLookup(t, func(t *testing.T, w *world) {
		for range 3 {
			w.run(syncer.Request{})
		}
		w.same("anchors", w.rows("integration_syncanchor", "entity", "direction"), "customer download", "person download")
		w.exec("DROP TABLE person")
		w.contact("P1", "Pat", "-")
		res := w.run(syncer.Request{})
		if res.State != syncer.Partial && res.State != syncer.Failed {
			t.Errorf("state %s without a local table", res.State)
		}
		w.same("anchors", w.rows("integration_syncanchor", "entity", "direction"), "customer download", "person download")
	})
}

// TestNothingToDo: an integration whose entities are all disabled says so.
func TestNothingToDo(t *testing.T) {
	each(t, strings.Replace(sharedKey, "    key:", "    enabled: false\n    key:", 1), func(t *testing.T, w *world) {
		_, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm"})
		if kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), "no enabled entity") {
			t.Errorf("%v, want that nothing is enabled", err)
		}
	})
}
