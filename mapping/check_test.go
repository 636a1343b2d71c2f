package mapping

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kedge-sync/kedge"
)

var checkExternal = []kedge.Field{field("Id", kedge.TypeString), field("Name", kedge.TypeString), field("Email", kedge.TypeString), field("Open", kedge.TypeBool),
	field("Amount", kedge.TypeDecimal), field("At", kedge.TypeTime), {Name: "Sum", Type: kedge.TypeDecimal, Computed: true, NativeType: "Edm.Decimal"}}

var checkLocal = []kedge.Field{field("id", kedge.TypeString), field("name", kedge.TypeString), field("email", kedge.TypeString), field("open", kedge.TypeBool),
	field("amount", kedge.TypeDecimal), field("at", kedge.TypeTime), {Name: "made", Type: kedge.TypeString, Computed: true},
	{Name: "need", Type: kedge.TypeString}, {Name: "state", Type: kedge.TypeInt, NativeType: "bigint", Nullable: true}, {Name: "guid", Type: kedge.TypeString, Format: kedge.FormatGUID, Nullable: true}}

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{ // want: "severity code side field: part of the message; part of the fix"
		{"fine", "    key: [{external: Id, local: id}]\n    fields: [{external: Name, local: name}]\n", ""},
		{"external field missing", "    fields: [{external: Nmae, local: name}]\n", "error external_field_missing external Nmae: A has no field Nmae; perhaps it is Name; else run Clean Up"},
		{"disabled field missing", "    fields: [{external: Nmae, local: name, enabled: false}]\n", ""},
		{"local field missing", "    fields: [{external: Name, local: nmae}]\n", "error local_field_missing local nmae: a has no field nmae; perhaps name"},
		{"external key missing", "    key: [{external: Nr, local: id}]\n", "error key_missing external Nr: key field Nr is not in A; external field Id"},
		{"local key missing", "    key: [{external: Id, local: nr}]\n", "error key_missing local nr: key field nr is not in a; local field id"},
		{"key of incompatible types", "    key: [{external: Id, local: id}, {external: Open, local: at}]\n", "error type_incompatible local at: Open is bool and at is time; matching type"},
		{"incompatible types", "    fields: [{external: Sum, local: open}]\n", "error type_incompatible local open: Sum is decimal (Edm.Decimal) and open is bool; matching type"},
		{"types that no value converts, with values", "    fields: [{external: Open, local: state, values: {false: 0, true: 1}}]\n", ""},
		{"value that does not fit", "    fields: [{external: Name, local: state, values: {a: b}}]\n", `error value_invalid mapping state: value for "a" does not fit; value map`},
		{"key of a value map that is no bool", "    fields: [{external: Open, local: state, values: {maybe: 0}}]\n", `error value_invalid mapping state: value "maybe" is not a valid bool; value map`},
		{"value twice", "    fields: [{external: Amount, local: name, values: {1.0: a, 1.00: b}}]\n", `error value_invalid mapping name: there twice; value map`},
		{"default that does not fit", "    fields: [{external: Name, local: state, default: x}]\n", "error value_invalid mapping state: default of state does not fit; type int"},
		{"null for a required field", "    fields: [{local: need, constant: null}]\n", "error value_invalid mapping need: must have a value; type string"},
		{"local field twice", "    fields: [{external: Name, local: name}, {external: Email, local: name}]\n", "error local_field_twice local name: name is mapped twice; enabled: false"},
		{"filter", "    downloadFilter: Nope eq 1\n", "error filter_invalid external downloadFilter: downloadFilter; correct the filter"},
		{"filter of the wrong type", "    downloadFilter: Open eq 'x'\n", "error filter_invalid external downloadFilter: downloadFilter; correct the filter"},
		{"filter syntax", "    uploadFilter: open eq\n", "error filter_invalid local uploadFilter: uploadFilter; correct the filter"},
		{"upload filter has local names", "    uploadFilter: Name eq 'x'\n", "error filter_invalid local uploadFilter: uploadFilter; correct the filter"},
		{"expression", "    fields: [{external: Name, local: name, expr: {download: upper(valeu)}}]\n", "error expression_invalid mapping name: valeu; correct the expression"},
		{"upload expression", "    direction: bidirectional\n    fields: [{external: Name, local: name, expr: {download: upper(value), upload: nope(value)}}]\n", "error expression_invalid mapping name: expr.upload; correct the expression"},
		{"lookup target", "    fields: [{external: Name, local: name, lookup: {entity: contcats}}]\n", "error lookup_target_missing mapping name: contcats is not in this mapping; map that entity"},
		{"lookup by an unknown field", "    fields: [{external: Name, local: name, lookup: {entity: a, fields: Nr}}]\n", "error lookup_target_missing external name: A has no field Nr; other fields"},
		{"lookup of incompatible types", "    fields: [{external: Open, local: name, lookup: {entity: a, fields: At}}]\n", "error type_incompatible external Open: Open is bool and At of A is time; holds the key"},
		{"not one to one", "    direction: bidirectional\n    fields: [{external: Name, local: state, values: {a: 1, b: 1}}]\n", "error not_invertible mapping state: same local value; direction: download"},
		{"not one to one, download", "    fields: [{external: Name, local: state, values: {a: 1, b: 1}}]\n", ""},
		{"not one to one, field direction", "    direction: bidirectional\n    fields: [{external: Name, local: state, direction: download, values: {a: 1, b: 1}}]\n", ""},
		{"one expression", "    direction: bidirectional\n    fields: [{external: Name, local: name, expr: {download: upper(value)}}]\n", "error not_invertible mapping name: one direction only; direction: download"},
		{"both expressions", "    direction: bidirectional\n    fields: [{external: Name, local: name, expr: {download: upper(value), upload: lower(value)}}]\n", ""},
		{"conversion that does not come back", "    direction: bidirectional\n    fields: [{external: Name, local: amount}]\n", "error not_invertible mapping amount: string to decimal; direction: download"},
		{"conversion that comes back", "    direction: bidirectional\n    fields: [{external: Amount, local: name}]\n", ""},
		{"constant in a bidirectional entity", "    direction: bidirectional\n    fields: [{local: name, constant: x}]\n", ""},
		{"read-only external field", "    direction: bidirectional\n    fields: [{external: Sum, local: amount}]\n", "note read_only_field external Sum: only downloaded;"},
		{"upload of incompatible types", "    fields: [{external: Amount, local: open, direction: upload}]\n", "error type_incompatible local open: Amount is decimal and open is bool; matching type"},
		{"upload to a read-only field", "    fields: [{external: Sum, local: amount, direction: upload}]\n", "error read_only_field external Sum: not uploaded; another external field"},
		{"upload of values that do not fit", "    fields: [{external: Name, local: state, direction: upload, values: {a: b}}]\n", `error value_invalid mapping state: does not fit; value map`},
		{"upload expression alone", "    fields: [{external: Name, local: name, direction: upload, expr: {upload: nope(value)}}]\n", "error expression_invalid mapping name: expr.upload; correct the expression"},
		{"computed local field", "    fields: [{external: Name, local: made}]\n", "error read_only_field local made: cannot be written; another local field"},
		{"computed local field, uploaded", "    direction: bidirectional\n    fields: [{external: Name, local: made}]\n", "note read_only_field local made: cannot be written;"},
		{"upload entity", "    direction: upload\n    fields: [{external: Amount, local: name, expr: {upload: decimal(value)}}, {external: Open, local: state, values: {false: 0, true: 1}}]\n", ""},
		{"upload without an expression for it", "    direction: upload\n    fields: [{external: Name, local: name, expr: {download: upper(value)}}]\n", "error not_invertible mapping name: no expression for the upload; give expr.upload"},
		{"upload field without an expression for it", "    fields: [{external: Name, local: name, direction: upload, expr: {download: upper(value)}}]\n", "error not_invertible mapping name: no expression for the upload; give expr.upload"},
		{"upload of values that are not one to one", "    direction: upload\n    fields: [{external: Name, local: state, values: {a: 1, b: 1}}]\n", "error not_invertible mapping state: same local value; direction: download"},
		{"upload of a constant", "    fields: [{local: name, direction: upload, constant: x}]\n", "error not_invertible mapping name: no external field; direction: upload"},
		{"upload that does not come back, but needs not", "    direction: upload\n    fields: [{external: Name, local: amount}]\n", ""},
		{"two nulls", "    direction: bidirectional\n    fields: [{external: Name, local: state, values: {a: null, b: null}}]\n", "error not_invertible mapping state: same local value; direction: download"},
		{"guid in capitals", "    direction: bidirectional\n    fields: [{external: Name, local: guid}]\n", "error not_invertible mapping guid: lower case; direction: download"},
		{"guid in capitals that do not matter", "    direction: bidirectional\n    fields: [{external: Name, local: guid, compare: nocase}]\n", ""},
		{"external field twice", "    direction: bidirectional\n    fields: [{external: Name, local: name}, {external: Name, local: email}]\n", "error external_field_twice external Name: from name and from email; direction: download"},
		{"external field twice, one only down", "    direction: bidirectional\n    fields: [{external: Name, local: name}, {external: Name, local: email, direction: download}]\n", ""},
		{"external field twice, of a lookup", "    direction: bidirectional\n    fields: [{external: Name, local: name}, {external: Name, local: email, lookup: {entity: a}}]\n", "error external_field_twice external Name: from name and from email; direction: download"},
		{"one local field down and up", "    fields: [{external: Name, local: name}, {external: Email, local: name, direction: upload}]\n", "error local_field_twice local name: name is mapped twice; enabled: false"},
		{"default without an external form", "    direction: bidirectional\n    fields: [{external: Open, local: state, values: {false: 0, true: 1}, default: 7}]\n", "error value_invalid mapping state: no form on the external side; both sides"},
		{"default without an external form, download", "    fields: [{external: Open, local: state, values: {false: 0, true: 1}, default: 7}]\n", ""},
		{"upload of a lookup of incompatible types", "    fields: [{external: Open, local: name, direction: upload, lookup: {entity: a, fields: At}}]\n", "error type_incompatible external Open: Open is bool and At of A is time; holds the key"},
		{"computed local field with one expression, uploaded", "    direction: bidirectional\n    fields: [{external: Name, local: made, expr: {upload: upper(value)}}]\n", "note read_only_field local made: cannot be written;"},
		{"key that is not unique", "    key: [{external: Email, local: id}]\n", "warning key_not_unique external Email: A does not keep the key unique; external field Id"},
		{"local key that is not unique", "    key: [{external: Id, local: email}]\n", "warning key_not_unique local email: a does not keep the key unique; local field id"},
		{"version", "    version: Nope\n", "error external_field_missing external Nope: A has no field Nope; Clean Up"},
		{"stamps", "    conflict: {policy: newest_wins, modified: {external: At, local: name}}\n", "error type_incompatible local name: needs a time; last change"},
		{"soft value", "    deletes: {download: soft, soft: {field: state, value: gone}}\n", "error value_invalid mapping state: deletes.soft.value; type int"},
		{"soft upload of an unmapped field", "    deletes: {upload: soft, soft: {field: state, value: 1}}\n", "error not_invertible mapping state: to be uploaded; direction upload"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, ext, loc := mappingFor(t, checkExternal, checkLocal, tt.yaml)
			got := Check(m, ext, loc)
			if tt.want == "" {
				if len(got) > 0 {
					t.Errorf("got %+v, want no finding", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("got %d findings %+v, want one", len(got), got)
			}
			f := got[0]
			head, rest, _ := strings.Cut(tt.want, ": ")
			message, fix, _ := strings.Cut(rest, ";")
			if h := strings.Join([]string{string(f.Severity), string(f.Code), string(f.Side), f.Field}, " "); h != head {
				t.Errorf("got %s, want %s", h, head)
			}
			if !strings.Contains(f.Message, message) || !strings.Contains(f.Fix, strings.TrimSpace(fix)) || f.Entity != "a" {
				t.Errorf("got %+v, want %s", f, tt.want)
			}
			if plan, err := Compile(m, ext, loc, noonUTC); err != nil || (len(plan.Held["a"]) > 0) != (f.Severity == SeverityError) {
				t.Errorf("Compile: %v, held %+v; want what Check found", err, plan.Held)
			}
		})
	}
}

