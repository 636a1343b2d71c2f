package wire

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// misfit is the reason to refuse a value: what was sent and what is declared,
// never the value.
func misfit(got string, c *Column) error {
	want := c.Edm
	if want == "" {
		want = c.Type.String()
	}
	return fmt.Errorf("%s does not fit %s", got, want)
}

// value reads the value at i for column c into v. raw is its text as the
// server sent it, without quotes and escapes. bad tells that it does not fit;
// then v is missing and the scan goes on behind it.
//
//lint:ignore ST1008 all functions of the scan return the next position last
func (d *decoder) value(v *kedge.Value, c *Column, i, depth int) (raw string, bad error, next int) {
	if i >= len(d.s) {
		return "", nil, d.fail(i, "a value")
	}
	if c.Type == kedge.TypeJSON && d.s[i] != 'n' {
		return d.rawJSON(v, i, depth)
	}
	switch b := d.s[i]; b {
	case '"':
		end, flags := runEnd(d.s, i+1)
		if end < len(d.s) && d.s[end] == '"' { // d.text, without a call
			raw, next = d.s[i+1:end], end+1
		} else if raw, flags, next = d.escapedText(i+1, end, flags); next < 0 {
			return "", nil, -1
		}
		if flags != 0 {
			if raw, bad = d.unescaped.plainText(raw, flags); bad != nil {
				*v = kedge.Value{}
				return "", bad, next
			}
		}
		if c.Type == kedge.TypeString && c.Format != kedge.FormatGUID {
			*v = kedge.String(raw)
			return raw, nil, next
		}
		*v, bad = fromText(c, raw)
		return raw, bad, next
	case 'n':
		*v = kedge.Null()
		return "", nil, d.word(i, "null")
	case 't':
		return d.boolean(v, c, i, "true")
	case 'f':
		return d.boolean(v, c, i, "false")
	case '{', '[':
		*v = kedge.Value{}
		_, _, next = d.skip(i, depth)
		if b == '{' {
			return "", misfit("a JSON object", c), next
		}
		return "", misfit("a JSON array", c), next
	default:
		if b != '-' && b-'0' > 9 {
			return "", nil, d.fail(i, "a value")
		}
		raw, next := d.number(i)
		if next < 0 {
			return "", nil, -1
		}
		*v, bad = fromNumber(c, raw)
		return raw, bad, next
	}
}

//lint:ignore ST1008 all functions of the scan return the next position last
func (d *decoder) boolean(v *kedge.Value, c *Column, i int, word string) (raw string, bad error, next int) {
	next = d.word(i, word)
	*v = kedge.Bool(word == "true")
	if next > 0 && c.Type != kedge.TypeBool {
		*v, bad = kedge.Value{}, misfit("a JSON boolean", c)
	}
	return word, bad, next
}

// rawJSON reads any value as it is, without space between tokens.
//
//lint:ignore ST1008 all functions of the scan return the next position last
func (d *decoder) rawJSON(v *kedge.Value, i, depth int) (raw string, bad error, next int) {
	*v = kedge.Value{}
	flags, bad, next := d.skip(i, depth)
	if next < 0 || bad != nil {
		return "", bad, next
	}
	raw = d.s[i:next]
	if flags&spaced != 0 {
		raw = compact(raw)
	}
	*v = kedge.JSON(raw)
	return raw, nil, next
}

// compact removes space between tokens.
func compact(raw string) string {
	var b strings.Builder
	b.Grow(len(raw))
	inText := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			inText = !inText
		case inText && c == '\\':
			b.WriteByte(c)
			i++
		case !inText && isSpace(c):
			continue
		}
		b.WriteByte(raw[i])
	}
	return b.String()
}

// fromNumber converts a JSON number.
func fromNumber(c *Column, raw string) (kedge.Value, error) {
	switch c.Type {
	case kedge.TypeInt:
		return intValue(c, raw)
	case kedge.TypeDecimal:
		return decimalValue(c, raw)
	case kedge.TypeFloat:
		return floatValue(c, raw)
	case kedge.TypeString:
		if c.Format == kedge.FormatEnum {
			return kedge.String(raw), nil
		}
	}
	return kedge.Value{}, misfit("a JSON number", c)
}

