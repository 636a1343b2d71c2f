package csdl

import (
	"slices"
	"strconv"
	"strings"
)

// A document is a metadata document as it is written, from XML or JSON, with
// names still as written.
type document struct {
	version    string
	aliases    map[string]string // alias or namespace to namespace
	types      map[string]*typeDef
	containers []*container
	notes      map[string][]annotation // by target: "Ns.Type/Property", "Ns.Container/Set"
	notices    []string
}

func newDocument() *document {
	return &document{aliases: map[string]string{}, types: map[string]*typeDef{}, notes: map[string][]annotation{}}
}

type typeKind uint8

const (
	entityType typeKind = iota + 1
	complexType
	enumType
	typeDefinition
)

type typeDef struct {
	kind       typeKind
	name       string // qualified
	base       string
	open       bool
	key        []string
	properties []property
	navs       []navigation
	members    []string // of an enumeration
	flags      bool
	underlying string // of a type definition
	facets     facets
}

type property struct {
	name     string
	typ      string // without Collection()
	many     bool
	nullable bool
	facets   facets
}

// facets of a type. Zero means not said; scale is one more than it says, and
// -1 if it is variable.
type facets struct {
	maxLength, precision, scale int
}

func (f *facets) set(name, value string) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > 1<<30 {
		n = 0
	}
	switch name {
	case "MaxLength":
		f.maxLength = n
	case "Precision":
		f.precision = n
	case "Scale":
		if f.scale = n + 1; err != nil { // "variable" or "floating"
			f.scale = -1
		}
	}
}

// over returns f with g for what f does not say.
func (f facets) over(g facets) facets {
	if f.maxLength == 0 {
		f.maxLength = g.maxLength
	}
	if f.precision == 0 {
		f.precision = g.precision
	}
	if f.scale == 0 {
		f.scale = g.scale
	}
	return f
}

type navigation struct {
	name        string
	typ         string
	many        bool
	nullable    bool
	contains    bool
	constraints []Constraint
	odd         int // constraints that are malformed
}

type container struct {
	name    string // qualified
	extends string
	sets    []entitySet
}

type entitySet struct {
	name     string
	typ      string
	bindings [][2]string // path of a navigation property, target
}

// An annotation is one that is not qualified, of a term in wantedTerms.
type annotation struct {
	term  string
	value expression
}

// An expression is the value of an annotation. Dynamic ones, which only the
// service can compute, are empty with dynamic set.
type expression struct {
	text    string
	list    []expression
	fields  []fieldValue
	dynamic bool
}

type fieldValue struct {
	name  string
	value expression
}

func (e *expression) field(name string) *expression {
	for i := range e.fields {
		if e.fields[i].name == name {
			return &e.fields[i].value
		}
	}
	return &expression{dynamic: true}
}

func (e *expression) hint() Hint {
	switch {
	case e.dynamic:
		return Unsaid
	case e.text == "true":
		return Yes
	case e.text == "false":
		return No
	}
	return Unsaid
}

// paths returns the texts of a collection.
func (e *expression) paths() []string {
	var paths []string
	for i := range e.list {
		if t := e.list[i].text; t != "" {
			paths = append(paths, t)
		}
	}
	return paths
}

// wantedTerms are the terms whose annotations are read, without namespace.
var wantedTerms = map[string]bool{
	"Computed": true, "Immutable": true, "Permissions": true, "OptimisticConcurrency": true, "AlternateKeys": true,
	"Description": true, "Label": true, "Supported": true, "ChangeTracking": true, "FilterRestrictions": true,
	"SortRestrictions": true, "InsertRestrictions": true, "UpdateRestrictions": true, "DeleteRestrictions": true,
	"ReadRestrictions": true, "BatchSupport": true, "BatchSupported": true, "BatchContinueOnErrorSupported": true,
	"KeyAsSegmentSupported": true,
}

func wanted(term string) bool { return wantedTerms[term[strings.LastIndexByte(term, '.')+1:]] }

// qualify returns a qualified name with its alias replaced by the namespace.
func (d *document) qualify(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name
	}
	if ns := d.aliases[name[:i]]; ns != "" && ns != name[:i] {
		return ns + name[i:]
	}
	return name
}

// typeOf returns the type with that name, or nil.
func (d *document) typeOf(name string) *typeDef { return d.types[d.qualify(name)] }

// chain returns t and its base types, the most general one first.
func (d *document) chain(t *typeDef) []*typeDef {
	var chain []*typeDef
	for ; t != nil && len(chain) < MaxDepth && !slices.Contains(chain, t); t = d.typeOf(t.base) {
		chain = append(chain, t)
	}
	slices.Reverse(chain)
	return chain
}

// settle resolves the targets and terms of annotations, once all aliases are known.
func (d *document) settle() {
	settled := make(map[string][]annotation, len(d.notes))
	for target, notes := range d.notes {
		head, rest, _ := strings.Cut(target, "/")
		target = d.qualify(head)
		if rest != "" {
			target += "/" + rest
		}
		for i := range notes {
			notes[i].term = d.qualify(notes[i].term)
		}
		settled[target] = append(settled[target], notes...)
	}
	d.notes = settled
}

// splitType splits "Collection(T)".
func splitType(typ string) (name string, many bool) {
	if inner, ok := strings.CutPrefix(typ, "Collection("); ok {
		return strings.TrimSuffix(inner, ")"), true
	}
	return typ, false
}
