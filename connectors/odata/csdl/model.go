// Package csdl reads the metadata document of an OData 4.0 or 4.01 service,
// in XML or JSON, into one model: the entity sets that can be read as tables,
// with their properties flattened, and what the service says it can do.
//
// It reads CSDL as published by OASIS (OData CSDL XML and JSON Representation
// 4.01). References to other documents are not fetched; a type that is not
// in the document is delivered as json.
package csdl

import (
	"cmp"
	"slices"

	"github.com/kedge-sync/kedge"
)

// MaxDepth is the deepest nesting of elements or JSON values that Parse accepts.
const MaxDepth = 64

// MaxFlatten is the greatest number of parts in the path of a property
// flattened out of complex properties. Deeper ones are delivered as json.
const MaxFlatten = 3

// Limits on what a hostile document can make of few bytes.
const (
	maxSetProperties = 5000    // of one set; beyond, complex properties are not flattened
	maxProperties    = 500_000 // of all sets, navigations included
)

// A Model is what a metadata document says. It is immutable once parsed.
type Model struct {
	Version   string   // of the document: "4.0" or "4.01"
	Container string   // qualified name of the entity container, or ""
	Sets      []Set    // sorted by name
	Notices   []string // what was skipped or guessed, for people
	Hash      string   // equal models have equal hashes, whatever the format of their documents
	Batch     BatchSupport
	// KeyAsSegment says whether Set/key works besides Set(key).
	KeyAsSegment Hint

	doc  *document // for Cast
	sets *setIndex
}

// A Hint is what an annotation says about an ability, if there is one.
// Services misstate them, so a probe or an option wins.
type Hint uint8

// The values of a hint.
const (
	Unsaid Hint = iota // no annotation
	Yes
	No
)

// String returns "unsaid", "yes" or "no".
func (h Hint) String() string { return [...]string{"unsaid", "yes", "no"}[min(h, No)] }

// Or returns whether h is Yes, or otherwise if nothing is said.
func (h Hint) Or(otherwise bool) bool {
	if h == Unsaid {
		return otherwise
	}
	return h == Yes
}

// BatchSupport is what Capabilities.BatchSupport and BatchSupported say.
type BatchSupport struct {
	Supported Hint
	// ContinueOnError says whether Prefer: odata.continue-on-error is honoured.
	ContinueOnError Hint
	// Formats are the media types of batch requests: "multipart/mixed",
	// "application/json". Empty if nothing is said.
	Formats []string
}

// A Set is an entity set.
type Set struct {
	Name          string
	Title         string // of the set or its type, for people
	TypeName      string // namespace-qualified name of the entity type
	Open          bool   // records may have properties that are not declared
	Key           []string
	AlternateKeys [][]string
	Properties    []Property // in the order of declaration, base types first
	Navigations   []Navigation
	Hints         Hints
}

// Property returns the property with that path, or nil. If a complex property
// exists both whole and in parts, its parts have longer paths.
func (s *Set) Property(path string) *Property {
	for i := range s.Properties {
		if s.Properties[i].Path == path {
			return &s.Properties[i]
		}
	}
	return nil
}

// Hints are what the annotations of a set say.
type Hints struct {
	ChangeTracking Hint
	Filterable     Hint
	Sortable       Hint
	Readable       Hint
	ReadableByKey  Hint
	Insertable     Hint
	Updatable      Hint
	Deletable      Hint
	Upsertable     Hint
	Repeatability  Hint // Org.OData.Repeatability.V1.Supported, of the set or the container
	// OptimisticConcurrency says whether updates need an ETag; ConcurrencyFields
	// are the properties that it is made of, which may be unknown.
	OptimisticConcurrency Hint
	ConcurrencyFields     []string
	Unfilterable          []string // property paths that cannot be filtered by
	Unsortable            []string // property paths that cannot be sorted by
	NotInsertable         []string // property paths that cannot be sent with an insert
	NotUpdatable          []string // property paths that cannot be sent with an update
	RequiredInFilter      []string // property paths without which no filter is accepted
}

// A Property is one field of a set.
type Property struct {
	Path       string // "City", or "Address/City" inside a complex property
	Title      string
	Edm        string // primitive type, "Edm.String", under type definitions; "" if Complex
	Declared   string // type as declared, aliases resolved: "Collection(Ns.Address)"
	Type       kedge.Type
	Format     kedge.Format
	Nullable   bool // the property, or a complex property around it
	MaxLength  int  // 0 means unknown or unlimited
	Precision  int  // 0 means unknown or unlimited
	Scale      int  // -1 means any number
	Enum       []string
	EnumType   string // qualified name, for literals; "" if not an enumeration
	EnumFlags  bool   // several members may be set at once
	Computed   bool
	Immutable  bool
	ReadOnly   bool
	WriteOnly  bool // Core.Permissions or Capabilities forbid reading it
	Complex    bool // a whole complex or collection property, delivered as raw JSON
	Collection bool
	// Parts tells that a Complex property is there in parts too. A reader
	// takes either the whole or the parts.
	Parts bool
}

// A Navigation is a navigation property of a set's type.
type Navigation struct {
	Name        string
	Target      string // name of the entity set, or "" if unknown
	TargetType  string // qualified
	TargetKey   []string
	Collection  bool
	Nullable    bool
	Constraints []Constraint
}

// A Constraint says that a property always equals a property of the
// navigation's target.
type Constraint struct {
	Property   string // of the set
	Referenced string // of the target
}

// Set returns the set with that name, or nil.
func (m *Model) Set(name string) *Set {
	i, ok := slices.BinarySearchFunc(m.Sets, name, func(s Set, n string) int { return cmp.Compare(s.Name, n) })
	if !ok {
		return nil
	}
	return &m.Sets[i]
}
