package schema

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ohler55/ojg/jp"
)

// A Path leads to values in a resource: a part of JSONPath (RFC 9535) without
// anything that computes or searches.
type Path struct {
	text     string
	steps    []step
	singular bool
	expr     jp.Expr
}

// A step is one segment of a path.
type step struct {
	names []string // one name, or a union
	index int      // of an element, if there are no names
	rest  jp.Frag  // wildcard or slice
}

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
	p.expr = jp.R()
	for _, s := range p.steps {
		p.singular = p.singular && s.rest == nil && len(s.names) <= 1
		p.expr = append(p.expr, s.frag())
	}
	return p, nil
}

func (s step) frag() jp.Frag {
	switch {
	case s.rest != nil:
		return s.rest
	case len(s.names) == 1:
		return jp.Child(s.names[0])
	case len(s.names) > 1:
		u := make(jp.Union, len(s.names))
		for i, name := range s.names {
			u[i] = name
		}
		return u
	}
	return jp.Nth(s.index)
}

// String returns the text of p.
func (p Path) String() string { return p.text }

// Get returns the values that p leads to in a decoded resource.
func (p Path) Get(v any) []any { return p.expr.Get(v) }

// first returns the value that a singular path leads to; a missing one is nil.
func (p Path) first(v any) any { return p.expr.First(v) }

// pointer returns a singular path as JSON Pointer.
func (p Path) pointer() string {
	var b strings.Builder
	for _, s := range p.steps {
		if len(s.names) == 1 {
			b.WriteString(pointerToken(s.names[0]))
		} else {
			fmt.Fprintf(&b, "/%d", s.index)
		}
	}
	return b.String()
}
