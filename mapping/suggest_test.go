package mapping

import (
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

func TestSuggest(t *testing.T) {
	text, number := kedge.TypeString, kedge.TypeInt
	for _, tt := range []struct {
		name string
		ext  []kedge.Field
		loc  kedge.Field
		want string
	}{
		{"same name", []kedge.Field{field("name", text)}, field("name", text), "name"},
		{"case, spaces, underscores, hyphens", []kedge.Field{field("First-Name", text)}, field("first_name", text), "First-Name"},
		{"title", []kedge.Field{{Name: "cr_1", Title: "Phone number", Type: text}}, field("phoneNumber", text), "cr_1"},
		{"close enough", []kedge.Field{field("emailaddress", text)}, field("emailaddress1", text), "emailaddress"},
		{"not close enough", []kedge.Field{field("email", text)}, field("emailaddress1", text), ""},
		{"types must convert", []kedge.Field{field("open", kedge.TypeBool)}, field("open", number), ""},
		{"tie", []kedge.Field{field("first_name", text), field("firstname", text)}, field("FirstName", text), ""},
		{"best of two", []kedge.Field{field("emailaddress2", text), field("emailaddress1", text)}, field("emailaddress1", text), "emailaddress1"},
		{"read-only local field", []kedge.Field{field("name", text)}, kedge.Field{Name: "name", Type: text, ReadOnly: true}, ""},
	} {
		got := ""
		for _, s := range Suggest(&kedge.Entity{Fields: tt.ext}, &kedge.Entity{Fields: []kedge.Field{tt.loc}}) {
			got = s.External
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// account is the entity of the pitfall that the reference product warns of:
// the text field has the likelier name, the identifier is the right one.
func account() *kedge.Entity {
	return &kedge.Entity{Name: "account", Key: []string{"accountid"}, Delta: true, Update: true, Fields: []kedge.Field{
		{Name: "accountid", Type: kedge.TypeString, Format: kedge.FormatGUID}, field("name", kedge.TypeString),
		{Name: "primarycontactid", Title: "Primary Contact ID", Type: kedge.TypeString},
		{Name: "_primarycontactid_value", Type: kedge.TypeString, Format: kedge.FormatGUID},
	}}
}

var primaryContact = kedge.Field{Name: "primary_contact_id", Title: "Primary Contact", Type: kedge.TypeString, Nullable: true, Lookup: []kedge.LookupTarget{{Entity: "contact", Field: "id"}}}

func TestSuggestPrimaryContact(t *testing.T) {
	all := Suggest(account(), &kedge.Entity{Fields: []kedge.Field{primaryContact}})
	if len(all) != 1 || all[0].External != "_primarycontactid_value" || !all[0].Lookup {
		t.Fatalf("Suggest = %+v, want _primarycontactid_value", all)
	}
	if r := all[0].Rejected; len(r) != 1 || r[0].External != "primarycontactid" || !strings.Contains(r[0].Reason, "unique identifier") {
		t.Errorf("Rejected = %+v, want primarycontactid with its reason", r)
	}
	// Without the identifier the text is no candidate either, but is told.
	e := account()
	e.Fields = e.Fields[:3]
	if all := Suggest(e, &kedge.Entity{Fields: []kedge.Field{primaryContact}}); len(all) != 1 || all[0].External != "" || len(all[0].Rejected) != 1 {
		t.Errorf("Suggest = %+v, want none, with one rejection", all)
	}
}

// In Business Central keys are texts called No, so a text that ends in No is an identifier.
func TestSuggestNumberAsIdentifier(t *testing.T) {
	ext := &kedge.Entity{Key: []string{"No"}, Fields: []kedge.Field{field("No", kedge.TypeString), field("PrimaryContactNo", kedge.TypeString), field("PrimaryContact", kedge.TypeString)}}
	all := Suggest(ext, &kedge.Entity{Fields: []kedge.Field{primaryContact}})
	if len(all) != 1 || all[0].External != "PrimaryContactNo" || len(all[0].Rejected) != 1 || all[0].Rejected[0].External != "PrimaryContact" {
		t.Errorf("Suggest = %+v, want PrimaryContactNo and PrimaryContact rejected", all)
	}
}

func TestSuggestSharesNoField(t *testing.T) {
	ext := &kedge.Entity{Fields: []kedge.Field{field("address_line", kedge.TypeString)}}
	all := Suggest(ext, &kedge.Entity{Fields: []kedge.Field{field("addressline1", kedge.TypeString), field("addressline", kedge.TypeString)}})
	if len(all) != 1 || all[0].Local != "addressline" {
		t.Errorf("Suggest = %+v, want address_line for addressline only", all)
	}
	all = Suggest(ext, &kedge.Entity{Fields: []kedge.Field{field("addressline1", kedge.TypeString), field("addressline2", kedge.TypeString)}})
	if len(all) != 0 {
		t.Errorf("Suggest = %+v, want none, because two fields are equally like it", all)
	}
}

func TestLookupTextFieldWarns(t *testing.T) {
	ext := &kedge.Schema{Entities: []kedge.Entity{*account(), {Name: "contact", Key: []string{"contactid"}, Delta: true, Update: true,
		Fields: []kedge.Field{{Name: "contactid", Type: kedge.TypeString, Format: kedge.FormatGUID}, field("fullname", kedge.TypeString)}}}}
	loc := &kedge.Schema{Entities: []kedge.Entity{{Name: "account", Key: []string{"id"}, Fields: []kedge.Field{field("id", kedge.TypeString), primaryContact}},
		{Name: "contact", Key: []string{"id"}, Fields: []kedge.Field{field("id", kedge.TypeString)}}}}
	for external, want := range map[string][]Code{"primarycontactid": {LookupTextField}, "_primarycontactid_value": nil} {
		m, err := Parse("m.yaml", []byte("kedge: mapping/v1\nentities:\n  - external: account\n    local: account\n    fields: [{external: "+external+
			", local: primary_contact_id, lookup: {entity: contact, fields: fullname}}]\n  - {external: contact, local: contact}\n"))
		if err != nil {
			t.Fatal(err)
		}
		var got []Code
		for _, f := range Check(m, ext, loc) {
			got = append(got, f.Code)
			if f.Code == LookupTextField && !strings.Contains(f.Fix, "_primarycontactid_value") {
				t.Errorf("fix = %q, want it to name _primarycontactid_value", f.Fix)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: findings %v, want %v", external, got, want)
		}
	}
}
