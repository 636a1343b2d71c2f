package mapping

import (
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// field checks one field rule and adds what it does to the plan.
func (d *draft) field(f *Field) {
	loc := d.localField(f.Local)
	var exts []*kedge.Field
	for _, name := range f.External {
		exts = append(exts, d.externalField(name))
	}
	if loc == nil || slices.Contains(exts, nil) {
		return
	}
	w := d.ways(f, exts, loc)
	if !w.down && !w.up {
		return
	}
	local := d.local.at(f.Local)
	if !d.localRule(f, local, w) {
		d.fail(LocalFieldTwice, SideLocal, f.Local, "map it once, or set enabled: false on one of the rules", "%s is mapped twice", f.Local)
		return
	}
	both := w.down && w.up && d.rules.direction(f) == Bidirectional
	if both {
		d.invertible(f, exts, loc)
	}
	if w.down && !d.download(f, exts, loc, local) || !w.up {
		return
	}
	before := len(d.findings)
	s, l, ok := d.path(f, exts, loc, local)
	if !w.wanted || both || w.down && f.Lookup != nil {
		// Nobody asked for the path, or what is wrong with it was found already.
		d.findings = d.findings[:before]
	}
	if ok {
		d.upload(f, exts, s, l, w)
	}
}

// download adds what a field does on download to the plan.
func (d *draft) download(f *Field, exts []*kedge.Field, loc *kedge.Field, local int) bool {
	d.lookupText(f, exts, loc)
	if f.Lookup == nil {
		return d.step(f, exts, loc, local)
	}
	l, ok := d.lookup(f, loc, local)
	if ok {
		d.hashed = append(d.hashed, l.External...)
		d.plan.Lookups = append(d.plan.Lookups, l)
		d.describe(f, kedge.TypeMissing, loc)
	}
	return ok
}

// ways are the ways that a field goes.
type ways struct {
	down   bool
	up     bool // if there is a path; problems of it matter only if it is wanted
	wanted bool // a sync uploads it
}

// ways tells whether the field is downloaded and whether it is uploaded.
// Imports and exports ignore the direction of the entity, so that does not keep
// a field from being moved; only its own does. Key pairs are downloaded, and
// uploaded when a record is created.
func (d *draft) ways(f *Field, exts []*kedge.Field, loc *kedge.Field) ways {
	pair := d.isKeyPair(f)
	w := ways{
		down:   f.Direction != Upload && (f.Expressions.Upload == "" || f.Expressions.Download != "" || d.rules.direction(f) != Upload) || pair,
		up:     len(exts) > 0 && (f.Direction != Download || pair),
		wanted: len(exts) > 0 && d.rules.direction(f).Uploads(),
	}
	if f.Direction == Upload && len(exts) == 0 {
		d.fail(NotInvertible, SideMapping, loc.Name, "take direction: upload out, or name an external field", "%s has no external field to upload to", loc.Name)
	}
	for _, x := range exts {
		if x.ReadOnly || x.Computed {
			w = d.readOnlyExternal(x, w)
		}
	}
	if w.down && (loc.ReadOnly || loc.Computed) && !pair {
		w.down = false
		severity, fix := SeverityNote, ""
		if !w.wanted {
			severity, fix = SeverityError, "choose another local field"
		}
		d.find(Finding{Code: ReadOnlyField, Severity: severity, Side: SideLocal, Field: loc.Name, Fix: fix,
			Message: fmt.Sprintf("%s cannot be written, so it is not downloaded", loc.Name)})
	}
	return w
}

// readOnlyExternal returns what is left of w if the external field x cannot be
// written.
func (d *draft) readOnlyExternal(x *kedge.Field, w ways) ways {
	switch {
	case w.wanted && !w.down:
		d.fail(ReadOnlyField, SideExternal, x.Name, "take the field out, or choose another external field", "%s cannot be written, so it is not uploaded", x.Name)
	case w.wanted:
		d.find(Finding{Code: ReadOnlyField, Severity: SeverityNote, Side: SideExternal, Field: x.Name,
			Message: fmt.Sprintf("%s cannot be written, so it is only downloaded", x.Name)})
	}
	w.up, w.wanted = false, false
	return w
}

func (d *draft) isKeyPair(f *Field) bool {
	return slices.ContainsFunc(d.rules.Key, func(p KeyPair) bool { return p.Local == f.Local && p.External == f.external() })
}

// step adds the step of a field that is not a lookup.
func (d *draft) step(f *Field, exts []*kedge.Field, loc *kedge.Field, local int) bool {
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
	return ok
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

// lookup returns the lookup of a field.
func (d *draft) lookup(f *Field, loc *kedge.Field, local int) (Lookup, bool) {
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
		return Lookup{}, false
	}
	if t.Disabled {
		d.find(Finding{Code: LookupTargetMissing, Severity: SeverityWarning, Side: SideMapping, Field: loc.Name, Fix: "enable " + t.Name,
			Message: fmt.Sprintf("lookup entity %s is disabled; only records that were downloaded before are found", t.Name)})
	}
	if !d.lookupTypes(f, t, loc) {
		return Lookup{}, false
	}
	l := Lookup{Field: loc.Name, Local: local, Target: t.Name, By: d.lookupBy(f, t), Required: !loc.Nullable}
	for _, name := range f.External {
		l.External = append(l.External, d.external.at(name))
	}
	return l, true
}

// lookupBy returns the fields of the target that the values equal, or nil if
// they are its external key, in order.
func (d *draft) lookupBy(f *Field, t *Entity) []string {
	if ext := d.compiler.ext.Entity(t.External); ext != nil && slices.Equal(f.Lookup.Fields, ext.Key) {
		return nil
	}
	return f.Lookup.Fields
}
