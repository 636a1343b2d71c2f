package mapping

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"pgregory.net/rapid"
)

// comparedBy plans one field that is compared in that way.
func comparedBy(t testing.TB, c Compare, typ kedge.Type) *EntityPlan {
	return planFor(t, []kedge.Field{field("Id", kedge.TypeString), field("X", typ)}, []kedge.Field{field("id", kedge.TypeString), field("x", typ)},
		"    direction: bidirectional\n    fields: [{external: X, local: x, compare: '"+string(c)+"'}]\n")
}

func TestEqual(t *testing.T) {
	s, d, f := kedge.String, kedge.Decimal, kedge.Float
	missing, null := kedge.Value{}, kedge.Null()
	for _, tt := range []struct {
		compare Compare
		a, b    kedge.Value
		want    bool
	}{
		{CompareExact, missing, missing, true}, {CompareExact, null, null, true}, {CompareExact, missing, null, false}, {CompareExact, null, s(""), false},
		{CompareTrim, null, s(""), false}, {CompareTrim, missing, s(" "), false}, {CompareNocase, null, s(""), false}, {"round:2", null, d("0"), false}, {"round:2", missing, null, false},
		{CompareExact, s("Ann"), s("ann"), false}, {CompareExact, s("Ann"), s("Ann "), false}, {CompareExact, d("19.9"), d("19.90"), true},
		{CompareExact, d("1"), s("1"), false}, {CompareExact, at("2026-01-02T03:04:05.123456789Z"), at("2026-01-02T03:04:05.123456Z"), true},
		{CompareExact, at("2026-01-02T03:04:05.123456Z"), at("2026-01-02T03:04:05.123457Z"), false}, {CompareExact, f(math.NaN()), f(math.NaN()), true},
		{CompareTrim, s(" Ann\t"), s("Ann"), true}, {CompareTrim, s("Ann"), s("ann"), false}, {CompareTrim, s(" "), s(""), true}, {CompareTrim, s("A nn"), s("Ann"), false},
		{CompareNocase, s("ÄNN "), s("änn"), true}, {CompareNocase, s("K"), s("\u212a"), true}, {CompareNocase, s("ß"), s("SS"), false}, {CompareNocase, s("σ"), s("ς"), true},
		{CompareNocase, d("1"), d("1.0"), true},
		{"round:2", d("19.994"), d("19.99"), true}, {"round:2", d("19.995"), d("20"), true}, {"round:2", d("19.995"), d("19.99"), false}, {"round:2", d("-19.995"), d("-20.00"), true},
		{"round:2", d("-0.004"), d("0"), true}, {"round:0", d("9.5"), d("10"), true}, {"round:0", d("0.5"), d("1"), true}, {"round:0", d("0.4999"), d("0"), true},
		{"round:2", f(0.125), f(0.13), true}, {"round:2", f(math.Copysign(0, -1)), f(0), true}, {"round:2", f(math.Inf(1)), f(math.Inf(1)), true}, {"round:2", f(math.Inf(1)), f(math.Inf(-1)), false},
		{"round:2", kedge.Int(19), kedge.Int(20), false}, {"round:2", d("1e3"), d("1000.001"), true}, {"round:2", s("1.001"), s("1"), false},
	} {
		c := newComparator(tt.compare)
		if got := c.equal(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: %v %q and %v %q: equal = %v, want %v", tt.compare, tt.a.Type(), tt.a.Text(), tt.b.Type(), tt.b.Text(), got, tt.want)
		}
		if got := c.equal(tt.b, tt.a); got != tt.want {
			t.Errorf("%s: %q and %q the other way round: equal = %v, want %v", tt.compare, tt.b.Text(), tt.a.Text(), got, tt.want)
		}
	}
}

// Two values are equal exactly if their hashes are.
func TestEqualAgreesWithLocalHash(t *testing.T) {
	texts := rapid.OneOf(rapid.StringMatching(`[ \t]?[aAkKsSäÄσςΣ\x{212a}\x{17f}]{0,3} ?`), rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 3), func(b []byte) string { return string(b) }))
	numbers := rapid.StringMatching(`-?[0-9]{1,3}(\.[0-9]{0,4}[059]{0,2})?`)
	for _, compare := range []Compare{CompareExact, CompareTrim, CompareNocase, "round:0", "round:2", "round:18"} {
		for typ, values := range map[kedge.Type]*rapid.Generator[kedge.Value]{
			kedge.TypeString: rapid.Map(texts, kedge.String), kedge.TypeDecimal: rapid.Map(numbers, kedge.Decimal), kedge.TypeInt: rapid.Map(rapid.Int64Range(-3, 3), kedge.Int),
			kedge.TypeFloat: rapid.Map(rapid.OneOf(rapid.Float64Range(-2, 2), rapid.Just(math.NaN()), rapid.Just(math.Inf(1)), rapid.Just(math.Copysign(0, -1))), kedge.Float),
			kedge.TypeTime:  rapid.Map(rapid.Int64Range(0, 3000), func(n int64) kedge.Value { return kedge.Time(noonUTC.Add(time.Duration(n))) }),
		} {
			p := comparedBy(t, compare, typ)
			i := p.LocalFields.Index("x")
			values := rapid.OneOf(values, rapid.SampledFrom([]kedge.Value{{}, kedge.Null()}))
			rapid.Check(t, func(t *rapid.T) {
				a, b := values.Draw(t, "a"), values.Draw(t, "b")
				equal := p.Equal(i, a, b)
				if same := p.LocalHash(&kedge.Record{Values: []kedge.Value{a}}) == p.LocalHash(&kedge.Record{Values: []kedge.Value{b}}); equal != same {
					t.Fatalf("%s: %v %q and %v %q: equal = %v, same hash = %v", compare, a.Type(), a.Text(), b.Type(), b.Text(), equal, same)
				}
			})
		}
	}
}

// Rounding agrees with exact arithmetic.
func TestRoundAgainstRat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{0,20}|\.9{1,20})?(e-?[0-9])?`).Filter(kedge.ValidDecimal).Draw(t, "text")
		c := comparator{round: true, decimals: rapid.IntRange(0, maxRound).Draw(t, "decimals")}
		r, ok := new(big.Rat).SetString(kedge.CanonicalDecimal(text))
		if !ok {
			t.Fatal("no number")
		}
		want := "n" + kedge.CanonicalDecimal(r.FloatString(c.decimals)) + "\x00" // rounds half away from zero
		if got := string(c.appendRounded(nil, kedge.Decimal(text))); got != want {
			t.Fatalf("round %s to %d: got %q, want %q", text, c.decimals, got, want)
		}
	})
}

func FuzzEqual(f *testing.F) {
	for _, s := range []string{"", " ", "a", "A ", "\u212a", "\xff", "\ufffd", "İ", "ẞ"} {
		f.Add(s, strings.ToUpper(s), true)
	}
	f.Fuzz(func(t *testing.T, a, b string, fold bool) {
		p := &EntityPlan{locals: []localRule{{compare: comparator{trim: true, fold: fold}}}, localHashed: []int{0}}
		hash := func(s string) uint64 { return p.LocalHash(&kedge.Record{Values: []kedge.Value{kedge.String(s)}}) }
		if equal, same := p.Equal(0, kedge.String(a), kedge.String(b)), hash(a) == hash(b); equal != same {
			t.Errorf("equal = %v, same hash = %v", equal, same)
		}
	})
}
