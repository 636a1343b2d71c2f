package schema

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// base is the address of documents while they are compiled: nothing answers
// there (RFC 2606), and nothing is ever asked.
const base = "https://schema.invalid/"

// The places of subschemas, JSON Schema 2020-12. "definitions" and
// "dependencies" are of older drafts; the validator still follows them.
var (
	schemaMaps   = []string{"$defs", "definitions", "properties", "patternProperties", "dependentSchemas", "dependencies"}
	schemaLists  = []string{"allOf", "anyOf", "oneOf", "prefixItems"}
	schemaValues = []string{"not", "if", "then", "else", "items", "additionalItems", "additionalProperties", "propertyNames",
		"contains", "unevaluatedProperties", "unevaluatedItems", "contentSchema"}
)

// A walker looks at every subschema of a document before it is compiled.
type walker struct {
	nodes     map[string]bool   // pointers of all subschemas
	resources map[string]string // address without fragment → pointer of the subschema that has it
	anchors   map[string]bool   // address with the anchor as fragment
	dynamic   []string          // pointers of subschemas with a $dynamicAnchor
	refs      []reference
	regexps   int
	patterns  int // of patternProperties
	faults    jsonguard.Faults
}

type reference struct{ pointer, base, target string }

func walk(root map[string]any) *walker {
	w := &walker{nodes: map[string]bool{}, resources: map[string]string{base: ""}, anchors: map[string]bool{}}
	w.visit("", root, base)
	for _, r := range w.refs {
		w.resolve(r)
	}
	return w
}

func (w *walker) fault(pointer, detail string) {
	w.faults = append(w.faults, jsonguard.Fault{Pointer: pointer, Detail: detail})
}

func (w *walker) visit(pointer string, v any, base string) {
	switch v.(type) {
	case bool, map[string]any:
	default:
		return // the check against the metaschema says what is wrong
	}
	if len(w.nodes) == MaxNodes {
		if len(w.faults) == 0 || w.faults[len(w.faults)-1].Detail != tooManyNodes {
			w.fault(pointer, tooManyNodes)
		}
		return
	}
	w.nodes[pointer] = true
	if object, ok := v.(map[string]any); ok {
		base = w.identify(pointer, object, base)
		w.patternsOf(pointer, object)
		w.children(pointer, object, base)
	}
}

var tooManyNodes = fmt.Sprintf("a schema has at most %d subschemas", MaxNodes)

func (w *walker) children(pointer string, object map[string]any, base string) {
	for _, key := range schemaMaps {
		m, _ := object[key].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(m)) {
			w.visit(pointer+"/"+key+jsonguard.Token(name), m[name], base)
		}
	}
	for _, key := range schemaLists {
		list, _ := object[key].([]any)
		for i, v := range list {
			w.visit(pointer+"/"+key+"/"+strconv.Itoa(i), v, base)
		}
	}
	for _, key := range schemaValues {
		if v, ok := object[key]; ok {
			w.visit(pointer+"/"+key, v, base)
		}
	}
}

// identify notes addresses, anchors and references, and returns the base of
// the references of and below object.
func (w *walker) identify(pointer string, object map[string]any, base string) string {
	if v, ok := object["$schema"]; ok && pointer != "" && v != Draft {
		w.fault(pointer+"/$schema", "only JSON Schema 2020-12 is supported: leave it out or write "+Draft)
	}
	for _, key := range []string{"$recursiveRef", "$recursiveAnchor"} {
		if _, ok := object[key]; ok {
			w.fault(pointer+"/"+key, "is of JSON Schema 2019-09: use $dynamicRef and $dynamicAnchor")
		}
	}
	if id, ok := object["$id"].(string); ok {
		address, fragment := join(base, id)
		_, taken := w.resources[address]
		if address == "" || fragment != "" || taken && pointer != "" {
			w.fault(pointer+"/$id", "must be an address without fragment that no other subschema has")
		} else {
			w.resources[address], base = pointer, address
		}
	}
	for _, key := range []string{"$anchor", "$dynamicAnchor"} {
		if a, ok := object[key].(string); ok {
			w.anchors[base+"#"+a] = true
		}
	}
	if _, ok := object["$dynamicAnchor"].(string); ok {
		w.dynamic = append(w.dynamic, pointer)
	}
	for _, key := range []string{"$ref", "$dynamicRef"} {
		if target, ok := object[key].(string); ok {
			w.refs = append(w.refs, reference{pointer + "/" + key, base, target})
		}
	}
	return base
}

// resolve checks that a reference leads to a subschema of the document.
func (w *walker) resolve(r reference) {
	address, fragment := join(r.base, r.target)
	at, ok := w.resources[address]
	switch {
	case address == "" || !ok:
		w.fault(r.pointer, "leads outside of the document: references are resolved inside only, for example #/$defs/address")
	case fragment == "" || fragment[0] == '/':
		if !w.nodes[at+fragment] {
			w.fault(r.pointer, "leads to nothing that is a schema")
		}
	case !w.anchors[address+"#"+fragment]:
		w.fault(r.pointer, "leads to an anchor that does not exist")
	}
}

// join resolves ref against base and returns the address without its fragment
// and the decoded fragment, or "" if it is no URI reference.
func join(base, ref string) (address, fragment string) {
	b, err := url.Parse(base)
	if err != nil {
		return "", ""
	}
	ref, fragment, _ = strings.Cut(ref, "#")
	u, err := url.Parse(ref)
	if err != nil {
		return "", ""
	}
	if fragment, err = url.PathUnescape(fragment); err != nil {
		return "", ""
	}
	resolved := b.ResolveReference(u)
	if !u.IsAbs() && b.Opaque != "" {
		resolved.Opaque = b.Opaque
	}
	return resolved.String(), fragment
}

func (w *walker) patternsOf(pointer string, object map[string]any) {
	if p, ok := object["pattern"].(string); ok {
		w.regexp(pointer+"/pattern", p)
	}
	m, _ := object["patternProperties"].(map[string]any)
	for _, p := range slices.Sorted(maps.Keys(m)) {
		w.patterns++
		w.regexp(pointer+"/patternProperties"+jsonguard.Token(p), p)
	}
}

func (w *walker) regexp(pointer, expr string) {
	w.regexps++
	switch {
	case w.regexps == MaxRegexps+1:
		w.fault(pointer, fmt.Sprintf("a schema has at most %d regular expressions", MaxRegexps))
	case w.regexps > MaxRegexps:
	case len(expr) > MaxRegexpBytes:
		w.fault(pointer, fmt.Sprintf("a regular expression has at most %d bytes", MaxRegexpBytes))
	default:
		if _, err := regexp.Compile(expr); err != nil {
			w.fault(pointer, "is not a regular expression of RE2 (https://github.com/google/re2/wiki/Syntax): no look-around, no references back")
		}
	}
}
