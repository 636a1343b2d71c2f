package jsonguard

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
)

// A Sum is the SHA-256 of a value's canonical form.
type Sum [sha256.Size]byte

const maxPooled = 64 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Hash returns the same sum for equal values and different ones for all
// others: the order of members does not count, numbers are equal if they are
// the same rational number (1, 1.0 and 1e0), null is not the same as a missing
// member. v must come from [Decode].
func Hash(v any) Sum {
	buf := buffers.Get().(*[]byte)
	*buf = AppendCanonical((*buf)[:0], v)
	sum := sha256.Sum256(*buf)
	if cap(*buf) <= maxPooled {
		buffers.Put(buf)
	}
	return sum
}

// AppendCanonical appends the form that [Hash] is made of: a tag for the kind,
// lengths before texts, names in byte order. No form is the beginning of
// another one.
func AppendCanonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 'z')
	case bool:
		if v {
			return append(b, 't')
		}
		return append(b, 'f')
	case json.Number:
		return appendText(append(b, 'n'), kedge.CanonicalDecimal(string(v)))
	case string:
		return appendText(append(b, 's'), v)
	case []any:
		b = binary.AppendUvarint(append(b, 'a'), uint64(len(v)))
		for _, e := range v {
			b = AppendCanonical(b, e)
		}
		return b
	case map[string]any:
		return appendObject(b, v)
	}
	panic(fmt.Sprintf("jsonguard: %T is not a decoded JSON value", v))
}

func appendObject(b []byte, m map[string]any) []byte {
	b = binary.AppendUvarint(append(b, 'o'), uint64(len(m)))
	var few [32]string
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = AppendCanonical(appendText(b, name), m[name])
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Minify appends data to dst without space and without needless escapes:
// what needs none is written as it is. Members keep their order and numbers
// their text. data must have passed [Scan].
func Minify(dst, data []byte) ([]byte, error) {
	n := len(dst)
	out, err := jsontext.AppendFormat(dst, data)
	if err != nil {
		return out[:n], refuse(kedge.Invalid, "", "not valid JSON")
	}
	return out, nil
}
