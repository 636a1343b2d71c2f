package mapping

import (
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// field checks one field rule and adds what it does on download to the plan.
func (d *draft) field(f *Field) {
	loc := d.localField(f.Local)
	var exts []*kedge.Field
	for _, name := range f.External {
		exts = append(exts, d.externalField(name))
	}
	if loc == nil || slices.Contains(exts, nil) {
		return
	}
	down, up := d.ways(f, exts, loc)
	if up {
		d.invertible(f, exts, loc)
	}
	if !down {
		if up {
			d.uploadOnly(f, exts, loc)
		}
		return
	}
	d.lookupText(f, exts, loc)
	local := d.local.at(f.Local)
	if d.mapsLocal(local) {
		d.fail(LocalFieldTwice, SideLocal, f.Local, "map it once, or set enabled: false on one of the rules", "%s is mapped twice", f.Local)
		return
	}
	if f.Lookup != nil {
		d.lookup(f, loc, local)
		return
	}
	d.step(f, exts, loc, local)
}

// ways tells whether the field is downloaded and whether it is uploaded.
// Imports ignore the direction of the entity, so that does not keep a field
// from being downloaded; only its own does.
func (d *draft) ways(f *Field, exts []*kedge.Field, loc *kedge.Field) (down, up bool) {
	down, up = f.Direction != Upload, d.rules.direction(f).Uploads() && len(exts) > 0
	for _, x := range exts {
		if up && (x.ReadOnly || x.Computed) {
			up = false
			if !down {
				d.fail(ReadOnlyField, SideExternal, x.Name, "take the field out, or choose another external field", "%s cannot be written, so it is not uploaded", x.Name)
				continue
			}
			d.find(Finding{Code: ReadOnlyField, Severity: SeverityNote, Side: SideExternal, Field: x.Name,
				Message: fmt.Sprintf("%s cannot be written, so it is only downloaded", x.Name)})
		}
	}
	if down && (loc.ReadOnly || loc.Computed) && !d.isKeyPair(f) {
		down = false
		severity, fix := SeverityNote, ""
		if !up {
			severity, fix = SeverityError, "choose another local field"
		}
		d.find(Finding{Code: ReadOnlyField, Severity: severity, Side: SideLocal, Field: loc.Name, Fix: fix,
			Message: fmt.Sprintf("%s cannot be written, so it is not downloaded", loc.Name)})
	}
	return down, up
}

// uploadOnly checks a field that is not downloaded.
func (d *draft) uploadOnly(f *Field, exts []*kedge.Field, loc *kedge.Field) {
	switch {
	case len(exts) != 1 || f.Lookup != nil:
	case f.Expressions.Upload != "":
		if _, err := compileExpression(f.Expressions.Upload, loc.Type, d.loc, exts[0].Type); err != nil {
			d.fail(ExpressionInvalid, SideMapping, loc.Name, "correct the expression", "expr.upload of %s: %v", loc.Name, err)
		}
	case len(f.Values) > 0:
		d.valueTable(f, exts[0], loc)
	default:
		d.convertible(exts[0], loc)
	}
}

func (d *draft) isKeyPair(f *Field) bool {
	return slices.ContainsFunc(d.rules.Key, func(p KeyPair) bool { return p.Local == f.Local && p.External == f.external() })
}

// step adds the step of a field that is not a lookup.
func (d *draft) step(f *Field, exts []*kedge.Field, loc *kedge.Field, local int) {
	s := step{external: -1, local: local, field: f.external(), target: newTarget(loc), onError: f.OnError}
	from := kedge.TypeMissing
	if len(exts) > 0 {
		from = exts[0].Type
		s.external = d.external.at(exts[0].Name)
		d.hashed = append(d.hashed, s.external)
	} else {
		s.field = loc.Name
	}
	var ok bool
	switch {
	case !f.Constant.IsMissing():
		s.kind = stepConstant
		s.value, ok = d.typed(f.Constant, "constant", loc)
	case f.Expressions.Download != "":
		s.kind = stepExpression
		s.expression, ok = d.expression(f, from, loc)
	case len(f.Values) > 0:
		s.kind = stepValues
		s.values, ok = d.valueTable(f, exts[0], loc)
	default:
		ok = d.convertible(exts[0], loc)
	}
	if !f.Default.IsMissing() {
		var fits bool
		s.fallback, fits = d.typed(f.Default, "default", loc)
		ok = ok && fits
	}
	if ok {
		d.plan.steps = append(d.plan.steps, s)
		d.describe(f, from, loc)
	}
}

// typed returns v, as written in the file, as a value of the local field.
func (d *draft) typed(v kedge.Value, what string, loc *kedge.Field) (kedge.Value, bool) {
	t := newTarget(loc)
	out, err := t.fit(v)
	if err == nil && out.IsNull() && !t.nullable {
		err = errNull
	}
	if err != nil {
		d.fail(ValueInvalid, SideMapping, loc.Name, "write a value of type "+loc.Type.String(), "%s of %s does not fit type %v: %v", what, loc.Name, loc.Type, err)
	}
	return out, err == nil
}

func (d *draft) convertible(ext, loc *kedge.Field) bool {
	if convertible(ext.Type, loc.Type) {
		return true
	}
	d.fail(TypeIncompatible, SideLocal, loc.Name, "choose a field of a matching type, or give values or an expression",
		"%s is %s and %s is %s, which do not convert", ext.Name, typeOf(ext), loc.Name, typeOf(loc))
	return false
}

// typeOf names a type for people: ours, and the system's own if it has one.
func typeOf(f *kedge.Field) string {
	if f.NativeType == "" || f.NativeType == f.Type.String() {
		return f.Type.String()
	}
	return f.Type.String() + " (" + f.NativeType + ")"
}

func (d *draft) expression(f *Field, from kedge.Type, loc *kedge.Field) (*expression, bool) {
	x, err := compileExpression(f.Expressions.Download, from, d.ext, loc.Type)
	if err != nil {
		d.fail(ExpressionInvalid, SideMapping, loc.Name, "correct the expression", "expr.download of %s: %v", loc.Name, err)
		return nil, false
	}
	for _, name := range x.fields {
		d.hashed = append(d.hashed, d.external.at(name))
	}
	return x, true
}

func (d *draft) valueTable(f *Field, ext, loc *kedge.Field) (*valueTable, bool) {
	t, err := newValueTable(f.Values, f.Otherwise, ext, loc)
	if err != nil {
		d.fail(ValueInvalid, SideMapping, loc.Name, "correct the value map", "values of %s: %v", loc.Name, err)
		return nil, false
	}
	if f.Otherwise == OtherwiseKeep && !d.convertible(ext, loc) {
		return nil, false
	}
	return t, true
}

// lookup adds a lookup to the plan.
func (d *draft) lookup(f *Field, loc *kedge.Field, local int) {
	t := d.m.Entity(f.Lookup.Entity)
	if t == nil {
		names := make([]string, len(d.m.Entities))
		for i := range d.m.Entities {
			names[i] = d.m.Entities[i].Name
		}
		fix := "map that entity, or name another"
		if c := nearest.Name(f.Lookup.Entity, names); c != "" {
			fix += ", perhaps " + c
		}
		d.fail(LookupTargetMissing, SideMapping, loc.Name, fix, "lookup entity %s is not in this mapping", f.Lookup.Entity)
		return
	}
	if t.Disabled {
		d.find(Finding{Code: LookupTargetMissing, Severity: SeverityWarning, Side: SideMapping, Field: loc.Name, Fix: "enable " + t.Name,
			Message: fmt.Sprintf("lookup entity %s is disabled; only records that were downloaded before are found", t.Name)})
	}
	if !d.lookupTypes(f, t, loc) {
		return
	}
	l := Lookup{Field: loc.Name, Local: local, Target: t.Name, By: d.lookupBy(f, t), Required: !loc.Nullable}
	for _, name := range f.External {
		i := d.external.at(name)
		l.External = append(l.External, i)
		d.hashed = append(d.hashed, i)
	}
	d.plan.Lookups = append(d.plan.Lookups, l)
	d.describe(f, kedge.TypeMissing, loc)
}

// lookupBy returns the fields of the target that the values equal, or nil if
// they are its external key, in order.
func (d *draft) lookupBy(f *Field, t *Entity) []string {
	if ext := d.compiler.ext.Entity(t.External); ext != nil && slices.Equal(f.Lookup.Fields, ext.Key) {
		return nil
	}
	return f.Lookup.Fields
}
