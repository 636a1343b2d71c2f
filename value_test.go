package kedge_test

import (
	"bytes"
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
)

// anyValue draws values of all types, near their limits.
func anyValue() *rapid.Generator[kedge.Value] {
	return rapid.Custom(func(t *rapid.T) kedge.Value {
		instant := func() time.Time {
			lo, hi := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
			return time.Unix(rapid.Int64Range(lo, hi).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		}
		switch rapid.IntRange(0, 10).Draw(t, "type") {
		case 0:
			return kedge.Value{}
		case 1:
			return kedge.Null()
		case 2:
			return kedge.Bool(rapid.Bool().Draw(t, "bool"))
		case 3:
			return kedge.Int(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 3)).Draw(t, "int"))
		case 4:
			return kedge.Float(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, 1, -3, 0.5, math.NaN(), math.Inf(1), math.Inf(-1)})).Draw(t, "float"))
		case 5:
			return kedge.Decimal(rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{0,10})?(e-?[0-9]{1,2})?`).Draw(t, "decimal"))
		case 6:
			return kedge.String(rapid.String().Draw(t, "string"))
		case 7:
			return kedge.Time(instant())
		case 8:
			return kedge.Date(instant())
		case 9:
			return kedge.Bytes(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		}
		return kedge.JSON(`{"a":1}`)
	})
}

func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyValue().Draw(t, "v")
		if v.IsEmpty() {
			return
		}
		got, err := kedge.ParseText(v.Type(), v.Text())
		if err != nil || !kedge.Equal(got, v) || got.Type() != v.Type() {
			t.Errorf("ParseText(%v, %q) = %v, %v", v.Type(), v.Text(), got, err)
		}
	})
}

// TestCanonical checks what hashes of rows stand on: equal values have one
// canonical form, different ones two.
func TestCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyValue().Draw(t, "a"), anyValue().Draw(t, "b")
		same := bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil))
		if same != kedge.Equal(a, b) {
			t.Errorf("%v %q and %v %q: equal %v, canonical forms equal %v", a.Type(), a.Text(), b.Type(), b.Text(), kedge.Equal(a, b), same)
		}
	})
}

func TestCompareNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.StringMatching(`-?[0-9]{1,30}(\.[0-9]{0,10})?(e-?[0-9]{1,2})?`).Draw(t, "x")
		y := rapid.StringMatching(`-?[0-9]{1,30}(\.[0-9]{0,10})?`).Draw(t, "y")
		rx, _ := new(big.Rat).SetString(kedge.CanonicalDecimal(x))
		ry, _ := new(big.Rat).SetString(y)
		if c, ok := kedge.Compare(kedge.Decimal(x), kedge.Decimal(y)); !ok || c != rx.Cmp(ry) {
			t.Errorf("Compare(%s, %s) = %d, %v, want %d", x, y, c, ok, rx.Cmp(ry))
		}
	})
}

func TestCanonicalDecimal(t *testing.T) {
	for text, want := range map[string]string{
		"19.90": "19.9", "-0.0": "0", "+5": "5", "007": "7", "1e3": "1000", "1.5e-3": "0.0015", ".5": "0.5", "5.": "5", "0": "0", "-12.30": "-12.3", "100": "100",
	} {
		if got := kedge.CanonicalDecimal(text); got != want {
			t.Errorf("CanonicalDecimal(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestValidDecimalLimits(t *testing.T) {
	digits := string(bytes.Repeat([]byte{'9'}, kedge.MaxDecimalDigits))
	for text, want := range map[string]bool{
		digits: true, digits + "9": false, "1e400": true, "1e401": false, "1e-401": false,
		"": false, "-": false, ".": false, "1.2.3": false, "0x1": false, "1e": false, " 1": false, "NaN": false, "1_0": false,
	} {
		if got := kedge.ValidDecimal(text); got != want {
			t.Errorf("ValidDecimal(%.20q… of %d) = %v, want %v", text, len(text), got, want)
		}
	}
}

func TestNumbersAcrossTypes(t *testing.T) {
	big53 := int64(1)<<53 + 1
	for _, tt := range []struct {
		a, b kedge.Value
		want int
	}{
		{kedge.Int(big53), kedge.Float(float64(big53)), 1}, // the float lost the last digit
		{kedge.Int(5), kedge.Decimal("5.00"), 0},
		{kedge.Decimal("0.1"), kedge.Float(0.1), -1}, // the float is a little more
		{kedge.Float(math.Inf(1)), kedge.Decimal("1e400"), 1},
		{kedge.Int(1), kedge.Float(math.Inf(-1)), 1},
	} {
		if got, ok := kedge.Compare(tt.a, tt.b); !ok || got != tt.want {
			t.Errorf("Compare(%s, %s) = %d, %v, want %d", tt.a.Text(), tt.b.Text(), got, ok, tt.want)
		}
	}
	if _, ok := kedge.Compare(kedge.Float(math.NaN()), kedge.Int(1)); ok {
		t.Error("NaN can be ordered")
	}
}

func TestYearsAreChecked(t *testing.T) {
	for _, text := range []string{"0000-12-31T23:59:59Z", "0001-01-01T00:30:00+01:00", "9999-12-31T23:30:00-01:00"} {
		if _, err := kedge.ParseText(kedge.TypeTime, text); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
	for _, text := range []string{"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"} {
		if v, err := kedge.ParseText(kedge.TypeTime, text); err != nil || v.Text() != text {
			t.Errorf("ParseText(%s) = %s, %v", text, v.Text(), err)
		}
	}
}
