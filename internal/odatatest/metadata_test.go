package odatatest

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldenSets have what CSDL can say of a set here: all types, complex types, a
// lookup of one and of two properties, an alternate key.
func goldenSets() []kedge.Entity {
	parts := kedge.Entity{Name: "parts", Key: []string{"No", "Line"}, AlternateKeys: [][]string{{"Label"}}, Fields: []kedge.Field{
		{Name: "No", Type: kedge.TypeString, MaxLength: 20, Immutable: true}, {Name: "Line", Type: kedge.TypeInt},
		{Name: "Label", Title: `A "label" & more`, Type: kedge.TypeString},
		{Name: "Parent", Type: kedge.TypeString, Nullable: true, Lookup: []kedge.LookupTarget{{Entity: "parts", Field: "No"}}},
		{Name: "ParentLine", Type: kedge.TypeInt, Nullable: true, Lookup: []kedge.LookupTarget{{Entity: "parts", Field: "Line"}}},
		{Name: "ValueId", Type: kedge.TypeInt, Lookup: []kedge.LookupTarget{{Entity: "values", Field: "k"}, {Entity: "gone", Field: "k"}}},
	}}
	return []kedge.Entity{allTypes(), parts}
}

// CSDL XML and CSDL JSON 4.01. The files were read against the documents by
// eye; -update shows what a change does to them.
func TestMetadata(t *testing.T) {
	url := New(Options{Entities: goldenSets()}).Start(t)
	for _, tt := range []struct{ file, path, accept, contentType string }{
		{"metadata.xml", "$metadata", "application/xml", "application/xml"},
		{"metadata.xml", "$metadata", "", "application/xml"},
		{"metadata.xml", "$metadata?$format=xml", "application/json", "application/xml"},
		{"metadata.json", "$metadata", "application/json", "application/json"},
		{"metadata.json", "$metadata?$format=json", "application/xml", "application/json"},
		{"metadata.json", "$metadata?$format=application/json;IEEE754Compatible=true", "", "application/json"},
	} {
		r := get(t, url+tt.path, "Accept", tt.accept)
		if r.header.Get("Content-Type") != tt.contentType {
			t.Errorf("%s with Accept %q: type %s, want %s", tt.path, tt.accept, r.header.Get("Content-Type"), tt.contentType)
		}
		got := r.raw
		if tt.contentType == "application/json" {
			got = indent(t, got)
		}
		golden(t, tt.file, got)
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := "testdata/" + file
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s", file, got)
	}
}

func indent(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n"
}

// Whatever names and titles hold, the XML is well-formed.
func TestMetadataIsWellFormed(t *testing.T) {
	for _, o := range []Options{{}, {Flavor: BusinessCentral}, {Flavor: Dataverse}, {Version: V401}, {NoVersion: true}, {Quirks: []string{OddConstraint}}, {Entities: goldenSets()}} {
		s := New(o)
		d := xml.NewDecoder(strings.NewReader(string(s.metadataXML())))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
		}
		if !json.Valid(s.metadataJSON()) {
			t.Errorf("%+v: the JSON is not valid", o)
		}
	}
}

// JSON Format 4.01, section 5.
func TestServiceDocument(t *testing.T) {
	_, url := newThings(t, 0, Options{})
	wantText(t, "service document", relative(get(t, url).raw, url),
		`{"@odata.context":"ROOT/$metadata","value":[{"name":"things","kind":"EntitySet","url":"things"}]}`)
	r := get(t, url, "Accept", "application/json;odata.metadata=none")
	wantText(t, "without metadata", r.raw, `{"value":[{"name":"things","kind":"EntitySet","url":"things"}]}`)
}
