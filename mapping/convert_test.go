package mapping

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"pgregory.net/rapid"
)

func at(text string) kedge.Value {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return kedge.Time(t)
}

func day(text string) kedge.Value {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return kedge.Date(t)
}

func TestConversions(t *testing.T) {
	refused := kedge.Value{}
	for _, tt := range []struct {
		name string
		in   kedge.Value
		to   kedge.Type
		want kedge.Value
	}{
		{"bool to string", kedge.Bool(true), kedge.TypeString, kedge.String("true")},
		{"string to bool", kedge.String("false"), kedge.TypeBool, kedge.Bool(false)},
		{"other string to bool", kedge.String("no"), kedge.TypeBool, refused},
		{"int to string", kedge.Int(math.MinInt64), kedge.TypeString, kedge.String("-9223372036854775808")},
		{"string to int", kedge.String("9007199254740993"), kedge.TypeInt, kedge.Int(9007199254740993)},
		{"string with a point to int", kedge.String("1.0"), kedge.TypeInt, refused},
		{"int to decimal", kedge.Int(9007199254740993), kedge.TypeDecimal, kedge.Decimal("9007199254740993")},
		{"decimal to int", kedge.Decimal("42.00"), kedge.TypeInt, kedge.Int(42)},
		{"decimal with an exponent to int", kedge.Decimal("1e3"), kedge.TypeInt, kedge.Int(1000)},
		{"decimal with a fraction to int", kedge.Decimal("42.5"), kedge.TypeInt, refused},
		{"large decimal to int", kedge.Decimal("9223372036854775808"), kedge.TypeInt, refused},
		{"decimal keeps its digits", kedge.Decimal("19.90"), kedge.TypeDecimal, kedge.Decimal("19.90")},
		{"decimal to string", kedge.Decimal("19.90"), kedge.TypeString, kedge.String("19.90")},
		{"string to decimal", kedge.String("19.90"), kedge.TypeDecimal, kedge.Decimal("19.90")},
		{"word to decimal", kedge.String("much"), kedge.TypeDecimal, refused},
		{"float to decimal", kedge.Float(19.9), kedge.TypeDecimal, kedge.Decimal("19.9")},
		{"NaN to decimal", kedge.Float(math.NaN()), kedge.TypeDecimal, refused},
		{"infinity to int", kedge.Float(math.Inf(1)), kedge.TypeInt, refused},
		{"float to int", kedge.Float(3), kedge.TypeInt, kedge.Int(3)},
		{"float with a fraction to int", kedge.Float(3.5), kedge.TypeInt, refused},
		{"int to float", kedge.Int(1 << 53), kedge.TypeFloat, kedge.Float(1 << 53)},
		{"odd int beyond 2^53 to float", kedge.Int(1<<53 + 1), kedge.TypeFloat, refused},
		{"decimal to float", kedge.Decimal("19.90"), kedge.TypeFloat, kedge.Float(19.9)},
		{"minus zero to float", kedge.Decimal("-0"), kedge.TypeFloat, kedge.Float(0)},
		{"long decimal to float", kedge.Decimal("0.1234567890123456789"), kedge.TypeFloat, refused},
		{"date to time", day("2026-02-03"), kedge.TypeTime, at("2026-02-03T00:00:00Z")},
		{"midnight to date", at("2026-02-03T00:00:00Z"), kedge.TypeDate, day("2026-02-03")},
		{"time to date", at("2026-02-03T00:00:00.000001Z"), kedge.TypeDate, refused},
		{"time before 1970 to date", at("1960-02-03T00:00:00Z"), kedge.TypeDate, day("1960-02-03")},
		{"first midnight to date", at("0001-01-01T00:00:00Z"), kedge.TypeDate, day("0001-01-01")},
		{"time to string", at("2026-02-03T04:05:06.789Z"), kedge.TypeString, kedge.String("2026-02-03T04:05:06.789Z")},
		{"string to time", kedge.String("2026-02-03T06:05:06+02:00"), kedge.TypeTime, at("2026-02-03T04:05:06Z")},
		{"string to date", kedge.String("2026-02-03"), kedge.TypeDate, day("2026-02-03")},
		{"string that is no day", kedge.String("2026-02-30"), kedge.TypeDate, refused},
		{"nanoseconds are cut", at("2026-02-03T04:05:06.123456789Z"), kedge.TypeTime, at("2026-02-03T04:05:06.123456Z")},
		{"nanoseconds before 1970", at("1960-02-03T04:05:06.999999999Z"), kedge.TypeTime, at("1960-02-03T04:05:06.999999Z")},
		{"bytes to string", kedge.Bytes([]byte{0xff, 0}), kedge.TypeString, kedge.String("_wA")},
		{"string to bytes", kedge.String("_wA"), kedge.TypeBytes, kedge.Bytes([]byte{0xff, 0})},
		{"json to string", kedge.JSON(`{"a":1}`), kedge.TypeString, kedge.String(`{"a":1}`)},
		{"string to json", kedge.String(`{"a":1}`), kedge.TypeJSON, kedge.JSON(`{"a":1}`)},
		{"broken json", kedge.String(`{`), kedge.TypeJSON, refused},
		{"bool to int", kedge.Bool(true), kedge.TypeInt, refused},
		{"null stays null", kedge.Null(), kedge.TypeInt, kedge.Null()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := target{typ: tt.to, nullable: true}
			got, err := to.fit(tt.in)
			if got != tt.want || (err == nil) != (tt.want != refused) {
				t.Errorf("got %v %q, %v; want %v %q", got.Type(), got.Text(), err, tt.want.Type(), tt.want.Text())
			}
			if err != nil && tt.in.Type() != kedge.TypeBool && len(tt.in.Text()) > 2 && strings.Contains(err.Error(), tt.in.Text()) {
				t.Errorf("error %q holds the value", err)
			}
		})
	}
}

