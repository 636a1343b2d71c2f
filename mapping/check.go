package mapping

import (
	"fmt"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// Check compares m with the live schemas of both sides. A mapping without
// findings of severity error runs.
func Check(m *Mapping, ext, loc *kedge.Schema) []Finding {
	c := &compiler{m: m, ext: ext, loc: loc, now: time.Unix(0, 0)}
	var findings []Finding
	for i := range m.Entities {
		if !m.Entities[i].Disabled {
			findings = append(findings, c.entity(&m.Entities[i]).findings...)
		}
	}
	return findings
}

// technical are the tables that kedge itself makes visible.
var technical = []string{"integration_log", "integration_syncanchor", "integration_transaction"}

// checkEntities reports whether both entities are there to be mapped.
func (d *draft) checkEntities() bool {
	e, before := d.rules, len(d.findings)
	for _, name := range technical {
		if e.External == name || e.Local == name {
			side := SideExternal
			if e.Local == name {
				side = SideLocal
			}
			d.fail(TechnicalEntity, side, "", "take it out of the mapping", "%s is a table of the integration itself and cannot be mapped", name)
		}
	}
	if d.ext == nil {
		d.fail(ExternalEntityMissing, SideExternal, "", cleanUpFix(e.External, entityNames(d.compiler.ext)), "the external system has no entity %s", e.External)
	}
	if d.loc == nil {
		fix := "choose another local entity, or make it with \"kedge map tables\""
		if c := nearest.Name(e.Local, entityNames(d.compiler.loc)); c != "" {
			fix += ", perhaps " + c
		}
		d.fail(LocalEntityMissing, SideLocal, "", fix, "the local system has no entity %s", e.Local)
	}
	if len(d.findings) > before {
		d.missingFields()
		return false
	}
	d.checkWritable()
	d.checkVersion()
	d.checkSupported()
	return true
}

// missingFields finds the fields that are not there on the one side that can be
// looked at, so that a missing entity does not hide them.
func (d *draft) missingFields() {
	switch {
	case d.ext != nil && d.loc == nil:
		for _, name := range d.rules.usedExternal() {
			if slices.ContainsFunc(d.rules.Key, func(p KeyPair) bool { return p.External == name }) {
				d.externalKey(name)
			} else {
				d.externalField(name)
			}
		}
	case d.ext == nil && d.loc != nil:
		for _, name := range d.rules.usedLocal() {
			if slices.ContainsFunc(d.rules.Key, func(p KeyPair) bool { return p.Local == name }) {
				d.localKey(name)
			} else {
				d.localField(name)
			}
		}
	}
}

func entityNames(s *kedge.Schema) []string {
	out := make([]string, len(s.Entities))
	for i := range s.Entities {
		out[i] = s.Entities[i].Name
	}
	return out
}

// checkWritable refuses uploads to an entity that the other side lets nobody
// write: each record would be refused.
func (d *draft) checkWritable() {
	if e := d.ext; d.rules.Direction.Uploads() && !e.Insert && !e.Update && !e.Upsert && !e.Delete {
		d.fail(ReadOnlyEntity, SideExternal, "", "set direction: download, or let the other system allow writes", "%s cannot be written", e.Name)
	}
}

func (d *draft) checkVersion() {
	switch v := d.rules.Version; {
	case v != "" && d.ext.Field(v) == nil:
		d.externalField(v)
	case v == "" && d.ext.Version == "" && !d.ext.Delta && d.rules.Direction != Upload:
		d.find(Finding{Code: VersionMissing, Severity: SeverityWarning, Side: SideExternal,
			Message: fmt.Sprintf("%s has no version field and no delta, so every read is full", d.ext.Name), Fix: "set version to a field that grows with every change"})
	}
}

// checkUnique warns about a key that several records may share.
func (d *draft) checkUnique() {
	if len(d.rules.Key) == 0 {
		return
	}
	var ext, loc []string
	for _, p := range d.rules.Key {
		if d.ext.Field(p.External) == nil || d.loc.Field(p.Local) == nil {
			return
		}
		ext, loc = append(ext, p.External), append(loc, p.Local)
	}
	d.warnUnique(d.ext, ext, SideExternal)
	d.warnUnique(d.loc, loc, SideLocal)
}

func (d *draft) warnUnique(e *kedge.Entity, fields []string, side Side) {
	unique := e.AlternateKeys
	if len(e.Key) > 0 {
		unique = append(slices.Clone(unique), e.Key)
	}
	for _, set := range unique {
		if !slices.ContainsFunc(set, func(name string) bool { return !slices.Contains(fields, name) }) {
			return
		}
	}
	if len(unique) > 0 {
		d.find(Finding{Code: KeyNotUnique, Severity: SeverityWarning, Side: side, Field: fields[0],
			Message: fmt.Sprintf("%s does not keep the key unique; records that share a key are refused", e.Name), Fix: candidate(e, string(side))})
	}
}

// lookupTypes checks that the values can name a record of t, and that the
// local field can hold its key.
func (d *draft) lookupTypes(f *Field, t *Entity, loc *kedge.Field) bool {
	ext, target := d.compiler.ext.Entity(t.External), d.compiler.loc.Entity(t.Local)
	if ext == nil || target == nil {
		return true // found where t is checked
	}
	by := f.Lookup.Fields
	if len(by) == 0 {
		by = ext.Key
	}
	if len(by) != len(f.External) {
		d.fail(LookupTargetMissing, SideMapping, loc.Name, "name the fields of the target in lookup.fields",
			"lookup has %d external fields, but the key of %s has %d", len(f.External), t.External, len(by))
		return false
	}
	for i, name := range by {
		field := ext.Field(name)
		if field == nil {
			d.fail(LookupTargetMissing, SideExternal, loc.Name, "name other fields in lookup.fields", "%s has no field %s", t.External, name)
			return false
		}
		if from := d.ext.Field(f.External[i]); !convertible(from.Type, field.Type) {
			d.fail(TypeIncompatible, SideExternal, from.Name, "choose a field that holds the key", "%s is %s and %s of %s is %s, which do not convert",
				from.Name, typeOf(from), name, t.External, typeOf(field))
			return false
		}
	}
	return d.holdsKey(loc, target)
}

func (d *draft) holdsKey(loc *kedge.Field, target *kedge.Entity) bool {
	want := kedge.TypeString // of a composite key
	if len(target.Key) == 1 {
		if key := target.Field(target.Key[0]); key != nil {
			want = key.Type
		}
	}
	if convertible(want, loc.Type) {
		return true
	}
	d.fail(TypeIncompatible, SideLocal, loc.Name, "choose a field that can hold the key", "%s is %s and the key of %s is %v, which do not convert",
		loc.Name, typeOf(loc), target.Name, want)
	return false
}

// invertible checks that a field that is moved both ways loses nothing.
func (d *draft) invertible(f *Field, exts []*kedge.Field, loc *kedge.Field) {
	reason := ""
	switch {
	case f.Lookup != nil:
	case f.Expressions != (Expressions{}):
		if f.Expressions.Download == "" || f.Expressions.Upload == "" {
			reason = "it has an expression for one direction only"
		} else if _, err := compileExpression(f.Expressions.Upload, loc.Type, d.loc, exts[0].Type); err != nil {
			d.fail(ExpressionInvalid, SideMapping, loc.Name, "correct the expression", "expr.upload of %s: %v", loc.Name, err)
		}
	case len(f.Values) > 0:
		if t, err := newValueTable(f.Values, f.Otherwise, exts[0], loc); err == nil {
			if _, err = t.invert(exts[0], loc); err != nil {
				reason = err.Error()
			}
		}
	default:
		reason = lossy(f, exts[0], loc)
	}
	if reason != "" {
		d.fail(NotInvertible, SideMapping, loc.Name, "set direction: download on the field", "%s cannot be moved both ways: %s", loc.Name, reason)
	}
}

// lossy says why an external value that converts may come back as another, or
// "" if none does.
func lossy(f *Field, ext, loc *kedge.Field) string {
	switch {
	case !convertible(ext.Type, loc.Type): // found where the conversion is checked
	case !roundTrips(ext.Type, loc.Type):
		return fmt.Sprintf("%v to %v and back is not always the same", ext.Type, loc.Type)
	case loc.Format == kedge.FormatGUID && ext.Format != kedge.FormatGUID && f.Compare != CompareNocase:
		return "a guid comes back in lower case; set compare: nocase if that does not matter"
	}
	return ""
}

// roundTrips reports whether every external value that converts comes back as
// an equal value. Text that looks like a number, a date or bytes may be spelled
// in several ways; what comes back is one of them.
func roundTrips(ext, loc kedge.Type) bool {
	return ext != kedge.TypeString || loc == kedge.TypeString
}

// lookupText warns about a lookup that is fed from a text although the entity
// has an identifier for it.
func (d *draft) lookupText(f *Field, exts []*kedge.Field, loc *kedge.Field) {
	if len(exts) != 1 || f.Lookup == nil && len(loc.Lookup) == 0 || isIdentifier(d.ext, exts[0]) {
		return
	}
	as := *loc
	as.Lookup = []kedge.LookupTarget{{}}
	if s := suggestFor(d.ext, &as); s.External != "" && s.External != exts[0].Name {
		d.find(Finding{Code: LookupTextField, Severity: SeverityWarning, Side: SideExternal, Field: exts[0].Name, Fix: "map " + s.External + " instead",
			Message: fmt.Sprintf("%s is a plain %v; a lookup needs the unique identifier, which is %s", exts[0].Name, exts[0].Type, s.External)})
	}
}

// conflictAndDeletes checks the fields that the policies name.
func (d *draft) conflictAndDeletes() {
	if m := d.rules.Conflict.Modified; m != (NamePair{}) {
		if f := d.externalField(m.External); f != nil {
			d.stamp(f, SideExternal)
			d.plan.Modified.External = d.external.at(m.External)
		}
		if f := d.localField(m.Local); f != nil {
			d.stamp(f, SideLocal)
			d.plan.Modified.Local = d.localRead.at(m.Local)
		}
	}
	deletes := d.rules.Deletes
	if deletes.Soft.Field == "" {
		return
	}
	loc := d.localField(deletes.Soft.Field)
	if loc == nil {
		return
	}
	d.typed(deletes.Soft.Value, "deletes.soft.value", loc)
	if deletes.Upload == DeleteSoft && !slices.ContainsFunc(d.rules.Fields, func(f Field) bool {
		return !f.Disabled && f.Local == loc.Name && d.rules.direction(&f).Uploads()
	}) {
		d.fail(NotInvertible, SideMapping, loc.Name, "map the field in the direction upload", "deletes.upload: soft needs %s to be uploaded, but it is not", loc.Name)
	}
}

func (d *draft) stamp(f *kedge.Field, side Side) {
	if f.Type != kedge.TypeTime {
		d.fail(TypeIncompatible, side, f.Name, "choose the field with the time of the last change", "%s is %s, but conflict.modified needs a time", f.Name, typeOf(f))
	}
}
