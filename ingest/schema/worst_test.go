package schema_test

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A hostile is a schema and payloads that grow with n, made to cost more than
// they weigh.
type hostile struct {
	name, schema string
	payload      func(n int) string
}

func many(n int, s string) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }

func inList(e string) func(int) string { return func(n int) string { return elements(n, e) } }

func listOf(items string) string {
	return doc(`"allOf": [{"properties": {"list": {"items": ` + items + `}}}]`)
}

func members(n int, value string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `, "x%d": %s`, i, value)
	}
	return `{"id": "1"` + b.String() + `}`
}

func distinctTrees(n int) string {
	// Arrays of one size and all shapes, which the validator's own hash cannot tell apart.
	var out []string
	var grow func(prefix string, open, left int)
	grow = func(prefix string, open, left int) {
		switch {
		case len(out) == n:
		case left == 0:
			out = append(out, prefix+strings.Repeat("]", open))
		default:
			grow(strings.TrimSuffix(prefix, ",")+separator(prefix)+"[", open+1, left-1)
			if open > 1 {
				grow(prefix+"]", open-1, left)
			}
		}
	}
	grow("[", 1, 11)
	return `{"id": "1", "list": [` + strings.Join(out, ",") + `]}`
}

func separator(prefix string) string {
	if strings.HasSuffix(prefix, "]") {
		return ","
	}
	return ""
}

var hostiles = []hostile{
	{"many subschemas", listOf(`{"allOf": [` + many(98, "true") + `]}`), inList("1")},
	{"many errors", listOf(`{"allOf": [` + many(98, `{"type": "string"}`) + `]}`), inList("1")},
	{"alternatives that fail", listOf(`{"anyOf": [` + many(98, `{"type": "string"}`) + `]}`), inList("1")},
	{"objects that fail", listOf(`{"allOf": [` + many(40, `{"required": ["a", "b"]}`) + `]}`), inList("{}")},
	{"numbers in an enum", listOf(`{"enum": [` + many(4900, "1e300") + `]}`), inList("1e-300")},
	{"objects in an enum", listOf(`{"enum": [` + many(1400, `{"a":[1,2]}`) + `]}`), inList(`{"a":[1,3]}`)},
	{"limits of huge numbers", listOf(`{"minimum": 1e-400, "maximum": 1e400, "multipleOf": 1e-400}`), inList("1e399")},
	{"multiples of tiny numbers", listOf(`{"multipleOf": 3.333333e-390}`), inList("1.2345678901234567890123456789e390")},
	{"integers", listOf(`{"type": "integer"}`), inList("1e-400")},
	{"names against patterns", doc(`"patternProperties": {` + func() string {
		var p []string
		for i := range 49 {
			p = append(p, fmt.Sprintf(`"(a?){20}%d$": true`, i))
		}
		return strings.Join(p, ",")
	}() + `}`), func(n int) string { return members(min(n, 4000), "1") }},
	{"long texts and lengths", listOf(`{"allOf": [` + many(1000, `{"maxLength": 1}`) + `]}`), func(n int) string {
		return elements(1, `"`+strings.Repeat("é", n)+`"`)
	}},
	{"a slow pattern", listOf(`{"pattern": "^(a?b?c?){300}$"}`), func(n int) string {
		return elements(1, `"`+strings.Repeat("abc", n)+`"`)
	}},
	{"many slow patterns", listOf(`{"allOf": [` + many(49, `{"pattern": "(x+x+)+y"}`) + `]}`), func(n int) string {
		return elements(1, `"`+strings.Repeat("x", n)+`"`)
	}},
	{"nested unique items", doc(`"$defs": {"u": {"uniqueItems": true, "items": {"$ref": "#/$defs/u"}}}, "allOf": [{"properties": {"list": {"$ref": "#/$defs/u"}}}]`), func(n int) string {
		return elements(n, strings.Repeat("[", 50)+"1"+strings.Repeat("]", 50))
	}},
	{"unique items of equal sizes", doc(`"allOf": [{"properties": {"list": {"uniqueItems": true}}}]`), distinctTrees},
	{"unevaluated members", doc(`"allOf": [` + many(300, `{"minProperties": 1}`) + `], "patternProperties": {"^y": true}`), func(n int) string { return members(n, "1") }},
	{"members of many subschemas", doc(`"allOf": [` + many(300, `{"properties": {"a": true}}`) + `], "patternProperties": {"^x": true}`), func(n int) string { return members(n, "1") }},
	{"names", doc(`"propertyNames": {"allOf": [` + many(100, `{"maxLength": 100}`) + `]}, "patternProperties": {"^x": true}`), func(n int) string { return members(n, "1") }},
	{"contains", doc(`"allOf": [{"properties": {"list": {"allOf": [` + many(50, `{"contains": {"const": 2}}`) + `]}}}]`), inList("1")},
	{"unevaluated items", doc(`"allOf": [{"properties": {"list": {"unevaluatedItems": true, "allOf": [` + many(50, `{"contains": {"const": 2}, "minContains": 0}`) + `]}}}]`), inList("1")},
	{"a tree", doc(`"$defs": {"t": {"additionalProperties": {"$ref": "#/$defs/t"}, "items": {"$ref": "#/$defs/t"}, "maxProperties": 3}}, "allOf": [{"properties": {"list": {"$ref": "#/$defs/t"}}}]`),
		inList(strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50))},
	{"required names", listOf(`{"required": [` + func() string {
		var names []string
		for i := range 3000 {
			names = append(names, fmt.Sprintf(`"n%d"`, i))
		}
		return strings.Join(names, ",")
	}() + `]}`), inList("{}")},
	{"unknown fields", `{` + idOnly + `, "kedge": {"id": "id"}}`, func(n int) string { return members(min(n, 9990), "1") }},
}