func TestFieldLimits(t *testing.T) {
	guid := "0f8fad5b-d9cb-469f-a165-70867728950e"
	for _, tt := range []struct {
		name string
		to   kedge.Field
		in   kedge.Value
		want kedge.Value // missing: refused
	}{
		{"length at the limit, in characters", kedge.Field{Type: kedge.TypeString, MaxLength: 3}, kedge.String("äöü"), kedge.String("äöü")},
		{"one past it", kedge.Field{Type: kedge.TypeString, MaxLength: 3}, kedge.String("äöüx"), kedge.Value{}},
		{"length of a converted number", kedge.Field{Type: kedge.TypeString, MaxLength: 2}, kedge.Int(123), kedge.Value{}},
		{"digits at the limit", kedge.Field{Type: kedge.TypeDecimal, Precision: 5, Scale: 2}, kedge.Decimal("999.99"), kedge.Decimal("999.99")},
		{"a digit too many after the point", kedge.Field{Type: kedge.TypeDecimal, Precision: 5, Scale: 2}, kedge.Decimal("1.999"), kedge.Value{}},
		{"zeros after the point lose nothing", kedge.Field{Type: kedge.TypeDecimal, Precision: 5, Scale: 2}, kedge.Decimal("1.9900"), kedge.Decimal("1.9900")},
		{"a digit too many before the point", kedge.Field{Type: kedge.TypeDecimal, Precision: 5, Scale: 2}, kedge.Decimal("1000"), kedge.Value{}},
		{"any scale", kedge.Field{Type: kedge.TypeDecimal, Precision: 5, Scale: -1}, kedge.Decimal("1.2345"), kedge.Decimal("1.2345")},
		{"any scale, too many digits", kedge.Field{Type: kedge.TypeDecimal, Precision: 5, Scale: -1}, kedge.Decimal("12.2345"), kedge.Value{}},
		{"int into a small decimal", kedge.Field{Type: kedge.TypeDecimal, Precision: 3, Scale: 0}, kedge.Int(-1000), kedge.Value{}},
		{"guid", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatGUID}, kedge.String(guid), kedge.String(guid)},
		{"guid in capitals", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatGUID}, kedge.String(strings.ToUpper(guid)), kedge.String(guid)},
		{"guid in braces", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatGUID}, kedge.String("{" + guid + "}"), kedge.Value{}},
		{"no guid", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatGUID}, kedge.String("C1"), kedge.Value{}},
		{"member", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatEnum, Enum: []string{"Open"}}, kedge.String("Open"), kedge.String("Open")},
		{"no member", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatEnum, Enum: []string{"Open"}}, kedge.String("open"), kedge.Value{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := newTarget(&tt.to)
			got, err := to.fit(tt.in)
			if tt.want.IsMissing() {
				if err == nil {
					t.Errorf("got %q, want an error", got.Text())
				}
			} else if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got.Text(), err, tt.want.Text())
			}
		})
	}
}

