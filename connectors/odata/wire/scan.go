package wire

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
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

// isSpace asks first what is almost always false.
func isSpace(c byte) bool { return c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t') }

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
	end, flags := runEnd(c.s, i+1)
	if end < len(c.s) && c.s[end] == '"' {
		return c.s[i+1 : end], flags, end + 1
	}
	return c.escapedText(i+1, end, flags)
}

// escapedText goes on with a text at end, which is not a quote.
func (c *scanner) escapedText(start, end int, flags uint8) (raw string, _ uint8, next int) {
	s := c.s
	for {
		switch {
		case end >= len(s):
			return "", 0, c.fail(end, "a quote")
		case s[end] == '"':
			return s[start:end], flags, end + 1
		case s[end] != '\\':
			return "", 0, c.fail(end, "no control character")
		}
		i := c.escape(end + 1)
		if i < 0 {
			return "", 0, i
		}
		var more uint8
		end, more = runEnd(s, i)
		flags |= more | escaped
	}
}

// runEnd returns the place of the first quote, backslash or control character
// from i on, and nonASCII if there are such bytes before. It looks at eight
// bytes at once: the top bit of each byte of special is set where it is one
// of them. (Control characters and the quote are the bytes that are below 0x21
// when their second bit is flipped.) A borrow from one byte of a difference to
// the next can set only bits above one that is set rightly, and the lowest
// counts.
func runEnd(s string, i int) (end int, flags uint8) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	seen := uint64(0)
	for ; i+8 <= len(s); i += 8 {
		x := eightBytes(s[i : i+8])
		special := (((x ^ 2*ones) - 0x21*ones) | ((x ^ '\\'*ones) - ones)) &^ x & tops
		if special != 0 {
			seen |= x & (special ^ (special - 1)) // the bytes up to the lowest
			i += bits.TrailingZeros64(special) / 8
			return i, wide(seen & tops)
		}
		seen |= x
	}
	for ; i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\'; i++ {
		seen |= uint64(s[i])
	}
	return i, wide(seen & tops)
}

func wide(tops uint64) uint8 {
	if tops != 0 {
		return nonASCII
	}
	return 0
}

// eightBytes returns the bytes of s, the first one lowest. The compiler makes
// one load of it.
func eightBytes(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
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

// A textSpace holds texts without their escapes, many in one piece of memory.
// The zero value takes memory for each text.
type textSpace struct {
	b    strings.Builder
	size int // of a piece
}

// plainText returns the text that raw stands for. raw itself, which aliases
// the page, if it has no escapes.
func plainText(raw string, flags uint8) (string, error) {
	var t textSpace
	return t.plainText(raw, flags)
}

func (t *textSpace) plainText(raw string, flags uint8) (string, error) {
	if flags&nonASCII != 0 && !utf8.ValidString(raw) {
		return "", errText
	}
	if flags&escaped == 0 {
		return raw, nil
	}
	b := &t.b
	if b.Cap()-b.Len() < len(raw) { // texts that were given out keep the old piece
		*b = strings.Builder{}
		b.Grow(max(t.size, len(raw)))
	}
	start := b.Len()
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 {
			b.WriteString(raw)
			return b.String()[start:], nil
		}
		b.WriteString(raw[:i])
		c := raw[i+1]
		raw = raw[i+2:]
		switch c {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			r, n := unescape(raw)
			if n == 0 {
				return "", errText
			}
			b.WriteRune(r)
			raw = raw[n:]
		default:
			b.WriteByte(c)
		}
	}
}

// checkText checks what [scanner.text] leaves open: UTF-8 and surrogates,
// which come in pairs.
func checkText(raw string, flags uint8) error {
	if flags&nonASCII != 0 && !utf8.ValidString(raw) {
		return errText
	}
	if flags&escaped == 0 {
		return nil
	}
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 {
			return nil
		}
		c := raw[i+1]
		raw = raw[i+2:]
		if c != 'u' {
			continue
		}
		_, n := unescape(raw)
		if n == 0 {
			return errText
		}
		raw = raw[n:]
	}
}

// unescape returns the character behind "\u" and how many bytes of s it takes:
// 4, or 10 if it is written as two surrogates, or 0 if that is half of one.
func unescape(s string) (rune, int) {
	r := hex4(s)
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(s) < 10 || s[4] != '\\' || s[5] != 'u' {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, hex4(s[6:])); r == utf8.RuneError {
		return 0, 0
	}
	return r, 10
}

func hex4(s string) rune {
	return hexValue(s[0])<<12 | hexValue(s[1])<<8 | hexValue(s[2])<<4 | hexValue(s[3])
}

// number scans the number at i.
func (c *scanner) number(i int) (raw string, next int) {
	s, start := c.s, i
	if i < len(s) && s[i] == '-' {
		i++
	}
	switch {
	case i < len(s) && s[i] == '0':
		i++
	default:
		if i = c.digits(i); i < 0 {
			return "", i
		}
	}
	if i < len(s) && s[i] == '.' {
		if i = c.digits(i + 1); i < 0 {
			return "", i
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if i = c.digits(i); i < 0 {
			return "", i
		}
	}
	return s[start:i], i
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
	if strings.HasPrefix(c.s[i:], w) {
		return i + len(w)
	}
	for k := range len(w) {
		if i+k >= len(c.s) || c.s[i+k] != w[k] {
			return c.fail(min(i+k, len(c.s)), w)
		}
	}
	return i + len(w)
}

// skip scans any value. flags tell about all of it. A text in it that is not
// valid UTF-8 is reported by bad.
//
//lint:ignore ST1008 all functions of the scan return the next position last
func (c *scanner) skip(i, depth int) (flags uint8, bad error, next int) {
	if i >= len(c.s) {
		return 0, nil, c.fail(i, "a value")
	}
	switch b := c.s[i]; b {
	case '"':
		raw, flags, next := c.text(i)
		if next > 0 && flags != 0 {
			bad = checkText(raw, flags)
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
		_, next = c.number(i)
		return 0, nil, next
	}
}

// skipNested scans the object or array at i.
//
//lint:ignore ST1008 all functions of the scan return the next position last
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
				if err := checkText(raw, f); err != nil {
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
