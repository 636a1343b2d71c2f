package jsonguard

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
)

// Counts says how much there is in a text, to tell what validating it costs.
type Counts struct {
	Values  int // values of all kinds
	Members int // members of all objects
	Text    int // bytes of all strings and names

	// Units counts the values with so many containers around them. A long
	// number or one with a large exponent counts for several.
	Units [MaxDepth + 1]int32
}

// Scan checks one JSON text against the limits of this package without
// decoding it. maxDepth 0 means [MaxDepth]; it may be less.
func Scan(data []byte, maxDepth int) (Counts, error) {
	var c Counts
	_, err := scan(data, maxDepth, &c, false)
	return c, err
}

// Decode checks one JSON text like [Scan] and returns its value made of nil,
// bool, [json.Number], string, []any and map[string]any. Numbers keep their
// text. A text that is refused costs no more memory than what was read of it.
func Decode(data []byte, maxDepth int) (any, Counts, error) {
	var c Counts
	v, err := scan(data, maxDepth, &c, true)
	return v, c, err
}

type scanner struct {
	data     []byte
	dec      *jsontext.Decoder
	maxDepth int
	build    bool
	counts   *Counts
}

var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

func scan(data []byte, maxDepth int, c *Counts, build bool) (any, error) {
	if maxDepth <= 0 || maxDepth > MaxDepth {
		maxDepth = MaxDepth
	}
	dec := decoders.Get().(*jsontext.Decoder)
	// The decoder reads a bytes.Buffer in place, so offsets are those of data.
	dec.Reset(bytes.NewBuffer(data))
	defer func() {
		dec.Reset(bytes.NewBuffer(nil)) // let go of data
		decoders.Put(dec)
	}()
	s := &scanner{data: data, dec: dec, maxDepth: maxDepth, build: build, counts: c}
	v, err := s.next()
	if err != nil {
		return nil, err
	}
	switch _, err := dec.ReadToken(); {
	case err == nil:
		return nil, refuse(kedge.Invalid, "", "more than one JSON value")
	case err != io.EOF:
		return nil, s.syntax(err)
	}
	return v, nil
}

// next reads one value.
func (s *scanner) next() (any, error) {
	start := s.dec.InputOffset()
	tok, err := s.dec.ReadToken()
	if err != nil {
		return nil, s.syntax(err)
	}
	return s.value(tok, start)
}

// value reads the rest of the value that begins with tok. start is an offset
// before the token, with nothing but space, a comma or a colon between.
func (s *scanner) value(tok jsontext.Token, start int64) (any, error) {
	depth, kind := s.dec.StackDepth(), tok.Kind()
	if kind == '{' || kind == '[' {
		if depth > s.maxDepth {
			return nil, s.refuse(kedge.Invalid, "deeper than "+strconv.Itoa(s.maxDepth)+" levels")
		}
		depth--
	}
	if s.counts.Values++; s.counts.Values > MaxValues {
		return nil, s.refuse(kedge.TooLarge, "too complex: more than "+strconv.Itoa(MaxValues)+" values")
	}
	s.counts.Units[depth]++
	switch kind {
	case '{':
		return s.object()
	case '[':
		return s.array()
	case '"':
		text, err := s.text(tok, start)
		if !s.build || err != nil {
			return nil, err
		}
		return text, nil
	case '0':
		return s.number(start, depth)
	case 't':
		return true, nil
	case 'f':
		return false, nil
	}
	return nil, nil
}

func (s *scanner) object() (any, error) {
	var m map[string]any
	if s.build {
		m = map[string]any{}
	}
	for n := 1; ; n++ {
		start := s.dec.InputOffset()
		tok, err := s.dec.ReadToken()
		if err != nil {
			return nil, s.syntax(err)
		}
		if tok.Kind() == '}' {
			return m, nil
		}
		if n > MaxMembers {
			pointer := string(s.dec.StackPointer().Parent())
			return nil, refuse(kedge.TooLarge, pointer, "too complex: more than "+strconv.Itoa(MaxMembers)+" members")
		}
		s.counts.Members++
		name, err := s.text(tok, start)
		if err != nil {
			return nil, err
		}
		v, err := s.next()
		if err != nil {
			return nil, err
		}
		if s.build {
			m[name] = v
		}
	}
}

func (s *scanner) array() (any, error) {
	var list []any
	if s.build {
		list = []any{}
	}
	for {
		start := s.dec.InputOffset()
		tok, err := s.dec.ReadToken()
		if err != nil {
			return nil, s.syntax(err)
		}
		if tok.Kind() == ']' {
			return list, nil
		}
		v, err := s.value(tok, start)
		if err != nil {
			return nil, err
		}
		if s.build {
			list = append(list, v)
		}
	}
}

// text returns a string or a name, or "" if nothing is built.
func (s *scanner) text(tok jsontext.Token, start int64) (string, error) {
	raw := s.data[start:s.dec.InputOffset()]
	raw = raw[bytes.IndexByte(raw, '"')+1 : len(raw)-1]
	s.counts.Text += len(raw)
	switch {
	case bytes.IndexByte(raw, '\\') < 0:
		if !s.build {
			return "", nil
		}
		return string(raw), nil
	case !s.build && !bytes.Contains(raw, nulEscape):
		return "", nil
	}
	t := tok.String()
	if strings.IndexByte(t, 0) >= 0 {
		return "", s.refuse(kedge.Invalid, "holds the character U+0000")
	}
	return t, nil
}

var nulEscape = []byte(`\u0000`)

func (s *scanner) number(start int64, depth int) (any, error) {
	raw := bytes.TrimLeft(s.data[start:s.dec.InputOffset()], " \t\r\n,:")
	if len(raw) > MaxNumber {
		return nil, s.refuse(kedge.Invalid, "number of more than "+strconv.Itoa(MaxNumber)+" characters")
	}
	exp := exponent(raw)
	if exp > MaxExponent {
		return nil, s.refuse(kedge.Invalid, "exponent over "+strconv.Itoa(MaxExponent))
	}
	s.counts.Units[depth] += int32((exp + len(raw)) / 16)
	if s.build {
		return json.Number(raw), nil
	}
	return nil, nil
}

// exponent returns the magnitude of a number's exponent, at most
// MaxExponent+1.
func exponent(number []byte) int {
	i := bytes.IndexAny(number, "eE")
	if i < 0 {
		return 0
	}
	n := 0
	for _, c := range number[i+1:] {
		if c >= '0' && c <= '9' {
			n = min(n*10+int(c-'0'), MaxExponent+1)
		}
	}
	return n
}

func (s *scanner) refuse(kind kedge.Kind, detail string) error {
	return refuse(kind, string(s.dec.StackPointer()), detail)
}

// syntax makes an error of what the decoder says, without the bytes that it
// quotes.
func (s *scanner) syntax(err error) error {
	pointer, detail := "", "not valid JSON"
	e, ok := errors.AsType[*jsontext.SyntacticError](err)
	if ok {
		pointer = string(e.JSONPointer)
		detail += " at byte " + strconv.FormatInt(e.ByteOffset, 10)
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		detail = "duplicate name"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		detail = "the JSON text ends too early"
	case ok && strings.Contains(e.Err.Error(), "UTF-8"):
		detail = "not valid UTF-8"
	case ok && strings.Contains(e.Err.Error(), "surrogate"):
		detail = "holds half of a surrogate pair"
	}
	return refuse(kedge.Invalid, pointer, detail)
}
