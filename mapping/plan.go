package mapping

import (
	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// A Plan is a mapping compiled against the live schemas of both sides. It is
// immutable and safe for concurrent use.
type Plan struct {
	// Layers holds the enabled entities in the order in which records must be
	// written so that lookups find their targets: all entities of a layer can
	// be read at once. Entities that refer to each other, and those that refer
	// to themselves, share a layer.
	Layers [][]*EntityPlan
	// Held are the entities that cannot run, with the findings that hold them.
	Held map[string][]Finding
}

// An EntityPlan moves records of one entity. Values are addressed by position:
// ExternalFields and LocalFields are the field lists that records must carry.
type EntityPlan struct {
	Name     string        // of the mapping entity
	Rules    *Entity       // as in the file, with defaults filled in: direction, deletes, conflict, reconcileEvery
	External *kedge.Entity // live entities
	Local    *kedge.Entity

	// ExternalFields is what is read from the external side and what an upload
	// writes: mapped fields, key pairs, fields the download filter needs and the
	// stamp of the last change.
	ExternalFields *kedge.Fields
	LocalFields    *kedge.Fields // mapped fields and key pairs: what a download writes, but for those that are only uploaded
	// LocalRead is what an upload reads: LocalFields, then fields that upload
	// expressions and the upload filter need and the stamp of the last change.
	LocalRead *kedge.Fields

	Key           []Pair   // positions of the key pairs
	AlternateKeys [][]Pair // positions
	SharedKey     bool     // the key pairs are exactly both primary keys: the external key is the local key
	Lookups       []Lookup // values that Download leaves missing, for the caller to resolve
	UploadLookups []Lookup // values that Upload leaves missing, for the caller to invert: the target's external values name it
	Modified      Pair     // positions in ExternalFields and LocalRead of the stamps that NewestWins compares, -1 if there are none

	DownloadFilter    *filter.Expr // bound to External, or nil
	UploadFilter      *filter.Expr // bound to Local, or nil
	Fingerprint       string       // changes whenever a full read is needed to bring old rows up to date
	UploadFingerprint string       // changes whenever all local rows must be compared again with what was uploaded

	steps       []step
	hashed      []int // positions in ExternalFields that Hash covers, ascending
	uploads     []uploadStep
	locals      []localRule // aligned with LocalFields
	localHashed []int       // positions in LocalFields that LocalHash covers, ascending
}

// A Pair is a position in ExternalFields and one in LocalFields.
type Pair struct{ External, Local int }

// A Lookup is a local field that holds the local key of another record.
type Lookup struct {
	Field      string   // local field name
	Local      int      // position in LocalFields
	External   []int    // positions in ExternalFields of the values that name the target
	Target     string   // name of the target mapping entity
	By         []string // external fields of the target that the values equal; nil means its external key
	Required   bool     // what the lookup fills cannot be null: the local field on download, an external one on upload
	CreateOnly bool     // of UploadLookups: sent only when a record is created

	targets []target // of UploadLookups: the external fields
}

// A FieldError says which field of a record could not be mapped. It names
// types, never values.
type FieldError struct {
	Field string // external field on download, local field on upload
	Code  string // "conversion", "value_map", "expression", …
	Err   error
}

// Error formats e as "field: cause".
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }
