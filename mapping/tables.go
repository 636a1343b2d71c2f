package mapping

import (
	"slices"

	"github.com/kedge-sync/kedge"
)

// Tables returns the local entities that m needs, to create them: with the
// fields that rules name, typed like the external fields unless the rule says
// otherwise. All fields but primary keys are nullable. An entity whose key
// pairs are not primary has no Key and gets one from the system that makes it;
// its key pairs are an alternate key.
func Tables(m *Mapping, ext *kedge.Schema) []kedge.Entity {
	var out []kedge.Entity
	for i := range m.Entities {
		e := &m.Entities[i]
		live := ext.Entity(e.External)
		if e.Disabled || live == nil {
			continue
		}
		t := table{m: m, ext: ext, live: live, entity: kedge.Entity{Name: e.Local}}
		at := slices.IndexFunc(out, func(o kedge.Entity) bool { return o.Name == e.Local })
		if at >= 0 {
			t.entity = out[at]
		}
		t.fill(e)
		if at >= 0 {
			out[at] = t.entity
		} else {
			out = append(out, t.entity)
		}
	}
	return out
}

// A table is a local entity in the making.
type table struct {
	m      *Mapping
	ext    *kedge.Schema
	live   *kedge.Entity // the external one
	entity kedge.Entity
}

func (t *table) fill(e *Entity) {
	t.key(e)
	for i := range e.Fields {
		if f := &e.Fields[i]; !f.Disabled {
			t.rule(f)
		}
	}
	for _, pairs := range e.AlternateKeys {
		for _, p := range pairs {
			t.add(t.like(p.External), p.Local)
		}
	}
	if p := e.Conflict.Modified; p.Local != "" {
		t.add(kedge.Field{Type: kedge.TypeTime}, p.Local)
	}
	if s := e.Deletes.Soft; s.Field != "" {
		t.add(kedge.Field{Type: valueType(s.Value)}, s.Field)
	}
}

// add adds a field unless it is there.
func (t *table) add(f kedge.Field, name string) {
	if t.entity.Field(name) == nil {
		f.Name, f.Nullable = name, true
		t.entity.Fields = append(t.entity.Fields, f)
	}
}

func (t *table) key(e *Entity) {
	var names []string
	primary := false
	for _, p := range e.Key {
		names = append(names, p.Local)
		primary = primary || p.Primary
		f := t.like(p.External)
		if i := slices.IndexFunc(e.Fields, func(f Field) bool { return !f.Disabled && f.Local == p.Local }); i >= 0 {
			f = t.columnOf(&e.Fields[i])
		}
		t.add(f, p.Local)
	}
	switch {
	case len(names) == 0:
	case primary:
		t.entity.Key = names
		for _, name := range names {
			t.entity.Field(name).Nullable = false
		}
	default:
		t.entity.AlternateKeys = append(t.entity.AlternateKeys, names)
	}
}

func (t *table) rule(f *Field) { t.add(t.columnOf(f), f.Local) }

// columnOf returns the type of a rule's local field.
func (t *table) columnOf(f *Field) kedge.Field {
	switch {
	case f.Type != kedge.TypeMissing:
		return kedge.Field{Type: f.Type, Scale: -1}
	case f.Lookup != nil:
		return t.lookupColumn(f.Lookup)
	case !f.Constant.IsMissing():
		return kedge.Field{Type: valueType(f.Constant)}
	case len(f.Values) > 0:
		return t.mapColumn(f)
	case f.Expressions.Download != "":
		return t.expressionColumn(f)
	}
	return t.like(f.external())
}

// like returns a field of the type of an external one.
func (t *table) like(external string) kedge.Field {
	f := t.live.Field(external)
	if f == nil {
		return kedge.Field{Type: kedge.TypeString}
	}
	out := kedge.Field{Title: f.Title, Type: f.Type, Format: f.Format, MaxLength: f.MaxLength, Precision: f.Precision, Scale: f.Scale}
	if f.Format == kedge.FormatEnum { // members come and go
		out.Format, out.MaxLength = kedge.FormatNone, 0
	}
	return out
}

// lookupColumn is typed like the local key of the target: the key pair that
// becomes its primary key, else the id that the local system makes.
func (t *table) lookupColumn(l *LookupRule) kedge.Field {
	out := kedge.Field{Type: kedge.TypeString}
	target := t.m.Entity(l.Entity)
	if target == nil {
		return out
	}
	out.Lookup = []kedge.LookupTarget{{Entity: target.Local}}
	switch live := t.ext.Entity(target.External); {
	case len(target.Key) == 0 || !target.Key[0].Primary:
		out.Format = kedge.FormatGUID
	case len(target.Key) == 1 && live != nil:
		of := table{m: t.m, ext: t.ext, live: live}
		of.key(target)
		key := of.entity.Fields[0]
		out.Type, out.Format, out.MaxLength, out.Precision, out.Scale = key.Type, key.Format, key.MaxLength, key.Precision, key.Scale
		out.Lookup[0].Field = key.Name
	}
	return out
}

// mapColumn is typed like the local values, or text if they differ.
func (t *table) mapColumn(f *Field) kedge.Field {
	typ := kedge.TypeMissing
	for _, p := range f.Values {
		switch v := valueType(p.Local); {
		case p.Local.IsNull():
		case typ == kedge.TypeMissing:
			typ = v
		case typ != v:
			typ = kedge.TypeString
		}
	}
	if typ == kedge.TypeMissing || f.Otherwise == OtherwiseKeep {
		typ = kedge.TypeString
	}
	return kedge.Field{Type: typ, Scale: -1}
}

func (t *table) expressionColumn(f *Field) kedge.Field {
	from := kedge.TypeMissing
	if live := t.live.Field(f.external()); live != nil {
		from = live.Type
	}
	for _, typ := range []kedge.Type{kedge.TypeBool, kedge.TypeDecimal, kedge.TypeTime} {
		if x, err := compileExpression(f.Expressions.Download, from, t.live, typ); err == nil && !x.givesText() {
			return kedge.Field{Type: typ, Scale: -1}
		}
	}
	return kedge.Field{Type: kedge.TypeString}
}

// valueType is the type of a column that holds v.
func valueType(v kedge.Value) kedge.Type {
	if v.IsEmpty() {
		return kedge.TypeString
	}
	return v.Type()
}
