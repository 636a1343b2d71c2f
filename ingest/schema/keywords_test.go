package schema_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// keywords are those of JSON Schema 2020-12 (core, applicator, unevaluated,
// validation, meta-data, format and content vocabularies).
var keywords = []string{
	"$schema", "$id", "$anchor", "$ref", "$dynamicRef", "$dynamicAnchor", "$defs", "$comment", "$vocabulary",
	"prefixItems", "items", "contains", "additionalProperties", "properties", "patternProperties", "dependentSchemas", "propertyNames",
	"if", "then", "else", "allOf", "anyOf", "oneOf", "not", "unevaluatedItems", "unevaluatedProperties",
	"type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength", "minLength", "pattern",
	"maxItems", "minItems", "uniqueItems", "maxContains", "minContains", "maxProperties", "minProperties", "required", "dependentRequired",
	"title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples", "format",
	"contentEncoding", "contentMediaType", "contentSchema",
}

// deviations are schemas and values that the standard allows and that are
// refused here, each for a reason. [TestDeviations] shows each of them.
var deviations = []struct{ name, schema, value, fault string }{
	{"references to other documents", `{"$ref": "https://example.com/other.json"}`, `1`, "leads outside of the document"},
	{"references to the metaschema", `{"$ref": "https://json-schema.org/draft/2020-12/schema"}`, `{}`, "leads outside of the document"},
	{"references into unknown keywords", `{"x": {"type": "integer"}, "$ref": "#/x"}`, `1`, "leads to nothing that is a schema"},
	{"other drafts inside", `{"$id": "https://example.com/a", "$schema": "http://json-schema.org/draft-07/schema#"}`, `1`, "only JSON Schema 2020-12"},
	{"own vocabularies", `{"$id": "https://example.com/a", "$schema": "https://example.com/meta"}`, `1`, "only JSON Schema 2020-12"},
	{"loops that no value reaches", `{"if": {"type": "null"}, "then": {"$ref": "#"}}`, `1`, "reference loop"},
	{"patterns that are not RE2", `{"pattern": "^(?!a)"}`, `"b"`, "not a regular expression of RE2"},
	{"$recursiveRef, a reference of an older draft", `{"properties": {"a": {"$recursiveRef": "#"}}}`, `1`, "use $dynamicRef"},
	{"U+0000 in values", `{"const": "a\u0000"}`, `"a"`, "U+0000"},
	{"numbers of more than 64 characters", `{"const": 11111111111111111111111111111111111111111111111111111111111111111}`, `1`, "64 characters"},
}

type keywordCase struct {
	Keyword string            `json:"keyword"`
	About   string            `json:"about"`
	Schema  json.RawMessage   `json:"schema"`
	Valid   []json.RawMessage `json:"valid"`
	Invalid []json.RawMessage `json:"invalid"`
}

func readCases(t *testing.T, file string) []keywordCase {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []keywordCase
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// document returns a schema document whose member "v" has the given schema,
// as a resource of its own so that its references stay inside of it.
func document(caseSchema []byte, metadata string) []byte {
	if bytes.HasPrefix(caseSchema, []byte("{")) && !bytes.Contains(caseSchema, []byte(`"$id": "https`)) && !bytes.HasPrefix(caseSchema, []byte(`{"$id"`)) {
		rest := bytes.TrimSpace(caseSchema[1:])
		comma := ","
		if bytes.HasPrefix(rest, []byte("}")) {
			comma = ""
		}
		caseSchema = fmt.Appendf(nil, `{"$id": "https://example.com/case"%s %s`, comma, rest)
	}
	return fmt.Appendf(nil, `{"type": "object", "properties": {"id": {"type": "string"}, "v": %s}, "kedge": {"id": "id"%s}}`, caseSchema, metadata)
}

func validate(s *schema.Schema, value []byte) error {
	v, counts, err := jsonguard.Decode(fmt.Appendf(nil, `{"id": "1", "v": %s}`, value), 0)
	if err == nil {
		err = s.Validate(v, &counts)
	}
	return err
}

// What the standard says of each keyword holds behind the guards too, and the
// validator alone agrees.
func TestKeywords(t *testing.T) {
	files, _ := filepath.Glob("testdata/keywords/*.json")
	accepted, refused := map[string]int{}, map[string]int{}
	for _, file := range files {
		metadata := ""
		if filepath.Base(file) == "formats.json" {
			metadata = `, "formats": true`
		}
		for i, c := range readCases(t, file) {
			t.Run(fmt.Sprintf("%s %s", c.Keyword, c.About), func(t *testing.T) {
				s, err := schema.Parse(document(c.Schema, metadata))
				if err != nil {
					t.Fatalf("case %d of %s: %v", i, file, err)
				}
				alone := compileAlone(t, c.Schema)
				for valid, values := range map[bool][]json.RawMessage{true: c.Valid, false: c.Invalid} {
					for _, value := range values {
						if err := validate(s, value); (err == nil) != valid {
							t.Errorf("%s: %v, want valid %v", value, err, valid)
						}
						if got := alone.Validate(plain(t, value)) == nil; metadata == "" && got != valid {
							t.Errorf("%s: the validator alone says valid %v, want %v", value, got, valid)
						}
					}
				}
			})
			accepted[c.Keyword] += len(c.Valid)
			refused[c.Keyword] += len(c.Invalid)
		}
	}
	for _, k := range append(slices.Clone(keywords), schema.AssertedFormats...) {
		if accepted[k] == 0 || refused[k] == 0 {
			t.Errorf("%s has %d valid and %d invalid values, want some of each", k, accepted[k], refused[k])
		}
	}
}

func plain(t *testing.T, data []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func compileAlone(t *testing.T, doc []byte) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	if err := c.AddResource("https://example.com/case", plain(t, doc)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("https://example.com/case")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDeviations(t *testing.T) {
	for _, d := range deviations {
		t.Run(d.name, func(t *testing.T) {
			s, err := schema.Parse(document([]byte(d.schema), ""))
			if err == nil {
				err = validate(s, []byte(d.value))
			}
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(d.fault)) {
				t.Errorf("%v, want %q", err, d.fault)
			}
		})
	}
}
