package mapping_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the JSON Schema to configs")

const schemaFile = "../configs/mapping.schema.json"

func TestSchemaFileIsCurrent(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, mapping.JSONSchema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readFile(t, schemaFile)), string(mapping.JSONSchema())); diff != "" {
		t.Errorf("%s is out of date; run go test ./mapping -run Schema -update (-file +wanted):\n%s", schemaFile, diff)
	}
}

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(mapping.JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mapping.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mapping.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// generic reads YAML with another library, as plain JSON values.
func generic(t testing.TB, src []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(src, &v); err != nil {
		t.Fatalf("yaml.v3: %v\n%s", err, src)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%v\n%s", err, src)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The example files are valid by the schema, and by the code.
func TestExamplesMatchSchema(t *testing.T) {
	s := compileSchema(t)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("Glob: %v, %v; want the example files", files, err)
	}
	configs, err := filepath.Glob("../configs/mappings/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, configs...) {
		src := readFile(t, name)
		if err := s.Validate(generic(t, src)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := mapping.Parse(name, src); err != nil {
			t.Error(err)
		}
	}
}

// What the schema refuses is refused by the code too.
func TestSchemaRefuses(t *testing.T) {
	s := compileSchema(t)
	for _, src := range []string{
		"kedge: mapping/v2\n", "kedge: mapping/v1\nextra: 1\n", "kedge: mapping/v1\nentities: []\n", head + "    direction: down\n",
		head + "    conflict: {policy: nobody}\n", head + "    fields: [{external: A, local: b, compare: round:x}]\n", head + "    reconcileEvery: soon\n",
		head + "    deletes: {maxRows: -1}\n", head + "    fields: [{external: A}]\n", "entities: [{external: A, local: b}]\n",
	} {
		if s.Validate(generic(t, []byte(src))) == nil {
			t.Errorf("the schema accepts:\n%s", src)
		}
		if _, err := mapping.Parse("m.yaml", []byte(src)); err == nil {
			t.Errorf("Parse accepts:\n%s", src)
		}
	}
}

// names are field and entity names, with spellings that YAML readers trip over.
func names() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_]{0,8}`),
		rapid.SampledFrom([]string{"No", "yes", "null", "~", "true", "1", "0x1F", "1e3", "-", "a: b", "a #b", " a ", "'a'", `"a"`, "*a", "&a", "!a", "@a", "{a}",
			"[a]", "a:", "?", "- a", "é", "日本", "a\nb", "a\tb", "\u2028", "\ufeff", "%a", "2026-01-02", ".inf", "<<", "=", "a\\b", "|", ">"}),
		rapid.StringN(1, 5, 20).Filter(func(s string) bool {
			return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0xfffd })
		}))
}

func scalars() *rapid.Generator[kedge.Value] {
	return rapid.OneOf(
		rapid.Map(names(), kedge.String), rapid.Map(rapid.Int64(), kedge.Int), rapid.Map(rapid.Bool(), kedge.Bool), rapid.Just(kedge.Null()),
		rapid.Map(rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})\.[0-9]{1,30}`), kedge.Decimal))
}

