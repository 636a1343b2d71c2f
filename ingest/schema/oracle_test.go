package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/ohler55/ojg/jp"
	"pgregory.net/rapid"
)

// Paths lead to what ojg finds, where it follows RFC 9535. It does not read
// resources itself, because slices of empty lists make it panic ($[-1::-1]) and
// those with a negative step are wrong ($[0:1:-1] of one element has none).
func TestPathsLikeOjg(t *testing.T) {
	var value any
	if err := json.Unmarshal([]byte(`{"a": [{"a": 1, "b": [1, 2, 3]}, [4, [5, 6], {"b": null}], "x", [7, 8, 9, 10, 11]], "b": {"a": {"a": []}, "b": [12]}}`), &value); err != nil {
		t.Fatal(err)
	}
	bound := rapid.OneOf(rapid.Just[*int](nil), rapid.Map(rapid.IntRange(-7, 7), func(n int) *int { return &n }))
	forward := rapid.OneOf(rapid.Just[*int](nil), rapid.Map(rapid.IntRange(0, 3), func(n int) *int { return &n }))
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		var p Path
		expr := jp.R()
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c"})
			switch s := (step{kind: stepKind(rapid.IntRange(0, 3).Draw(t, "kind"))}); s.kind {
			case byName:
				s.names = rapid.SliceOfNDistinct(name, 1, 2, func(s string) string { return s }).Draw(t, "names")
				p.steps = append(p.steps, s)
				if len(s.names) == 1 {
					expr = expr.C(s.names[0])
				} else {
					expr = expr.U(s.names[0], s.names[1])
				}
			case atIndex:
				s.index = rapid.IntRange(-6, 6).Draw(t, "index")
				p.steps, expr = append(p.steps, s), expr.N(s.index)
			case all:
				p.steps, expr = append(p.steps, s), expr.W()
			case between:
				s.slice = bounds{bound.Draw(t, "start"), bound.Draw(t, "end"), forward.Draw(t, "step")}
				frag := jp.Slice{jp.SliceNotSet, jp.SliceNotSet, jp.SliceNotSet}
				for i, b := range []*int{s.slice.start, s.slice.end, s.slice.step} {
					if b != nil {
						frag[i] = *b
					}
				}
				p.steps, expr = append(p.steps, s), append(expr, frag)
			}
		}
		want, panicked := get(expr, value)
		if panicked {
			return
		}
		got := p.Get(value)
		if slices.ContainsFunc(p.steps, func(s step) bool { return s.kind == all }) { // ojg has no order for members
			slices.SortFunc(got, byText)
			slices.SortFunc(want, byText)
		}
		found += len(got)
		if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%s leads to %v, ojg says %v", expr, got, want)
		}
	})
	if found == 0 {
		t.Error("nothing was found by any path")
	}
}

func byText(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) }

func get(x jp.Expr, v any) (out []any, panicked bool) {
	defer func() { panicked = recover() != nil }()
	return x.Get(v), false
}
