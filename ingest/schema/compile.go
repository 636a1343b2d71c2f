package schema

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A refusingLoader loads nothing. The validator's own loader would read files.
type refusingLoader struct{}

func (refusingLoader) Load(string) (any, error) {
	return nil, errors.New("references are resolved inside of the document only")
}

// A compilation is what the validator makes of a document.
type compilation struct {
	root     *jsonschema.Schema
	opposite *jsonschema.Schema   // "not" of the root, which is checked without making errors
	dynamic  []*jsonschema.Schema // what dynamic references may lead to
}

// compile compiles a document that passed walk, and the subschemas at the
// pointers dynamic. Faults say what the metaschema says, and what the compiler
// panics about.
func compile(document map[string]any, dynamic []string, formats bool) (out compilation, faults jsonguard.Faults) {
	defer func() {
		if r := recover(); r != nil {
			faults = jsonguard.Faults{{Detail: "the schema cannot be compiled"}}
		}
	}()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(refusingLoader{})
	if formats {
		c.AssertFormat()
		c.RegisterFormat(&jsonschema.Format{Name: "email", Validate: validateEmail})
	}
	err := errors.Join(c.AddResource(base, document), c.AddResource(oppositeBase, map[string]any{"not": map[string]any{"$ref": base}}))
	if err == nil {
		out.root, err = c.Compile(base)
	}
	if err == nil {
		out.opposite, err = c.Compile(oppositeBase)
	}
	for i := 0; i < len(dynamic) && err == nil; i++ {
		var target *jsonschema.Schema
		target, err = c.Compile(base + "#" + escapeFragment(dynamic[i]))
		out.dynamic = append(out.dynamic, target)
	}
	if err != nil {
		return compilation{}, compileFaults(err)
	}
	return out, nil
}

const oppositeBase = "https://opposite.schema.invalid/"

func compileFaults(err error) jsonguard.Faults {
	if e, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if ve, ok := errors.AsType[*jsonschema.ValidationError](e.Err); ok {
			at := ""
			if _, fragment, found := strings.Cut(e.URL, "#"); found {
				at, _ = url.PathUnescape(fragment)
			}
			return faultsOf(ve).Below(at)
		}
	}
	if e, ok := errors.AsType[*jsonschema.DuplicateAnchorError](err); ok {
		return jsonguard.Faults{{Pointer: e.Ptr2, Detail: "has the same anchor as " + e.Ptr1}}
	}
	return jsonguard.Faults{{Detail: fmt.Sprintf("the schema cannot be compiled (%T)", err)}}
}

// pointerOf returns the JSON Pointer of a compiled subschema in its document.
func pointerOf(s *jsonschema.Schema) string {
	_, fragment, _ := strings.Cut(s.Location, "#")
	pointer, err := url.PathUnescape(fragment)
	if err != nil {
		return ""
	}
	return pointer
}

func escapeFragment(pointer string) string {
	tokens := strings.Split(pointer, "/")
	for i, t := range tokens {
		tokens[i] = url.PathEscape(t)
	}
	return strings.Join(tokens, "/")
}
