//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A question is a schema and values that ajv and kedge are asked about.
type question struct {
	name   string
	Schema json.RawMessage   `json:"schema"`
	Values []json.RawMessage `json:"values"`
}

// ajvDiffers names what ajv answers otherwise than the standard, and why.
var ajvDiffers = map[string]string{
	"multipleOf small numbers are exact":                                               "ajv divides doubles",
	"const large integers are exact":                                                   "JavaScript has doubles only",
	"minimum numbers beyond the doubles":                                               "JavaScript has doubles only",
	"$dynamicRef without a matching dynamic anchor in its resource it is a plain $ref": "ajv wants a dynamic anchor",
	"$dynamicRef to an ordinary anchor behaves as $ref":                                "ajv wants a dynamic anchor",
	"$dynamicAnchor after leaving a dynamic scope its anchors are not used":            "ajv keeps the scope",
	"$dynamicRef resolves to the outermost anchor in scope":                            "ajv keeps no scope of resources",
	"$dynamicRef to a dynamic anchor of the same resource":                             "ajv finds no anchor without an address",
	"$id pointers are relative to the nearest identifier":                              "ajv takes the pointer from the root and does not end",
	"unevaluatedItems contains evaluates what matches":                                 "ajv does not count contains",
	"properties names of JavaScript objects":                                           "JavaScript has no own __proto__",
	"required names of JavaScript objects":                                             "JavaScript has no own __proto__",
}

// TestSchemasLikeAjv asks ajv and kedge about the cases of each keyword and
// about generated schemas and values: they answer alike.
func TestSchemasLikeAjv(t *testing.T) {
	questions := append(keywordQuestions(t), generatedQuestions(400)...)
	answers := askAjv(t, questions)
	met, valid, invalid := map[string]bool{}, 0, 0
	for i, q := range questions {
		s, err := schema.Parse(fmt.Appendf(nil, `{"type": "object", "properties": {"id": {"type": "string"}, "v": %s}, "kedge": {"id": "id"}}`, rooted(q.Schema)))
		if err != nil {
			t.Errorf("%s: %v\n%s", q.name, err, q.Schema)
			continue
		}
		var theirs []bool
		differs := json.Unmarshal(answers[i], &theirs) != nil
		for j := 0; j < len(q.Values) && !differs; j++ {
			ours := accepts(t, s, q.Values[j])
			differs = ours != theirs[j]
			if ours {
				valid++
			} else {
				invalid++
			}
			if differs && ajvDiffers[q.name] == "" {
				t.Errorf("%s: valid %v, ajv says %v\n%s\n%s", q.name, ours, theirs[j], q.Schema, q.Values[j])
			}
		}
		if differs && theirs == nil && ajvDiffers[q.name] == "" {
			t.Errorf("%s: ajv says %s\n%s", q.name, answers[i], q.Schema)
		}
		met[q.name] = met[q.name] || differs
	}
	for name := range ajvDiffers {
		if !met[name] {
			t.Errorf("%q does not differ, take it from the list", name)
		}
	}
	if valid < 1000 || invalid < 1000 {
		t.Errorf("%d valid and %d invalid values were compared, want 1000 of each", valid, invalid)
	}
}

// rooted gives a schema an address, so that its references stay inside of it.
func rooted(text json.RawMessage) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(text, &object) != nil || object["$id"] != nil {
		return text
	}
	object["$id"] = json.RawMessage(`"https://example.com/question"`)
	out, _ := json.Marshal(object)
	return out
}

func accepts(t *testing.T, s *schema.Schema, value []byte) bool {
	t.Helper()
	v, counts, err := jsonguard.Decode(fmt.Appendf(nil, `{"id": "1", "v": %s}`, value), 0)
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v, &counts) == nil
}

func keywordQuestions(t *testing.T) []question {
	t.Helper()
	files, _ := filepath.Glob("../ingest/schema/testdata/keywords/*.json")
	var out []question
	for _, file := range files {
		if filepath.Base(file) == "formats.json" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Keyword, About string
			Schema         json.RawMessage
			Valid, Invalid []json.RawMessage
		}
		if err := json.Unmarshal(data, &cases); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			out = append(out, question{c.Keyword + " " + c.About, c.Schema, append(c.Valid, c.Invalid...)})
		}
	}
	return out
}

