package filter

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// equal is the operator eq.
func equal(a, b kedge.Value) bool {
	if a.IsNull() || b.IsNull() {
		return a.IsNull() && b.IsNull()
	}
	c, ok := order(a, b)
	return ok && c == 0
}

// order is kedge.Compare without allocating for decimals.
func order(a, b kedge.Value) (int, bool) {
	var buf [20]byte // of an int64
	ta, tb := a.Type(), b.Type()
	switch {
	case ta == kedge.TypeInt && tb == kedge.TypeInt:
		return cmp.Compare(a.Int(), b.Int()), true
	case ta == kedge.TypeString && tb == kedge.TypeString:
		return strings.Compare(a.Str(), b.Str()), true
	case ta == kedge.TypeDecimal && tb == kedge.TypeDecimal:
		if c, ok := orderDecimals(a.Str(), b.Str()); ok {
			return c, true
		}
	case ta == kedge.TypeInt && tb == kedge.TypeDecimal:
		if c, ok := orderDecimals(string(strconv.AppendInt(buf[:0], a.Int(), 10)), b.Str()); ok {
			return c, true
		}
	case ta == kedge.TypeDecimal && tb == kedge.TypeInt:
		if c, ok := orderDecimals(a.Str(), string(strconv.AppendInt(buf[:0], b.Int(), 10))); ok {
			return c, true
		}
	}
	return kedge.Compare(a, b)
}

// orderDecimals compares two decimal texts digit by digit. It reports false if
// one has an exponent.
func orderDecimals(a, b string) (int, bool) {
	aNeg, aWhole, aFrac, ok := digits(a)
	if !ok {
		return 0, false
	}
	bNeg, bWhole, bFrac, ok := digits(b)
	if !ok {
		return 0, false
	}
	if aNeg != bNeg {
		if aNeg {
			return -1, true
		}
		return 1, true
	}
	c := cmp.Or(cmp.Compare(len(aWhole), len(bWhole)), strings.Compare(aWhole, bWhole), strings.Compare(aFrac, bFrac))
	if aNeg {
		c = -c
	}
	return c, true
}

// digits splits a decimal text without exponent into sign and digits, without
// zeros that do not count. Zero is not negative.
func digits(s string) (neg bool, whole, frac string, ok bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg, s = s[0] == '-', s[1:]
	}
	end := len(s)
	for i := range len(s) {
		switch {
		case s[i] == '.':
			end = i
		case s[i] < '0' || s[i] > '9':
			return false, "", "", false
		}
	}
	whole = s[:end]
	if end < len(s) {
		frac = s[end+1:]
	}
	for whole != "" && whole[0] == '0' {
		whole = whole[1:]
	}
	for frac != "" && frac[len(frac)-1] == '0' {
		frac = frac[:len(frac)-1]
	}
	return neg && (whole != "" || frac != ""), whole, frac, true
}
