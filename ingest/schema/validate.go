package schema

import (
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// Validate checks a resource that [jsonguard.Decode] returned, with its
// counts. Errors wrap [jsonguard.Faults]; they are of kind Invalid if the
// resource does not match, TooLarge if checking it would take too long, and
// Internal if the validator fails.
func (s *Schema) Validate(v any, c *jsonguard.Counts) error {
	work := s.Work(c)
	if work > MaxWork || c.Members*s.patterns > MaxMatches {
		return fail(kedge.TooLarge, jsonguard.Faults{{Detail: "too complex: the resource has too many values for its schema"}})
	}
	faults, err := s.check(v, work)
	if err == nil && len(faults) > 0 {
		err = fail(kedge.Invalid, faults)
	}
	return err
}

func (s *Schema) check(v any, work int) (faults jsonguard.Faults, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &kedge.Error{Op: "schema", Kind: kedge.Internal, Err: fmt.Errorf("the validator panicked: %T", r)}
		}
	}()
	if m, ok := v.(map[string]any); ok {
		if _, ok := m["_meta"]; ok {
			faults = append(faults, jsonguard.Fault{Pointer: "/_meta", Detail: "is what kedge adds to answers and cannot be sent"})
		}
	}
	switch {
	case work <= detailWork:
		faults = append(faults, s.allFaults(v)...)
	case s.opposite.Validate(v) == nil:
		faults = append(faults, s.largeFaults(v)...)
	}
	return faults.Bounded(), nil
}

// allFaults returns what the validator says of v.
func (s *Schema) allFaults(v any) jsonguard.Faults {
	if e, ok := s.compiled.Validate(v).(*jsonschema.ValidationError); ok {
		return faultsOf(e)
	}
	return nil
}

// A uniqueItems takes the place of the validator's own check, which hashes
// different values to the same sum and then compares each with each.
type uniqueItems struct{}

// Validate implements [jsonschema.SchemaExt].
func (uniqueItems) Validate(ctx *jsonschema.ValidatorContext, v any) {
	list, ok := v.([]any)
	if !ok || len(list) < 2 {
		return
	}
	first := make(map[jsonguard.Sum]int, len(list))
	for i, e := range list {
		sum := jsonguard.Hash(e)
		if j, ok := first[sum]; ok {
			ctx.AddError(&kind.UniqueItems{Duplicates: [2]int{j, i}})
			return
		}
		first[sum] = i
	}
}

// A propertyNames takes the place of the validator's own check, which keeps a
// location that it overwrites later.
type propertyNames struct{ names *jsonschema.Schema }

// Validate implements [jsonschema.SchemaExt].
func (p propertyNames) Validate(ctx *jsonschema.ValidatorContext, v any) {
	object, _ := v.(map[string]any)
	for name := range object {
		if p.names.Validate(name) != nil {
			ctx.AddError(&kind.PropertyNames{Property: name})
		}
	}
}

// replaceChecks puts our own checks in the place of the validator's, and takes
// assertions of formats away that are annotations here.
func (g *graph) replaceChecks() {
	for _, n := range g.nodes {
		if n.schema.UniqueItems {
			n.schema.UniqueItems = false
			n.schema.Extensions = append(n.schema.Extensions, uniqueItems{})
		}
		if names := n.schema.PropertyNames; names != nil {
			n.schema.PropertyNames = nil
			n.schema.Extensions = append(n.schema.Extensions, propertyNames{names})
		}
		if f := n.schema.Format; f != nil && !isAsserted(f.Name) {
			n.schema.Format = nil
		}
	}
}