// Whatever converts, comes back as an equal value: a lossy conversion is an
// error. Times lose what is below a microsecond beforehand.
func TestConversionsLoseNothing(t *testing.T) {
	values := rapid.OneOf(
		rapid.Map(rapid.Int64(), kedge.Int), rapid.Map(rapid.Bool(), kedge.Bool), rapid.Map(rapid.Float64(), kedge.Float),
		rapid.Map(rapid.StringMatching(`-?[0-9]{1,25}(\.[0-9]{1,25})?`), kedge.Decimal),
		rapid.Map(rapid.IntRange(-700000, 2900000), func(d int) kedge.Value { return kedge.Date(time.Unix(int64(d)*86400, 0).UTC()) }),
		rapid.Map(rapid.Int64Range(-6e10, 2.5e11), func(s int64) kedge.Value { return kedge.Time(time.Unix(s, 0)) }),
		rapid.Map(rapid.Int64Range(-7e5, 2.9e6), func(s int64) kedge.Value { return kedge.Time(time.Unix(s*86400, 0)) }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), kedge.Bytes), rapid.Map(rapid.String(), kedge.String))
	types := rapid.SampledFrom([]kedge.Type{kedge.TypeBool, kedge.TypeInt, kedge.TypeFloat, kedge.TypeDecimal, kedge.TypeString, kedge.TypeTime, kedge.TypeDate, kedge.TypeBytes})
	rapid.Check(t, func(t *rapid.T) {
		v, to := values.Draw(t, "value"), types.Draw(t, "to")
		there, back := target{typ: to}, target{typ: v.Type()}
		converted, err := there.fit(v)
		if err != nil {
			return
		}
		if !convertible(v.Type(), to) {
			t.Fatalf("%v became %v, but convertible says no", v.Type(), to)
		}
		again, err := back.fit(converted)
		if err != nil {
			t.Fatalf("%v %q became %v %q, which does not come back: %v", v.Type(), v.Text(), to, converted.Text(), err)
		}
		if !roundTrips(v.Type(), to) && !kedge.Equal(v, again) {
			return // text that is spelled otherwise: refused in bidirectional fields
		}
		if v.Type() == kedge.TypeFloat && math.IsNaN(v.Float()) {
			return
		}
		if !kedge.Equal(again, v) {
			t.Fatalf("%v %q came back from %v as %q", v.Type(), v.Text(), to, again.Text())
		}
	})
}