// fromText converts a JSON text, without its quotes and escapes.
func fromText(c *Column, s string) (kedge.Value, error) {
	switch c.Type {
	case kedge.TypeString:
		if c.Format == kedge.FormatGUID {
			return guidValue(c, s)
		}
		return kedge.String(s), nil
	case kedge.TypeInt:
		if n, ok := smallInt(s); ok {
			return kedge.Int(n), nil
		}
		if isNumber(s) {
			return intValue(c, s)
		}
	case kedge.TypeDecimal:
		if isNumber(s) {
			return decimalValue(c, s)
		}
	case kedge.TypeFloat:
		switch s {
		case "INF":
			return kedge.Float(math.Inf(1)), nil
		case "-INF":
			return kedge.Float(math.Inf(-1)), nil
		case "NaN":
			return kedge.Float(math.NaN()), nil
		}
	case kedge.TypeTime:
		if t, ok := parseTime(s); ok {
			return t, nil
		}
	case kedge.TypeDate:
		if t, ok := parseDate(s); ok {
			return t, nil
		}
	case kedge.TypeBytes:
		if b, ok := parseBinary(s); ok {
			return kedge.BytesText(b), nil
		}
	}
	return kedge.Value{}, misfit("a JSON string", c)
}

// isNumber reports whether s is a JSON number and nothing else.
func isNumber(s string) bool {
	c := scanner{s: s}
	_, next := c.number(0)
	return next == len(s)
}

// smallInt reads an int of up to 18 digits, which cannot overflow.
func smallInt(s string) (n int64, ok bool) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 18 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	for k := range len(digits) {
		digit := digits[k] - '0'
		if digit > 9 {
			return 0, false
		}
		n = n*10 + int64(digit)
	}
	if len(digits) < len(s) {
		n = -n
	}
	return n, true
}

func intValue(c *Column, raw string) (kedge.Value, error) {
	if n, ok := smallInt(raw); ok {
		return kedge.Int(n), nil
	}
	if !kedge.ValidDecimal(raw) {
		return kedge.Value{}, misfit("a number of too many digits", c)
	}
	n, err := strconv.ParseInt(kedge.CanonicalDecimal(raw), 10, 64)
	if err != nil {
		return kedge.Value{}, misfit("a fraction or a number out of range", c)
	}
	return kedge.Int(n), nil
}

func decimalValue(c *Column, raw string) (kedge.Value, error) {
	v, err := kedge.ParseText(kedge.TypeDecimal, raw)
	if err != nil {
		return v, misfit("a number of too many digits", c)
	}
	return v, nil
}

func floatValue(c *Column, raw string) (kedge.Value, error) {
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil {
		return kedge.Value{}, misfit("a number out of range", c)
	}
	return kedge.Float(f), nil
}

// What a byte of a guid is; 0 if it cannot be in one.
const (
	guidDigit uint8 = 1 << iota // also a lower-case letter
	guidUpper
)

var guidBytes = func() (t [256]uint8) {
	for c := range t {
		switch h := byte(c); {
		case h >= 'A' && h <= 'F':
			t[c] = guidUpper
		case hexValue(h) >= 0:
			t[c] = guidDigit
		}
	}
	return t
}()

// guidValue checks the form 8-4-4-4-12 and makes letters lower case.
func guidValue(c *Column, s string) (kedge.Value, error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return kedge.Value{}, misfit("a JSON string", c)
	}
	seen, start := uint8(0), 0
	for _, end := range [...]int{8, 13, 18, 23, 36} {
		for i := start; i < end; i++ {
			what := guidBytes[s[i]]
			if what == 0 {
				return kedge.Value{}, misfit("a JSON string", c)
			}
			seen |= what
		}
		start = end + 1
	}
	if seen&guidUpper != 0 {
		s = strings.ToLower(s)
	}
	return kedge.String(s), nil
}

// parseBinary reads base64 or base64url, padded or not.
func parseBinary(s string) (string, bool) {
	s = strings.TrimRight(s, "=")
	enc := base64.RawURLEncoding
	if strings.ContainsAny(s, "+/") {
		enc = base64.RawStdEncoding
	}
	if strings.ContainsAny(s, "\r\n") { // the decoder would ignore them
		return "", false
	}
	b, err := enc.DecodeString(s)
	return string(b), err == nil
}
