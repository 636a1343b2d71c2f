package wire

import (
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// MaxDepth is the deepest nesting of objects and arrays that is read.
const MaxDepth = 64

// A scanner checks JSON (RFC 8259) and finds its parts. Its methods take the
// place to begin at and return the place after what they read, or -1 with err
// set if the structure is broken.
type scanner struct {
	s   string
	err error
}

// What there is to know about a scanned text.
const (
	escaped  uint8 = 1 << iota // it holds backslashes
	nonASCII                   // it holds bytes above 127
	spaced                     // there is space between tokens
)

// plain tells the bytes that stand for themselves in a text and are ASCII.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// space returns the next place that is not white space.
func (c *scanner) space(i int) int {
	s := c.s
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

// fail notes broken structure at i: a cut answer, which may be whole when it is
// asked for again, or one that is not JSON.
func (c *scanner) fail(i int, want string) int {
	if c.err != nil {
		return -1
	}
	e := &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("the answer is not valid JSON at byte %d: %s expected", i, want)}
	if i >= len(c.s) {
		e = &kedge.Error{Kind: kedge.Transient, Err: fmt.Errorf("the answer ends after %d bytes, in the middle of the JSON", len(c.s))}
	}
	c.err = e
	return -1
}

func (c *scanner) tooDeep() int {
	if c.err == nil {
		c.err = &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("the answer is nested deeper than %d", MaxDepth)}
	}
	return -1
}

// text scans the text whose opening quote is at i. It checks escapes, but not
// surrogates and UTF-8: see [plainText].
func (c *scanner) text(i int) (raw string, flags uint8, next int) {
	s := c.s
	start := i + 1
	for i = start; ; {
		for i < len(s) && plain[s[i]] {
			i++
		}
		if i >= len(s) {
			return "", 0, c.fail(i, "a quote")
		}
		switch b := s[i]; {
		case b == '"':
			return s[start:i], flags, i + 1
		case b >= 0x80:
			flags |= nonASCII
			i++
		case b == '\\':
			flags |= escaped
			if i = c.escape(i + 1); i < 0 {
				return "", 0, i
			}
		default:
			return "", 0, c.fail(i, "no control character")
		}
	}
}

// escape checks the escape whose backslash is before i.
func (c *scanner) escape(i int) int {
	if i >= len(c.s) {
		return c.fail(i, "an escape")
	}
	switch c.s[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for k := i + 1; k < i+5; k++ {
			if k >= len(c.s) || hexValue(c.s[k]) < 0 {
				return c.fail(min(k, len(c.s)), "a hexadecimal digit")
			}
		}
		return i + 5
	}
	return c.fail(i, "an escape")
}

func hexValue(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// errText is the reason to refuse a value, and not its whole page.
var errText = errors.New("the text is not valid UTF-8")

// plainText returns the text that raw stands for. raw itself, which aliases
// the page, if it has no escapes.
func plainText(raw string, flags uint8) (string, error) {
	if flags&nonASCII != 0 && !utf8.ValidString(raw) {
		return "", errText
	}
	if flags&escaped == 0 {
		return raw, nil
	}
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				if len(raw) < i+7 || raw[i+1] != '\\' || raw[i+2] != 'u' {
					return "", errText
				}
				if r = utf16.DecodeRune(r, hex4(raw[i+3:])); r == utf8.RuneError {
					return "", errText
				}
				i += 6
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, raw[i])
		}
	}
	return string(b), nil
}

func hex4(s string) rune {
	return hexValue(s[0])<<12 | hexValue(s[1])<<8 | hexValue(s[2])<<4 | hexValue(s[3])
}

// number scans the number at i. whole tells that it has neither fraction nor
// exponent.
func (c *scanner) number(i int) (raw string, whole bool, next int) {
	s, start := c.s, i
	if i < len(s) && s[i] == '-' {
		i++
	}
	switch {
	case i < len(s) && s[i] == '0':
		i++
	default:
		if i = c.digits(i); i < 0 {
			return "", false, i
		}
	}
	whole = true
	if i < len(s) && s[i] == '.' {
		whole = false
		if i = c.digits(i + 1); i < 0 {
			return "", false, i
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		whole = false
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if i = c.digits(i); i < 0 {
			return "", false, i
		}
	}
	return s[start:i], whole, i
}

// digits scans one or more digits.
func (c *scanner) digits(i int) int {
	s, start := c.s, i
	for i < len(s) && s[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return c.fail(i, "a digit")
	}
	return i
}

// word scans one of the names true, false and null.
func (c *scanner) word(i int, w string) int {
	for k := range len(w) {
		if i+k >= len(c.s) || c.s[i+k] != w[k] {
			return c.fail(min(i+k, len(c.s)), w)
		}
	}
	return i + len(w)
}

// skip scans any value. flags tell about all of it. A text in it that is not
// valid UTF-8 is reported by bad.
func (c *scanner) skip(i, depth int) (flags uint8, bad error, next int) {
	if i >= len(c.s) {
		return 0, nil, c.fail(i, "a value")
	}
	switch b := c.s[i]; b {
	case '"':
		raw, flags, next := c.text(i)
		if next > 0 && flags != 0 {
			_, bad = plainText(raw, flags)
		}
		return flags, bad, next
	case '{', '[':
		return c.skipNested(i, depth)
	case 't':
		return 0, nil, c.word(i, "true")
	case 'f':
		return 0, nil, c.word(i, "false")
	case 'n':
		return 0, nil, c.word(i, "null")
	default:
		if b != '-' && b-'0' > 9 {
			return 0, nil, c.fail(i, "a value")
		}
		_, _, next = c.number(i)
		return 0, nil, next
	}
}

// skipNested scans the object or array at i.
func (c *scanner) skipNested(i, depth int) (flags uint8, bad error, next int) {
	if depth >= MaxDepth {
		return 0, nil, c.tooDeep()
	}
	s := c.s
	object := s[i] == '{'
	end := byte(']')
	if object {
		end = '}'
	}
	note := func(to int) int {
		if to > i {
			flags |= spaced
		}
		return to
	}
	i++
	if i = note(c.space(i)); i < len(s) && s[i] == end {
		return flags, nil, i + 1
	}
	for {
		if object {
			if i >= len(s) || s[i] != '"' {
				return 0, nil, c.fail(i, "a name")
			}
			raw, f, next := c.text(i)
			if next < 0 {
				return 0, nil, -1
			}
			if f != 0 {
				if _, err := plainText(raw, f); err != nil {
					bad = err
				}
			}
			if i = next; i >= len(s) || s[i] != ':' {
				if i = note(c.space(i)); i >= len(s) || s[i] != ':' {
					return 0, nil, c.fail(i, "a colon")
				}
			}
			i++
			i = note(c.space(i))
		}
		f, err, next := c.skip(i, depth+1)
		if next < 0 {
			return 0, nil, -1
		}
		flags |= f & spaced
		if err != nil {
			bad = err
		}
		i = next
		if i = note(c.space(i)); i >= len(s) {
			return 0, nil, c.fail(i, "a comma")
		}
		switch s[i] {
		case end:
			return flags, bad, i + 1
		case ',':
			i++
			i = note(c.space(i))
		default:
			return 0, nil, c.fail(i, "a comma")
		}
	}
}