func fields() *rapid.Generator[mapping.Field] {
	return rapid.Custom(func(t *rapid.T) mapping.Field {
		f := mapping.Field{
			External: []string{names().Draw(t, "external")}, Local: names().Draw(t, "local"), Disabled: rapid.Bool().Draw(t, "disabled"),
			Type:      rapid.SampledFrom([]kedge.Type{kedge.TypeMissing, kedge.TypeDecimal, kedge.TypeJSON}).Draw(t, "type"),
			Direction: rapid.SampledFrom([]mapping.Direction{"", mapping.Download, mapping.Upload, mapping.Bidirectional}).Draw(t, "direction"),
			OnError:   rapid.SampledFrom([]mapping.OnError{mapping.OnErrorQuarantine, mapping.OnErrorEmpty}).Draw(t, "onError"),
			Otherwise: mapping.OtherwiseQuarantine, Compare: rapid.SampledFrom([]mapping.Compare{mapping.CompareExact, mapping.CompareTrim, "round:3"}).Draw(t, "compare"),
			Conflict: rapid.SampledFrom([]mapping.Policy{"", mapping.RemoteWins, mapping.LocalWinsFull, mapping.Manual}).Draw(t, "conflict"),
		}
		if rapid.Bool().Draw(t, "noted") {
			f.Note = names().Draw(t, "note")
		}
		if rapid.Bool().Draw(t, "defaulted") {
			f.Default, f.OnError = scalars().Draw(t, "default"), mapping.OnErrorDefault
		}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 1:
			f.External, f.Constant = nil, scalars().Draw(t, "constant")
		case 2:
			f.Expressions = mapping.Expressions{Download: names().Draw(t, "down"), Upload: names().Draw(t, "up")}
		case 3:
			f.External = rapid.SliceOfN(names(), 1, 3).Draw(t, "externals")
			f.Lookup = &mapping.LookupRule{Entity: names().Draw(t, "entity"), Fields: rapid.SliceOfN(names(), len(f.External), len(f.External)).Draw(t, "by")}
		case 4:
			f.Otherwise = rapid.SampledFrom([]mapping.Otherwise{mapping.OtherwiseQuarantine, mapping.OtherwiseKeep}).Draw(t, "otherwise")
			for _, name := range rapid.SliceOfNDistinct(names(), 1, 4, rapid.ID[string]).Draw(t, "values") {
				f.Values = append(f.Values, mapping.ValuePair{External: name, Local: scalars().Draw(t, "value")})
			}
		}
		return f
	})
}

func mappings() *rapid.Generator[*mapping.Mapping] {
	return rapid.Custom(func(t *rapid.T) *mapping.Mapping {
		m := &mapping.Mapping{Drift: rapid.SampledFrom([]mapping.DriftPolicy{mapping.DriftWarn, mapping.DriftHold}).Draw(t, "drift"), FirstSync: mapping.FirstMerge}
		for _, name := range rapid.SliceOfNDistinct(names(), 1, 3, rapid.ID[string]).Draw(t, "names") {
			pair := mapping.NamePair{External: names().Draw(t, "pairExternal"), Local: names().Draw(t, "pairLocal")}
			e := mapping.Entity{
				Name: name, External: names().Draw(t, "entityExternal"), Local: names().Draw(t, "entityLocal"), Disabled: rapid.Bool().Draw(t, "off"),
				Direction:    rapid.SampledFrom([]mapping.Direction{mapping.Download, mapping.Bidirectional}).Draw(t, "way"),
				Key:          []mapping.KeyPair{{External: pair.External, Local: pair.Local, Primary: rapid.Bool().Draw(t, "primary")}},
				UploadFilter: names().Draw(t, "filter"), ReconcileEvery: time.Duration(rapid.IntRange(0, 1e9).Draw(t, "every")) * time.Millisecond,
				Conflict: mapping.Conflict{Policy: mapping.LocalWins, EditVsDelete: mapping.Manual, Merge: mapping.MergeRecord, Modified: pair, Skew: time.Second},
				Deletes: mapping.Deletes{Download: mapping.DeleteSoft, Upload: mapping.DeleteIgnore, FilterExit: mapping.ExitKeep,
					Soft: mapping.Soft{Field: pair.Local, Value: scalars().Draw(t, "mark")}, MaxRows: rapid.IntRange(0, 100).Draw(t, "rows"), MaxPercent: rapid.IntRange(0, 100).Draw(t, "percent")},
				Fields: rapid.SliceOfN(fields(), 1, 4).Draw(t, "fields"),
			}
			if rapid.Bool().Draw(t, "alternate") {
				e.AlternateKeys = [][]mapping.NamePair{{pair, pair}, {pair}}
			}
			m.Entities = append(m.Entities, e)
		}
		return m
	})
}