func FuzzConvert(f *testing.F) {
	for _, s := range []string{"", "1", "19.90", "1e400", "-0", "true", "2026-01-02", "2026-01-02T03:04:05.123456789Z", "{}", "INF", "0x1"} {
		for typ := kedge.TypeBool; typ <= kedge.TypeJSON; typ++ {
			f.Add(s, uint8(typ), uint8(5), uint8(2))
		}
	}
	f.Fuzz(func(t *testing.T, s string, typ, precision, scale uint8) {
		to := target{typ: kedge.TypeBool + kedge.Type(typ)%(kedge.TypeJSON-kedge.TypeBool+1), precision: int(precision), scale: int(scale), maxLength: int(precision)}
		v, err := to.fit(kedge.String(s))
		if err == nil && v.Type() != to.typ {
			t.Errorf("fit gave %v, want %v", v.Type(), to.typ)
		}
	})
}

func mustNumber(t testing.TB, s string) number {
	t.Helper()
	n, err := parseNumber(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct{ a, op, b, want string }{
		{"19.90", "+", "0.10", "20.00"}, {"0.1", "+", "0.2", "0.3"}, {"1", "-", "1.00", "0.00"}, {"-5", "-", "-7", "2"},
		{"19.90", "*", "3", "59.70"}, {"0.05", "*", "0.05", "0.0025"}, {"10", "/", "4", "2.5"}, {"1", "/", "3", "0.33333333333333333333"},
		{"2", "/", "3", "0.66666666666666666667"}, {"-2", "/", "3", "-0.66666666666666666667"}, {"10.00", "/", "2", "5.00"}, {"1", "/", "0", ""}, {"7.5", "%", "2", "1.5"}, {"7", "%", "0", ""},
		{strings.Repeat("9", 400), "*", "10", ""}, {"0." + strings.Repeat("0", 300) + "1", "*", "0." + strings.Repeat("0", 300) + "1", ""},
		{"9007199254740993", "+", "0", "9007199254740993"},
	} {
		do := map[string]func(a, b number) (number, error){"+": number.add, "-": number.sub, "*": number.mul, "/": number.div, "%": number.mod}[tt.op]
		got, err := do(mustNumber(t, tt.a), mustNumber(t, tt.b))
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s %s %s = %v, want an error", tt.a, tt.op, tt.b, got)
			}
		} else if err != nil || got.String() != tt.want {
			t.Errorf("%s %s %s = %v, %v; want %s", tt.a, tt.op, tt.b, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		in    string
		scale int
		want  string
	}{{"2.345", 2, "2.35"}, {"-2.345", 2, "-2.35"}, {"2.344", 2, "2.34"}, {"2.5", 0, "3"}, {"2", 2, "2"}, {"0.004", 2, "0.00"}} {
		if got := mustNumber(t, tt.in).round(tt.scale).String(); got != tt.want {
			t.Errorf("round(%s, %d) = %s, want %s", tt.in, tt.scale, got, tt.want)
		}
	}
}

// Arithmetic agrees with exact fractions.
func TestNumbersAgainstFractions(t *testing.T) {
	texts := rapid.StringMatching(`-?[0-9]{1,30}(\.[0-9]{1,15})?`)
	rapid.Check(t, func(t *rapid.T) {
		x, y := texts.Draw(t, "x"), texts.Draw(t, "y")
		a, err1 := parseNumber(x)
		b, err2 := parseNumber(y)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		p, _ := new(big.Rat).SetString(x)
		q, _ := new(big.Rat).SetString(y)
		for name, got := range map[string]struct {
			do   func(a, b number) (number, error)
			want *big.Rat
		}{"add": {number.add, new(big.Rat).Add(p, q)}, "sub": {number.sub, new(big.Rat).Sub(p, q)}, "mul": {number.mul, new(big.Rat).Mul(p, q)}} {
			n, err := got.do(a, b)
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := new(big.Rat).SetString(n.String()); !ok || r.Cmp(got.want) != 0 {
				t.Fatalf("%s of %s and %s = %s", name, x, y, n)
			}
		}
		if got, want := a.cmp(b), p.Cmp(q); got != want {
			t.Fatalf("cmp of %s and %s = %d, want %d", x, y, got, want)
		}
	})
}
