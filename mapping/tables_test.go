package mapping

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kedge-sync/kedge"
)

func TestTables(t *testing.T) {
	m, ext, _ := mappingFor(t, []kedge.Field{{Name: "Id", Type: kedge.TypeString, MaxLength: 20}, {Name: "Price", Type: kedge.TypeDecimal, Precision: 10, Scale: 2},
		{Name: "State", Type: kedge.TypeString, Format: kedge.FormatEnum, Enum: []string{"Open"}, MaxLength: 4}, {Name: "Parent", Type: kedge.TypeString}, {Name: "At", Type: kedge.TypeTime}}, nil, `    key: [{external: Id, local: id, primary: true}]
    conflict: {modified: {external: At, local: modified}}
    deletes: {soft: {field: gone, value: true}}
    fields:
      - {external: Price, local: price}
      - {external: Price, local: rough, type: float}
      - {external: State, local: state}
      - {external: State, local: code, values: {Open: 0, Closed: null}}
      - {external: State, local: mixed, values: {Open: 0, Closed: x}}
      - {external: Parent, local: parent, lookup: {entity: a}}
      - {external: Parent, local: other, lookup: {entity: b}}
      - {external: Parent, local: unchecked, enabled: false}
      - {local: source, constant: bc}
      - {local: double, expr: {download: record.Price * 2}}
      - {local: late, expr: {download: record.At}}
      - {local: upper, expr: {download: upper(record.Parent)}}
      - {local: rich, expr: {download: record.Price > 100}}
  - {external: A, local: b, key: [{external: Id, local: pk}]}
  - {external: Gone, local: c}
`)
	null := func(name string, f kedge.Field) kedge.Field {
		f.Name, f.Nullable = name, true
		return f
	}
	want := []kedge.Entity{
		{Name: "a", Key: []string{"id"}, Fields: []kedge.Field{
			{Name: "id", Type: kedge.TypeString, MaxLength: 20},
			null("price", kedge.Field{Type: kedge.TypeDecimal, Precision: 10, Scale: 2}), null("rough", kedge.Field{Type: kedge.TypeFloat, Scale: -1}),
			null("state", kedge.Field{Type: kedge.TypeString}), null("code", kedge.Field{Type: kedge.TypeInt, Scale: -1}), null("mixed", kedge.Field{Type: kedge.TypeString, Scale: -1}),
			null("parent", kedge.Field{Type: kedge.TypeString, MaxLength: 20, Lookup: []kedge.LookupTarget{{Entity: "a", Field: "id"}}}),
			null("other", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatGUID, Lookup: []kedge.LookupTarget{{Entity: "b"}}}),
			null("source", kedge.Field{Type: kedge.TypeString}), null("double", kedge.Field{Type: kedge.TypeDecimal, Scale: -1}), null("late", kedge.Field{Type: kedge.TypeTime, Scale: -1}),
			null("upper", kedge.Field{Type: kedge.TypeString}), null("rich", kedge.Field{Type: kedge.TypeBool, Scale: -1}),
			null("modified", kedge.Field{Type: kedge.TypeTime}), null("gone", kedge.Field{Type: kedge.TypeBool}),
		}},
		{Name: "b", AlternateKeys: [][]string{{"pk"}}, Fields: []kedge.Field{null("pk", kedge.Field{Type: kedge.TypeString, MaxLength: 20})}},
	}
	if diff := cmp.Diff(want, Tables(m, ext)); diff != "" {
		t.Errorf("Tables (-want +got):\n%s", diff)
	}
}

// With the tables that it asks for, a mapping has no errors.
func TestTablesFitTheMapping(t *testing.T) {
	m, ext, _ := mappingFor(t, checkExternal, nil, driftRules)
	tables := Tables(m, ext)
	if got := errorsOf(Check(m, ext, &kedge.Schema{Entities: tables})); len(got) > 0 {
		t.Errorf("Check = %+v, want no error", got)
	}
}

func TestBusinessCentral(t *testing.T) {
	str := func(names ...string) (out []kedge.Field) {
		for _, n := range names {
			out = append(out, field(n, kedge.TypeString))
		}
		return out
	}
	ext := &kedge.Schema{Entities: []kedge.Entity{
		{Name: "Items", Key: []string{"No"}, Delta: true, Update: true, Fields: str("No")},
		{Name: "rescoContact", Key: []string{"No"}, Update: true, Fields: append(str("No", "name", "CustomerNo"), field("RowVersionNumber", kedge.TypeInt))},
		{Name: "rescoCustomer", Key: []string{"No"}, Delta: true, Update: true, Fields: str("No", "name", "HomePage", "PrimaryContacNo")},
		{Name: "rescoServiceOrder", Key: []string{"documentType", "no"}, Delta: true, Update: true, Fields: str("documentType", "no", "description", "customerNo")},
	}}
	m := BusinessCentral(ext)
	again, err := Parse("preset.yaml", m.Marshal())
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Marshal())
	}
	var got []string
	for _, e := range again.Entities {
		line := e.External + ">" + e.Local
		for _, p := range e.Key {
			line += " " + p.External + ">" + p.Local
		}
		got = append(got, line)
	}
	want := []string{"rescoCustomer>account No>integration_bc_pk", "rescoContact>contact No>integration_bc_pk",
		"rescoServiceOrder>fs_workorder documentType>integration_bc_pk1 no>integration_bc_pk2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("preset (-want +got):\n%s", diff)
	}
	if v := m.Entities[1].Version; v != "RowVersionNumber" {
		t.Errorf("version of contacts = %q, want RowVersionNumber", v)
	}
	loc := &kedge.Schema{Entities: append(Tables(m, ext), kedge.Entity{Name: "item", Key: []string{"id"}, Fields: str("id")})}
	if errs := errorsOf(Check(m, ext, loc)); len(errs) > 0 {
		t.Errorf("Check = %+v, want no error", errs)
	}
	m.Entities = append(m.Entities, Entity{External: "Items", Local: "item"}.withDefaults())
	found := Check(m, ext, loc)
	if last := found[len(found)-1]; last.Code != UnsupportedEntity || last.Severity != SeverityNote || last.Entity != "item" {
		t.Errorf("last finding = %+v, want unsupported_entity of item", last)
	}
}
