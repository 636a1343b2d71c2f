// Package mapping says which entities and fields of two systems belong
// together: it reads mapping files, checks them against live schemas, suggests
// and cleans them up, and compiles them into plans that move records.
package mapping

import (
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
)

// Limits of a mapping file.
const (
	MaxFile       = 4 << 20 // bytes
	MaxEntities   = 500
	MaxFields     = 2000    // of one entity
	MaxKeyParts   = 8       // of one key
	MaxValues     = 10_000  // of one value map
	MaxFilter     = 8 << 10 // bytes
	MaxExpression = 4 << 10 // bytes
)

// A Mapping is a parsed mapping file. It names no connection.
type Mapping struct {
	Drift     DriftPolicy
	FirstSync FirstSync
	Note      string
	Entities  []Entity // in file order
}

// Entity returns the entity with that name, or nil.
func (m *Mapping) Entity(name string) *Entity {
	for i := range m.Entities {
		if m.Entities[i].Name == name {
			return &m.Entities[i]
		}
	}
	return nil
}

// An Entity is the rules for one pair of entities. Names of external items are
// those of the external schema, names of local items those of the local one;
// both are compared exactly.
type Entity struct {
	Name           string // unique; the local name if the file gives none
	External       string
	Local          string
	Disabled       bool
	Direction      Direction
	Key            []KeyPair
	AlternateKeys  [][]NamePair // tried in order, only for records without a link
	Version        string       // external field; "" means as the metadata says
	DownloadFilter string       // external names
	UploadFilter   string       // local names
	Conflict       Conflict
	Deletes        Deletes
	ReconcileEvery time.Duration // 0 means the driver's wish
	Note           string
	Fields         []Field // in file order
}

// A KeyPair is one part of the key that records are matched by.
type KeyPair struct {
	External string
	Local    string
	Primary  bool // also the primary key of a table that kedge makes
}

// A NamePair is an external and a local field name.
type NamePair struct{ External, Local string }

// Conflict says what happens when both sides changed a record.
type Conflict struct {
	Policy       Policy
	EditVsDelete Policy // Manual, RemoteWins or LocalWins
	Merge        Merge
	Modified     NamePair      // the stamps that NewestWins compares
	Skew         time.Duration // stamps closer than this count as equal
}

// Deletes says what a deletion on one side does on the other.
type Deletes struct {
	Download   DeleteRule
	Upload     DeleteRule
	FilterExit FilterExit // what leaving the download filter does
	Soft       Soft
	MaxRows    int // more deletions than both limits in one run stop it
	MaxPercent int // of the linked records
}

// Soft is the mark that DeleteSoft sets instead of deleting.
type Soft struct {
	Field string // local name
	Value kedge.Value
}

// A Field is the rule for one local field. At most one of Constant,
// Expressions, Lookup and Values is given.
type Field struct {
	External    []string // one name; several for a composite lookup; none for a constant or an expression over the record
	Local       string
	Disabled    bool
	Type        kedge.Type // of the local column that kedge makes; TypeMissing means derived
	Direction   Direction  // "" means the entity's
	Default     kedge.Value
	OnError     OnError
	Values      []ValuePair
	Otherwise   Otherwise // what happens to values that Values does not have
	Constant    kedge.Value
	Expressions Expressions
	Compare     Compare
	Conflict    Policy // "" means the entity's
	Lookup      *LookupRule
	Note        string
}

// A ValuePair is one entry of a value map.
type ValuePair struct {
	External string // the canonical text of the external value
	Local    kedge.Value
}

// Expressions are the expressions of a field, "" if there is none.
type Expressions struct{ Download, Upload string }

// A LookupRule says that the external values name a record of another entity
// of the mapping, whose local key is stored.
type LookupRule struct {
	Entity string
	Fields []string // external fields of that entity; none means its external key
}

// external returns the one external name of f, or "".
func (f *Field) external() string {
	if len(f.External) == 1 {
		return f.External[0]
	}
	return ""
}

// direction returns the direction of f in e.
func (e *Entity) direction(f *Field) Direction {
	if f.Direction != "" {
		return f.Direction
	}
	return e.Direction
}

// withDefaults fills in what the file leaves open, for mappings made by hand.
func (e Entity) withDefaults() Entity {
	setDefault(&e.Name, e.Local)
	setDefault(&e.Direction, Download)
	setDefault(&e.Conflict.Policy, RemoteWins)
	setDefault(&e.Conflict.EditVsDelete, Manual)
	setDefault(&e.Conflict.Merge, MergeField)
	setDefault(&e.Conflict.Skew, defaultSkew)
	if e.Deletes == (Deletes{}) {
		e.Deletes.MaxRows, e.Deletes.MaxPercent = defaultMaxRows, defaultMaxPercent
	}
	setDefault(&e.Deletes.Download, DeleteRemove)
	setDefault(&e.Deletes.Upload, DeleteRemove)
	setDefault(&e.Deletes.FilterExit, ExitDelete)
	e.Fields = slices.Clone(e.Fields)
	for i, f := range e.Fields {
		e.Fields[i] = f.withDefaults()
	}
	return e
}

// withDefaults fills in what the file leaves open.
func (f Field) withDefaults() Field {
	setDefault(&f.OnError, OnErrorQuarantine)
	setDefault(&f.Otherwise, OtherwiseQuarantine)
	setDefault(&f.Compare, CompareExact)
	return f
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}
