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
	var buf [128]byte
	for _, i := range p.hashed {
		hashValue(&d, buf[:0], src.Values[i])
	}
	return d.Sum64()
}

// hashValue adds v to d, with b as memory.
func hashValue(d *xxhash.Digest, b []byte, v kedge.Value) {
	switch v.Type() {
	case kedge.TypeString, kedge.TypeBytes, kedge.TypeJSON:
		hashText(d, b, v.Type(), v.Str())
	case kedge.TypeDecimal:
		d.Write(appendDecimal(b, v.Str()))
	case kedge.TypeTime:
		d.Write(cutTime(v).AppendCanonical(b))
	default:
		d.Write(v.AppendCanonical(b))
	}
}

// hashText adds a text as [kedge.Value.AppendCanonical] writes it, without
// copying it.
func hashText(d *xxhash.Digest, b []byte, typ kedge.Type, s string) {
	b = strconv.AppendInt(append(b, byte('A'+typ)), int64(len(s)), 36)
	d.Write(append(b, ':'))
	d.WriteString(s)
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
