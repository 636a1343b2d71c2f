package schema_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

const employee = `{"type": "object", "required": ["employeeId"], "properties": {"employeeId": {"type": "string"}, "active": {"type": "boolean"},
 "updatedAt": {"type": "integer"}, "employee": {"type": "object", "properties": {"username": {"type": "string"}, "email": {"type": "string", "format": "email"}}}},
 "kedge": {"id": "employeeId", "name": "$.employee.username", "importantFields": ["employeeId", "$.employee.email", "active"],
 "version": "$.updatedAt", "indexes": ["active"], "formats": true}}`

func parse(t testing.TB, doc string) *schema.Schema {
	t.Helper()
	s, err := schema.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// faults returns what an error says, one "pointer: detail" each.
func faults(err error) []string {
	list, _ := errors.AsType[jsonguard.Faults](err)
	var out []string
	for _, f := range list {
		out = append(out, f.String())
	}
	return out
}

func TestParse(t *testing.T) {
	s := parse(t, employee)
	want := `{"type":"object","required":["employeeId"],"properties":{"employeeId":{"type":"string"},"active":{"type":"boolean"},` +
		`"updatedAt":{"type":"integer"},"employee":{"type":"object","properties":{"username":{"type":"string"},"email":{"type":"string","format":"email"}}}},` +
		`"kedge":{"id":"employeeId","name":"$.employee.username","importantFields":["employeeId","$.employee.email","active"],"version":"$.updatedAt","indexes":["active"],"formats":true},` +
		`"unevaluatedProperties":false}`
	if got := string(s.Effective()); got != want {
		t.Errorf("effective document\n%s, want\n%s", got, want)
	}
	again := parse(t, string(s.Effective()))
	if string(again.Effective()) != want {
		t.Errorf("reading the effective document again gives %s", again.Effective())
	}
	if diff := cmp.Diff(schema.Metadata{ID: "employeeId", Name: "$.employee.username", ImportantFields: []string{"employeeId", "$.employee.email", "active"},
		Version: "$.updatedAt", Indexes: []string{"active"}, Formats: true}, s.Metadata()); diff != "" {
		t.Error(diff)
	}
	if w := s.Warnings(); len(w) != 0 {
		t.Errorf("warnings %v", w)
	}
}

// An own "unevaluatedProperties" of the root is overwritten.
func TestRootIsClosed(t *testing.T) {
	for _, own := range []string{"", `"unevaluatedProperties": true,`, `"unevaluatedProperties": {"type": "string"},`} {
		s := parse(t, `{`+own+`"type": "object", "properties": {"id": {"type": "string"}}, "resmo": {"id": "id"}}`)
		if strings.Count(string(s.Effective()), `"unevaluatedProperties"`) != 1 || !strings.Contains(string(s.Effective()), `"unevaluatedProperties":false`) {
			t.Errorf("effective document %s", s.Effective())
		}
		v, counts, _ := jsonguard.Decode([]byte(`{"id": "1", "other": 1, "_meta": {}}`), 0)
		err := s.Validate(v, &counts)
		if diff := cmp.Diff([]string{"/_meta: is what kedge adds to answers and cannot be sent", "/_meta: unknown field", "/other: unknown field"}, faults(err)); diff != "" {
			t.Error(diff)
		}
	}
}

const idOnly = `"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}`

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ name, doc, want string }{
		{"no JSON", `{"type": `, "the JSON text ends too early"},
		{"a duplicate key", `{"type": "object", "type": "object"}`, "/type: duplicate name"},
		{"an array", `[]`, "a JSON object that is not empty"},
		{"empty", `{}`, "a JSON object that is not empty"},
		{"draft-07", `{"$schema": "http://json-schema.org/draft-07/schema#", ` + idOnly + `, "kedge": {"id": "id"}}`, "/$schema: only JSON Schema 2020-12 is supported"},
		{"2020-12 with a #", `{"$schema": "https://json-schema.org/draft/2020-12/schema#", ` + idOnly + `, "kedge": {"id": "id"}}`, "/$schema: only JSON Schema 2020-12 is supported"},
		{"2020-12 by http", `{"$schema": "http://json-schema.org/draft/2020-12/schema", ` + idOnly + `, "kedge": {"id": "id"}}`, "/$schema: only"},
		{"$schema of another type", `{"$schema": null, ` + idOnly + `, "kedge": {"id": "id"}}`, "/$schema: only"},
		{"type array", `{"type": "array", "kedge": {"id": "id"}}`, `/type: a resource is an object: the root needs "type": "object"`},
		{"type list", `{"type": ["object"], "properties": {"id": {"type": "string"}}, "kedge": {"id": "id"}}`, "/type: a resource is an object"},
		{"no type", `{"properties": {"id": {"type": "string"}}, "kedge": {"id": "id"}}`, "/type: a resource is an object"},
		{"no metadata", `{` + idOnly + `}`, `the root needs an object named "kedge"`},
		{"both metadata objects", `{` + idOnly + `, "kedge": {"id": "id"}, "resmo": {"id": "id"}}`, "two names of one object"},
		{"metadata that is no object", `{` + idOnly + `, "resmo": "id"}`, "/resmo: must be an object"},
		{"no id", `{` + idOnly + `, "kedge": {"name": "id"}}`, `/kedge: needs "id"`},
		{"empty id", `{` + idOnly + `, "kedge": {"id": ""}}`, "/kedge/id: must be a path"},
		{"id of another type", `{` + idOnly + `, "kedge": {"id": 1}}`, "/kedge/id: must be a path"},
		{"unknown key", `{` + idOnly + `, "kedge": {"id": "id", "importantfield": []}}`, `/kedge/importantfield: unknown key; did you mean "importantFields"?`},
		{"important fields that are no list", `{` + idOnly + `, "kedge": {"id": "id", "importantFields": "id"}}`, "/kedge/importantFields: must be a list"},
		{"important field that is no path", `{` + idOnly + `, "kedge": {"id": "id", "importantFields": ["id", 1]}}`, "/kedge/importantFields/1: must be a path"},
		{"formats that is no bool", `{` + idOnly + `, "kedge": {"id": "id", "formats": "yes"}}`, "/kedge/formats: must be true or false"},
		{"undeclared id", `{` + idOnly + `, "kedge": {"id": "key"}}`, "/kedge/id: leads to nothing that is declared"},
		{"id of a declared number", `{"type": "object", "properties": {"id": {"type": "number"}}, "kedge": {"id": "id"}}`, "/kedge/id: must lead to a field that is declared"},
		{"id of two types", `{"type": "object", "properties": {"id": {"type": ["string", "integer"]}}, "kedge": {"id": "id"}}`, "/kedge/id: must lead to a field that is declared"},
		{"id that may be null", `{"type": "object", "properties": {"id": {"type": ["string", "null"]}}, "kedge": {"id": "id"}}`, "/kedge/id: must lead to a field that is declared"},
		{"id without type", `{"type": "object", "properties": {"id": {}}, "kedge": {"id": "id"}}`, "/kedge/id: must lead to a field that is declared"},
		{"id with a wildcard", `{` + idOnly + `, "kedge": {"id": "$.*"}}`, "/kedge/id: must lead to one value"},
		{"name with a filter", `{` + idOnly + `, "kedge": {"id": "id", "name": "$[?@.a]"}}`, "/kedge/name: character 3: filters are not supported"},
		{"version of text", `{` + idOnly + `, "kedge": {"id": "id", "version": "id"}}`, "/kedge/version: must lead to a field that is declared"},
		{"six indexes", `{` + idOnly + `, "kedge": {"id": "id", "indexes": ["id","n","a","b","c","d"]}}`, "/kedge/indexes: at most 5"},
		{"index of an object", `{"type": "object", "properties": {"id": {"type": "string"}, "o": {"type": "object"}}, "kedge": {"id": "id", "indexes": ["o"]}}`, "/kedge/indexes/0: must name a field of the root"},
		{"index twice", `{` + idOnly + `, "kedge": {"id": "id", "indexes": ["n", "$.n"]}}`, "/kedge/indexes/1: is listed twice"},
		{"_meta", `{"type": "object", "properties": {"id": {"type": "string"}, "_meta": {}}, "kedge": {"id": "id"}}`, "/properties/_meta: _meta is what kedge adds"},
		{"what the metaschema refuses", `{"type": "object", "properties": {"id": {"type": "text"}}, "kedge": {"id": "id"}}`, "/properties/id/type: "},
		{"required that is no list", `{` + idOnly + `, "required": "id", "kedge": {"id": "id"}}`, "/required: must be array, not string"},
		{"duplicate anchor", `{` + idOnly + `, "$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}, "kedge": {"id": "id"}}`, "has the same anchor as /$defs/"},
		{"a file", `{` + idOnly + `, "$defs": {"a": {"$ref": "file:///etc/passwd"}}, "kedge": {"id": "id"}}`, "/$defs/a/$ref: leads outside of the document"},
		{"an address", `{` + idOnly + `, "allOf": [{"$ref": "http://169.254.169.254/latest/meta-data"}], "kedge": {"id": "id"}}`, "/allOf/0/$ref: leads outside of the document"},
		{"a relative address", `{` + idOnly + `, "allOf": [{"$ref": "other.json"}], "kedge": {"id": "id"}}`, "/allOf/0/$ref: leads outside of the document"},
		{"a dynamic reference outside", `{` + idOnly + `, "allOf": [{"$dynamicRef": "https://json-schema.org/draft/2020-12/schema#meta"}], "kedge": {"id": "id"}}`, "/allOf/0/$dynamicRef: leads outside"},
		{"a reference to nothing", `{` + idOnly + `, "allOf": [{"$ref": "#/$defs/none"}], "kedge": {"id": "id"}}`, "/allOf/0/$ref: leads to nothing"},
		{"a reference to no anchor", `{` + idOnly + `, "allOf": [{"$ref": "#none"}], "kedge": {"id": "id"}}`, "/allOf/0/$ref: leads to an anchor that does not exist"},
		{"a loop", `{` + idOnly + `, "allOf": [{"$ref": "#"}], "kedge": {"id": "id"}}`, "reference loop"},
		{"a loop of two", `{` + idOnly + `, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a", "kedge": {"id": "id"}}`, "reference loop"},
		{"20 levels of fan-out", fanOut(20), "too complex"},
		{"20 levels of fan-out below a member", strings.Replace(fanOut(20), `"$ref": "#/$defs/d0",`, `"patternProperties": {"x": {"$ref": "#/$defs/d0"}},`, 1), "too complex"},
		{"fan-out by depth", deepFanOut(10), "too complex"},
		{"a regular expression with look-ahead", `{"type": "object", "properties": {"id": {"type": "string", "pattern": "(?=a)"}}, "kedge": {"id": "id"}}`, "/properties/id/pattern: is not a regular expression of RE2"},
		{"a pattern of names that is none", `{` + idOnly + `, "patternProperties": {"(": {}}, "kedge": {"id": "id"}}`, "/patternProperties/(: is not a regular expression"},
		{"a regular expression that repeats a million times", `{"type": "object", "properties": {"id": {"type": "string", "pattern": "((a{100}){100}){100}"}}, "kedge": {"id": "id"}}`, "is not a regular expression"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			if took := cpu(func() { _, err = schema.Parse([]byte(tt.doc)) }); took > slowdown*100*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if got := strings.Join(faults(err), "\n"); !strings.Contains(got, tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if got := kedge.KindOf(err); got != kedge.Invalid {
				t.Errorf("kind %v, want invalid", got)
			}
		})
	}
}

