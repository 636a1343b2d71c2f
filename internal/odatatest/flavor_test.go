package odatatest

import (
	"encoding/json"
	"strings"
	"testing"
)

// Business Central keeps its sets in companies, has no delta links and refuses
// an or over different fields.
func TestBusinessCentral(t *testing.T) {
	s := New(Options{Flavor: BusinessCentral, Rows: 5})
	url := s.Start(t)
	wantText(t, "root", url[strings.Index(url, "/api"):], "/api/v2.0/")
	var list struct{ Value []struct{ ID, Name string } }
	for _, query := range []string{"?$filter=name%20eq%20'CRONUS%20International%20Ltd.'", "?$filter=name%20ne%20'CRONUS%20International%20Ltd.'"} {
		var one struct{ Value []struct{ ID, Name string } }
		if err := json.Unmarshal([]byte(get(t, url+"companies"+query).raw), &one); err != nil || len(one.Value) != 1 {
			t.Fatalf("companies%s: %v, %v", query, one, err)
		}
		list.Value = append(list.Value, one.Value...)
	}
	if n := len(getPage(t, url+"companies?$select=id,name").Value); n != 2 {
		t.Errorf("%d companies, want 2", n)
	}
	first := url + "companies(" + list.Value[0].ID + ")/"
	d := getPage(t, first+"customers?$select=No", "Prefer", "odata.maxpagesize=2,odata.track-changes")
	if !strings.HasPrefix(d.Next, first+"customers?") || d.Delta != "" {
		t.Errorf("next link %s, want it in the company", d.Next)
	}
	rows, _, delta := readAll(t, d.Next)
	if len(rows) != 3 || delta != "" {
		t.Errorf("got %d more rows and delta link %q, want 3 and none", len(rows), delta)
	}
	for path, want := range map[string]int{
		"companies(" + list.Value[0].ID + ")/customers('C00001')":    200,
		"companies(id=" + list.Value[0].ID + ")/customers('C00001')": 200,
		"Company('CRONUS%20International%20Ltd.')/customers":         200,
		"Company('Nobody')/customers":                                404,
		"companies(" + list.Value[1].ID + ")/customers('C00001')":    404,
		"companies(" + list.Value[0].ID + ")":                        200,
		"Company('Nobody')":                                          501,
		"companies(x)/customers":                                     404,
		"customers":                                                  404,
		"companies(" + list.Value[0].ID + ")/nope":                   404,
		"companies(" + list.Value[0].ID + ")/customers?$filter=No%20eq%20'1'%20or%20Name%20eq%20'1'": 400,
		"companies(" + list.Value[0].ID + ")/customers?$filter=No%20eq%20'1'%20or%20No%20eq%20'2'":   200,
		"$metadata": 200,
		"":          200,
	} {
		if r := get(t, url+path); r.status != want {
			t.Errorf("GET %s: status %d, want %d: %s", path, r.status, want, r.raw)
		}
	}
	other := getPage(t, url+"companies("+list.Value[1].ID+")/customers?$count=true")
	if len(other.Value) != 0 || *other.Count != 0 {
		t.Errorf("the other company has %d rows and count %d, want none", len(other.Value), *other.Count)
	}
	if raw := get(t, url+"$metadata").raw; !strings.Contains(raw, `<EntitySet Name="companies" EntityType="Microsoft.NAV.company">`) {
		t.Error("the metadata has no companies")
	}
}

// Dataverse names the property of a lookup after its navigation, has a text
// beside it, and refuses change tracking with other options.
func TestDataverse(t *testing.T) {
	s := New(Options{Flavor: Dataverse, Rows: 3})
	url := s.Start(t)
	r := get(t, url+"customers('C00001')?$select=_primarycontactno_value,primarycontactnoname&$expand=primarycontactno($select=No)")
	if !strings.Contains(r.raw, `"_primarycontactno_value":"K00001","primarycontactnoname":"The one with number K00001","primarycontactno":{`) {
		t.Errorf("got %s, want the value, its text and the navigation", r.raw)
	}
	raw := get(t, url+"$metadata").raw
	for _, want := range []string{
		`<NavigationProperty Name="primarycontactno" Type="Microsoft.Dynamics.CRM.contact">`,
		`<ReferentialConstraint Property="_primarycontactno_value" ReferencedProperty="No"/>`,
	} {
		if !strings.Contains(raw, want) {
			t.Errorf("the metadata has no %s", want)
		}
	}
	for query, want := range map[string]int{"": 200, "?$select=No": 200, "?$top=1": 400, "?$orderby=No": 400, "?$filter=No%20eq%20'1'": 400, "?$expand=primarycontactno": 400} {
		if r := get(t, url+"customers"+query, "Prefer", "odata.track-changes"); r.status != want {
			t.Errorf("track-changes with %q: status %d, want %d", query, r.status, want)
		}
	}
}

func TestUnknownOptions(t *testing.T) {
	for _, o := range []Options{{Flavor: "x"}, {Version: "4.1"}, {Faults: []string{"x=1"}}} {
		if o.Check() == nil {
			t.Errorf("%+v is not refused", o)
		}
	}
	if err := (&Options{Flavor: "generic"}).Check(); err != nil {
		t.Error(err)
	}
}
