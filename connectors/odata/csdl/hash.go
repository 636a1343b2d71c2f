package csdl

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
)

// hash returns a hash over what matters for reading and writing: not titles,
// notices, the version of the format, or the order of declarations.
func (m *Model) hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%#v %v\n", m.Batch, m.KeyAsSegment)
	for i := range m.Sets {
		s := &m.Sets[i]
		fmt.Fprintf(h, "%q %q %v %q %#v\n", s.Name, s.TypeName, s.Open, s.Key, s.Hints)
		for _, line := range s.lines() {
			h.Write(append(line, '\n'))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// lines describes alternate keys, properties and navigations, in an order that
// does not depend on the document.
func (s *Set) lines() [][]byte {
	lines := make([][]byte, 0, len(s.AlternateKeys)+len(s.Properties)+len(s.Navigations))
	for _, k := range s.AlternateKeys {
		lines = append(lines, fmt.Appendf(nil, "%q", k))
	}
	for i := range s.Properties {
		lines = append(lines, s.Properties[i].line())
	}
	for i := range s.Navigations {
		lines = append(lines, fmt.Appendf(nil, "%#v", s.Navigations[i]))
	}
	slices.SortFunc(lines, slices.Compare)
	return lines
}

// line is fmt's %#v of p without the title, by hand: there may be half a million.
func (p *Property) line() []byte {
	b := make([]byte, 0, 96)
	for _, s := range [...]string{p.Path, p.Edm, p.Declared, string(p.Format), p.EnumType} {
		b = append(strconv.AppendQuote(b, s), ' ')
	}
	for _, n := range [...]int{int(p.Type), p.MaxLength, p.Precision, p.Scale} {
		b = append(strconv.AppendInt(b, int64(n), 10), ' ')
	}
	for _, f := range [...]bool{p.Nullable, p.EnumFlags, p.Computed, p.Immutable, p.ReadOnly, p.WriteOnly, p.Complex, p.Collection, p.Parts} {
		b = append(strconv.AppendBool(b, f), ' ')
	}
	for _, m := range p.Enum {
		b = append(strconv.AppendQuote(b, m), ' ')
	}
	return b
}
