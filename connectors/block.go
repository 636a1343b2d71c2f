package connectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// noLoading refuses to load schemas. The library would open any file that a
// reference names.
type noLoading struct{}

func (noLoading) Load(string) (any, error) {
	return nil, errors.New("a schema may not refer to another document")
}

// checkBlock checks a connection's block against the schema of its kind.
func checkBlock(path string, k *Kind, cfg json.RawMessage) error {
	fail := func(format string, args ...any) error {
		return &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf(path+format, args...)}
	}
	block, err := jsonschema.UnmarshalJSON(bytes.NewReader(cfg))
	if err != nil {
		return fail(": not a JSON object")
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(k.Schema))
	if err != nil {
		return &kedge.Error{Op: "connectors.Open", Kind: kedge.Internal, Err: fmt.Errorf("schema of kind %s: %w", k.Name, err)}
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoading{})
	const url = "kind:///block"
	if err = compiler.AddResource(url, doc); err == nil {
		var schema *jsonschema.Schema
		if schema, err = compiler.Compile(url); err == nil {
			err = schema.Validate(block)
		}
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		if err != nil {
			err = &kedge.Error{Op: "connectors.Open", Kind: kedge.Internal, Err: fmt.Errorf("schema of kind %s: %w", k.Name, err)}
		}
		return err
	}
	found := findings{path: path, kind: k.Name, compiler: compiler}
	found.add(invalid)
	slices.Sort(found.lines)
	return &kedge.Error{Kind: kedge.Invalid, Err: errors.New(strings.Join(slices.Compact(found.lines), "\n"))}
}

// findings turns the errors of the schema library into lines for people. They
// never hold a value, which may be a secret.
type findings struct {
	path, kind string
	compiler   *jsonschema.Compiler
	lines      []string
}

func (f *findings) add(e *jsonschema.ValidationError) {
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			f.line(append(slices.Clone(e.InstanceLocation), name), "unknown key"+f.suggest(e.SchemaURL, name))
		}
	case *kind.Required:
		for _, name := range k.Missing {
			f.line(append(slices.Clone(e.InstanceLocation), name), "missing; "+f.kind+" needs it")
		}
	case *kind.OneOf, *kind.AnyOf:
		f.alternatives(e)
	default:
		if len(e.Causes) == 0 {
			f.line(e.InstanceLocation, describe(e.ErrorKind))
		}
		for _, cause := range e.Causes {
			f.add(cause)
		}
	}
}

// alternatives reports the branch that was most likely meant: one whose
// constants and types fit, and of these the one that got deepest.
func (f *findings) alternatives(e *jsonschema.ValidationError) {
	if len(e.Causes) == 0 {
		f.line(e.InstanceLocation, "fits more than one of the allowed forms")
		return
	}
	f.add(slices.MaxFunc(e.Causes, func(a, b *jsonschema.ValidationError) int { return closeness(a) - closeness(b) }))
}

func closeness(e *jsonschema.ValidationError) int {
	const wrongForm = -1000
	switch e.ErrorKind.(type) {
	case *kind.Const, *kind.Type:
		return wrongForm
	}
	n := len(e.InstanceLocation)
	for _, cause := range e.Causes {
		if c := closeness(cause); c < 0 || n < 0 {
			n = min(n, c)
		} else {
			n = max(n, c)
		}
	}
	return n
}

func (f *findings) line(at []string, text string) {
	f.lines = append(f.lines, strings.Join(append([]string{f.path}, at...), ".")+": "+text)
}

func describe(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "is " + k.Got + ", must be " + strings.Join(k.Want, " or ")
	case *kind.Enum:
		allowed := make([]string, len(k.Want))
		for i, v := range k.Want {
			allowed[i] = fmt.Sprint(v)
		}
		return "must be one of " + strings.Join(allowed, ", ")
	case *kind.Const:
		return fmt.Sprintf("must be %v", k.Want)
	case *kind.Minimum:
		return "must be at least " + k.Want.RatString()
	case *kind.Maximum:
		return "must be at most " + k.Want.RatString()
	case *kind.MinLength, *kind.MinItems, *kind.MinProperties:
		return "must not be empty or too short"
	case *kind.Pattern:
		return "must match " + k.Want
	case *kind.FalseSchema:
		return "not allowed here"
	}
	return "breaks the rule " + strings.Join(k.KeywordPath(), ".")
}

// suggest names the key that name was probably meant to be, or all keys.
func (f *findings) suggest(schemaURL, name string) string {
	schema, err := f.compiler.Compile(schemaURL)
	if err != nil || len(schema.Properties) == 0 {
		return ""
	}
	known := slices.Sorted(maps.Keys(schema.Properties))
	if near := nearest.Name(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return "; known keys: " + strings.Join(known, ", ")
}
