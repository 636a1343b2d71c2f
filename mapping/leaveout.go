package mapping

import (
	"fmt"
	"slices"
)

// WithoutLocal returns m without the rules that write a missing field of a
// local entity, for one run, and what it left out. A field of the key cannot
// be left out: the entity is held without it.
func WithoutLocal(m *Mapping, local, field string) (*Mapping, []Finding) {
	out := m.clone()
	var done []Finding
	for i := range out.Entities {
		e := &out.Entities[i]
		if e.Local != local || e.Disabled || !e.leaveOut(field) {
			continue
		}
		done = append(done, Finding{Code: FieldSuspended, Severity: SeverityWarning, Side: SideLocal, Entity: e.Name, Field: field,
			Message: fmt.Sprintf("%s has no field %s; it is left out, as onMissingColumn says", local, field), Fix: "run \"kedge map tables\" to add it"})
	}
	return out, done
}

// leaveOut makes e do without a local field and reports whether it used it.
func (e *Entity) leaveOut(field string) bool {
	uses := false
	for i := range e.Fields {
		if f := &e.Fields[i]; f.Local == field && !f.Disabled {
			f.Disabled, uses = true, true
		}
	}
	before := len(e.AlternateKeys)
	e.AlternateKeys = slices.DeleteFunc(e.AlternateKeys, func(pairs []NamePair) bool {
		return slices.ContainsFunc(pairs, func(p NamePair) bool { return p.Local == field })
	})
	if e.Conflict.Modified.Local == field {
		e.Conflict.Modified, uses = NamePair{}, true // no stamp: local wins
	}
	return uses || len(e.AlternateKeys) < before
}
