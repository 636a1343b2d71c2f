// Package wire reads what OData services send and writes what they understand
// in URLs: it decodes pages of JSON straight into records, reads error bodies
// and entity ids, and writes literals and keys.
//
// A page is decoded by one scan over one buffer, along a [Plan] made once per
// read. Names of properties are predicted from the row before, values go into
// one slab per page, and texts without escapes alias the buffer. So a record
// that is kept keeps its page.
package wire

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// A Column is one property that is wanted, or that a key is made of.
type Column struct {
	Path     string // "City", "Address/City", "Customer/Id"
	Type     kedge.Type
	Format   kedge.Format
	Edm      string // "Edm.Int64", for messages and literals; "" if it is not primitive
	EnumType string // qualified name, for literals; "" if it is not an enumeration
}

// A Spec says what the rows of a read look like.
type Spec struct {
	Set     string   // name of the entity set
	Columns []Column // the values of each record, in this order
	Key     []Column // also if they are in Columns
	Version *Column  // grows with each change; nil if there is none
	// Delta reads deletions, links and rows of other sets as the answer to a
	// delta link has them.
	Delta bool
	// Navigations are the names of navigations whose changed links make the
	// driver read the row again.
	Navigations []string
}

// A Plan is a compiled [Spec]. It is immutable and safe for concurrent use.
type Plan struct {
	spec    Spec
	fields  *kedge.Fields
	cols    []Column // Spec.Columns, then what Key and Version need beyond them
	marks   []int    // by column: which raw text of a row it gives (a part of the key, then the version), or -1
	key     []int    // columns of the key
	version int      // column of the version, or -1
	nodes   []*node  // nodes[0] is a row
}

// NewPlan compiles s. It fails if a property is wanted whole and in parts.
func NewPlan(s Spec) (*Plan, error) {
	p := &Plan{spec: s, cols: slices.Clone(s.Columns), version: -1}
	names := make([]string, len(s.Columns))
	for i, c := range s.Columns {
		names[i] = c.Path
	}
	p.fields = kedge.NewFields(names...)
	for _, c := range s.Key {
		p.key = append(p.key, p.column(c))
	}
	if s.Version != nil {
		p.version = p.column(*s.Version)
	}
	p.marks = make([]int, len(p.cols))
	for i := range p.marks {
		p.marks[i] = -1
	}
	if p.version >= 0 {
		p.marks[p.version] = len(p.key)
	}
	for i, c := range p.key {
		p.marks[c] = i
	}
	if err := p.build(); err != nil {
		return nil, err
	}
	return p, nil
}

// Fields returns the field list that the records of the plan share.
func (p *Plan) Fields() *kedge.Fields { return p.fields }

// column returns the place of c, which is added if it is not there.
func (p *Plan) column(c Column) int {
	i := slices.IndexFunc(p.cols, func(have Column) bool { return have.Path == c.Path })
	if i < 0 {
		i = len(p.cols)
		p.cols = append(p.cols, c)
	}
	return i
}

func (p *Plan) build() error {
	p.nodes = []*node{{}}
	for i, c := range p.cols {
		if err := p.add(0, strings.Split(c.Path, "/"), i); err != nil {
			return fmt.Errorf("field %s: %w", c.Path, err)
		}
	}
	p.nodes[0].addControls(p.spec.Delta, p.spec.Navigations)
	for _, n := range p.nodes {
		n.index()
	}
	return nil
}

// add puts column col under the names of path, below node at.
func (p *Plan) add(at int, path []string, col int) error {
	n := p.nodes[at]
	have := n.find(path[0])
	if len(path) == 1 {
		if have >= 0 {
			return fmt.Errorf("wanted twice, or whole and in parts")
		}
		n.entries = append(n.entries, entry{name: path[0], do: doColumn, at: col, column: &p.cols[col], mark: p.marks[col]})
		for _, term := range [...]string{"@Core.ValueException", "@Org.OData.Core.V1.ValueException"} {
			n.entries = append(n.entries, entry{name: path[0] + term, do: doException, at: col})
		}
		return nil
	}
	if have < 0 {
		have = len(n.entries)
		n.entries = append(n.entries, entry{name: path[0], do: doChild, at: len(p.nodes)})
		p.nodes = append(p.nodes, &node{})
	}
	if n.entries[have].do != doChild {
		return fmt.Errorf("wanted whole and in parts")
	}
	child := n.entries[have].at
	p.nodes[child].columns = append(p.nodes[child].columns, col)
	return p.add(child, path[1:], col)
}