// fanOut returns a document in which each definition applies the next one
// twice to the same value.
func fanOut(levels int) string {
	var defs []string
	for i := range levels {
		defs = append(defs, fmt.Sprintf(`"d%d": {"allOf": [{"$ref": "#/$defs/d%d"}, {"$ref": "#/$defs/d%d"}]}`, i, i+1, i+1))
	}
	defs = append(defs, fmt.Sprintf(`"d%d": {"minProperties": 0}`, levels))
	return `{` + idOnly + `, "$ref": "#/$defs/d0", "$defs": {` + strings.Join(defs, ", ") + `}, "kedge": {"id": "id"}}`
}

// deepFanOut returns a document in which each level of a value is checked
// width times as often as the one above.
func deepFanOut(width int) string {
	all := strings.TrimSuffix(strings.Repeat(`{"additionalProperties": {"$ref": "#/$defs/d"}},`, width), ",")
	return `{` + idOnly + `, "$defs": {"d": {"allOf": [` + all + `]}}, "patternProperties": {"^x": {"$ref": "#/$defs/d"}}, "kedge": {"id": "id"}}`
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct{ name, doc, want string }{
		{"open root", `{` + idOnly + `, "additionalProperties": true, "kedge": {"id": "id"}}`, "/additionalProperties: lets unknown fields through"},
		{"root open for a type", `{` + idOnly + `, "additionalProperties": {"type": "string"}, "kedge": {"id": "id"}}`, "/additionalProperties: lets unknown fields through"},
		{"undeclared name", `{` + idOnly + `, "kedge": {"id": "id", "name": "nam"}}`, "/kedge/name: leads to nothing that is declared"},
		{"undeclared important field", `{` + idOnly + `, "kedge": {"id": "id", "importantFields": ["id", "$.x.y"]}}`, "/kedge/importantFields/1: leads to nothing"},
		{"recursion", `{"type": "object", "properties": {"id": {"type": "string"}, "boss": {"$ref": "#"}}, "kedge": {"id": "id"}}`, "/properties/boss: refers to the root, which refuses unknown fields"},
		{"required but undeclared", `{` + idOnly + `, "required": ["id", "nmae"], "kedge": {"id": "id"}}`, `/required: "nmae" is required but not declared`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parse(t, tt.doc).Warnings()
			if len(got) != 1 || !strings.HasPrefix(got[0].String(), tt.want) {
				t.Errorf("warnings %v, want %q", got, tt.want)
			}
		})
	}
	for _, doc := range []string{
		`{` + idOnly + `, "additionalProperties": false, "required": ["id"], "kedge": {"id": "id"}}`,
		`{` + idOnly + `, "required": ["x"], "allOf": [{"properties": {"x": {}}}], "kedge": {"id": "id"}}`,
		`{` + idOnly + `, "required": ["x1"], "patternProperties": {"^x": {}}, "kedge": {"id": "id"}}`,
	} {
		if got := parse(t, doc).Warnings(); len(got) > 0 {
			t.Errorf("%s: warnings %v", doc, got)
		}
	}
}