// Parse reads back what Marshal writes, the second export is byte-identical,
// another YAML reader sees the same, and the JSON Schema accepts it.
func TestParseMarshal(t *testing.T) {
	s := compileSchema(t)
	rapid.Check(t, func(rt *rapid.T) {
		m := mappings().Draw(rt, "mapping")
		src := m.Marshal()
		again, err := mapping.Parse("m.yaml", src)
		if err != nil {
			rt.Fatalf("Parse of Marshal: %v\n%s", err, src)
		}
		if diff := cmp.Diff(m, again, values); diff != "" {
			rt.Fatalf("Parse of Marshal (-want +got):\n%s\n%s", diff, src)
		}
		if second := again.Marshal(); !bytes.Equal(src, second) {
			rt.Fatalf("second export differs:\n%s\n%s", src, second)
		}
		if bytes.Contains(src, []byte{'\r'}) {
			rt.Fatal("Marshal wrote a carriage return")
		}
		doc := generic(t, src)
		if err := s.Validate(doc); err != nil {
			rt.Fatalf("JSON Schema: %v\n%s", err, src)
		}
		sameAsOracle(rt, m, doc)
	})
}

// sameAsOracle compares names and values with what yaml.v3 read.
func sameAsOracle(t *rapid.T, m *mapping.Mapping, doc any) {
	entities := doc.(map[string]any)["entities"].([]any)
	for i, e := range m.Entities {
		o := entities[i].(map[string]any)
		if got := o["external"]; got != e.External {
			t.Fatalf("yaml.v3 read external %q as %v", e.External, got)
		}
		for j, f := range e.Fields {
			of := o["fields"].([]any)[j].(map[string]any)
			if got := of["local"]; got != f.Local {
				t.Fatalf("yaml.v3 read local %q as %v", f.Local, got)
			}
			got, ok := of["constant"]
			if ok == f.Constant.IsMissing() {
				t.Fatalf("yaml.v3 has constant %v, want %v", ok, !ok)
			}
			if s, isText := got.(string); isText != (f.Constant.Type() == kedge.TypeString) || isText && s != f.Constant.Str() {
				t.Fatalf("yaml.v3 read the constant %q as %v", f.Constant.Text(), got)
			}
			for _, p := range f.Values {
				if _, ok := of["values"].(map[string]any)[p.External]; !ok {
					t.Fatalf("yaml.v3 does not find value %q in %v", p.External, of["values"])
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(readFile(f, "testdata/bc.yaml")))
	f.Add(string(readFile(f, "testdata/bc.canonical.yaml")))
	f.Add(simple)
	f.Add("kedge: mapping/v1\nentities: [{external: [a], local: |\n  x\n}]\n")
	f.Add("kedge: mapping/v1\nnote: >-\n  a\n  b\nentities:\n- external: 'A''B'\n  local: \"b\\u00e9\"\n")
	f.Fuzz(func(t *testing.T, src string) {
		m, err := mapping.Parse("m.yaml", []byte(src))
		if err != nil {
			if m != nil || kedge.KindOf(err) != kedge.Invalid || !strings.HasPrefix(err.Error(), "m.yaml:") {
				t.Fatalf("Parse = %v, %v; want no mapping and an error that starts with the file", m, err)
			}
			return
		}
		first := m.Marshal()
		again, err := mapping.Parse("m.yaml", first)
		if err != nil {
			t.Fatalf("Parse of Marshal: %v\n%s", err, first)
		}
		if diff := cmp.Diff(m, again, values); diff != "" {
			t.Fatalf("Parse of Marshal (-want +got):\n%s\n%s", diff, first)
		}
		if second := again.Marshal(); !bytes.Equal(first, second) {
			t.Fatalf("second export differs:\n%s\n%s", first, second)
		}
	})
}
