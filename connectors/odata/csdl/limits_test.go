package csdl_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
)

func wrap(content string) string {
	return `<Edmx Version="4.0"><DataServices><Schema Namespace="N">` + content + `</Schema></DataServices></Edmx>`
}

func TestInvalid(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"empty", "", "csdl.Parse: this is not an OData metadata document"},
		{"text", "hello", "csdl.Parse: this is not an OData metadata document"},
		{"HTML", "<!-- x --><html><body>Sign in</body></html>", "csdl.Parse: this is not an OData metadata document"},
		{"doctype", `<!DOCTYPE x [<!ENTITY a "b">]><Edmx Version="4.0"/>`, "csdl.Parse: metadata with a document type definition is refused"},
		{"doctype inside", wrap(`<!DOCTYPE x>`), "csdl.Parse: metadata with a document type definition is refused"},
		{"entity", wrap(`&a;`), "csdl.Parse: XML syntax error on line 1: invalid character entity &a;"},
		{"cut", wrap("")[:34], "csdl.Parse: metadata ends early"},
		{"cut in a tag", wrap("")[:30], "csdl.Parse: XML syntax error on line 1: unexpected EOF"},
		{"wrong end tag", `<Edmx Version="4.0"><DataServices></Edmx></DataServices>`, `csdl.Parse: end tag "Edmx" does not match`},
		{"two roots", `<Edmx Version="4.0"/><Edmx Version="4.0"/>`, "csdl.Parse: this is not an OData metadata document"},
		{"no version", `<Edmx/>`, `csdl.Parse: metadata version "" is not 4.0 or 4.01`},
		{"version 5", `<Edmx Version="5.0"/>`, `csdl.Parse: metadata version "5.0" is not 4.0 or 4.01`},
		{"version 1", `<Edmx Version="1.0"/>`, "this is an OData V2 service; kedge speaks OData 4.0 and 4.01"},
		{"old namespace", `<e:Edmx Version="4.0" xmlns:e="http://schemas.microsoft.com/ado/2007/06/edmx"/>`,
			"this is an OData V2 service; kedge speaks OData 4.0 and 4.01"},
		{"old schema", `<Edmx Version="4.0"><DataServices><Schema xmlns="http://schemas.microsoft.com/ado/2008/09/edm"/></DataServices></Edmx>`,
			"this is an OData V2 service; kedge speaks OData 4.0 and 4.01"},
		{"other charset", `<?xml version="1.0" encoding="iso-8859-1"?><Edmx Version="4.0"/>`,
			`csdl.Parse: xml: encoding "iso-8859-1" declared but Decoder.CharsetReader is nil`},
		{"JSON of something else", `{"value": []}`, "csdl.Parse: this is not an OData metadata document"},
		{"JSON cut", `{"$Version": "4.01"`, "csdl.Parse: metadata is not valid JSON"},
		{"JSON with a tail", `{"$Version": "4.01"} x`, "csdl.Parse: metadata goes on after its end"},
		{"JSON of version 3", `{"$Version": "3.0"}`, "this is an OData V2 service; kedge speaks OData 4.0 and 4.01"},
		{"JSON not UTF-8", "{\"$Version\": \"4.01\", \"\xff\": 1}", "csdl.Parse: metadata is not valid JSON"},
	} {
		_, err := csdl.Parse([]byte(tt.body))
		if err == nil || err.Error() != tt.want || kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("%s: got %v (%v), want %q (invalid)", tt.name, err, kedge.KindOf(err), tt.want)
		}
	}
}

func TestDepth(t *testing.T) {
	nest := func(n int) string { // Edmx, DataServices and Schema are 3
		return wrap(strings.Repeat("<x>", n-3) + strings.Repeat("</x>", n-3))
	}
	nestJSON := func(n int) string {
		return `{"$Version": "4.01", "N": ` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
	}
	for name, f := range map[string]func(int) string{"XML": nest, "JSON": nestJSON} {
		if _, err := csdl.Parse([]byte(f(csdl.MaxDepth))); err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		_, err := csdl.Parse([]byte(f(csdl.MaxDepth + 1)))
		if want := "csdl.Parse: metadata is nested deeper than 64"; err == nil || err.Error() != want {
			t.Errorf("%s one past: got %v, want %q", name, err, want)
		}
	}
}

