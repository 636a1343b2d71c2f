package schema

import (
	"fmt"
	"maps"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A Schema is a document that was checked and compiled. It can be used by
// several goroutines at once.
type Schema struct {
	effective []byte
	document  map[string]any // the effective document, decoded
	meta      Metadata
	paths     paths
	compiled  *jsonschema.Schema
	opposite  *jsonschema.Schema // matches what compiled does not
	names     []string           // declared members of the root, in the order of the document
	patterns  int                // of patternProperties
	load      load
	warnings  jsonguard.Faults
}

// Parse reads a schema document. Its errors are of kind TooLarge if the
// document has too many bytes, else Invalid, and wrap [jsonguard.Faults]
// with pointers into the document.
func Parse(doc []byte) (*Schema, error) {
	if len(doc) > MaxBytes {
		return nil, fail(kedge.TooLarge, jsonguard.Faults{{Detail: fmt.Sprintf("a schema has at most %d bytes", MaxBytes)}})
	}
	v, _, err := jsonguard.Decode(doc, MaxDepth)
	if err != nil {
		return nil, err
	}
	root, ok := v.(map[string]any)
	if !ok || len(root) == 0 {
		return nil, invalid("", `a schema is a JSON object that is not empty, with "type": "object" and a "kedge" object`)
	}
	s := &Schema{document: maps.Clone(root)}
	delete(s.document, "unevaluatedProperties") // ours takes its place
	faults := checkRoot(root)
	var more jsonguard.Faults
	s.meta, more = readMetadata(root)
	faults = append(faults, more...)
	w := walk(s.document)
	if faults = append(faults, w.faults...); len(faults) > 0 {
		return nil, fail(kedge.Invalid, faults)
	}
	s.document["unevaluatedProperties"] = false
	if s.effective, s.names, err = closeRoot(doc); err != nil {
		return nil, err
	}
	if err := s.compile(w); err != nil {
		return nil, err
	}
	return s, nil
}

// compile compiles the document, measures it and binds the paths.
func (s *Schema) compile(w *walker) error {
	c, faults := compile(s.document, w.dynamic, s.meta.Formats)
	if len(faults) > 0 {
		return fail(kedge.Invalid, faults)
	}
	g := newGraph(c.root, c.dynamic)
	if faults := g.check(); len(faults) > 0 {
		return fail(kedge.Invalid, faults)
	}
	s.compiled, s.opposite, s.patterns = c.root, c.opposite, w.patterns
	if s.load, faults = g.measure(); len(faults) > 0 {
		return fail(kedge.Invalid, faults)
	}
	g.replaceChecks()
	if faults := s.bindPaths(); len(faults) > 0 {
		return fail(kedge.Invalid, faults)
	}
	s.warnings = append(s.warnings, s.rootWarnings()...)
	s.warnings = append(s.warnings, g.recursionWarnings()...)
	return s.probe()
}

// probe validates an empty resource, so that what makes the validator fail
// shows when a schema is saved and not when data comes.
func (s *Schema) probe() error {
	_, err := s.check(map[string]any{}, 0)
	return err
}

// checkRoot checks what a root must have.
func checkRoot(root map[string]any) jsonguard.Faults {
	var faults jsonguard.Faults
	if v, ok := root["$schema"]; ok && v != Draft {
		faults = append(faults, jsonguard.Fault{Pointer: "/$schema", Detail: "only JSON Schema 2020-12 is supported: leave it out or write " + Draft})
	}
	if root["type"] != "object" {
		faults = append(faults, jsonguard.Fault{Pointer: "/type", Detail: `a resource is an object: the root needs "type": "object"`})
	}
	if properties, ok := root["properties"].(map[string]any); ok {
		if _, ok := properties["_meta"]; ok {
			faults = append(faults, jsonguard.Fault{Pointer: "/properties/_meta", Detail: "_meta is what kedge adds to answers: choose another name"})
		}
	}
	return faults
}

// Effective returns the document with "unevaluatedProperties": false at its
// root, minified, members in their order. Parse reads it back.
func (s *Schema) Effective() []byte { return slices.Clone(s.effective) }

// Metadata returns what the metadata object says.
func (s *Schema) Metadata() Metadata { return s.meta }

// Warnings returns what is allowed but probably not meant.
func (s *Schema) Warnings() jsonguard.Faults { return slices.Clone(s.warnings) }

func invalid(pointer, detail string) error {
	return fail(kedge.Invalid, jsonguard.Faults{{Pointer: pointer, Detail: detail}})
}

func fail(kind kedge.Kind, faults jsonguard.Faults) error {
	return &kedge.Error{Op: "schema", Kind: kind, Err: faults.Bounded()}
}
