package csdl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
)

const cases = "../../../testdata/csdl/"

// TestGolden reads hand-written services in both formats: the entities are
// those of the .txt file, and both give the same hash.
func TestGolden(t *testing.T) {
	for _, name := range []string{"northwind", "dynamics"} {
		want, err := os.ReadFile(cases + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		var hashes []string
		for _, ext := range []string{".xml", ".json"} {
			m := parseFile(t, cases+name+ext)
			if d := cmp.Diff(string(want), dump(m)); d != "" {
				t.Errorf("%s%s differs from %s.txt (- want, + got):\n%s", name, ext, name, d)
			}
			hashes = append(hashes, m.Hash)
		}
		if hashes[0] != hashes[1] || len(hashes[0]) != 32 {
			t.Errorf("%s: hashes of XML and JSON are %v, want two equal ones", name, hashes)
		}
	}
}

func parseFile(t testing.TB, path string) *csdl.Model {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := csdl.Parse(body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

// dump describes a model line by line, leaving out what is zero.
func dump(m *csdl.Model) string {
	var b strings.Builder
	fmt.Fprintf(&b, "container %s batch %v keyAsSegment %v\n", m.Container, m.Batch, m.KeyAsSegment)
	for _, n := range m.Notices {
		fmt.Fprintf(&b, "notice %s\n", n)
	}
	for i := range m.Sets {
		dumpSet(&b, m, &m.Sets[i])
	}
	return b.String()
}

func dumpSet(b *strings.Builder, m *csdl.Model, s *csdl.Set) {
	e := m.Entity(s)
	fmt.Fprintf(b, "\nset %s of %s", s.Name, s.TypeName)
	flag := func(name string, on bool) {
		if on {
			b.WriteString(" " + name)
		}
	}
	flag("open", s.Open)
	flag("insert", e.Insert)
	flag("update", e.Update)
	flag("delete", e.Delete)
	fmt.Fprintf(b, "\n  key %v alternate %v\n  hints %+v\n", e.Key, e.AlternateKeys, s.Hints)
	for _, n := range s.Navigations {
		fmt.Fprintf(b, "  navigation %s to %q %s %v", n.Name, n.Target, n.TargetType, n.Constraints)
		flag("collection", n.Collection)
		flag("nullable", n.Nullable)
		b.WriteString("\n")
	}
	for _, f := range e.Fields {
		fmt.Fprintf(b, "  field %s %v", f.Name, f.Type)
		flag(string(f.Format), f.Format != kedge.FormatNone)
		fmt.Fprintf(b, " (%s)", f.NativeType)
		flag(fmt.Sprintf("title=%q", f.Title), f.Title != "")
		flag("nullable", f.Nullable)
		flag(fmt.Sprintf("max=%d", f.MaxLength), f.MaxLength != 0)
		flag(fmt.Sprintf("precision=%d", f.Precision), f.Precision != 0)
		flag(fmt.Sprintf("scale=%d", f.Scale), f.Scale != 0)
		flag("readonly", f.ReadOnly)
		flag("computed", f.Computed)
		flag("immutable", f.Immutable)
		flag(fmt.Sprintf("members=%v", f.Enum), f.Enum != nil)
		for _, l := range f.Lookup {
			fmt.Fprintf(b, " -> %s.%s by %s", l.Entity, l.Field, l.Navigation)
		}
		b.WriteString("\n")
	}
}

func TestProperties(t *testing.T) {
	m := parseFile(t, cases+"northwind.xml")
	s := m.Set("Customers")
	if s == nil || m.Set("customers") != nil || m.Set("Me") != nil {
		t.Fatalf("Set: Customers %v, customers %v, Me %v; want only the first", s, m.Set("customers"), m.Set("Me"))
	}
	for _, tt := range []struct {
		path                      string
		complex, parts, writeOnly bool
	}{
		{"Address", true, true, false},
		{"Address/City", false, false, false},
		{"Address/Country", true, true, false},
		{"Address/Country/Region", true, false, false}, // the fourth part would be too deep
		{"Address/Former", true, false, false},         // recursive
		{"Tags", true, false, false},
		{"Secret", false, false, true},
	} {
		p := s.Property(tt.path)
		if p == nil {
			t.Errorf("no property %s", tt.path)
		} else if p.Complex != tt.complex || p.Parts != tt.parts || p.WriteOnly != tt.writeOnly {
			t.Errorf("%s: complex %v, parts %v, write only %v; want %v", tt.path, p.Complex, p.Parts, p.WriteOnly, tt)
		}
	}
	for _, path := range []string{"Logo", "Hidden", "Address/Country/Region/Name", "Address/Former/City", "Discount"} {
		if s.Property(path) != nil {
			t.Errorf("property %s is there, want it left out", path)
		}
	}
	if p := m.Set("Orders").Property("Status"); p.EnumType != "Shop.Model.Status" || !p.EnumFlags || p.Edm != "Edm.String" {
		t.Errorf("Status: type %q, flags %v, %q", p.EnumType, p.EnumFlags, p.Edm)
	}
}

func TestCast(t *testing.T) {
	m := parseFile(t, cases+"northwind.json")
	s := m.Set("Customers")
	for _, name := range []string{"Shop.Model.BigCustomer", "self.BigCustomer"} {
		cast, err := m.Cast(s, name)
		if err != nil {
			t.Fatal(err)
		}
		if cast.Property("Discount") == nil || cast.Property("ID") == nil || cast.TypeName != "Shop.Model.BigCustomer" || cast.Name != "Customers" {
			t.Errorf("Cast(%s) = %s of %s with %d properties", name, cast.Name, cast.TypeName, len(cast.Properties))
		}
	}
	for name, want := range map[string]kedge.Kind{"self.Order": kedge.Invalid, "self.Nobody": kedge.NotFound, "self.Address": kedge.NotFound} {
		if _, err := m.Cast(s, name); kedge.KindOf(err) != want {
			t.Errorf("Cast(%s) = %v, want kind %v", name, err, want)
		}
	}
}

// shared returns a file of the test data that the repository does not hold.
func shared(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("../../../../shared/data/csdl", name))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("needs ../shared/data: %v", err)
	}
	return body
}
