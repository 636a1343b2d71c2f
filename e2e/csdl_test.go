//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
)

const (
	ours   = "../testdata/csdl"
	shared = "../../shared/data/csdl"
)

// An edit makes a metadata document say what odata-csdl takes it to say, where
// that is not what kedge does.
type edit struct {
	why      string
	from, to string // a regular expression and its replacement
	times    int    // how often it must apply; 0 means at least once
}

const (
	noScale = "a decimal without Scale has no decimals by the standard, and odata-csdl writes that; " +
		"services that leave it out send some all the same, so kedge takes it as not said"
	nested = "a constraint inside a constraint is malformed: kedge leaves both out and says so, " +
		"odata-csdl warns and keeps them"
	noNullable = "XML leaves open whether a collection without Nullable holds null, JSON without $Nullable says no"
	twice      = "the file contradicts itself by giving the term twice: kedge takes the first, JSON can hold only one, the last"
)

// differences are all those between odata-csdl and kedge, by file.
var differences = map[string][]edit{
	"northwind.xml": {{noScale, `(<Property Name="Sum" Type="Edm.Decimal")`, `$1 Scale="0"`, 1}},
	"dynamics.xml": {{nested, `(<ReferentialConstraint Property="_parentcustomerid_value" ReferencedProperty="accountid")>` +
		`\s*<ReferentialConstraint [^>]*/>\s*</ReferentialConstraint>`, `$1/>`, 1}},
	"sap-sticky-v4.xml": {{noScale, `(<Property Name="(?:ConditionQuantity|MaxNmbrOfPartialDelivery)" Type="Edm.Decimal" [^/]*)/>`, `$1 Scale="0"/>`, 2}},
	"msgraph-v1.0.csdl": {
		{noNullable, `(<Property Name="[^"]*" Type="Collection\([^"]*\)")( ?/?>)`, `$1 Nullable="false"$2`, 0},
		{twice, `(?s)(<Annotations Target="microsoft.graph.directoryObject">.*?)` +
			`<Annotation Term="Org.OData.Capabilities.V1.FilterRestrictions">\s*<Record>\s*<PropertyValue Property="Filterable" Bool="false" />\s*</Record>\s*</Annotation>`, `$1`, 1},
	},
}

// notV4 are the files that kedge must refuse.
var notV4 = map[string]bool{"northwind-v2.xml": true}

// TestCSDL reads each metadata document twice, as XML with one of kedge's
// parsers, and with the other as the JSON that odata-csdl makes of it: the hash
// of the schema and all entities are the same.
func TestCSDL(t *testing.T) {
	for _, file := range documents(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if notV4[filepath.Base(file)] {
				if _, err := csdl.Parse(body); kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), "OData V2") {
					t.Fatalf("error %v, want that it is OData V2", err)
				}
				return
			}
			compare(t, apply(t, body, differences[filepath.Base(file)]), convert(t, file))
		})
	}
}

func documents(t *testing.T) []string {
	files, err := filepath.Glob(ours + "/*.xml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no metadata documents in %s: %v", ours, err)
	}
	entries, err := os.ReadDir(shared)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Log("without the documents of Graph and SAP, which this repository does not hold")
	} else if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, filepath.Join(shared, e.Name()))
	}
	return files
}

func apply(t *testing.T, body []byte, edits []edit) []byte {
	t.Helper()
	for _, e := range edits {
		from := regexp.MustCompile(e.from)
		if n := len(from.FindAll(body, -1)); n == 0 || e.times > 0 && n != e.times {
			t.Errorf("a difference applies %d times, want %d: %s", n, e.times, e.why)
		}
		body = from.ReplaceAll(body, []byte(e.to))
	}
	return body
}

func convert(t *testing.T, file string) []byte {
	t.Helper()
	cmd := exec.Command("node", "csdl.js", file)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("odata-csdl: %v\n%s", err, &problems)
	}
	return out
}

func compare(t *testing.T, asXML, asJSON []byte) {
	t.Helper()
	x, err := csdl.Parse(asXML)
	if err != nil {
		t.Fatalf("XML: %v", err)
	}
	j, err := csdl.Parse(asJSON)
	if err != nil {
		t.Fatalf("JSON: %v", err)
	}
	if len(x.Sets) == 0 || len(x.Sets) != len(j.Sets) {
		t.Fatalf("%d entity sets by XML, %d by JSON", len(x.Sets), len(j.Sets))
	}
	for i := range x.Sets {
		a := &x.Sets[i]
		b := j.Set(a.Name)
		if b == nil {
			t.Errorf("entity set %s is not in the JSON", a.Name)
		} else if d := cmp.Diff(x.Entity(a), j.Entity(b)) + cmp.Diff(*a, *b); d != "" {
			t.Errorf("%s differs (- XML, + JSON):\n%s", a.Name, d)
		}
	}
	if x.Hash != j.Hash {
		t.Errorf("the hash is %s by XML and %s by JSON", x.Hash, j.Hash)
	}
	if d := cmp.Diff(x.Notices, j.Notices); d != "" {
		t.Errorf("notices differ (- XML, + JSON):\n%s", d)
	}
}
