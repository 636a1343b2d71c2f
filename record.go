package kedge

import (
	"errors"
	"strings"
)

// Fields is the list of field names that the records of a read share. It is
// immutable once made; records point to it instead of carrying names.
type Fields struct {
	names []string
	index map[string]int
}

// NewFields returns the list of names. Names are distinct; of equal names the
// last one is found by [Fields.Index].
func NewFields(names ...string) *Fields {
	f := &Fields{names: names, index: make(map[string]int, len(names))}
	for i, n := range names {
		f.index[n] = i
	}
	return f
}

// Len returns the number of fields; a nil list has none.
func (f *Fields) Len() int {
	if f == nil {
		return 0
	}
	return len(f.names)
}

// Name returns the name of field i.
func (f *Fields) Name(i int) string { return f.names[i] }

// Names returns the names in order. The caller must not change the slice.
func (f *Fields) Names() []string {
	if f == nil {
		return nil
	}
	return f.names
}

// Index returns the position of name, or -1.
func (f *Fields) Index(name string) int {
	if f == nil {
		return -1
	}
	if i, ok := f.index[name]; ok {
		return i
	}
	return -1
}

// A Removal says why a record is no longer delivered by its source.
type Removal uint8

// The reasons of a removal.
const (
	Live       Removal = iota // not removed
	Deleted                   // the source deleted it
	LeftFilter                // it exists, but no longer passes the filter
)

// String returns "live", "deleted" or "left the filter".
func (r Removal) String() string {
	return [...]string{"live", "deleted", "left the filter"}[min(r, LeftFilter)]
}

// A Record is one row of an entity. Values[i] belongs to Fields.Name(i). A
// removed record may have no values.
type Record struct {
	Fields  *Fields
	Values  []Value
	Key     Key    // never empty in a record that a driver delivers
	Version string // etag or row version as the system sent it; "" if it has none
	Removed Removal
}

// Clone returns a copy of r that shares no memory with the page it came from,
// except the list of fields.
func (r *Record) Clone() Record {
	c := *r
	c.Key, c.Version = Key(strings.Clone(string(r.Key))), strings.Clone(r.Version)
	c.Values = make([]Value, len(r.Values))
	for i, v := range r.Values {
		c.Values[i] = v.Clone()
	}
	return c
}

// Get returns the value of the named field, or the missing value.
func (r *Record) Get(name string) Value {
	if i := r.Fields.Index(name); i >= 0 && i < len(r.Values) {
		return r.Values[i]
	}
	return Value{}
}

// A Key is the canonical text of a primary key. A key of one part is the
// [Value.Text] of its value, verbatim. The parts of a composite key are joined
// by commas, with a backslash before each comma and backslash inside a part.
// How many parts a key has is known from its entity.
type Key string

// NewKey returns the key of the given key values, in the order of
// [Entity.Key]. A missing or null part, or one empty part alone, gives "",
// which is never a valid key.
func NewKey(parts ...Value) Key {
	if len(parts) == 1 {
		return Key(parts[0].keyText())
	}
	var b strings.Builder
	for i, p := range parts {
		if p.IsEmpty() {
			return ""
		}
		if i > 0 {
			b.WriteByte(',')
		}
		keyEscaper.WriteString(&b, p.keyText())
	}
	return Key(b.String())
}

var keyEscaper = strings.NewReplacer(`\`, `\\`, `,`, `\,`)

// keyText is Text, but one text per number: 1.0 and 1 are the same key.
func (v Value) keyText() string {
	if v.typ == TypeDecimal {
		return CanonicalDecimal(v.s)
	}
	return v.Text()
}

// Parts splits k into n texts, one per key field. It fails if k has another
// number of parts.
func (k Key) Parts(n int) ([]string, error) {
	if n == 1 {
		return []string{string(k)}, nil
	}
	parts, cur := make([]string, 0, n), make([]byte, 0, len(k))
	for i := 0; i < len(k); i++ {
		switch c := k[i]; {
		case c == '\\' && i+1 < len(k):
			i++
			cur = append(cur, k[i])
		case c == ',':
			parts, cur = append(parts, string(cur)), cur[:0]
		default:
			cur = append(cur, c)
		}
	}
	if parts = append(parts, string(cur)); len(parts) != n {
		return nil, errors.New("key has the wrong number of parts")
	}
	return parts, nil
}

// Values returns the typed values of the key k of entity e.
func (e *Entity) Values(k Key) ([]Value, error) {
	texts, err := k.Parts(len(e.Key))
	if err != nil {
		return nil, err
	}
	values := make([]Value, len(texts))
	for i, name := range e.Key {
		f := e.Field(name)
		if f == nil {
			return nil, errors.New("key field " + name + " is not in the entity")
		}
		if values[i], err = ParseText(f.Type, texts[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// An Anchor marks a position in a system's change history. It is opaque: only
// the driver that issued it can read it. The zero Anchor means "from the
// beginning".
type Anchor string

// An Op is what a [Change] does.
type Op uint8

// The operations of a change.
const (
	Insert Op = iota + 1 // fails with Conflict if the key exists
	Update               // fails with NotFound if the key does not exist
	Upsert               // inserts or updates by key
	Delete               // of a missing record: nothing happens
)

// String returns the lower-case name of o.
func (o Op) String() string {
	return [...]string{"none", "insert", "update", "upsert", "delete"}[min(o, Delete)]
}

// A Change asks a system to write one record. Missing values are not written;
// null ones are cleared.
type Change struct {
	Op     Op
	Entity string
	Key    Key // "" only for an insert whose key the system makes
	Fields *Fields
	Values []Value // aligned with Fields

	// Targets tells of fields that can point to several entities which one their
	// value is a key of.
	Targets map[string]string

	// Version, if not "", is the version the record must still have; otherwise
	// the change is refused with Conflict.
	Version string
	// IdempotencyKey is the same for every try of the same change. "" if the
	// caller has none.
	IdempotencyKey string
	// Return says that the caller wants to know the record as the system stores
	// it, if the system tells that in its answer.
	Return bool
}
