package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/ingest/schema"
)

func with(properties, more string) string {
	return `{"type": "object", "properties": {"id": {"type": "string"}` + properties + `}` + more + `, "kedge": {"id": "id"}}`
}

func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		name, old, next string
		level           schema.Level
		changes         string // "pointer kind" of each
	}{
		{"nothing", with("", ""), with("", ""), schema.Same, ""},
		{"order and space", with(`, "a": {"type": "string", "minLength": 1}`, ""), with(`,"a":{"minLength":1.0,"type":"string"}`, ""), schema.Same, ""},
		{"annotations", with(`, "a": {"title": "x"}`, ""), with(`, "a": {"description": "y"}`, `, "$comment": "z"`), schema.Same, ""},
		{"own unevaluatedProperties", with("", ""), with("", `, "unevaluatedProperties": true`), schema.Same, ""},
		{"a new field", with("", ""), with(`, "a": {"type": "string"}`, ""), schema.Compatible, "/properties/a added"},
		{"a field that is gone", with(`, "a": {}`, ""), with("", ""), schema.Breaking, "/properties/a removed"},
		{"a new field that is required", with("", ""), with(`, "a": {}`, `, "required": ["a"]`), schema.Breaking, "/properties/a added, /required required"},
		{"required no more", with("", `, "required": ["id"]`), with("", ""), schema.Compatible, "/required widened"},
		{"more types", with(`, "a": {"type": "integer"}`, ""), with(`, "a": {"type": ["number", "null"]}`, ""), schema.Compatible, "/properties/a/type widened"},
		{"fewer types", with(`, "a": {"type": "number"}`, ""), with(`, "a": {"type": "integer"}`, ""), schema.Breaking, "/properties/a/type narrowed"},
		{"another type", with(`, "a": {"type": "string"}`, ""), with(`, "a": {"type": "integer"}`, ""), schema.Breaking, "/properties/a/type narrowed"},
		{"any type", with(`, "a": {"type": "string"}`, ""), with(`, "a": {}`, ""), schema.Compatible, "/properties/a/type widened"},
		{"a type where there was none", with(`, "a": true`, ""), with(`, "a": {"type": "string"}`, ""), schema.Breaking, "/properties/a/type narrowed"},
		{"longer texts", with(`, "a": {"maxLength": 5}`, ""), with(`, "a": {"maxLength": 6}`, ""), schema.Compatible, "/properties/a/maxLength widened"},
		{"shorter texts", with(`, "a": {"maxLength": 5}`, ""), with(`, "a": {"maxLength": 4}`, ""), schema.Breaking, "/properties/a/maxLength narrowed"},
		{"a lower minimum", with(`, "a": {"minimum": 5}`, ""), with(`, "a": {"minimum": 4.5}`, ""), schema.Compatible, "/properties/a/minimum widened"},
		{"a higher minimum", with(`, "a": {"minimum": 5}`, ""), with(`, "a": {"minimum": 5.5}`, ""), schema.Breaking, "/properties/a/minimum narrowed"},
		{"a new minimum", with(`, "a": {}`, ""), with(`, "a": {"minimum": 0}`, ""), schema.Breaking, "/properties/a/minimum narrowed"},
		{"more of an enum", with(`, "a": {"enum": [1, "x"]}`, ""), with(`, "a": {"enum": ["x", 2, 1.0]}`, ""), schema.Compatible, "/properties/a/enum widened"},
		{"less of an enum", with(`, "a": {"enum": [1, 2]}`, ""), with(`, "a": {"enum": [2, 3]}`, ""), schema.Breaking, "/properties/a/enum narrowed"},
		{"another order of an enum", with(`, "a": {"enum": [1, 2]}`, ""), with(`, "a": {"enum": [2, 1]}`, ""), schema.Same, ""},
		{"a pattern", with(`, "a": {}`, ""), with(`, "a": {"pattern": "x"}`, ""), schema.Breaking, "/properties/a/pattern narrowed"},
		{"no pattern", with(`, "a": {"pattern": "x"}`, ""), with(`, "a": {}`, ""), schema.Compatible, "/properties/a/pattern widened"},
		{"a format as annotation", with(`, "a": {}`, ""), with(`, "a": {"format": "date"}`, ""), schema.Compatible, "/properties/a/format changed"},
		{"a nested open object gets a field", with(`, "o": {"properties": {}}`, ""), with(`, "o": {"properties": {"a": {"type": "string"}}}`, ""), schema.Breaking, "/properties/o/properties/a added"},
		{"a nested closed object gets a field", with(`, "o": {"properties": {}, "additionalProperties": false}`, ""), with(`, "o": {"properties": {"a": {"type": "string"}}, "additionalProperties": false}`, ""), schema.Compatible, "/properties/o/properties/a added"},
		{"a nested open object loses a field", with(`, "o": {"properties": {"a": {"type": "string"}}}`, ""), with(`, "o": {"properties": {}}`, ""), schema.Compatible, "/properties/o/properties/a removed"},
		{"a nested object is closed", with(`, "o": {}`, ""), with(`, "o": {"additionalProperties": false}`, ""), schema.Breaking, "/properties/o/additionalProperties narrowed"},
		{"elements", with(`, "l": {"items": {"type": "string"}}`, ""), with(`, "l": {"items": {"type": ["string", "null"]}}`, ""), schema.Compatible, "/properties/l/items/type widened"},
		{"a definition", with(`, "a": {"$ref": "#/$defs/d"}`, `, "$defs": {"d": {"minLength": 1}}`), with(`, "a": {"$ref": "#/$defs/d"}`, `, "$defs": {"d": {"minLength": 2}}`), schema.Breaking, "/$defs/d/minLength narrowed"},
		{"a field is forbidden", with(`, "a": true`, ""), with(`, "a": false`, ""), schema.Breaking, "/properties/a narrowed"},
		{"a field is allowed", with(`, "a": false`, ""), with(`, "a": {"type": "string"}`, ""), schema.Compatible, "/properties/a widened"},
		{"something else", with("", ""), with("", `, "if": {"required": ["id"]}, "then": {"maxProperties": 3}`), schema.Breaking, "/if narrowed, /then changed"},
		{"another id", strings.Replace(with(`, "key": {"type": "string"}`, ""), `"id": "id"`, `"id": "key"`, 1), with(`, "key": {"type": "string"}`, ""), schema.Breaking, "/kedge/id changed"},
		{"the same id, written otherwise", with("", ""), strings.Replace(with("", ""), `"id": "id"`, `"id": "$['id']"`, 1), schema.Same, ""},
		{"another name", with("", ""), strings.Replace(with("", ""), `"id": "id"`, `"id": "id", "name": "id"`, 1), schema.Compatible, "/kedge/name changed"},
		{"formats", with(`, "a": {"format": "date"}`, ""), strings.Replace(with(`, "a": {"format": "date"}`, ""), `"id": "id"`, `"id": "id", "formats": true`, 1), schema.Breaking, "/kedge/formats narrowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := schema.Compare(parse(t, tt.old), parse(t, tt.next))
			var changes []string
			for _, c := range got.Changes {
				changes = append(changes, fmt.Sprintf("%s %s", c.Pointer, c.Kind))
			}
			if list := strings.Join(changes, ", "); got.Level != tt.level || list != tt.changes {
				t.Errorf("%s, %q; want %s, %q", got.Level, list, tt.level, tt.changes)
			}
		})
	}
}

