package mapping

import (
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
)

// An uploadStep of a plan makes one external value.
type uploadStep struct {
	kind       stepKind // never stepConstant
	local      int      // position in LocalFields
	external   int      // position in ExternalFields
	field      string   // local name
	target     target   // the external field
	values     *valueTable
	expression *expression // its positions are those of LocalRead
	fallback   kedge.Value // the default, as a local value, missing if there is none
	onError    OnError
	createOnly bool // keys, and fields that cannot be changed later
}

// Upload maps src, whose values are aligned with LocalRead or its beginning,
// LocalFields, onto dst.Values, which it makes ExternalFields.Len() long,
// reusing its memory. mask, aligned with LocalFields, says which local fields
// to send; nil means all that can be uploaded, which for an entity that is only
// downloaded are those that an export sends. Values of all others are missing.
//
// Missing values stay missing and null clears. create also sends key pairs and
// other fields that are written only once, fills in defaults, and leaves null
// out where the external field must have a value: the other system may have a
// default of its own. Values of UploadLookups are left missing; see
// [EntityPlan.FillLookup]. The error is a *[FieldError]. It also sets
// dst.Fields.
func (p *EntityPlan) Upload(dst, src *kedge.Record, mask []bool, create bool) error {
	dst.Fields = p.ExternalFields
	dst.Values = slices.Grow(dst.Values[:0], p.ExternalFields.Len())[:p.ExternalFields.Len()]
	clear(dst.Values)
	for i := range p.uploads {
		s := &p.uploads[i]
		if s.createOnly && !create || !s.createOnly && mask != nil && !mask[s.local] {
			continue
		}
		v, err := s.value(src, create)
		if err != nil {
			return err
		}
		dst.Values[s.external] = v
	}
	return nil
}

// value returns the external value for src, after defaults and onError.
func (s *uploadStep) value(src *kedge.Record, create bool) (kedge.Value, error) {
	local := src.Values[s.local]
	if local.IsEmpty() && create && !s.fallback.IsMissing() {
		local = s.fallback
	}
	v, code, err := s.make(local, src)
	if err == nil && v.IsNull() && !s.target.nullable {
		if create {
			return kedge.Value{}, nil
		}
		code, err = codeRequired, errNull
	}
	if err == nil {
		return v, nil
	}
	switch {
	case s.onError == OnErrorEmpty && s.target.nullable:
		return kedge.Null(), nil
	case s.onError == OnErrorDefault && !s.fallback.IsMissing():
		if v, _, failed := s.make(s.fallback, src); failed == nil && (s.target.nullable || !v.IsNull()) {
			return v, nil
		}
	}
	return kedge.Value{}, &FieldError{Field: s.field, Code: code, Err: err}
}

// make returns the external value for a local one, or an error with its code.
func (s *uploadStep) make(v kedge.Value, src *kedge.Record) (out kedge.Value, code string, err error) {
	if v.IsNull() && s.kind == stepValues && !s.values.null.IsMissing() {
		return s.values.null, "", nil
	}
	if v.IsEmpty() {
		return v, "", nil
	}
	switch s.kind {
	case stepValues:
		return s.values.lookup(v, &s.target)
	case stepExpression:
		if v, err = s.expression.run(v, src); err != nil {
			return kedge.Value{}, codeExpression, err
		}
	}
	out, err = s.target.fit(v)
	return out, codeConversion, err
}

// FillLookup sets the external values of l in dst, a record made by Upload, to
// values: those that name the target, in the order of l.By or of the target's
// external key, or one null if the local field is null. The error is a
// *[FieldError].
func (p *EntityPlan) FillLookup(dst *kedge.Record, l *Lookup, values ...kedge.Value) error {
	clearing := len(values) == 1 && values[0].IsNull()
	if !clearing && len(values) != len(l.External) {
		return &FieldError{Field: l.Field, Code: codeConversion, Err: fmt.Errorf("lookup has %d external fields, got %d values", len(l.External), len(values))}
	}
	for i, at := range l.External {
		v := kedge.Null()
		if !clearing {
			v = values[i]
		}
		v, err := l.targets[i].fit(v)
		code := codeConversion
		if err == nil && v.IsNull() && !l.targets[i].nullable {
			code, err = codeRequired, errNull
		}
		if err != nil {
			return &FieldError{Field: l.Field, Code: code, Err: err}
		}
		dst.Values[at] = v
	}
	return nil
}

// A localRule is what a plan knows of one local field beside how it is moved.
type localRule struct {
	downloads, uploads bool
	policy             Policy
	compare            comparator
}

// Downloads reports whether a sync downloads LocalFields[i]. An import moves
// other fields too, because it ignores the direction of the entity.
func (p *EntityPlan) Downloads(i int) bool { return p.locals[i].downloads }

// Uploads reports whether a sync sends edits of LocalFields[i]. Key pairs and
// other fields that are written only once are sent when a record is created,
// but do not count.
func (p *EntityPlan) Uploads(i int) bool { return p.locals[i].uploads }

// Exports reports whether an export, which ignores directions, can send edits
// of LocalFields[i].
func (p *EntityPlan) Exports(i int) bool {
	return slices.ContainsFunc(p.uploads, func(s uploadStep) bool { return s.local == i && !s.createOnly }) ||
		slices.ContainsFunc(p.UploadLookups, func(l Lookup) bool { return l.Local == i && !l.CreateOnly })
}

// Policy returns what happens when both sides changed LocalFields[i].
func (p *EntityPlan) Policy(i int) Policy { return p.locals[i].policy }
