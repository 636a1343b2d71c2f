package jsonguard_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

func decode(t interface{ Fatalf(string, ...any) }, text string) any {
	v, _, err := jsonguard.Decode([]byte(text), 0)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestHash(t *testing.T) {
	for _, group := range [][]string{
		{`{"a":1,"b":[2,{"c":null}]}`, ` { "b" : [ 2.0 , {"c":null} ], "a" : 1e0 } `, `{"a":10E-1,"b":[0.2e1,{"c":null}]}`},
		{`{"a":1,"b":[2,{}]}`},
		{`{"a":1,"b":[{"c":null},2]}`},
		{`0`, `-0`, `0.0`, `0e10`, `-0.00E-5`},
		{`19.90`, `19.9`, `1.99e1`, `199E-1`},
		{`9007199254740993`, `9007199254740993.0`},
		{`9007199254740992`},
		{`1e400`, `10e399`},
		{`"1"`}, {`true`}, {`"true"`}, {`null`}, {`"null"`}, {`false`}, {`{}`}, {`[]`}, {`[[]]`}, {`[null]`}, {`""`},
		{`["a","bc"]`}, {`["ab","c"]`}, {`["abc"]`}, {`[["a"],"bc"]`},
		{`{"a":null}`}, {`{"a":{}}`}, {`{"a":"b","c":"d"}`}, {`{"a":["b"],"c":"d"}`},
		{`"é"`, `"\u00e9"`}, {`"e\u0301"`},
		{`"<&>/"`, `"\u003c\u0026\u003e\/"`},
	} {
		for _, text := range group {
			for _, other := range group {
				if jsonguard.Hash(decode(t, text)) != jsonguard.Hash(decode(t, other)) {
					t.Errorf("%s and %s differ", text, other)
				}
			}
		}
	}
	seen := map[jsonguard.Sum]string{}
	for _, text := range []string{`{"a":1,"b":[2,{"c":null}]}`, `{"a":1,"b":[2,{}]}`, `0`, `19.9`, `9007199254740993`, `9007199254740992`, `1e400`, `1e399`,
		`"1"`, `1`, `true`, `"true"`, `null`, `"null"`, `false`, `{}`, `[]`, `[[]]`, `[null]`, `""`, `["a","bc"]`, `["ab","c"]`, `["abc"]`, `[["a"],"bc"]`,
		`{"a":null}`, `{"a":{}}`, `{"a":"b","c":"d"}`, `{"a":["b"],"c":"d"}`, `"é"`, `"e\u0301"`, `-1`, `[[],[]]`, `[[[]]]`, `["[]"]`, `{"":""}`, `{"":{}}`} {
		sum := jsonguard.Hash(decode(t, text))
		if other, ok := seen[sum]; ok {
			t.Errorf("%s and %s are equal", text, other)
		}
		seen[sum] = text
	}
}

// A value of the model, with the many ways to write it.
func genValue(depth int) *rapid.Generator[any] {
	number := rapid.Custom(func(t *rapid.T) any {
		mantissa := rapid.Int64Range(-30, 30).Draw(t, "mantissa")
		exp := rapid.IntRange(-3, 3).Draw(t, "exp")
		r := new(big.Rat).SetInt64(mantissa)
		ten := new(big.Rat).SetInt64(10)
		for ; exp > 0; exp-- {
			r.Mul(r, ten)
		}
		for ; exp < 0; exp++ {
			r.Quo(r, ten)
		}
		return r.FloatString(6)
	})
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Just[any](true), rapid.Just[any](false), number, number,
		rapid.Map(rapid.SampledFrom([]string{"", "a", "b", "ab", "é", "\"", "\\", "1", "null", "~", "/"}), func(s string) any { return &s }),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	below := genValue(depth - 1)
	return rapid.OneOf(append(leaves,
		rapid.Map(rapid.SliceOfN(below, 0, 3), func(l []any) any { return l }),
		rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"", "a", "b", "c", "é"}), below, 0, 3), func(m map[string]any) any { return m }))...)
}

// write writes a model value in one of its spellings. Numbers are strings of
// fixed point, strings are pointers.
func write(rng *rand.Rand, v any) string {
	space := func() string { return strings.Repeat(" ", rng.IntN(2)) }
	switch v := v.(type) {
	case string:
		switch rng.IntN(4) {
		case 0:
			return v + "0"
		case 1:
			return v + "e0"
		case 2:
			if s := strings.TrimRight(v, "0"); !strings.HasSuffix(s, ".") {
				return s
			}
		}
		return v
	case *string:
		b, _ := json.Marshal(*v)
		if rng.IntN(2) == 0 {
			var escaped strings.Builder
			for _, r := range *v {
				fmt.Fprintf(&escaped, `\u%04x`, r)
			}
			return `"` + escaped.String() + `"`
		}
		return string(b)
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, space()+write(rng, e)+space())
		}
		return "[" + strings.Join(parts, ",") + "]"
	case map[string]any:
		names := slices.Collect(maps.Keys(v))
		rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		var parts []string
		for _, name := range names {
			parts = append(parts, space()+write(rng, &name)+space()+":"+write(rng, v[name]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	b, _ := json.Marshal(v)
	return string(b)
}

// modelEqual is what the hash must agree with.
func modelEqual(a, b any) bool {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		x, _ := new(big.Rat).SetString(a)
		y, yok := new(big.Rat).SetString(b)
		return ok && yok && x.Cmp(y) == 0
	case *string:
		b, ok := b.(*string)
		return ok && *a == *b
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, modelEqual)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, modelEqual)
	}
	return a == b
}

func TestHashEqualsExactlyEqualValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genValue(2).Draw(t, "a"), genValue(2).Draw(t, "b")
		if rapid.Bool().Draw(t, "same") {
			b = a
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		x, y := write(rng, a), write(rng, b)
		got := jsonguard.Hash(decode(t, x)) == jsonguard.Hash(decode(t, y))
		if want := modelEqual(a, b); got != want {
			t.Fatalf("%s and %s: hashes equal %v, values equal %v", x, y, got, want)
		}
	})
}

func TestMinify(t *testing.T) {
	const in = " { \"b\" : [ 1.50 , 1E+2,-0 ] ,\n \"a\\u0062\\/\" : \"\\u00e9\\u003c\\n\\u001f\\\"\\ud83d\\ude00\\u2028\" } "
	const want = `{"b":[1.50,1E+2,-0],"ab/":"é<\n\u001f\"😀` + "\u2028" + `"}`
	got, err := jsonguard.Minify([]byte("x"), []byte(in))
	if err != nil || string(got) != "x"+want {
		t.Errorf("Minify = %s (%v), want x%s", got, err, want)
	}
	if got, err := jsonguard.Minify([]byte("x"), []byte("{")); err == nil || string(got) != "x" {
		t.Errorf("Minify of half a text = %q (%v)", got, err)
	}
}

func TestUnflattenIsTheReverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		v := decode(t, write(rng, genValue(3).Draw(t, "value")))
		leaves, err := jsonguard.Flatten("body", v)
		if err != nil {
			t.Fatal(err)
		}
		rng.Shuffle(len(leaves), func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
		again, err := jsonguard.Unflatten("body", leaves)
		if err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("%v from %v, want %v (%v)", again, leaves, v, err)
		}
	})
}
