package odatatest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// fresh returns the values of a new row. given are values that the URL has.
func (s *Service) fresh(t *table, in *input, given map[int]kedge.Value) ([]kedge.Value, error) {
	values := make([]kedge.Value, len(t.props))
	var made []int
	for i := range t.props {
		p := &t.props[i]
		v, ok := given[i]
		if !ok {
			v, ok = in.values[i]
		}
		if !ok && slices.Contains(t.key, i) && (p.Computed || p.edm == "Edm.Guid") {
			made, ok = append(made, i), true
		}
		if !ok {
			v, ok = p.initial()
		}
		if !ok {
			in.problem(p.Name, "The property is required.")
		}
		values[i] = v
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	for _, i := range made { // last, so that a bad request uses none up
		values[i] = s.newKey(t, i)
	}
	return values, nil
}

// initial returns the value of a property that was not sent with a new row.
func (p *property) initial() (kedge.Value, bool) {
	switch {
	case p.Nullable, p.Computed, p.ReadOnly:
		return kedge.Null(), true
	case p.Type == kedge.TypeBool:
		return kedge.Bool(false), true
	}
	return kedge.Value{}, false
}

// newKey makes a value of the key property i. The same writes give the same
// keys.
func (s *Service) newKey(t *table, i int) kedge.Value {
	p := &t.props[i]
	if p.Type == kedge.TypeInt {
		if t.made == 0 {
			for _, r := range t.rows {
				t.made = max(t.made, r.keys()[slices.Index(t.key, i)].Int())
			}
		}
		t.made++
		return kedge.Int(t.made)
	}
	t.made++
	if p.edm == "Edm.Guid" {
		seed := binary.BigEndian.AppendUint64([]byte(t.ent.Name), s.opts.Seed)
		h := sha256.Sum256(binary.BigEndian.AppendUint64(seed, uint64(t.made)))
		h[6], h[8] = h[6]&0x0f|0x40, h[8]&0x3f|0x80 // version 4 (RFC 9562, 5.4)
		return kedge.String(fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]))
	}
	return kedge.String("N" + padded(int(t.made), 6))
}

// unique refuses values that another row than self has in the key or an
// alternate key.
func (s *Service) unique(t *table, self *row, values []kedge.Value) error {
	duplicate := fail(http.StatusConflict, "Conflict", "An entity with the same key exists.")
	if s.quirk(Duplicate500) {
		duplicate.status, duplicate.code = http.StatusInternalServerError, "InternalServerError"
	}
	if self == nil {
		keys := pick(values, t.key)
		if at, ok := t.find(keys); ok && t.values(t.rows[at], s.seq) != nil {
			return duplicate
		}
		if s.quirk(CaseInsensitive) && t.hasOtherCase(keys, nil) {
			return duplicate
		}
	}
	for _, alt := range t.alt {
		want := pick(values, alt)
		if slices.ContainsFunc(want, kedge.Value.IsEmpty) {
			continue
		}
		if r, _ := s.lookUp(t, alt, want); r != nil && r != self {
			duplicate.message = "An entity with the same alternate key exists."
			duplicate.target = t.props[alt[0]].Name
			return duplicate
		}
	}
	return nil
}

// normalise is what the quirk does to a row: texts lose the spaces around
// them, decimals have two digits after the point.
func (t *table) normalise(values []kedge.Value) {
	for i, v := range values {
		p := &t.props[i]
		switch {
		case slices.Contains(t.key, i):
		case v.Type() == kedge.TypeString && p.edm == "Edm.String":
			values[i] = kedge.String(strings.TrimSpace(v.Str()))
		case v.Type() == kedge.TypeDecimal:
			if r, ok := new(big.Rat).SetString(kedge.CanonicalDecimal(v.Str())); ok {
				values[i] = kedge.Decimal(r.FloatString(2))
			}
		}
	}
}
