package schema

import (
	"maps"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A graph holds the subschemas that can be reached from the root of a schema.
type graph struct {
	root    *node
	nodes   []*node // each before those that it applies to the same value
	dynamic map[string][]*jsonschema.Schema
	found   map[*jsonschema.Schema]*node
	loop    *node // a subschema that leads to itself on the same value, or nil
}

// A node is a subschema and where it leads.
type node struct {
	schema  *jsonschema.Schema
	index   int     // in graph.nodes
	inPlace []*node // applied to the same value
	named   map[string]*node
	open    []*node // applied to members of any name, and to names
	prefix  []*node // applied to the element at the same index
	items   []*node // applied to elements at any index
	state   int     // while sorting: 0 new, 1 open, 2 done
}

// newGraph follows root. dynamic are the subschemas that dynamic references
// may lead to.
func newGraph(root *jsonschema.Schema, dynamic []*jsonschema.Schema) *graph {
	g := &graph{dynamic: map[string][]*jsonschema.Schema{}, found: map[*jsonschema.Schema]*node{}}
	for _, s := range dynamic {
		g.dynamic[s.DynamicAnchor] = append(g.dynamic[s.DynamicAnchor], s)
	}
	g.root = g.node(root)
	for i := 0; i < len(g.nodes); i++ { // node appends
		g.connect(g.nodes[i])
	}
	found := g.nodes
	g.nodes = make([]*node, 0, len(found))
	for _, n := range found {
		g.sort(n)
	}
	slices.Reverse(g.nodes)
	for i, n := range g.nodes {
		n.index = i
	}
	return g
}

func (g *graph) node(s *jsonschema.Schema) *node {
	n := g.found[s]
	if n == nil {
		n = &node{schema: s}
		g.found[s] = n
		g.nodes = append(g.nodes, n)
	}
	return n
}

// add returns list with the nodes of those schemas that are there.
func (g *graph) add(list []*node, schemas ...*jsonschema.Schema) []*node {
	for _, s := range schemas {
		if s != nil {
			list = append(list, g.node(s))
		}
	}
	return list
}

func (g *graph) connect(n *node) {
	s := n.schema
	n.inPlace = g.add(nil, s.Ref, s.Not, s.If, s.Then, s.Else)
	for _, list := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		n.inPlace = g.add(n.inPlace, list...)
	}
	for _, name := range sortedKeys(s.DependentSchemas) {
		n.inPlace = g.add(n.inPlace, s.DependentSchemas[name])
	}
	for _, name := range sortedKeys(s.Dependencies) {
		if d, ok := s.Dependencies[name].(*jsonschema.Schema); ok {
			n.inPlace = g.add(n.inPlace, d)
		}
	}
	if d := s.DynamicRef; d != nil {
		n.inPlace = g.add(n.inPlace, d.Ref)
		if d.Anchor != "" {
			for _, target := range g.dynamic[d.Anchor] {
				if target != d.Ref {
					n.inPlace = g.add(n.inPlace, target)
				}
			}
		}
	}
	n.named = map[string]*node{}
	for _, name := range sortedKeys(s.Properties) {
		n.named[name] = g.node(s.Properties[name])
	}
	for _, p := range s.PatternProperties {
		n.open = g.add(n.open, p)
	}
	if a, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		n.open = g.add(n.open, a)
	}
	n.open = g.add(n.open, s.UnevaluatedProperties, s.PropertyNames)
	n.prefix = g.add(nil, s.PrefixItems...)
	n.items = g.add(nil, s.Items2020, s.Contains, s.UnevaluatedItems)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (g *graph) sort(n *node) {
	switch n.state {
	case 1:
		g.loop = n
		return
	case 2:
		return
	}
	n.state = 1
	for _, c := range n.inPlace {
		g.sort(c)
	}
	n.state = 2
	g.nodes = append(g.nodes, n)
}

// check reports a subschema that leads to itself on the same value: checking
// it would not end.
func (g *graph) check() jsonguard.Faults {
	if g.loop == nil {
		return nil
	}
	return jsonguard.Faults{{Pointer: pointerOf(g.loop.schema), Detail: "reference loop: the subschema applies itself to the same value again"}}
}

// recursionWarnings reports references to the root: it is closed, and so is
// whatever refers to it.
func (g *graph) recursionWarnings() jsonguard.Faults {
	var out jsonguard.Faults
	for _, n := range g.nodes {
		ref := n.schema.Ref
		if ref == nil && n.schema.DynamicRef != nil {
			ref = n.schema.DynamicRef.Ref
		}
		if ref == g.root.schema && n != g.root {
			out = append(out, jsonguard.Fault{Pointer: pointerOf(n.schema), Detail: "refers to the root, which refuses unknown fields: so does this value"})
		}
	}
	slices.SortFunc(out, byPointer)
	return out
}