func TestColumns(t *testing.T) {
	var many []string
	for i := range schema.MaxColumns + 1 {
		many = append(many, fmt.Sprintf(`"c%d": true`, i))
	}
	s := parse(t, with(`, "z": {"type": ["integer", "null"]}, "a": {"$ref": "#/$defs/n"}, "b": {"type": "boolean"}, "o": {"type": "object"}, "l": {"type": "array"},
		"m": {"type": ["string", "integer"]}, "any": {}, "_x": {"type": "string"}, "A": {"type": "string"}, "": {}, "q\"": {}, "`+strings.Repeat("é", 32)+`": {}`,
		`, "$defs": {"n": {"type": "number"}}`))
	columns, warnings := s.Columns(63)
	if got, want := fmt.Sprint(columns), "[{id false string} {z false decimal} {a false decimal} {b false bool} {o false json} {l false json} {m false json} {any false json}]"; got != want {
		t.Errorf("columns %s, want %s", got, want)
	}
	var texts []string
	for _, w := range warnings {
		texts = append(texts, w.String())
	}
	want := []string{"/properties/_x: is not shown in views: the name begins with _", "/properties/A: is not shown in views: another name differs from it only in case",
		"/properties/: is not shown in views: the name is empty", `/properties/q": is not shown in views: the name holds a quotation mark`,
		"/properties/" + strings.Repeat("é", 32) + ": is not shown in views: the name is too long for the database"}
	if got := strings.Join(texts, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("warnings\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if columns, _ := s.Columns(0); len(columns) != 9 {
		t.Errorf("%d columns without a limit of names, want 9", len(columns))
	}
	columns, warnings = parse(t, with("", "")[:len(`{"type": "object", "properties": {"id": {"type": "string"}`)]+", "+strings.Join(many, ", ")+`}, "kedge": {"id": "id"}}`).Columns(63)
	if len(columns) != schema.MaxColumns || len(warnings) != 2 {
		t.Errorf("%d columns and %d warnings, want %d and 2", len(columns), len(warnings), schema.MaxColumns)
	}
}
