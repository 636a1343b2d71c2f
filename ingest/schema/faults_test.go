package schema_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// Each keyword has a text of its own, with the pointer and without the value.
func TestFaultTexts(t *testing.T) {
	for _, tt := range []struct{ schema, value, want string }{
		{`{"type": ["string", "null"]}`, `4711`, "/v: must be null or string, not number"},
		{`{"enum": ["a"]}`, `"4711"`, "/v: is none of the declared values"},
		{`{"const": "a"}`, `"4711"`, "/v: is not the declared value"},
		{`{"format": "email"}`, `"4711"`, "/v: is not a valid email"},
		{`{"minLength": 5}`, `"4711"`, "/v: must have at least 5 characters"},
		{`{"maxLength": 3}`, `"4711"`, "/v: must have at most 3 characters"},
		{`{"pattern": "^a"}`, `"4711"`, "/v: does not match the declared pattern"},
		{`{"minimum": 4711.5}`, `4711`, "/v: must be at least 4711.5"},
		{`{"maximum": -1e3}`, `4711`, "/v: must be at most -1000"},
		{`{"exclusiveMinimum": 5000}`, `4711`, "/v: must be more than 5000"},
		{`{"exclusiveMaximum": 1e300}`, `1e301`, "/v: must be less than the declared limit"},
		{`{"multipleOf": 0.25}`, `4711.3`, "/v: must be a multiple of 0.25"},
		{`{"minItems": 2}`, `[4711]`, "/v: must have at least 2 elements"},
		{`{"maxItems": 0}`, `[4711]`, "/v: must have at most 0 elements"},
		{`{"uniqueItems": true}`, `[1,4711,4711.0]`, "/v: has equal elements at 1 and 2"},
		{`{"contains": {"type": "null"}}`, `[4711]`, "/v: has no element of the declared kind"},
		{`{"contains": {"type": "null"}, "minContains": 2}`, `[null]`, "/v: must have at least 2 elements of the declared kind"},
		{`{"contains": {"type": "number"}, "maxContains": 1}`, `[1,4711]`, "/v: must have at most 1 elements of the declared kind"},
		{`{"minProperties": 2}`, `{"a":4711}`, "/v: must have at least 2 members"},
		{`{"maxProperties": 0}`, `{"a":4711}`, "/v: must have at most 0 members"},
		{`{"required": ["a/b", "c"]}`, `{}`, "/v/a~1b: is required\n/v/c: is required"},
		{`{"dependentRequired": {"a": ["b"]}}`, `{"a":4711}`, `/v/b: is required beside "a"`},
		{`{"additionalProperties": false}`, `{"b":4711,"a":1}`, "/v/a: unknown field\n/v/b: unknown field"},
		{`{"unevaluatedProperties": false}`, `{"a":4711}`, "/v/a: unknown field"},
		{`{"propertyNames": {"maxLength": 1}}`, `{"a4711":1}`, "/v/a4711: has a name that is not allowed"},
		{`false`, `4711`, "/v: is not allowed"},
		{`{"anyOf": [{"type": "string"}, {"type": "null"}]}`, `4711`, "/v: matches none of the alternatives (anyOf)"},
		{`{"oneOf": [{"type": "string"}, {"type": "null"}]}`, `4711`, "/v: matches none of the alternatives (oneOf)"},
		{`{"oneOf": [{"type": "number"}, true]}`, `4711`, "/v: matches more than one of the alternatives (oneOf)"},
		{`{"not": {"type": "number"}}`, `4711`, "/v: matches what it must not match (not)"},
		{`{"allOf": [{"type": "string"}, {"maximum": 1}]}`, `4711`, "/v: must be at most 1\n/v: must be string, not number"},
		{`{"$ref": "#/$defs/s", "$defs": {"s": {"items": {"properties": {"x~": {"type": "string"}}}}}}`, `[{}, {"x~": 4711}]`, "/v/1/x~0: must be string, not number"},
		{`{"if": true, "then": {"type": "null"}}`, `4711`, "/v: must be null, not number"},
		{`{"dependencies": {"a": ["b"]}}`, `{"a":4711}`, `/v/b: is required beside "a"`},
	} {
		s := parse(t, string(document([]byte(tt.schema), `, "formats": true`)))
		err := validate(s, []byte(tt.value))
		if got := strings.Join(faults(err), "\n"); got != tt.want {
			t.Errorf("%s of %s:\n%s\nwant\n%s", tt.schema, tt.value, got, tt.want)
		}
		if kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("%s of %s: kind %v", tt.schema, tt.value, kedge.KindOf(err))
		}
	}
}

// Errors end at 20, and are the same whenever they are made.
func TestFaultsEnd(t *testing.T) {
	s := parse(t, `{`+idOnly+`, "kedge": {"id": "id"}}`)
	var first []string
	for range 5 {
		_, err := resource(t, s, members(100, "1"))
		got := faults(err)
		if len(got) != jsonguard.MaxFaults {
			t.Fatalf("%d faults, want %d", len(got), jsonguard.MaxFaults)
		}
		if first == nil {
			first = got
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

// A large resource is said to be wrong where it is, without an error for each
// of its values.
func TestFaultsOfLargeResources(t *testing.T) {
	s := parse(t, listOf(`{"allOf": [`+many(20, `{"type": "string"}`)+`], "properties": {"x": {"minLength": 2}}}`))
	large := func(first string) string {
		return `{"id": "1", "list": [` + first + many(9000, `"ok"`) + `]}`
	}
	for _, tt := range []struct{ resource, want string }{
		{large(""), ""},
		{large(`1,`), "/list/0: must be string, not number"},
		{strings.Replace(large(""), `"ok"]`, `1]`, 1), "does not match the schema, and is too large to say where"},
		{`{"other": 1, ` + large("")[1:], "/other: unknown field"},
		{large(strings.Repeat("1,", 9000)), "/list/0: must be string, not number"},
	} {
		v, counts, err := jsonguard.Decode([]byte(tt.resource), 0)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err = s.Validate(v, &counts)
		runtime.ReadMemStats(&after)
		if got := strings.Join(append(faults(err), ""), "\n"); !strings.HasPrefix(got, tt.want) || tt.want == "" && err != nil {
			t.Errorf("%.60s…: %s, want %s", tt.resource, got, tt.want)
		}
		// Checking alone allocates about 40 MB bit by bit; with an error for each value it would be over 100.
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 70 {
			t.Errorf("%.60s…: %d MB", tt.resource, mb)
		}
	}
	s = parse(t, doc(`"required": ["id", "zz"], "maxProperties": 300, "minProperties": 200, "patternProperties": {"^[xz]": {"allOf": [`+many(400, "true")+`]}}`))
	_, err := resource(t, s, strings.TrimSuffix(members(250, "1"), "}")+`, "zz": 1, "n": "1"}`)
	if got := strings.Join(faults(err), "\n"); got != "/n: must be integer, not string" {
		t.Errorf("a large object: %s", got)
	}
}
