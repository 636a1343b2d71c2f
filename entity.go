package kedge

import "time"

// A Schema is what a system says about itself.
type Schema struct {
	Entities []Entity // sorted by name
	Hash     string   // equal schemas have equal hashes
	Notices  []string // what was skipped or guessed while reading the metadata
}

// Entity returns the entity with that name, or nil.
func (s *Schema) Entity(name string) *Entity {
	for i := range s.Entities {
		if s.Entities[i].Name == name {
			return &s.Entities[i]
		}
	}
	return nil
}

// An Entity describes one kind of record of a system, and what the system can
// do with it.
type Entity struct {
	Name          string
	Title         string // for people; "" if the system has none
	Fields        []Field
	Key           []string   // names of the key fields, in order; empty: rows cannot be addressed
	AlternateKeys [][]string // other unique sets of fields
	Version       string     // name of the field that grows with every change; "" if there is none

	Full        bool // a full read delivers all that exists; without it nothing may be swept
	Delta       bool // ReadPage honours an anchor
	Deletes     bool // a read from an anchor reports deletions
	Filter      bool // at least parts of a filter can be pushed to the system
	Insert      bool
	Update      bool
	Upsert      bool
	Delete      bool
	Concurrency bool // a stale Change.Version is refused
	Idempotent  bool // a repeated insert with the same idempotency key cannot double
	WriteBatch  int  // most changes in one Write; 0 means no limit
	PageMax     int  // most records in one page; 0 means no limit

	// ReconcileEvery is how often a full read with sweep is wished for even
	// though Delta is set. 0 means no wish.
	ReconcileEvery time.Duration
	// Tracking says in a few words how changes are found and why, for people:
	// "watermark on modifiedAt (no delta links)".
	Tracking string
}

// Field returns the field with that name, or nil.
func (e *Entity) Field(name string) *Field {
	for i := range e.Fields {
		if e.Fields[i].Name == name {
			return &e.Fields[i]
		}
	}
	return nil
}

// A Format refines a field's type.
type Format string

// The formats of string fields.
const (
	FormatNone     Format = ""
	FormatGUID     Format = "guid" // canonical lower case
	FormatEnum     Format = "enum" // one of Field.Enum
	FormatClock    Format = "time_of_day"
	FormatDuration Format = "duration" // ISO 8601
)

// A Field describes one field of an entity.
type Field struct {
	Name      string
	Title     string
	Type      Type
	Format    Format
	Nullable  bool
	MaxLength int // of strings, in characters; 0 means unknown or unlimited
	Precision int // of decimals, in digits; 0 means unknown or unlimited
	Scale     int // of decimals, digits after the point; -1 means any number
	ReadOnly  bool
	Computed  bool     // made by the system; never written
	Immutable bool     // written on insert only
	Enum      []string // members of an enumeration
	Lookup    []LookupTarget

	// NativeType is the system's own name for the type, for messages:
	// "Edm.DateTimeOffset", "timestamptz".
	NativeType string
}

// A LookupTarget is an entity that a lookup field can point to.
type LookupTarget struct {
	Entity     string
	Field      string // field of the target that the value equals
	Navigation string // name of the navigation, where the system needs it to write
}
