package mapping

import (
	"slices"

	"github.com/kedge-sync/kedge"
)

// A stepKind says where a step takes its value from.
type stepKind uint8

const (
	stepConvert    stepKind = iota // the external value, converted
	stepValues                     // the value map
	stepConstant                   // the constant
	stepExpression                 // the expression
)

// A step of a plan makes one local value.
type step struct {
	kind       stepKind
	external   int // position, or -1
	local      int // position
	field      string
	target     target
	values     *valueTable
	expression *expression
	value      kedge.Value // the constant
	fallback   kedge.Value // the default, missing if there is none
	onError    OnError
}

// Codes of a [FieldError].
const (
	codeConversion = "conversion"
	codeValueMap   = "value_map"
	codeExpression = "expression"
	codeRequired   = "required"
)

// Download maps src, whose values are aligned with ExternalFields, onto
// dst.Values, which it makes LocalFields.Len() long, reusing its memory.
// Missing values stay missing; create tells to fill in defaults. Lookups are
// left missing. The error is a *[FieldError]. It also sets dst.Fields.
func (p *EntityPlan) Download(dst, src *kedge.Record, create bool) error {
	dst.Fields = p.LocalFields
	dst.Values = slices.Grow(dst.Values[:0], p.LocalFields.Len())[:p.LocalFields.Len()]
	clear(dst.Values)
	for i := range p.steps {
		s := &p.steps[i]
		v, code, err := s.make(src)
		if err == nil && v.IsEmpty() && create && !s.fallback.IsMissing() {
			v = s.fallback
		}
		if err == nil && v.IsNull() && !s.target.nullable {
			code, err = codeRequired, errNull
		}
		if err != nil {
			if v, err = s.recover(code, err); err != nil {
				return err
			}
		}
		dst.Values[s.local] = v
	}
	return nil
}

// make returns the local value for src, or an error with its code.
func (s *step) make(src *kedge.Record) (v kedge.Value, code string, err error) {
	if s.external >= 0 {
		if v = src.Values[s.external]; v.IsEmpty() {
			return v, "", nil
		}
	}
	switch s.kind {
	case stepConstant:
		return s.value, "", nil
	case stepValues:
		return s.values.lookup(v, &s.target)
	case stepExpression:
		if v, err = s.expression.run(v, src); err != nil {
			return kedge.Value{}, codeExpression, err
		}
	}
	v, err = s.target.fit(v)
	return v, codeConversion, err
}

// recover does what the field's onError says.
func (s *step) recover(code string, cause error) (kedge.Value, error) {
	switch {
	case s.onError == OnErrorEmpty && s.target.nullable:
		return kedge.Null(), nil
	case s.onError == OnErrorDefault && !s.fallback.IsMissing():
		return s.fallback, nil
	}
	return kedge.Value{}, &FieldError{Field: s.field, Code: code, Err: cause}
}
