package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// doc returns a document with more members in its root.
func doc(more string) string { return `{` + idOnly + `, ` + more + `, "kedge": {"id": "id"}}` }

func pad(size int) string {
	d := doc(`"$comment": ""`)
	return strings.Replace(d, `"$comment": "`, `"$comment": "`+strings.Repeat("x", size-len(d)), 1)
}

func nest(levels int) string { // levels of not inside the root
	return doc(`"$defs": {"a": ` + strings.Repeat(`{"items": `, levels) + `{}` + strings.Repeat(`}`, levels) + `}`)
}

func nodes(n int) string { // with the root, id and n
	return doc(`"$defs": {"a": {"prefixItems": [` + strings.TrimSuffix(strings.Repeat("true,", n-4), ",") + `]}}`)
}

func regexps(n int) string {
	var list []string
	for i := range n - 1 {
		list = append(list, fmt.Sprintf(`"^x%d$": true`, i))
	}
	return doc(`"patternProperties": {` + strings.Join(list, ", ") + `}, "$defs": {"a": {"pattern": "a"}}`)
}

// weigh returns a document in which n subschemas apply to each resource: the
// root, references to a list of 100, and the rest one by one.
func weigh(n int) string {
	return doc(`"$defs": {"d": {"allOf": [` + strings.TrimSuffix(strings.Repeat("true,", 99), ",") + `]}}, "allOf": [` +
		strings.Repeat(`{"$ref": "#/$defs/d"},`, (n-1)/101-1) + strings.Repeat("true,", (n-1)%101) + `{"$ref": "#/$defs/d"}]`)
}

// Exactly the limit passes, one more does not.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name, at, past, fault string
		kind                  kedge.Kind
	}{
		{"bytes", pad(schema.MaxBytes), pad(schema.MaxBytes + 1), "at most 65536 bytes", kedge.TooLarge},
		{"depth", nest(29), nest(30), "deeper than 32 levels", kedge.Invalid},
		{"nodes", nodes(schema.MaxNodes), nodes(schema.MaxNodes + 1), "at most 2000 subschemas", kedge.Invalid},
		{"regular expressions", regexps(schema.MaxRegexps), regexps(schema.MaxRegexps + 1), "at most 50 regular expressions", kedge.Invalid},
		{"bytes of a regular expression", doc(`"$defs": {"a": {"pattern": "` + strings.Repeat("a", 256) + `"}}`),
			doc(`"$defs": {"a": {"pattern": "` + strings.Repeat("a", 257) + `"}}`), "at most 256 bytes", kedge.Invalid},
		{"weight", weigh(schema.MaxWeight), weigh(schema.MaxWeight + 1), "too complex", kedge.Invalid},
		{"indexes", strings.Replace(doc(`"allOf": [{"properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}}}]`),
			`"id": "id"`, `"id": "id", "indexes": ["id", "n", "a", "b", "c"]`, 1),
			strings.Replace(doc(`"allOf": [{"properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}, "d": {"type": "string"}}}]`),
				`"id": "id"`, `"id": "id", "indexes": ["id", "n", "a", "b", "c", "d"]`, 1), "at most 5", kedge.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := schema.Parse([]byte(tt.at)); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			_, err := schema.Parse([]byte(tt.past))
			if err == nil || !strings.Contains(err.Error(), tt.fault) || kedge.KindOf(err) != tt.kind {
				t.Errorf("past the limit: %v (%v), want %q (%v)", err, kedge.KindOf(err), tt.fault, tt.kind)
			}
		})
	}
}

func resource(t *testing.T, s *schema.Schema, text string) (jsonguard.Counts, error) {
	t.Helper()
	v, counts, err := jsonguard.Decode([]byte(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	return counts, s.Validate(v, &counts)
}

func elements(n int, e string) string {
	return `{"id": "1", "list": [` + strings.TrimSuffix(strings.Repeat(e+",", n), ",") + `]}`
}

func TestWorkLimit(t *testing.T) {
	// 99 subschemas for each element.
	s := parse(t, doc(`"allOf": [{"properties": {"list": {"items": {"allOf": [`+strings.TrimSuffix(strings.Repeat("true,", 98), ",")+`]}}}}]`))
	at := 0
	for n := 19_000; n < 21_000; n++ {
		counts := jsonguard.Counts{}
		counts.Units[0], counts.Units[1], counts.Units[2] = 1, 2, int32(n)
		counts.Text = len("id1list")
		if s.Work(&counts) > schema.MaxWork {
			break
		}
		at = n
	}
	if at < 19_001 || at > 20_999 {
		t.Fatalf("%d elements are at the limit, weights %v", at, s.Weights())
	}
	if _, err := resource(t, s, elements(at, "1")); err != nil {
		t.Errorf("%d elements: %v", at, err)
	}
	if _, err := resource(t, s, elements(at+1, "1")); kedge.KindOf(err) != kedge.TooLarge {
		t.Errorf("%d elements: %v, want too large", at+1, err)
	}
}

func TestMatchesLimit(t *testing.T) {
	s := parse(t, regexps(41)) // 40 patterns of names
	object := func(members int) string {
		var b strings.Builder
		for i := range members - 1 {
			fmt.Fprintf(&b, `, "x%d": 1`, i)
		}
		return `{"id": "1"` + b.String() + `}`
	}
	if _, err := resource(t, s, object(5000)); kedge.KindOf(err) == kedge.TooLarge {
		t.Errorf("5000 members and 40 patterns: %v", err)
	}
	if _, err := resource(t, s, object(5001)); kedge.KindOf(err) != kedge.TooLarge {
		t.Errorf("5001 members and 40 patterns: %v, want too large", err)
	}
}

// Weights follow what applies to a value of each depth.
func TestWeights(t *testing.T) {
	plain := func(w []int) string { return fmt.Sprint(w) }
	for _, tt := range []struct{ name, doc, want string }{
		{"flat", doc(`"title": ""`), "[1 4 1 0]"},
		{"twice", doc(`"allOf": [{"properties": {"id": {"minLength": 1}}}, {"properties": {"id": {}}}]`), "[3 5 1 0]"},
		{"recursive", doc(`"$defs": {"t": {"additionalProperties": {"$ref": "#/$defs/t"}}}, "patternProperties": {"^x": {"$ref": "#/$defs/t"}}`), "[1 6 3 3]"},
	} {
		if got := plain(parse(t, tt.doc).Weights()); got != tt.want {
			t.Errorf("%s: weights %s, want %s", tt.name, got, tt.want)
		}
	}
}
