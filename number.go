package kedge

import (
	"cmp"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// MaxDecimalDigits is the most digits that a decimal value may have, and the
// largest magnitude of its exponent.
const MaxDecimalDigits = 400

// ValidDecimal reports whether text is a decimal number: an optional sign,
// digits with an optional point, and an optional exponent, within
// [MaxDecimalDigits].
func ValidDecimal(text string) bool {
	i, digits := 0, 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		i++
	}
	for seenPoint := false; i < len(text); i++ {
		if c := text[i]; c >= '0' && c <= '9' {
			digits++
		} else if c == '.' && !seenPoint {
			seenPoint = true
		} else {
			break
		}
	}
	if digits == 0 || digits > MaxDecimalDigits {
		return false
	}
	if i == len(text) {
		return true
	}
	if text[i] != 'e' && text[i] != 'E' {
		return false
	}
	exp, err := strconv.Atoi(text[i+1:])
	return err == nil && exp >= -MaxDecimalDigits && exp <= MaxDecimalDigits
}

// CanonicalDecimal returns the one spelling that all texts of the same number
// share: no exponent, no plus sign, no needless zeros, "0" for zero. text must
// pass [ValidDecimal].
func CanonicalDecimal(text string) string {
	if isCanonicalDecimal(text) {
		return text
	}
	neg := strings.HasPrefix(text, "-")
	text = strings.TrimLeft(text, "+-")
	exp := 0
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		exp, _ = strconv.Atoi(text[e+1:])
		text = text[:e]
	}
	whole, frac, _ := strings.Cut(text, ".")
	digits, point := whole+frac, len(whole)+exp
	if point < 0 {
		digits, point = strings.Repeat("0", -point)+digits, 0
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	whole = strings.TrimLeft(digits[:point], "0")
	frac = strings.TrimRight(digits[point:], "0")
	if whole == "" {
		whole = "0"
	}
	if frac != "" {
		whole += "." + frac
	}
	if neg && whole != "0" {
		return "-" + whole
	}
	return whole
}

func isCanonicalDecimal(text string) bool {
	s := strings.TrimPrefix(text, "-")
	whole, frac, point := strings.Cut(s, ".")
	for i := range len(s) {
		if s[i] != '.' && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	if whole == "" || len(whole) > 1 && whole[0] == '0' || text == "-0" {
		return false
	}
	return !point || frac != "" && frac[len(frac)-1] != '0'
}

// Compare orders two values and reports whether they can be ordered: both
// numbers (compared exactly, whatever their types), both times or dates, both
// strings (by code point), both bools or both bytes. Missing, null, json and
// NaN cannot be ordered.
func Compare(a, b Value) (int, bool) {
	switch {
	case a.isNumber() && b.isNumber():
		return compareNumbers(a, b)
	case a.typ == TypeString && b.typ == TypeString, a.typ == TypeBytes && b.typ == TypeBytes:
		return strings.Compare(a.s, b.s), true
	case a.isInstant() && b.isInstant():
		return a.Time().Compare(b.Time()), true
	case a.typ == TypeBool && b.typ == TypeBool:
		return cmp.Compare(a.n, b.n), true
	}
	return 0, false
}

// Equal reports whether a and b are the same value: numbers by their exact
// numeric value whatever their types, json by its text, everything else by
// type and content. Null equals null, missing equals missing, NaN equals NaN.
func Equal(a, b Value) bool {
	if a.typ == b.typ && a.s == b.s && a.n == b.n && a.nano == b.nano {
		return true
	}
	if a.isNumber() && b.isNumber() {
		c, ok := compareNumbers(a, b)
		return ok && c == 0
	}
	return false
}

func (v Value) isNumber() bool {
	return v.typ == TypeInt || v.typ == TypeDecimal || v.typ == TypeFloat
}

func (v Value) isInstant() bool { return v.typ == TypeTime || v.typ == TypeDate }

func compareNumbers(a, b Value) (int, bool) {
	if a.typ == TypeInt && b.typ == TypeInt {
		return cmp.Compare(int64(a.n), int64(b.n)), true
	}
	if a.typ == TypeFloat && b.typ == TypeFloat {
		x, y := a.Float(), b.Float()
		return cmp.Compare(x, y), !math.IsNaN(x) && !math.IsNaN(y)
	}
	if c, ok := compareToInfinity(a, b); ok {
		return c, true
	}
	x, xok := a.rat()
	y, yok := b.rat()
	if !xok || !yok {
		return 0, false
	}
	return x.Cmp(y), true
}

// compareToInfinity handles a float infinity on either side, which no exact
// number equals.
func compareToInfinity(a, b Value) (int, bool) {
	if a.typ == TypeFloat && math.IsInf(a.Float(), 0) {
		return int(math.Copysign(1, a.Float())), true
	}
	if b.typ == TypeFloat && math.IsInf(b.Float(), 0) {
		return -int(math.Copysign(1, b.Float())), true
	}
	return 0, false
}

func (v Value) rat() (*big.Rat, bool) {
	switch v.typ {
	case TypeInt:
		return new(big.Rat).SetInt64(int64(v.n)), true
	case TypeFloat:
		r := new(big.Rat).SetFloat64(v.Float())
		return r, r != nil
	}
	return new(big.Rat).SetString(CanonicalDecimal(v.s))
}

// AppendCanonical appends a form of v that is equal for equal values and
// differs for different ones, also when several values are appended in a row.
// Hashes of rows are made of it.
func (v Value) AppendCanonical(b []byte) []byte {
	if v.isNumber() {
		return append(v.appendCanonicalNumber(append(b, 'n')), 0)
	}
	b = append(b, byte('A'+v.typ))
	switch v.typ {
	case TypeString, TypeBytes, TypeJSON:
		b = strconv.AppendInt(b, int64(len(v.s)), 36)
		b = append(b, ':')
		return append(b, v.s...)
	case TypeMissing, TypeNull:
		return b
	}
	b = strconv.AppendInt(b, int64(v.n), 36)
	if v.typ == TypeTime {
		b = strconv.AppendUint(append(b, '.'), uint64(v.nano), 36)
	}
	return append(b, 0)
}

func (v Value) appendCanonicalNumber(b []byte) []byte {
	switch v.typ {
	case TypeInt:
		return strconv.AppendInt(b, int64(v.n), 10)
	case TypeDecimal:
		return append(b, CanonicalDecimal(v.s)...)
	}
	f := v.Float()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendFloat(b, f)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.AppendInt(b, int64(f), 10)
	}
	// The exact value, so that a float equals the decimal that Compare finds equal.
	return append(b, CanonicalDecimal(new(big.Float).SetFloat64(f).Text('f', 1100))...)
}
