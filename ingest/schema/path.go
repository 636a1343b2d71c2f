package schema

import (
	"errors"
	"fmt"
	"strings"
)

// A Path leads to values in a resource: a part of JSONPath (RFC 9535) without
// anything that computes or searches.
type Path struct {
	text     string
	steps    []step
	singular bool
}

// A step is one segment of a path.
type step struct {
	kind  stepKind
	names []string // byName; more than one is a union
	index int      // atIndex
	slice bounds   // between
}

type stepKind uint8

const (
	byName  stepKind = iota // members with the names
	atIndex                 // the element at the index
	all                     // members and elements: *
	between                 // elements between bounds
)

var errEmptyPath = errors.New(`a path is a name, names with points between, or a JSONPath like $.employee.email`)

// ParsePath reads a path. One that begins with "$" is a JSONPath of names
// (.name, ['name'], ["name"]), indexes ([0], [-1]), wildcards (.*, [*]), slices
// ([0:3]) and unions of names (['a','b']). Any other text is names with points
// between, which may hold what names in RFC 9535 may not, as employee-id.
func ParsePath(text string) (Path, error) {
	if text == "" || text == "$" {
		return Path{}, errEmptyPath
	}
	p := Path{text: text, singular: true}
	if text[0] == '$' {
		r := pathReader{text: text, pos: 1}
		steps, err := r.segments()
		if err != nil {
			return Path{}, err
		}
		p.steps = steps
	} else {
		if strings.ContainsAny(text, "[]*?()@$'\"") {
			return Path{}, fmt.Errorf("a path with brackets, quotes or wildcards begins with $, as in $.%s", "items[0]")
		}
		for name := range strings.SplitSeq(text, ".") {
			if name == "" {
				return Path{}, errors.New("a name between points is empty")
			}
			p.steps = append(p.steps, step{names: []string{name}})
		}
	}
	for _, s := range p.steps {
		p.singular = p.singular && (s.kind == atIndex || s.kind == byName && len(s.names) == 1)
	}
	return p, nil
}

// String returns the text of p.
func (p Path) String() string { return p.text }

// Get returns the values that p leads to in a decoded resource: members by
// their names in byte order, elements in the order of the path.
func (p Path) Get(v any) []any {
	found := []any{v}
	for _, s := range p.steps {
		var next []any
		for _, v := range found {
			next = s.appendTo(next, v)
		}
		found = next
	}
	return found
}

// first returns the value that a singular path leads to; a missing one is nil.
func (p Path) first(v any) any {
	if found := p.Get(v); len(found) > 0 {
		return found[0]
	}
	return nil
}

// appendTo appends what a step leads to from v.
func (s step) appendTo(out []any, v any) []any {
	switch c := v.(type) {
	case map[string]any:
		names := s.names
		if s.kind == all {
			names = sortedKeys(c)
		}
		for _, name := range names {
			if e, ok := c[name]; ok {
				out = append(out, e)
			}
		}
	case []any:
		switch s.kind {
		case all:
			return append(out, c...)
		case atIndex:
			if i := fromEnd(s.index, len(c)); i >= 0 && i < len(c) {
				out = append(out, c[i])
			}
		case between:
			return s.slice.appendTo(out, c)
		}
	}
	return out
}

// pointer returns a singular path as JSON Pointer.
func (p Path) pointer() string {
	var b strings.Builder
	for _, s := range p.steps {
		if s.kind == byName {
			b.WriteString(pointerToken(s.names[0]))
		} else {
			fmt.Fprintf(&b, "/%d", s.index)
		}
	}
	return b.String()
}
