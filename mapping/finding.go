package mapping

import "slices"

// A Severity says how much a [Finding] matters.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"   // the item cannot run
	SeverityWarning Severity = "warning" // it runs, but probably not as wanted
	SeverityNote    Severity = "note"
)

// A Side is where the item of a [Finding] is.
type Side string

// The sides.
const (
	SideExternal Side = "external"
	SideLocal    Side = "local"
	SideMapping  Side = "mapping" // in the file itself
)

// A Code says what a [Finding] found.
type Code string

// The codes.
const (
	ExternalEntityMissing Code = "external_entity_missing"
	ExternalFieldMissing  Code = "external_field_missing"
	LocalEntityMissing    Code = "local_entity_missing"
	LocalFieldMissing     Code = "local_field_missing"
	KeyMissing            Code = "key_missing"
	TypeIncompatible      Code = "type_incompatible"
	LookupTargetMissing   Code = "lookup_target_missing"
	NotInvertible         Code = "not_invertible"
	FilterInvalid         Code = "filter_invalid"
	ExpressionInvalid     Code = "expression_invalid"
	ValueInvalid          Code = "value_invalid"
	LocalFieldTwice       Code = "local_field_twice"
	ExternalFieldTwice    Code = "external_field_twice"
	TechnicalEntity       Code = "technical_entity"
	LookupTextField       Code = "lookup_text_field"
	VersionMissing        Code = "version_missing"
	KeyNotUnique          Code = "key_not_unique"
	UnsupportedEntity     Code = "unsupported_entity"
	ReadOnlyEntity        Code = "read_only_entity"
	ReadOnlyField         Code = "read_only_field"
	FieldSuspended        Code = "field_suspended"
	FieldAdopted          Code = "field_adopted"
	FieldChanged          Code = "field_changed"
)

// A Finding is one thing that [Check] has to say.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Side     Side     `json:"side"`
	Entity   string   `json:"entity"` // name of the mapping entity
	Field    string   `json:"field,omitempty"`
	Message  string   `json:"message"`
	Fix      string   `json:"fix,omitempty"`
}

// Text returns the message and what to do about it.
func (f Finding) Text() string {
	if f.Fix == "" {
		return f.Message
	}
	return f.Message + "; " + f.Fix
}

// Missing reports whether f is about an item that is no longer there. A
// mapping with such findings may be saved: it can be cleaned up later.
func (f Finding) Missing() bool {
	switch f.Code {
	case ExternalEntityMissing, ExternalFieldMissing, LocalEntityMissing, LocalFieldMissing, KeyMissing:
		return true
	}
	return false
}

// Refusals returns the findings for which a mapping may not be saved: the
// errors, but for missing items.
func Refusals(findings []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool {
		return f.Severity != SeverityError || f.Missing()
	})
}
