package mapping_test

import (
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

const simple = `kedge: mapping/v1
entities:
  - name: customers
    external: RescoCustomer
    local: account
    key: [{external: No, local: id, primary: true}]
    fields:
      - {external: Name, local: name}
      - {external: Balance, local: balance, default: "0.00"}
      - {external: Status, local: statecode, values: {Open: 0, Closed: 1}}
      - {external: Contact, local: contactid, lookup: {entity: contacts}}
      - {local: short, expr: {download: 'upper(trim(record.Name)) + "!"'}}
      - {local: source, constant: bc}
  - {name: contacts, external: RescoContact, local: contact, key: [{external: No, local: id}]}
`

func simpleSchemas() (ext, loc *kedge.Schema) {
	str := func(n string) kedge.Field { return kedge.Field{Name: n, Type: kedge.TypeString, Nullable: true} }
	ext = &kedge.Schema{Entities: []kedge.Entity{
		{Name: "RescoContact", Fields: []kedge.Field{str("No"), str("Name")}, Key: []string{"No"}, Delta: true, Update: true},
		{Name: "RescoCustomer", Fields: []kedge.Field{str("No"), str("Name"), {Name: "Balance", Type: kedge.TypeDecimal, Nullable: true}, str("Status"), str("Contact")}, Key: []string{"No"}, Delta: true, Update: true},
	}}
	loc = &kedge.Schema{Entities: []kedge.Entity{
		{Name: "account", Fields: []kedge.Field{str("id"), str("name"), {Name: "balance", Type: kedge.TypeDecimal, Nullable: true},
			{Name: "statecode", Type: kedge.TypeInt, Nullable: true}, str("contactid"), str("short"), str("source")}, Key: []string{"id"}},
		{Name: "contact", Fields: []kedge.Field{str("id"), str("name")}, Key: []string{"id"}},
	}}
	return ext, loc
}

func compileSimple(t testing.TB) *mapping.Plan {
	t.Helper()
	m, err := mapping.Parse("simple.yaml", []byte(simple))
	if err != nil {
		t.Fatal(err)
	}
	ext, loc := simpleSchemas()
	plan, err := mapping.Compile(m, ext, loc, noon)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Held) > 0 {
		t.Fatalf("Held = %+v, want none", plan.Held)
	}
	return plan
}

func TestSimpleDownload(t *testing.T) {
	plan := compileSimple(t)
	if len(plan.Layers) != 2 || plan.Layers[0][0].Name != "contacts" || plan.Layers[1][0].Name != "customers" {
		t.Fatalf("Layers = %v, want contacts before customers", plan.Layers)
	}
	p := plan.Layers[1][0]
	if !p.SharedKey {
		t.Error("SharedKey = false, want true")
	}
	src := kedge.Record{Fields: p.ExternalFields, Values: make([]kedge.Value, p.ExternalFields.Len())}
	set := func(name string, v kedge.Value) { src.Values[p.ExternalFields.Index(name)] = v }
	set("No", kedge.String("C1"))
	set("Name", kedge.String(" Ann "))
	set("Balance", kedge.Decimal("19.90"))
	set("Status", kedge.String("Closed"))
	set("Contact", kedge.String("K1"))
	var dst kedge.Record
	if err := p.Download(&dst, &src, true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]kedge.Value{
		"id": kedge.String("C1"), "name": kedge.String(" Ann "), "balance": kedge.Decimal("19.90"), "statecode": kedge.Int(1),
		"contactid": {}, "short": kedge.String("ANN!"), "source": kedge.String("bc"),
	} {
		if got := dst.Get(name); !kedge.Equal(got, want) || got.Type() != want.Type() {
			t.Errorf("%s = %v %q, want %v %q", name, got.Type(), got.Text(), want.Type(), want.Text())
		}
	}
}
