package mapping

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/kedge-sync/kedge"
)

// Schemas are the schemas of both sides at one time.
type Schemas struct{ External, Local *kedge.Schema }

// A Drifted is a mapping after the live schemas were looked at.
type Drifted struct {
	Mapping  *Mapping // what the run uses
	Adopted  *Mapping // what to save as a new revision, or nil if nothing was adopted
	Findings []Finding
}

// Drift does what the drift policy of m says about the changes from was, the
// schemas at the time that m was saved (nil: unknown, nothing is new), to is,
// the live ones. Give Findings to [Plan.Hold] after compiling Mapping.
//
// Under all policies a missing key and incompatible types hold the entity;
// Compile finds that. Nothing is ever dropped from what is saved.
func Drift(m *Mapping, was, is Schemas) Drifted {
	d := Drifted{Mapping: m}
	switch m.Drift {
	case DriftHold:
		d.Findings = changedItems(m, was, is)
		return d
	case DriftAdopt:
		var adopted *Mapping
		if adopted, d.Findings = adoptNew(m, was, is); adopted != nil {
			d.Mapping, d.Adopted = adopted, adopted
		}
	}
	var suspended []Finding
	d.Mapping, suspended = suspendMissing(d.Mapping, is)
	d.Findings = append(d.Findings, suspended...)
	return d
}

// suspendMissing takes missing external fields that are not in the key out of
// the mapping that a run uses.
func suspendMissing(m *Mapping, is Schemas) (*Mapping, []Finding) {
	out := m.clone()
	var done []Finding
	for i := range out.Entities {
		e := &out.Entities[i]
		ext := is.External.Entity(e.External)
		if e.Disabled || ext == nil {
			continue
		}
		for _, name := range e.usedExternal() {
			if ext.Field(name) == nil && e.suspend(name) {
				done = append(done, Finding{Code: FieldSuspended, Severity: SeverityWarning, Side: SideExternal, Entity: e.Name, Field: name,
					Message: fmt.Sprintf("%s has no field %s any more; it is left out of this run", ext.Name, name), Fix: cleanUpFix(name, fieldNames(ext))})
			}
		}
	}
	if len(done) == 0 {
		return m, nil
	}
	return out, done
}

// usedExternal returns the external fields that the enabled rules of e name.
func (e *Entity) usedExternal() []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, p := range e.Key {
		add(p.External)
	}
	for _, f := range e.Fields {
		for _, name := range f.External {
			if !f.Disabled {
				add(name)
			}
		}
	}
	for _, pairs := range e.AlternateKeys {
		for _, p := range pairs {
			add(p.External)
		}
	}
	add(e.Version)
	add(e.Conflict.Modified.External)
	return names
}

// suspend makes e do without an external field, for one run. It reports
// whether it could: a field of the key is needed.
func (e *Entity) suspend(name string) bool {
	if slices.ContainsFunc(e.Key, func(p KeyPair) bool { return p.External == name }) {
		return false
	}
	for i := range e.Fields {
		if slices.Contains(e.Fields[i].External, name) {
			e.Fields[i].Disabled = true
		}
	}
	e.AlternateKeys = slices.DeleteFunc(e.AlternateKeys, func(pairs []NamePair) bool {
		return slices.ContainsFunc(pairs, func(p NamePair) bool { return p.External == name })
	})
	if e.Version == name {
		e.Version = ""
	}
	if e.Conflict.Modified.External == name {
		e.Conflict.Modified = NamePair{} // no stamp: local wins
	}
	return true
}

// changedItems finds the used items that are not what they were.
func changedItems(m *Mapping, was, is Schemas) []Finding {
	var found []Finding
	for i := range m.Entities {
		e := &m.Entities[i]
		if e.Disabled {
			continue
		}
		found = append(found, changedFields(e, SideExternal, entityOf(was.External, e.External), entityOf(is.External, e.External), e.usedExternal())...)
		found = append(found, changedFields(e, SideLocal, entityOf(was.Local, e.Local), entityOf(is.Local, e.Local), e.usedLocal())...)
	}
	return found
}

func entityOf(s *kedge.Schema, name string) *kedge.Entity {
	if s == nil {
		return nil
	}
	return s.Entity(name)
}

func (e *Entity) usedLocal() []string {
	var names []string
	for _, p := range e.Key {
		names = append(names, p.Local)
	}
	for _, f := range e.Fields {
		if !f.Disabled && !slices.Contains(names, f.Local) {
			names = append(names, f.Local)
		}
	}
	return names
}

// changedFields compares the fields of one entity. Missing entities are found
// by Compile.
func changedFields(e *Entity, side Side, was, is *kedge.Entity, names []string) []Finding {
	if was == nil || is == nil {
		return nil
	}
	var found []Finding
	for _, name := range names {
		before, after := was.Field(name), is.Field(name)
		if before == nil || after != nil && sameField(before, after) {
			continue
		}
		message := fmt.Sprintf("%s of %s is not what it was when the mapping was saved", name, is.Name)
		if after == nil {
			message = fmt.Sprintf("%s has no field %s any more", is.Name, name)
		}
		found = append(found, Finding{Code: FieldChanged, Severity: SeverityError, Side: side, Entity: e.Name, Field: name, Message: message,
			Fix: "look at the field, then save the mapping again"})
	}
	return found
}

// sameField compares all that matters to the data; a new title does not.
func sameField(a, b *kedge.Field) bool {
	x, y := *a, *b
	x.Title, y.Title = "", ""
	return reflect.DeepEqual(x, y)
}

// adoptNew maps external fields that are new since was, by suggestion. It
// returns nil if there are none.
func adoptNew(m *Mapping, was, is Schemas) (*Mapping, []Finding) {
	out := m.clone()
	var found []Finding
	for i := range out.Entities {
		e := &out.Entities[i]
		before, ext, loc := entityOf(was.External, e.External), entityOf(is.External, e.External), entityOf(is.Local, e.Local)
		if e.Disabled || before == nil || ext == nil || loc == nil {
			continue
		}
		fresh := slices.DeleteFunc(Suggest(ext, loc), func(s Suggestion) bool { return before.Field(s.External) != nil })
		for _, f := range e.Adopt(out, loc, fresh) {
			found = append(found, Finding{Code: FieldAdopted, Severity: SeverityNote, Side: SideExternal, Entity: e.Name, Field: f.external(),
				Message: fmt.Sprintf("new field %s is mapped to %s", f.external(), f.Local)})
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	return out, found
}

// Hold returns a plan in which the entities that have an error in findings are
// held, and those whose records need them.
func (p *Plan) Hold(findings []Finding) *Plan {
	out := &Plan{Held: make(map[string][]Finding, len(p.Held))}
	for name, why := range p.Held {
		out.Held[name] = why
	}
	for _, f := range errorsOf(findings) {
		out.Held[f.Entity] = append(slices.Clone(out.Held[f.Entity]), f)
	}
	var plans []*EntityPlan
	for _, layer := range p.Layers {
		for _, e := range layer {
			if _, held := out.Held[e.Name]; !held {
				plans = append(plans, e)
			}
		}
	}
	out.Layers = layers(holdDependents(plans, out.Held))
	return out
}
