package mapping

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/kedge-sync/kedge"
)

// Hash returns the hash of the mapped external values of src. Equal mapped
// values give equal hashes whatever else the record holds: numbers count by
// their value, times by their microseconds.
func (p *EntityPlan) Hash(src *kedge.Record) uint64 {
	var d xxhash.Digest
	d.Reset()
	var memory [1 << 10]byte
	b := memory[:0]
	for _, i := range p.hashed {
		v := src.Values[i]
		if n := len(v.Str()); n > len(memory)-len(b)-headSize {
			d.Write(b)
			b = b[:0]
			if n > len(memory)-headSize && isText(v.Type()) {
				d.Write(appendHead(b, v.Type(), n))
				d.WriteString(v.Str())
				continue
			}
		}
		b = appendHashed(b, v)
	}
	d.Write(b)
	return d.Sum64()
}

// headSize is the most that a value takes beside its text.
const headSize = 64

func isText(t kedge.Type) bool {
	return t == kedge.TypeString || t == kedge.TypeBytes || t == kedge.TypeJSON
}

// appendHashed appends what is hashed of v: its canonical form, times cut.
func appendHashed(b []byte, v kedge.Value) []byte {
	switch v.Type() {
	case kedge.TypeString, kedge.TypeBytes, kedge.TypeJSON:
		return append(appendHead(b, v.Type(), len(v.Str())), v.Str()...)
	case kedge.TypeDecimal:
		return appendDecimal(b, v.Str())
	case kedge.TypeTime:
		return cutTime(v).AppendCanonical(b)
	default:
		return v.AppendCanonical(b)
	}
}

// appendHead appends what [kedge.Value.AppendCanonical] writes before a text.
func appendHead(b []byte, typ kedge.Type, size int) []byte {
	b = strconv.AppendInt(append(b, byte('A'+typ)), int64(size), 36)
	return append(b, ':')
}

// appendDecimal is [kedge.Value.AppendCanonical] for a decimal without a plus
// sign and an exponent, which needs no memory of its own.
func appendDecimal(b []byte, text string) []byte {
	sign, whole, frac := 0, 0, len(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c == '-' && i == 0:
			sign = 1
		case c == '.':
			frac = i
		case c < '0' || c > '9':
			return kedge.Decimal(text).AppendCanonical(b)
		}
	}
	end := len(text)
	for end > frac && (text[end-1] == '0' || text[end-1] == '.') {
		end--
	}
	for whole = sign; whole < frac && text[whole] == '0'; whole++ {
	}
	b = append(b, 'n')
	if sign == 1 && whole < end {
		b = append(b, '-')
	}
	if whole == frac {
		b = append(b, '0')
	}
	return append(append(b, text[whole:end]...), 0)
}

// KeyHash returns the hash of an external key.
func KeyHash(k kedge.Key) uint64 { return xxhash.Sum64String(string(k)) }
