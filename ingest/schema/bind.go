package schema

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// paths are the parsed paths of the metadata.
type paths struct {
	id, name, version Path
	important         []Path
	indexes           []string // names of top-level members
}

func pointerToken(name string) string { return jsonguard.Token(name) }

// bindPaths parses the paths of the metadata and checks them against what the
// document declares.
func (s *Schema) bindPaths() jsonguard.Faults {
	b := binder{schema: s, at: "/kedge"}
	if _, ok := s.document["resmo"]; ok {
		b.at = "/resmo"
	}
	b.id()
	b.version()
	s.paths.name = b.singular("/name", s.meta.Name)
	b.warnUndeclared("/name", s.paths.name)
	for i, text := range s.meta.ImportantFields {
		at := "/importantFields/" + strconv.Itoa(i)
		p := b.parse(at, text)
		s.paths.important = append(s.paths.important, p)
		b.warnUndeclared(at, p)
	}
	for i, text := range s.meta.Indexes {
		b.index("/indexes/"+strconv.Itoa(i), text)
	}
	return b.faults
}

type binder struct {
	schema *Schema
	at     string
	faults jsonguard.Faults
}

func (b *binder) fault(below, detail string) {
	b.faults = append(b.faults, jsonguard.Fault{Pointer: b.at + below, Detail: detail})
}

func (b *binder) parse(below, text string) Path {
	if text == "" {
		return Path{}
	}
	p, err := ParsePath(text)
	if err != nil {
		b.fault(below, err.Error())
	}
	return p
}

func (b *binder) singular(below, text string) Path {
	p := b.parse(below, text)
	if p.steps != nil && !p.singular {
		b.fault(below, "must lead to one value: wildcards, slices and unions are for importantFields")
		return Path{}
	}
	return p
}

func (b *binder) id() {
	p := b.singular("/id", b.schema.meta.ID)
	b.schema.paths.id = p
	if p.steps == nil {
		return
	}
	declared := b.schema.declared(p)
	if len(declared) == 0 {
		b.fault("/id", "leads to nothing that is declared in properties")
		return
	}
	types := typesOf(declared)
	if !slices.Equal(types, []string{"string"}) && !slices.Equal(types, []string{"integer"}) {
		b.fault("/id", `must lead to a field that is declared with "type": "string" or "type": "integer"`)
	}
}

func (b *binder) version() {
	p := b.singular("/version", b.schema.meta.Version)
	b.schema.paths.version = p
	if p.steps == nil {
		return
	}
	for _, d := range b.schema.declared(p) {
		types := typesOf([]*jsonschema.Schema{d})
		if slices.Equal(types, []string{"integer"}) || slices.Equal(types, []string{"string"}) && b.schema.formatOf(d) == "date-time" {
			return
		}
	}
	b.fault("/version", `must lead to a field that is declared with "type": "integer", or with "type": "string" and "format": "date-time"`)
}

func (b *binder) index(below, text string) {
	p := b.singular(below, text)
	if p.steps == nil {
		return
	}
	types := typesOf(b.schema.declared(p))
	types = slices.DeleteFunc(types, func(t string) bool { return t == "null" })
	scalar := len(types) > 0 && !slices.Contains(types, "object") && !slices.Contains(types, "array")
	if len(p.steps) != 1 || p.steps[0].kind != byName || !scalar {
		b.fault(below, "must name a field of the root that is declared as string, number, integer or boolean")
		return
	}
	if slices.Contains(b.schema.paths.indexes, p.steps[0].names[0]) {
		b.fault(below, "is listed twice")
	}
	b.schema.paths.indexes = append(b.schema.paths.indexes, p.steps[0].names[0])
}

func (b *binder) warnUndeclared(below string, p Path) {
	if p.steps == nil || !p.singular || len(b.schema.declared(p)) > 0 {
		return
	}
	b.schema.warnings = append(b.schema.warnings, jsonguard.Fault{Pointer: b.at + below, Detail: "leads to nothing that is declared in properties"})
}

// declared returns the subschemas that the document declares for the value at
// a singular path, by properties and by prefixItems or items, also behind
// references and in allOf.
func (s *Schema) declared(p Path) []*jsonschema.Schema {
	at := []*jsonschema.Schema{s.compiled}
	for _, step := range p.steps {
		var next []*jsonschema.Schema
		for _, d := range withApplied(at) {
			if len(step.names) == 1 {
				if c, ok := d.Properties[step.names[0]]; ok {
					next = append(next, c)
				}
			} else if step.kind == atIndex {
				if i := step.index; i >= 0 && i < len(d.PrefixItems) {
					next = append(next, d.PrefixItems[i])
				} else if d.Items2020 != nil && (i >= 0 || len(d.PrefixItems) == 0) {
					next = append(next, d.Items2020)
				}
			}
		}
		at = next
	}
	return at
}

// withApplied returns schemas and those that always apply to the same value
// with them.
func withApplied(schemas []*jsonschema.Schema) []*jsonschema.Schema {
	out := slices.Clone(schemas)
	for i := 0; i < len(out); i++ { // out grows
		for _, s := range append([]*jsonschema.Schema{out[i].Ref}, out[i].AllOf...) {
			if s != nil && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// typesOf returns the types that all of schemas allow, or nil if none of them
// says.
func typesOf(schemas []*jsonschema.Schema) []string {
	var types []string
	for _, s := range withApplied(schemas) {
		if s.Types == nil {
			continue
		}
		own := s.Types.ToStrings()
		if types == nil {
			types = own
			continue
		}
		types = slices.DeleteFunc(types, func(t string) bool { return !slices.Contains(own, t) })
	}
	return types
}

// formatOf returns the format that the document gives a compiled subschema or
// one that applies with it.
func (s *Schema) formatOf(c *jsonschema.Schema) string {
	for _, a := range withApplied([]*jsonschema.Schema{c}) {
		object, _ := lookup(s.document, pointerOf(a)).(map[string]any)
		if f, ok := object["format"].(string); ok {
			return f
		}
	}
	return ""
}

var unescapePointer = strings.NewReplacer("~1", "/", "~0", "~")

// lookup returns the value at a JSON Pointer, or nil.
func lookup(v any, pointer string) any {
	if pointer == "" {
		return v
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		switch c := v.(type) {
		case map[string]any:
			v = c[unescapePointer.Replace(token)]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(c) {
				return nil
			}
			v = c[i]
		default:
			return nil
		}
	}
	return v
}

// rootWarnings reports a root that stays open, and members that every resource
// must have and none may.
func (s *Schema) rootWarnings() jsonguard.Faults {
	var out jsonguard.Faults
	if a, ok := s.document["additionalProperties"]; ok && a != false {
		out = append(out, jsonguard.Fault{Pointer: "/additionalProperties", Detail: "lets unknown fields through: leave it out to have them refused"})
	}
	for _, name := range s.compiled.Required {
		if s.compiled.AdditionalProperties != nil || len(s.compiled.PatternProperties) > 0 || len(s.compiled.AnyOf)+len(s.compiled.OneOf) > 0 {
			break
		}
		known := slices.ContainsFunc(withApplied([]*jsonschema.Schema{s.compiled}), func(c *jsonschema.Schema) bool {
			_, ok := c.Properties[name]
			return ok || c.AdditionalProperties != nil || len(c.PatternProperties) > 0
		})
		if !known {
			out = append(out, jsonguard.Fault{Pointer: "/required", Detail: fmt.Sprintf("%q is required but not declared in properties: every resource is refused", name)})
		}
	}
	return out
}