func askAjv(t *testing.T, questions []question) [][]byte {
	t.Helper()
	var in, problems bytes.Buffer
	for _, q := range questions {
		line, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	cmd := exec.Command("node", "ajv.js")
	cmd.Stdin, cmd.Stderr = &in, &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ajv: %v\n%s", err, &problems)
	}
	var answers [][]byte
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		answers = append(answers, bytes.Clone(lines.Bytes()))
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

// A generator makes schemas and values of small parts, so that they meet.
type generator struct{ *rand.Rand }

func generatedQuestions(n int) []question {
	var out []question
	for i := range n {
		g := generator{rand.New(rand.NewPCG(uint64(i), 2026))}
		q := question{name: fmt.Sprintf("generated %d", i)}
		q.Schema, _ = json.Marshal(g.schema(3))
		for range 12 {
			v, _ := json.Marshal(g.value(3))
			q.Values = append(q.Values, v)
		}
		out = append(out, q)
	}
	return out
}

var (
	names = []string{"a", "b", "c", "é"}
	texts = []string{"", "a", "ab", "abc", "é", "10"}
	kinds = []string{"string", "integer", "number", "boolean", "null", "object", "array"}
)

func pick[T any](g generator, list []T) T { return list[g.IntN(len(list))] }

func (g generator) value(depth int) any {
	switch n := g.IntN(7); {
	case n == 0:
		return nil
	case n == 1:
		return g.IntN(2) == 0
	case n == 2:
		return g.IntN(6) - 1
	case n == 3:
		return float64(g.IntN(8)) / 2
	case n == 5 && depth > 0:
		list := []any{}
		for range g.IntN(4) {
			list = append(list, g.value(depth-1))
		}
		return list
	case n == 6 && depth > 0:
		object := map[string]any{}
		for range g.IntN(4) {
			object[pick(g, names)] = g.value(depth - 1)
		}
		return object
	}
	return pick(g, texts)
}

func (g generator) schemas(depth int) []any {
	out := []any{}
	for range 1 + g.IntN(3) {
		out = append(out, g.schema(depth-1))
	}
	return out
}

func (g generator) members(depth int) map[string]any {
	out := map[string]any{}
	for range 1 + g.IntN(3) {
		out[pick(g, names)] = g.schema(depth - 1)
	}
	return out
}

// schema makes a schema of two or three keywords.
func (g generator) schema(depth int) any {
	if depth <= 0 || g.IntN(8) == 0 {
		switch g.IntN(4) {
		case 0:
			return g.IntN(3) > 0
		case 1:
			return map[string]any{"enum": []any{g.value(1), g.value(1), 1, "a"}}
		}
		return map[string]any{"type": pick(g, kinds)}
	}
	s := map[string]any{}
	for range 2 + g.IntN(2) {
		g.keyword(s, depth)
	}
	return s
}

func (g generator) keyword(s map[string]any, depth int) {
	switch g.IntN(24) {
	case 0:
		s["type"] = []string{pick(g, kinds), "object"}
		if s["type"].([]string)[0] == "object" {
			s["type"] = "object"
		}
	case 1:
		s["properties"] = g.members(depth)
	case 2:
		s["patternProperties"] = map[string]any{"^[ab]": g.schema(depth - 1)}
	case 3:
		s["additionalProperties"] = g.schema(depth - 1)
	case 4:
		s["unevaluatedProperties"] = g.schema(depth - 1)
	case 5:
		s["required"] = []string{pick(g, names)}
	case 6:
		s["allOf"] = g.schemas(depth)
	case 7:
		s["anyOf"] = g.schemas(depth)
	case 8:
		s["oneOf"] = g.schemas(depth)
	case 9:
		s["not"] = g.schema(depth - 1)
	case 10:
		s["if"], s["then"], s["else"] = g.schema(depth-1), g.schema(depth-1), g.schema(depth-1)
	case 11:
		s["items"] = g.schema(depth - 1)
	case 12:
		s["prefixItems"] = g.schemas(depth)
	case 13:
		s["contains"] = g.schema(depth - 1)
		if g.IntN(2) == 0 {
			s["minContains"], s["maxContains"] = g.IntN(2), 1+g.IntN(2)
		}
	case 14:
		s["uniqueItems"] = true
	case 15:
		s["minItems"], s["maxItems"] = g.IntN(2), 1+g.IntN(3)
	case 16:
		s["minProperties"], s["maxProperties"] = g.IntN(2), 1+g.IntN(3)
	case 17:
		s["minLength"], s["maxLength"] = g.IntN(2), 1+g.IntN(2)
	case 18:
		s["minimum"], s["exclusiveMaximum"] = g.IntN(2), 2+g.IntN(2)
	case 19:
		s["multipleOf"] = 1 + g.IntN(3)
	case 20:
		s["pattern"] = pick(g, []string{"^a", "b$", "^.?$", "[0-9]"})
	case 21:
		s["propertyNames"] = map[string]any{"enum": []string{pick(g, names), pick(g, names) + "x", "a"}}
	case 22:
		s["dependentRequired"] = map[string]any{pick(g, names): []string{pick(g, names)}}
	case 23:
		s["dependentSchemas"] = map[string]any{pick(g, names): g.schema(depth - 1)}
	}
}
