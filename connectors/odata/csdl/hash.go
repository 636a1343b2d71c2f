package csdl

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
)

// hash returns a hash over what matters for reading and writing: not titles,
// notices, the version of the format, or the order of declarations.
func (m *Model) hash() string {
	h := sha256.New()
	put(h, m.Batch.Supported, m.Batch.ContinueOnError, m.Batch.Formats, m.KeyAsSegment)
	for i := range m.Sets {
		m.Sets[i].hash(h)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (s *Set) hash(h hash.Hash) {
	put(h, "set", s.Name, s.TypeName, s.Open, s.Key)
	put(h, s.Hints)
	var lines []string
	for _, k := range s.AlternateKeys {
		lines = append(lines, fmt.Sprintf("alternate key %q", k))
	}
	for _, p := range s.Properties {
		p.Title = ""
		lines = append(lines, fmt.Sprintf("property %#v", p))
	}
	for i := range s.Navigations {
		lines = append(lines, fmt.Sprintf("navigation %#v", s.Navigations[i]))
	}
	slices.Sort(lines)
	for _, l := range lines {
		put(h, l)
	}
}

// put writes values so that different ones cannot give the same bytes.
func put(h hash.Hash, values ...any) {
	for _, v := range values {
		fmt.Fprintf(h, "%#v\n", v)
	}
}