var noonUTC = at("2026-01-02T12:00:00Z").Time()

func TestCheckEntities(t *testing.T) {
	m, ext, loc := mappingFor(t, checkExternal, checkLocal, `  - {external: Gone, local: a, name: one}
  - {external: A, local: aa, name: two}
  - {external: A, local: integration_log, name: three}
  - {external: Gone, local: gone, name: four, enabled: false}
`)
	ext.Entities[0].Delta = false
	got := map[string][]Code{}
	for _, f := range Check(m, ext, loc) {
		got[f.Entity] = append(got[f.Entity], f.Code)
	}
	want := map[string][]Code{"a": {VersionMissing}, "one": {ExternalEntityMissing}, "two": {LocalEntityMissing}, "three": {TechnicalEntity, LocalEntityMissing}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Check (-want +got):\n%s", diff)
	}
	if refused := Refusals(Check(m, ext, loc)); len(refused) != 1 || refused[0].Code != TechnicalEntity {
		t.Errorf("Refusals = %+v, want the technical entity only: missing items may be saved", refused)
	}
}

// TestCheckOneSide: a missing entity does not hide what else is missing.
func TestCheckOneSide(t *testing.T) {
	m, ext, loc := mappingFor(t, checkExternal, checkLocal, `  - {external: A, local: gone, name: one, key: [{external: Nr, local: nr}], fields: [{external: Nmae, local: x}, {external: Name, local: y}]}
  - {external: Gone, local: a, name: two, key: [{external: Nr, local: nr}], fields: [{external: x, local: nmae}, {external: y, local: name}]}
`)
	got := map[string][]string{}
	for _, f := range Check(m, ext, loc) {
		got[f.Entity] = append(got[f.Entity], string(f.Code)+" "+f.Field)
	}
	want := map[string][]string{"one": {"local_entity_missing ", "key_missing Nr", "external_field_missing Nmae"},
		"two": {"external_entity_missing ", "key_missing nr", "local_field_missing nmae"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Check (-want +got):\n%s", diff)
	}
}

func TestCleanUp(t *testing.T) {
	m, ext, loc := mappingFor(t, checkExternal, checkLocal, `    key: [{external: OldId, local: id}]
    alternateKeys: [[{external: OldMail, local: email}], [{external: Email, local: email}]]
    version: OldVersion
    note: stays
    fields:
      - {external: Name, local: name}
      - {external: OldName, local: need}
      - {external: [Name, OldName], local: email, lookup: {entity: a, fields: [Name, Email]}}
      - {external: Amount, local: gone}
      - {external: Id, local: state, lookup: {entity: other}}
  - {name: other, external: Gone, local: a}
`)
	cleaned, done := CleanUp(m, Check(m, ext, loc))
	var fields []string
	for _, f := range cleaned.Entities[0].Fields {
		fields = append(fields, f.Local)
	}
	if want := []string{"name", "gone", "state"}; !slices.Equal(fields, want) {
		t.Errorf("fields left = %v, want %v: local items stay", fields, want)
	}
	e := cleaned.Entities[0]
	if len(cleaned.Entities) != 1 || len(e.Key) != 1 || len(e.AlternateKeys) != 1 || e.Version != "" || e.Note != "stays" || !e.Fields[2].Disabled {
		t.Errorf("cleaned = %+v; want other gone and its lookup disabled, the key kept, the missing alternate key and version gone", cleaned.Entities)
	}
	if len(done) == 0 || m.Entities[0].Version == "" || len(m.Entities) != 2 || m.Entities[0].Fields[4].Disabled {
		t.Errorf("done = %v and the old mapping %+v; want findings, and the old mapping as it was", done, m)
	}
	again, done := CleanUp(cleaned, Check(cleaned, ext, loc))
	if again != cleaned || done != nil {
		t.Errorf("second CleanUp gave %v, want the same mapping and nothing done", done)
	}
}

func TestOnlyAndMerge(t *testing.T) {
	m, _, _ := mappingFor(t, nil, nil, "    note: first\n  - {external: B, local: b}\n")
	m.Drift, m.Note = DriftHold, "top"
	one, err := m.Only("a")
	if err != nil {
		t.Fatal(err)
	}
	one, err = Parse("one.yaml", one.Marshal())
	if err != nil || len(one.Entities) != 1 {
		t.Fatalf("Only: %+v, %v; want one entity", one, err)
	}
	one.Entities[0].Note = "changed"
	merged, err := m.Merge(one)
	if err != nil {
		t.Fatal(err)
	}
	if merged.Entities[0].Note != "changed" || len(merged.Entities) != 2 || merged.Drift != DriftHold || merged.Note != "top" || m.Entities[0].Note != "first" {
		t.Errorf("merged = %+v, want only entity a changed, in a copy", merged)
	}
	if !bytes.Equal((&Mapping{Entities: merged.Entities[1:]}).Marshal(), (&Mapping{Entities: m.Entities[1:]}).Marshal()) {
		t.Error("Merge touched another entity")
	}
	if _, err := m.Only("zzz"); kedge.KindOf(err) != kedge.NotFound {
		t.Errorf("Only of an unknown entity: %v, want not found", err)
	}
	full := &Mapping{Entities: make([]Entity, MaxEntities)}
	if _, err := full.Merge(&Mapping{Entities: []Entity{{Name: "new"}}}); kedge.KindOf(err) != kedge.Invalid {
		t.Errorf("Merge past the limit: %v, want invalid", err)
	}
}

// TestCheckReadOnlyEntity refuses uploads to what nobody can write, and only
// those.
func TestCheckReadOnlyEntity(t *testing.T) {
	loc := &kedge.Schema{Entities: []kedge.Entity{{Name: "a", Key: []string{"id"}, Fields: checkLocal}}}
	for direction, want := range map[Direction]string{Download: "", Upload: "read_only_entity", Bidirectional: "read_only_entity"} {
		for _, able := range []kedge.Entity{{}, {Insert: true}, {Update: true}, {Upsert: true}, {Delete: true}} {
			able.Name, able.Key, able.Fields, able.Delta = "A", []string{"Id"}, checkExternal, true
			m, err := Parse("test", []byte("kedge: mapping/v1\nentities:\n  - external: A\n    local: a\n    direction: "+string(direction)+"\n    key: [{external: Id, local: id}]\n    fields: [{external: Name, local: name}]\n"))
			if err != nil {
				t.Fatal(err)
			}
			got, want := "", want
			for _, f := range Check(m, &kedge.Schema{Entities: []kedge.Entity{able}}, loc) {
				got += string(f.Code)
			}
			if able.Insert || able.Update || able.Upsert || able.Delete {
				want = ""
			}
			if got != want {
				t.Errorf("%s of an entity with insert %v, update %v, upsert %v, delete %v: findings %q, want %q", direction, able.Insert, able.Update, able.Upsert, able.Delete, got, want)
			}
		}
	}
}