// largest returns the largest payload of h that passes all limits, with work
// of at most maxWork.
func (h hostile) largest(t testing.TB, s *schema.Schema, maxWork int) (any, jsonguard.Counts) {
	t.Helper()
	fits := func(n int) bool {
		text := h.payload(n)
		c, err := jsonguard.Scan([]byte(text), 0)
		return err == nil && len(text) <= 1<<20 && s.Work(&c) <= maxWork
	}
	low, high := 1, 2
	for fits(high) && high < 1<<20 {
		low, high = high, high*2
	}
	for high-low > 1+low/50 {
		if mid := (low + high) / 2; fits(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	v, c, err := jsonguard.Decode([]byte(h.payload(low)), 0)
	if err != nil {
		t.Fatal(err)
	}
	return v, c
}

// cpu returns the CPU time that f takes in its thread.
func cpu(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after syscall.Rusage
	const thread = 1 // RUSAGE_THREAD
	_ = syscall.Getrusage(thread, &before)
	f()
	_ = syscall.Getrusage(thread, &after)
	return time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
}

// No schema makes a resource cost much more than it weighs: a twentieth of the
// most work takes less than 0.4 s, where less than 0.1 s is expected.
func TestWorstValidate(t *testing.T) {
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			s := parse(t, h.schema)
			v, c := h.largest(t, s, schema.MaxWork/20/slowdown)
			var err error
			took := cpu(func() { err = s.Validate(v, &c) })
			if k := kedge.KindOf(err); err != nil && k != kedge.Invalid && k != kedge.TooLarge {
				t.Error(err)
			}
			if took > 400*time.Millisecond {
				t.Errorf("took %v for work %d (%d values)", took, s.Work(&c), c.Values)
			}
		})
	}
}

// BenchmarkWorst reports how long a resource with the most work takes: less
// than 2 s.
func BenchmarkWorst(b *testing.B) {
	for _, h := range hostiles {
		b.Run(h.name, func(b *testing.B) {
			s, err := schema.Parse([]byte(h.schema))
			if err != nil {
				b.Fatal(err)
			}
			v, c := h.largest(b, s, schema.MaxWork)
			b.ResetTimer()
			took := cpu(func() {
				for range b.N {
					_ = s.Validate(v, &c)
				}
			})
			b.ReportMetric(took.Seconds()/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(s.Work(&c)), "work")
			b.ReportMetric(float64(c.Values), "values")
		})
	}
}
