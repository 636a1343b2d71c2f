package filter_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/filter/filtertest"
	"pgregory.net/rapid"
)

// literals and fields of the same type, for random filters over customers.
var vocabulary = []struct{ field, literals string }{
	{"id", "5|-5|0|9007199254740993|5.5|1e3|null"},
	{"price", "19.90|19.9|0|-0.0|123456789012345678901234567890.1|null"},
	{"ratio", "0.5|INF|NaN|-INF|1e-7|null"},
	{"name", "'x'|''|'it''s'|'Zoë'|null"},
	{"at", "2026-06-15T12:00:00Z|2026-06-15T14:00:00.5+02:00|now()|now() sub duration'P1D'|null"},
	{"day", "2026-06-15|0001-01-01|date(now())|null"},
	{"active", "true|false|null"},
	{"color", "'Red'|Ns.Color'Green'|null"},
	{"ref", "6F1A2B3C-0000-4000-8000-00000000000A|'00000000-0000-0000-0000-000000000000'|null"},
}

func drawFilter(t *rapid.T, depth int) string {
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
		return drawLeaf(t)
	}
	a := drawFilter(t, depth-1)
	switch rapid.IntRange(0, 3).Draw(t, "op") {
	case 0:
		return "not (" + a + ")"
	case 1:
		return "(" + a + ") and (" + drawFilter(t, depth-1) + ")"
	case 2:
		return "(" + a + " or " + drawFilter(t, depth-1) + ")"
	}
	return a + " and " + drawFilter(t, depth-1)
}

func drawLeaf(t *rapid.T) string {
	switch rapid.IntRange(0, 6).Draw(t, "leaf kind") {
	case 0:
		return rapid.SampledFrom([]string{"active", "not active", "contains(name,'x')", "not startswith(tolower(name),'x')",
			"endswith(trim(name),'')", "length(name) gt 1", "year(at) eq 2026", "id lt price", "null eq null"}).Draw(t, "fixed")
	}
	v := rapid.SampledFrom(vocabulary).Draw(t, "field")
	draw := func() string { return rapid.SampledFrom(strings.Split(v.literals, "|")).Draw(t, "literal") }
	if lit := draw(); strings.Contains(lit, "now()") || rapid.Bool().Draw(t, "comparison") {
		ops := []string{"eq", "ne"}
		if v.field != "active" && v.field != "color" && v.field != "ref" {
			ops = append(ops, "gt", "ge", "lt", "le")
		}
		return v.field + " " + rapid.SampledFrom(ops).Draw(t, "op") + " " + lit
	}
	items := strings.Split(strings.ReplaceAll(strings.ReplaceAll(v.literals, "now() sub duration'P1D'|", ""), "now()|", ""), "|")
	if v.field == "day" {
		items = []string{"2026-06-15", "null"}
	}
	return fmt.Sprintf("%s in (%s)", v.field, strings.Join(items[:rapid.IntRange(1, len(items)).Draw(t, "items")], ","))
}

func drawRecord(t *rapid.T) *kedge.Record {
	fields := kedge.NewFields("ref", "color", "active", "day", "at", "name", "ratio", "price", "id")
	r := &kedge.Record{Fields: fields}
	for _, name := range fields.Names() {
		f := customers.Field(name)
		texts := map[string]string{"id": "5|0|9007199254740993", "price": "19.90|0.00|5", "ratio": "0.5|NaN|INF", "name": "x|it's||Zoë",
			"at": "2026-06-15T12:00:00Z|2020-01-01T00:00:00Z", "day": "2026-06-15|0001-01-01", "active": "true|false",
			"color": "Red|Green", "ref": "6f1a2b3c-0000-4000-8000-00000000000a"}[name]
		switch rapid.IntRange(0, 5).Draw(t, name+" state") {
		case 0:
			r.Values = append(r.Values, kedge.Null())
		case 1:
			r.Values = append(r.Values, kedge.Value{})
		default:
			v, err := kedge.ParseText(f.Type, rapid.SampledFrom(strings.Split(texts, "|")).Draw(t, name))
			if err != nil {
				t.Fatal(err)
			}
			r.Values = append(r.Values, v)
		}
	}
	return r
}

func drawBound(t *rapid.T) (string, *filter.Expr) {
	src := drawFilter(t, 4)
	e, err := filter.Parse(src)
	if err != nil {
		t.Fatalf("Parse(%q): %v", src, err)
	}
	b, err := e.Bind(customers, now)
	if err != nil {
		t.Fatalf("Bind(%q): %v", src, err)
	}
	return src, b
}

// sameTree ignores what is only about the source text.
var sameTree = cmp.Options{
	cmpopts.IgnoreFields(filter.Node{}, "Column", "Raw"),
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b kedge.Value) bool { return a.Type() == b.Type() && kedge.Equal(a, b) }),
}

func TestStringIsIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src, bound := drawBound(t)
		e, err := filter.Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		again, err := filter.Parse(e.String())
		if err != nil {
			t.Fatalf("Parse(%q): %v", e, err)
		}
		if d := cmp.Diff(e.Root(), again.Root(), sameTree); d != "" {
			t.Fatalf("%q and %q differ: %s", src, e, d)
		}
		if again, err = filter.Parse(bound.String()); err == nil {
			again, err = again.Bind(customers, now)
		}
		if err != nil {
			t.Fatalf("bound %q: %v", bound, err)
		}
		if d := cmp.Diff(bound.Root(), again.Root(), sameTree, cmpopts.IgnoreFields(filter.Node{}, "Name")); d != "" {
			t.Fatalf("bound %q and %q differ: %s", src, bound, d)
		}
	})
}

