package schema

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// maxLeaves bounds how many of the validator's errors are looked at.
const maxLeaves = 1000

const (
	unknownField = "unknown field"
	required     = "is required"
)

// faultsOf lists the leaves of the validator's tree in our own words. None of
// them holds a value.
func faultsOf(e *jsonschema.ValidationError) jsonguard.Faults {
	var out jsonguard.Faults
	collect(e, &out)
	slices.SortFunc(out, byPointer)
	return slices.Compact(out)
}

func byPointer(a, b jsonguard.Fault) int {
	return cmp.Or(cmp.Compare(a.Pointer, b.Pointer), cmp.Compare(a.Detail, b.Detail))
}

func collect(e *jsonschema.ValidationError, out *jsonguard.Faults) {
	if len(*out) >= maxLeaves {
		return
	}
	var at strings.Builder
	for _, token := range e.InstanceLocation {
		at.WriteString(jsonguard.Token(token))
	}
	add := func(pointer, detail string) {
		*out = append(*out, jsonguard.Fault{Pointer: pointer, Detail: detail})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			add(at.String()+jsonguard.Token(name), required)
		}
	case *kind.DependentRequired:
		for _, name := range k.Missing {
			add(at.String()+jsonguard.Token(name), fmt.Sprintf("%s beside %q", required, k.Prop))
		}
	case *kind.Dependency:
		for _, name := range k.Missing {
			add(at.String()+jsonguard.Token(name), fmt.Sprintf("%s beside %q", required, k.Prop))
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			add(at.String()+jsonguard.Token(name), unknownField)
		}
	case *kind.PropertyNames:
		add(at.String()+jsonguard.Token(k.Property), "has a name that is not allowed")
	case *kind.FalseSchema:
		add(at.String(), falseText(e.SchemaURL))
	case *kind.AnyOf, *kind.OneOf, *kind.Contains, *kind.MinContains, *kind.MaxContains:
		add(at.String(), leafText(e.ErrorKind))
	default:
		if len(e.Causes) == 0 {
			add(at.String(), leafText(e.ErrorKind))
		}
		for _, c := range e.Causes {
			collect(c, out)
		}
	}
}

func falseText(location string) string {
	if strings.HasSuffix(location, "/unevaluatedProperties") || strings.HasSuffix(location, "/additionalProperties") {
		return unknownField
	}
	return "is not allowed"
}

// leafText says what one keyword asks for. Limits are those of the schema.
func leafText(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "must be " + strings.Join(k.Want, " or ") + ", not " + k.Got
	case *kind.Enum:
		return "is none of the declared values"
	case *kind.Const:
		return "is not the declared value"
	case *kind.Format:
		return "is not a valid " + k.Want
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters", k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters", k.Want)
	case *kind.Pattern:
		return "does not match the declared pattern"
	case *kind.Minimum:
		return "must be at least " + number(k.Want)
	case *kind.Maximum:
		return "must be at most " + number(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + number(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + number(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + number(k.Want)
	}
	return containerText(k)
}

func containerText(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d elements", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d elements", k.Want)
	case *kind.UniqueItems:
		return fmt.Sprintf("has equal elements at %d and %d", k.Duplicates[0], k.Duplicates[1])
	case *kind.Contains:
		return "has no element of the declared kind"
	case *kind.MinContains:
		return fmt.Sprintf("must have at least %d elements of the declared kind", k.Want)
	case *kind.MaxContains:
		return fmt.Sprintf("must have at most %d elements of the declared kind", k.Want)
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %d members", k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %d members", k.Want)
	case *kind.AnyOf:
		return "matches none of the alternatives (anyOf)"
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			return "matches more than one of the alternatives (oneOf)"
		}
		return "matches none of the alternatives (oneOf)"
	case *kind.Not:
		return "matches what it must not match (not)"
	case *kind.RefCycle:
		return "reference loop"
	}
	return "does not match the schema"
}

// number prints a limit of a schema, exactly if that is short.
func number(r *big.Rat) string {
	if digits, exact := r.FloatPrec(); exact && digits <= 40 {
		if text := r.FloatString(digits); len(text) <= 80 {
			return text
		}
	}
	return "the declared limit"
}
