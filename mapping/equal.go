package mapping

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/kedge-sync/kedge"
)

// comparator is a compiled [Compare].
type comparator struct {
	trim, fold bool
	round      bool
	decimals   int
}

func newComparator(c Compare) comparator {
	decimals, round := c.Round()
	return comparator{trim: c == CompareTrim || c == CompareNocase, fold: c == CompareNocase, round: round, decimals: decimals}
}

// Equal reports whether a and b count as equal in LocalFields[i] under the
// rule's compare. Missing equals missing only, and null equals null only.
// Numbers are compared by their value, times by their microseconds.
func (p *EntityPlan) Equal(i int, a, b kedge.Value) bool { return p.locals[i].compare.equal(a, b) }

func (c *comparator) equal(a, b kedge.Value) bool {
	switch {
	case a.Type() == kedge.TypeString && b.Type() == kedge.TypeString:
		x, y := c.text(a.Str()), c.text(b.Str())
		return x == y || c.fold && strings.EqualFold(x, y)
	case a.Type() == kedge.TypeTime && b.Type() == kedge.TypeTime:
		a, b = cutTime(a), cutTime(b)
	case c.round && isNumeric(a.Type()) && isNumeric(b.Type()):
		var x, y [64]byte
		return string(c.appendRounded(x[:0], a)) == string(c.appendRounded(y[:0], b))
	}
	return kedge.Equal(a, b)
}

func (c *comparator) text(s string) string {
	if c.trim {
		return strings.TrimSpace(s)
	}
	return s
}

// LocalHash returns the hash of the local values of src that are uploaded.
// Values that count as equal give equal hashes.
func (p *EntityPlan) LocalHash(src *kedge.Record) uint64 {
	var d xxhash.Digest
	d.Reset()
	var buf [128]byte
	for _, i := range p.localHashed {
		c, v := &p.locals[i].compare, src.Values[i]
		switch {
		case v.Type() == kedge.TypeString && c.fold:
			c.hashFolded(&d, buf[:0], c.text(v.Str()))
		case v.Type() == kedge.TypeString && c.trim:
			writeText(&d, buf[:0], v.Type(), c.text(v.Str()))
		case c.round && isNumeric(v.Type()):
			d.Write(c.appendRounded(buf[:0], v))
		case isText(v.Type()):
			writeText(&d, buf[:0], v.Type(), v.Str())
		default:
			d.Write(appendHashed(buf[:0], v))
		}
	}
	return d.Sum64()
}

func writeText(d *xxhash.Digest, b []byte, typ kedge.Type, s string) {
	d.Write(appendHead(b, typ, len(s)))
	d.WriteString(s)
}

// hashFolded adds a text that all texts share which differ only in case.
func (c *comparator) hashFolded(d *xxhash.Digest, b []byte, s string) {
	b = append(b, byte('A'+kedge.TypeString))
	for _, r := range s {
		if len(b) > 100 {
			d.Write(b)
			b = b[:0]
		}
		b = utf8.AppendRune(b, foldRune(r))
	}
	// No text holds this byte, so it ends one.
	d.Write(append(b, 0xff))
}

// foldRune returns the smallest of the characters that differ from r only in
// case, as [strings.EqualFold] sees it.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}

// appendRounded appends the canonical form of a number, rounded to the
// decimals of c, half away from zero.
func (c *comparator) appendRounded(b []byte, v kedge.Value) []byte {
	var text [64]byte
	digits := text[:0]
	switch v.Type() {
	case kedge.TypeInt:
		return append(strconv.AppendInt(append(b, 'n'), v.Int(), 10), 0)
	case kedge.TypeFloat:
		f := v.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return v.AppendCanonical(b)
		}
		digits = strconv.AppendFloat(digits, f, 'f', -1, 64)
	default:
		digits = append(digits, kedge.CanonicalDecimal(v.Str())...)
	}
	return append(append(append(b, 'n'), roundDigits(digits, c.decimals)...), 0)
}

// roundDigits rounds a canonical decimal text in place and returns it in
// canonical form. digits may be lengthened by one.
func roundDigits(digits []byte, decimals int) []byte {
	sign := 0
	if digits[0] == '-' {
		sign = 1
	}
	point := bytes.IndexByte(digits, '.')
	if cut := point + 1 + decimals; point >= 0 && cut < len(digits) {
		up := digits[cut] >= '5'
		if digits = digits[:cut]; up {
			digits = increment(digits, sign)
		}
		for digits[len(digits)-1] == '0' && bytes.IndexByte(digits, '.') >= 0 {
			digits = digits[:len(digits)-1]
		}
		if digits[len(digits)-1] == '.' {
			digits = digits[:len(digits)-1]
		}
	}
	if string(digits) == "-0" {
		digits = digits[1:]
	}
	return digits
}

// increment adds one to the last digit.
func increment(digits []byte, sign int) []byte {
	for i := len(digits) - 1; i >= sign; i-- {
		switch digits[i] {
		case '.':
		case '9':
			digits[i] = '0'
		default:
			digits[i]++
			return digits
		}
	}
	digits = append(digits, 0)
	copy(digits[sign+1:], digits[sign:])
	digits[sign] = '1'
	return digits
}