// match returns a Truth, or 3 if a field is missing.
func match(t *rapid.T, src string, r *kedge.Record) filter.Truth {
	e, err := filter.Parse(src)
	if err == nil {
		e, err = e.Bind(customers, now)
	}
	if err != nil {
		t.Fatalf("%q: %v", src, err)
	}
	got, err := e.Match(r)
	if err != nil {
		return 3
	}
	return got
}

// TestLogic checks Kleene's laws with a fourth value for missing fields.
func TestLogic(t *testing.T) {
	not := [4]filter.Truth{filter.Yes, filter.Unknown, filter.No, 3}
	rapid.Check(t, func(t *rapid.T) {
		a, b, r := drawFilter(t, 2), drawFilter(t, 2), drawRecord(t)
		x, y := match(t, a, r), match(t, b, r)
		and := func(p, q string) string { return "(" + p + ") and (" + q + ")" }
		or := func(p, q string) string { return "(" + p + ") or (" + q + ")" }
		neg := func(p string) string { return "not (" + p + ")" }
		for _, law := range []struct {
			name      string
			got, want filter.Truth
		}{
			{"not", match(t, neg(a), r), not[x]},
			{"and commutes", match(t, and(a, b), r), match(t, and(b, a), r)},
			{"or commutes", match(t, or(a, b), r), match(t, or(b, a), r)},
			{"De Morgan", match(t, neg(and(a, b)), r), match(t, or(neg(a), neg(b)), r)},
			{"and with itself", match(t, and(a, a), r), x},
			{"absorption", match(t, or("null eq null", a), r), filter.Yes},
		} {
			if law.got != law.want {
				t.Fatalf("%s of %q and %q: got %v, want %v", law.name, a, b, law.got, law.want)
			}
		}
		if x < 3 && y < 3 {
			if got := match(t, and(a, b), r); got != min(x, y) {
				t.Fatalf("%q and %q: got %v, want %v", a, b, got, min(x, y))
			}
			if got := match(t, or(a, b), r); got != max(x, y) {
				t.Fatalf("%q or %q: got %v, want %v", a, b, got, max(x, y))
			}
		}
	})
}

// TestSplitIsSuperset: what passes a filter passes its pushed part.
func TestSplitIsSuperset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, e := drawBound(t)
		refused := rapid.SliceOfDistinct(rapid.SampledFrom([]filter.Op{filter.Or, filter.Not, filter.Ne, filter.Gt, filter.In, filter.Call,
			filter.Contains}), func(o filter.Op) filter.Op { return o }).Draw(t, "refused")
		push, exact := e.Split(func(n filter.Node) bool {
			for _, o := range refused {
				if n.Op == o {
					return false
				}
			}
			return true
		})
		r := drawRecord(t)
		whole, err := e.Match(r)
		if push == nil {
			if exact {
				t.Fatal("exact without a pushed part")
			}
			return
		}
		part, perr := push.Match(r)
		if whole == filter.Yes && part != filter.Yes {
			t.Fatalf("%q passes, pushed %q gives %v, %v", e, push, part, perr)
		}
		if exact && (part != whole || (err == nil) != (perr == nil)) {
			t.Fatalf("%q gives %v, exact %q gives %v", e, whole, push, part)
		}
	})
}

// TestDecimals compares digit by digit as exact arithmetic does.
func TestDecimals(t *testing.T) {
	number := rapid.StringMatching(`-?[0-9]{1,25}(\.[0-9]{1,25})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		c, _ := kedge.Compare(kedge.Decimal(a), kedge.Decimal(b))
		r := &kedge.Record{Fields: kedge.NewFields("price"), Values: []kedge.Value{kedge.Decimal(a)}}
		for op, want := range map[string]bool{"eq": c == 0, "ne": c != 0, "gt": c > 0, "ge": c >= 0, "lt": c < 0, "le": c <= 0} {
			if got := match(t, "price "+op+" "+b, r); (got == filter.Yes) != want {
				t.Fatalf("%s %s %s: got %v, want %v", a, op, b, got, want)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("../../testdata/filters/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		file, err := filtertest.Load(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range file.Cases {
			f.Add(c.Filter)
		}
	}
	f.Add("not id eq 5 AND \"x\" = \xff")
	f.Add(strings.Repeat("(", 65))
	f.Fuzz(func(t *testing.T, src string) {
		e, err := filter.Parse(src)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("error without text")
			}
			return
		}
		again, err := filter.Parse(e.String())
		if err != nil {
			t.Fatalf("canonical text %q of %q: %v", e, src, err)
		}
		if d := cmp.Diff(e.Root(), again.Root(), sameTree); d != "" {
			t.Fatalf("%q and its canonical text %q differ: %s", src, e, d)
		}
		b, err := e.Bind(customers, now)
		if err != nil {
			return
		}
		if _, err := b.Match(fiveTermRecord()); err != nil && err != filter.ErrMissing {
			t.Fatal(err)
		}
	})
}