// TestOddDocuments are read as far as they make sense.
func TestOddDocuments(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"no container", `<EntityType Name="A"/>`, "there is no entity container, so there are no entity sets"},
		{"base type cycle", `<EntityType Name="A" BaseType="N.B"><Key><PropertyRef Name="x"/></Key><Property Name="x" Type="Edm.Int32"/></EntityType>
			<EntityType Name="B" BaseType="N.A"/><EntityContainer Name="C"><EntitySet Name="S" EntityType="N.A"/></EntityContainer>`, ""},
		{"container cycle", `<EntityContainer Name="C" Extends="N.D"/><EntityContainer Name="D" Extends="N.C"/>`,
			"only the first of 2 entity containers is used: N.C"},
		{"set twice", `<EntityType Name="A"/><EntityContainer Name="C"><EntitySet Name="S" EntityType="N.A"/><EntitySet Name="S" EntityType="N.A"/></EntityContainer>`,
			"set S is left out: it has no name of its own"},
		{"key that is not there", `<EntityType Name="A"><Key><PropertyRef Name="y"/></Key><Property Name="x" Type="Edm.Int32"/></EntityType>
			<EntityContainer Name="C"><EntitySet Name="S" EntityType="N.A"/></EntityContainer>`,
			"set S is read-only: key property y is not a readable property"},
		{"property twice", `<EntityType Name="A"><Key><PropertyRef Name="x"/></Key><Property Name="x" Type="Edm.Int32"/><Property Name="x" Type="Edm.Int32"/></EntityType>
			<EntityContainer Name="C"><EntitySet Name="S" EntityType="N.A"/></EntityContainer>`,
			"set S: property x is left out: it has no name of its own"},
		{"complex cycle", `<ComplexType Name="P"><Property Name="p" Type="N.P"/><Property Name="x" Type="Edm.Int32"/></ComplexType>
			<EntityType Name="A"><Key><PropertyRef Name="p/x"/></Key><Property Name="p" Type="N.P"/></EntityType>
			<EntityContainer Name="C"><EntitySet Name="S" EntityType="N.A"/></EntityContainer>`, ""},
		{"type definition of itself", `<TypeDefinition Name="T" UnderlyingType="N.T"/><EntityType Name="A"><Key><PropertyRef Name="x"/></Key>
			<Property Name="x" Type="Edm.Int32"/><Property Name="t" Type="N.T"/></EntityType>
			<EntityContainer Name="C"><EntitySet Name="S" EntityType="N.A"/></EntityContainer>`, ""},
	} {
		m, err := csdl.Parse([]byte(wrap(tt.content)))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := strings.Join(m.Notices, "; "); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: notices %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestPropertyLimits: few bytes cannot make a model of any size.
func TestPropertyLimits(t *testing.T) {
	service := func(wide, sets int) string {
		var b strings.Builder
		for _, name := range []string{"P", "Q"} {
			fmt.Fprintf(&b, `<ComplexType Name="%s">`, name)
			for i := range wide {
				fmt.Fprintf(&b, `<Property Name="p%d" Type="%s"/>`, i, map[string]string{"P": "N.Q", "Q": "Edm.Int32"}[name])
			}
			b.WriteString(`</ComplexType>`)
		}
		b.WriteString(`<EntityType Name="A"><Key><PropertyRef Name="k"/></Key><Property Name="k" Type="Edm.Int32"/><Property Name="p" Type="N.P"/></EntityType>
			<EntityContainer Name="C">`)
		for i := range sets {
			fmt.Fprintf(&b, `<EntitySet Name="S%d" EntityType="N.A"/>`, i)
		}
		b.WriteString(`</EntityContainer>`)
		return wrap(b.String())
	}
	m, err := csdl.Parse([]byte(service(200, 1)))
	if err != nil {
		t.Fatal(err)
	}
	// 24 complex properties of 1+200 each fill 5,000; the 25th and all others stay whole.
	if got, want := len(m.Sets[0].Properties), 2+200+25*200; got != want {
		t.Errorf("%d properties, want %d", got, want)
	}
	at := 500_000 / (2 + 40 + 40*40) // sets that fit
	if _, err := csdl.Parse([]byte(service(40, at))); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := csdl.Parse([]byte(service(40, at+1))); kedge.KindOf(err) != kedge.TooLarge {
		t.Errorf("one past: got %v, want kind too_large", err)
	}
}

func TestSharedFiles(t *testing.T) {
	for _, tt := range []struct {
		file, container string
		sets, notices   int
		set, key, field string
	}{
		{"msgraph-v1.0.csdl", "microsoft.graph.GraphService", 41, 0, "users", "id", "userPrincipalName"},
		{"sap-sticky-v4.xml", "com.sap.gateway.srvd.c_salesordermanage_sd.v0001.Container", 83, 0, "Customer", "Customer", "CustomerName"},
	} {
		m, err := csdl.Parse(shared(t, tt.file))
		if err != nil {
			t.Fatalf("%s: %v", tt.file, err)
		}
		if m.Container != tt.container || len(m.Sets) != tt.sets || len(m.Notices) != tt.notices {
			t.Errorf("%s: container %s, %d sets, notices %q", tt.file, m.Container, len(m.Sets), m.Notices)
		}
		s := m.Set(tt.set)
		if s == nil || len(s.Key) != 1 || s.Key[0] != tt.key || s.Property(tt.field) == nil {
			t.Errorf("%s: set %s is %+v", tt.file, tt.set, s)
		}
	}
	_, err := csdl.Parse(shared(t, "northwind-v2.xml"))
	if want := "this is an OData V2 service; kedge speaks OData 4.0 and 4.01"; err == nil || err.Error() != want {
		t.Errorf("northwind-v2.xml: got %v, want %q", err, want)
	}
}

// TestBudget: 3.4 MB are read in at most twice the time of a bare pass over
// the tokens, and at most 48 MiB are kept.
func TestBudget(t *testing.T) {
	body := shared(t, "msgraph-v1.0.csdl")
	bare, ours := time.Duration(1<<62), time.Duration(1<<62)
	for range 3 { // alternating; the fastest counts, because others share the machine
		bare = min(bare, timed(func() { tokenPass(t, body) }))
		ours = min(ours, timed(func() {
			if _, err := csdl.Parse(body); err != nil {
				t.Fatal(err)
			}
		}))
	}
	if ratio := float64(ours) / float64(bare); ratio > 2 {
		t.Errorf("Parse takes %.2f times as long as a token pass (%v, %v), want at most 2", ratio, ours, bare)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m, err := csdl.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	if kept > 48<<20 {
		t.Errorf("the model keeps %d bytes, want at most 48 MiB", kept)
	}
	t.Logf("parse %v, token pass %v, kept %d KiB", ours, bare, kept>>10)
	runtime.KeepAlive(m)
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func tokenPass(t testing.TB, body []byte) {
	for dec := xml.NewDecoder(bytes.NewReader(body)); ; {
		if _, err := dec.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	body := shared(b, "msgraph-v1.0.csdl")
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := csdl.Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenPass(b *testing.B) {
	body := shared(b, "msgraph-v1.0.csdl")
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		tokenPass(b, body)
	}
}

// FuzzParse: no input makes Parse panic, and what it reads makes entities.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"northwind.xml", "northwind.json", "dynamics.xml", "dynamics.json"} {
		body, err := os.ReadFile(cases + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"$Version":"4.01","N":{"C":{"$Kind":"EntityContainer"}}}`))
	f.Add([]byte(wrap(`<EntityType Name="A" BaseType="N.A"/>`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := csdl.Parse(body)
		if err != nil {
			if k := kedge.KindOf(err); k != kedge.Invalid && k != kedge.TooLarge {
				t.Fatalf("error of kind %v: %v", k, err)
			}
			return
		}
		for i := range m.Sets {
			s := &m.Sets[i]
			if m.Set(s.Name) != s {
				t.Fatalf("set %q is not found by its name", s.Name)
			}
			e := m.Entity(s)
			seen := map[string]bool{}
			for _, field := range e.Fields {
				if field.Name == "" || seen[field.Name] || field.Type <= kedge.TypeNull {
					t.Fatalf("set %q has a bad or second field %q of type %v", s.Name, field.Name, field.Type)
				}
				seen[field.Name] = true
			}
			for _, k := range e.Key {
				if !seen[k] {
					t.Fatalf("set %q has no field for its key %q", s.Name, k)
				}
			}
		}
		again, err := csdl.Parse(body)
		if err != nil || again.Hash != m.Hash {
			t.Fatalf("parsed again: hash %q, %v, want %q", again.Hash, err, m.Hash)
		}
	})
}
