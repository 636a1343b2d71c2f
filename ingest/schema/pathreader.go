package schema

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxIndex is the largest index and bound of a slice, by RFC 9535 section 2.1.
const maxIndex = 1<<53 - 1

// A pathReader reads the segments of a JSONPath, RFC 9535 section 2.5.
type pathReader struct {
	text string
	pos  int
}

func (r *pathReader) fail(format string, args ...any) error {
	return fmt.Errorf("character %d: %s", utf8.RuneCountInString(r.text[:min(r.pos, len(r.text))])+1, fmt.Sprintf(format, args...))
}

func (r *pathReader) peek() byte {
	if r.pos < len(r.text) {
		return r.text[r.pos]
	}
	return 0
}

// take steps over c and reports whether it was next.
func (r *pathReader) take(c byte) bool {
	if r.peek() != c || c == 0 {
		return false
	}
	r.pos++
	return true
}

func (r *pathReader) space() {
	for r.pos < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.pos]) >= 0 {
		r.pos++
	}
}

func (r *pathReader) segments() ([]step, error) {
	var steps []step
	for r.pos < len(r.text) {
		r.space()
		s, err := r.segment()
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func (r *pathReader) segment() (step, error) {
	switch {
	case r.take('['):
		return r.bracket()
	case !r.take('.'):
		return step{}, r.fail("a segment begins with . or [")
	case r.take('*'):
		return step{kind: all}, nil
	case r.peek() == '.':
		return step{}, r.fail("descendants (..) are not supported: write the whole path")
	}
	start := r.pos
	for r.pos < len(r.text) && isNameByte(r.text[r.pos], r.pos > start) {
		r.pos++
	}
	if r.pos == start {
		return step{}, r.fail("a name after a point begins with a letter or _: write other names as ['name']")
	}
	if c := r.peek(); c != 0 && strings.IndexByte(".[ \t\r\n", c) < 0 {
		return step{}, r.fail("is not part of a name after a point: write the name as ['name']")
	}
	return step{names: []string{r.text[start:r.pos]}}, nil
}

func isNameByte(c byte, digits bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf || digits && c >= '0' && c <= '9'
}

func (r *pathReader) bracket() (step, error) {
	r.space()
	var s step
	var err error
	switch c := r.peek(); {
	case c == '\'' || c == '"':
		s, err = r.names()
	case c == '*':
		r.pos++
		s.kind = all
	case c == '-' || c == ':' || c >= '0' && c <= '9':
		s, err = r.indexOrSlice()
	case c == '?':
		err = r.fail("filters are not supported")
	case c == '(' || c == '@':
		err = r.fail("scripts are not supported")
	case c == ']':
		err = r.fail("the brackets are empty")
	default:
		err = r.fail("brackets hold a quoted name, an index, a slice or *")
	}
	if err != nil {
		return step{}, err
	}
	r.space()
	if !r.take(']') {
		if r.peek() == ',' {
			return step{}, r.fail("unions are of names only")
		}
		return step{}, r.fail("a ] is missing")
	}
	return s, nil
}

func (r *pathReader) names() (step, error) {
	var s step
	for {
		name, err := r.quoted()
		if err != nil {
			return step{}, err
		}
		s.names = append(s.names, name)
		r.space()
		if !r.take(',') {
			return s, nil
		}
		r.space()
		if c := r.peek(); c != '\'' && c != '"' {
			return step{}, r.fail("unions are of names only")
		}
	}
}

// quoted reads a name in quotes. Its escapes are those of JSON, and of the
// quote itself.
func (r *pathReader) quoted() (string, error) {
	quote, start := r.text[r.pos], r.pos+1
	asJSON := []byte{'"'}
	for r.pos++; ; r.pos++ {
		switch c := r.peek(); {
		case c < ' ':
			if r.pos >= len(r.text) {
				return "", r.fail("a quote is missing")
			}
			return "", r.fail("holds a control character")
		case c == quote:
			r.pos++
			var name string
			if err := json.Unmarshal(append(asJSON, '"'), &name); err != nil || strings.ContainsRune(name, utf8.RuneError) {
				r.pos = start
				return "", r.fail("holds an escape that does not exist")
			}
			return name, nil
		case c == '"':
			asJSON = append(asJSON, '\\', '"')
		case c == '\\':
			r.pos++
			next := r.peek()
			if next == '\'' && quote == '\'' {
				asJSON = append(asJSON, next)
			} else if next == '"' && quote != '"' {
				return "", r.fail("holds an escape that does not exist")
			} else {
				asJSON = append(asJSON, '\\', next)
			}
		default:
			asJSON = append(asJSON, c)
		}
	}
}

func (r *pathReader) indexOrSlice() (step, error) {
	var b bounds
	for i, bound := range []**int{&b.start, &b.end, &b.step} {
		if c := r.peek(); c == '-' || c >= '0' && c <= '9' {
			n, err := r.integer()
			if err != nil {
				return step{}, err
			}
			*bound = &n
		}
		r.space()
		if i == 2 || r.peek() != ':' {
			if i == 0 {
				return step{kind: atIndex, index: *b.start}, nil
			}
			break
		}
		r.pos++
		r.space()
	}
	return step{kind: between, slice: b}, nil
}

func (r *pathReader) integer() (int, error) {
	start := r.pos
	r.take('-')
	for c := r.peek(); c >= '0' && c <= '9'; c = r.peek() {
		r.pos++
	}
	text := r.text[start:r.pos]
	digits := strings.TrimPrefix(text, "-")
	n, err := strconv.Atoi(text)
	if err != nil || n > maxIndex || n < -maxIndex || text == "-0" || len(digits) > 1 && digits[0] == '0' {
		r.pos = start
		return 0, r.fail("an index is a whole number without leading zeros")
	}
	return n, nil
}
