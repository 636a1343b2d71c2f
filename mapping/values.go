package mapping

import (
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
)

// A valueTable is a compiled value map, in one direction.
type valueTable struct {
	from      kedge.Type
	values    map[string]kedge.Value // by canonical text of the value that is looked up
	null      kedge.Value            // what null becomes, missing if the map does not say
	otherwise Otherwise
	// reverse is the other direction, or nil if nothing goes that way. A value
	// that is kept must not look like one that the map makes: it would come
	// back as another.
	reverse *valueTable
}

var errNoEntry = errors.New("value is not in the value map")

func (t *valueTable) lookup(v kedge.Value, to *target) (kedge.Value, string, error) {
	if v.Type() != t.from {
		var err error
		if v, err = convertValue(v, t.from); err != nil {
			return kedge.Value{}, codeConversion, err
		}
	}
	found, ok := t.find(v)
	switch {
	case ok:
		return found, "", nil
	case t.otherwise == OtherwiseEmpty:
		return kedge.Null(), "", nil
	case t.otherwise == OtherwiseKeep:
		kept, err := to.fit(v)
		if err == nil && t.reverse != nil {
			if _, made := t.reverse.find(kept); made {
				return kedge.Value{}, codeValueMap, errNoEntry
			}
		}
		return kept, codeConversion, err
	}
	return kedge.Value{}, codeValueMap, errNoEntry
}

// find returns the entry of v, which has the type from.
func (t *valueTable) find(v kedge.Value) (kedge.Value, bool) {
	switch v.Type() {
	case kedge.TypeString:
		found, ok := t.values[v.Str()]
		return found, ok
	case kedge.TypeDecimal:
		found, ok := t.values[kedge.CanonicalDecimal(v.Str())]
		return found, ok
	}
	var buf [48]byte
	found, ok := t.values[string(v.AppendText(buf[:0]))]
	return found, ok
}

// entryKey is the key of v in a table.
func entryKey(v kedge.Value) string {
	if v.Type() == kedge.TypeDecimal {
		return kedge.CanonicalDecimal(v.Str())
	}
	return v.Text()
}

// newValueTable compiles pairs for an external and a local field, from
// external to local.
func newValueTable(pairs []ValuePair, otherwise Otherwise, external, local *kedge.Field) (*valueTable, error) {
	switch external.Type {
	case kedge.TypeJSON, kedge.TypeBytes:
		return nil, fmt.Errorf("a field of type %v cannot have values", external.Type)
	}
	t := &valueTable{from: external.Type, values: make(map[string]kedge.Value, len(pairs)), otherwise: otherwise}
	to := newTarget(local)
	for _, p := range pairs {
		from, err := kedge.ParseText(external.Type, p.External)
		if err != nil {
			return nil, fmt.Errorf("value %q is not a valid %v, the type of the external field", p.External, external.Type)
		}
		v, err := to.fit(p.Local)
		if err == nil && v.IsNull() && !to.nullable {
			err = errNull
		}
		if err != nil {
			return nil, fmt.Errorf("value for %q does not fit the local field of type %v: %w", p.External, local.Type, err)
		}
		key := entryKey(from)
		if _, twice := t.values[key]; twice {
			return nil, fmt.Errorf("value %q is there twice with different spellings", p.External)
		}
		t.values[key] = v
	}
	return t, nil
}

var errNotOneToOne = errors.New("two external values become the same local value")

// invert returns the table from local to external.
func (t *valueTable) invert(external, local *kedge.Field) (*valueTable, error) {
	back := &valueTable{from: local.Type, values: make(map[string]kedge.Value, len(t.values)), otherwise: t.otherwise, reverse: t}
	to := newTarget(external)
	for text, v := range t.values {
		from, err := kedge.ParseText(t.from, text)
		if err == nil {
			from, err = to.fit(from)
		}
		if err != nil {
			return nil, fmt.Errorf("value %q does not fit the external field: %w", text, err)
		}
		if v.IsNull() {
			if !back.null.IsMissing() {
				return nil, errNotOneToOne
			}
			back.null = from
			continue
		}
		key := entryKey(v)
		if _, twice := back.values[key]; twice {
			return nil, errNotOneToOne
		}
		back.values[key] = from
	}
	return back, nil
}
