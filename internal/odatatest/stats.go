package odatatest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"

	"github.com/kedge-sync/kedge"
)

// Stats are figures by which a copy of a set can be compared with it.
type Stats struct {
	Count int               `json:"count"`
	Sums  map[string]string `json:"sums"` // exact, of each int and decimal field, as canonical decimals
	// Hash is the SHA-256, in hex, of the rows in the order of their keys,
	// each as the canonical forms of its values (kedge.Value.AppendCanonical).
	Hash string `json:"hash"`
}

// Stats returns the figures of a set, over the given fields in their order or
// over all.
func (s *Service) Stats(set string, fields ...string) (Stats, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.table(set)
	if t == nil {
		return Stats{}, noSet(set)
	}
	if len(fields) == 0 {
		fields = t.fields.Names()
	}
	index := make([]int, len(fields))
	for i, f := range fields {
		j, ok := t.index[f]
		if !ok {
			return Stats{}, errors.New("no field " + f)
		}
		index[i] = j
	}
	stats := Stats{Sums: make(map[string]string)}
	hash := sha256.New()
	sums := make([]sum, len(fields))
	var b []byte
	for _, r := range t.rows {
		values := t.values(r, s.seq)
		if values == nil {
			continue
		}
		stats.Count++
		b = b[:0]
		for i, j := range index {
			b = values[j].AppendCanonical(b)
			sums[i].add(values[j])
		}
		hash.Write(b)
	}
	for i, j := range index {
		if p := &t.props[j]; p.Type == kedge.TypeInt || p.Type == kedge.TypeDecimal {
			stats.Sums[p.Name] = sums[i].String()
		}
	}
	stats.Hash = hex.EncodeToString(hash.Sum(nil))
	return stats, nil
}

// A sum adds numbers exactly.
type sum struct {
	whole int64 // while nothing else has come
	rat   *big.Rat
	scale int
}

func (s *sum) add(v kedge.Value) {
	switch v.Type() {
	case kedge.TypeInt:
		n := v.Int()
		if next := s.whole + n; (next > s.whole) == (n > 0) {
			s.whole = next
			return
		}
		s.more(new(big.Rat).SetInt64(n))
	case kedge.TypeDecimal:
		text := kedge.CanonicalDecimal(v.Str())
		_, frac, _ := strings.Cut(text, ".")
		s.scale = max(s.scale, len(frac))
		r, _ := new(big.Rat).SetString(text)
		s.more(r)
	}
}

func (s *sum) more(r *big.Rat) {
	if s.rat == nil {
		s.rat = new(big.Rat)
	}
	s.rat.Add(s.rat, r)
}

func (s *sum) String() string {
	total := new(big.Rat).SetInt64(s.whole)
	if s.rat != nil {
		total.Add(total, s.rat)
	}
	return kedge.CanonicalDecimal(total.FloatString(s.scale))
}
