package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge/internal/nearest"
)

// maxProblems is where [Parse] stops to look for more problems.
const maxProblems = 50

// A reader collects the problems of a file.
type reader struct {
	problems Problems
	path     []string
}

func (r *reader) full() bool { return len(r.problems) >= maxProblems }

func (r *reader) problem(n *node, format string, args ...any) *Problem {
	p := &Problem{Line: n.line, Column: n.column, Path: strings.TrimPrefix(strings.Join(r.path, ""), "."), Message: fmt.Sprintf(format, args...)}
	if !r.full() {
		r.problems = append(r.problems, p)
	}
	return p
}

func (r *reader) in(step string, f func()) {
	r.path = append(r.path, step)
	f()
	r.path = r.path[:len(r.path)-1]
}

// A schema is a JSON Schema, 2020-12.
type schema = map[string]any

// A codec says how values of one type are read from a file, written to one,
// and described by the JSON Schema, so that the three never differ.
type codec[V any] struct {
	read   func(r *reader, n *node) V
	write  func(v V) *node // nil if v is the default and is left out
	schema schema
}

// A key is a key of an object of type T.
type key[T any] struct {
	name     string
	required bool
	read     func(r *reader, n *node, to *T)
	write    func(from *T) *node
	schema   schema
}

// keyOf returns the key called name, whose value is in the field that at finds.
func keyOf[T, V any](name, about string, c codec[V], at func(*T) *V) key[T] {
	s := schema{"description": about}
	for k, v := range c.schema {
		s[k] = v
	}
	return key[T]{
		name:   name,
		read:   func(r *reader, n *node, to *T) { *at(to) = c.read(r, n) },
		write:  func(from *T) *node { return c.write(*at(from)) },
		schema: s,
	}
}

func (k key[T]) must() key[T] {
	k.required = true
	return k
}

// object is the codec of an object with the given keys, in the order of the
// canonical form. check, if not nil, looks at the whole.
func object[T any](keys []key[T], defaults func() T, check func(r *reader, n *node, v *T)) codec[T] {
	return codec[T]{
		read: func(r *reader, n *node) T {
			v := defaults()
			before := len(r.problems)
			readObject(r, n, keys, &v)
			if check != nil && len(r.problems) == before {
				check(r, n, &v)
			}
			return v
		},
		write: func(v T) *node {
			out := &node{kind: objectNode}
			for _, k := range keys {
				if value := k.write(&v); value != nil {
					out.entries = append(out.entries, entry{plain(k.name), value})
				}
			}
			if len(out.entries) == 0 {
				return nil
			}
			return out
		},
		schema: objectSchema(keys),
	}
}

func readObject[T any](r *reader, n *node, keys []key[T], to *T) {
	if n.kind != objectNode {
		r.problem(n, "must be an object of keys and values")
		return
	}
	seen := make(map[string]bool, len(n.entries))
	for _, e := range n.entries {
		name := e.key.text
		i := slices.IndexFunc(keys, func(k key[T]) bool { return k.name == name })
		switch {
		case r.full():
			return
		case e.key.kind != scalarNode || i < 0:
			r.problem(e.key, "unknown key %q", name).Suggestion = nearest.Name(name, keyNames(keys))
		case seen[name]:
			r.problem(e.key, "key %q is there twice", name)
		default:
			seen[name] = true
			r.in("."+name, func() { keys[i].read(r, e.value, to) })
		}
	}
	for _, k := range keys {
		if k.required && !seen[k.name] {
			r.problem(n, "key %q is missing", k.name)
		}
	}
}

func keyNames[T any](keys []key[T]) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

func objectSchema[T any](keys []key[T]) schema {
	properties, required := schema{}, []string{}
	for _, k := range keys {
		properties[k.name] = k.schema
		if k.required {
			required = append(required, k.name)
		}
	}
	s := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// list is the codec of a list of 1 to limit items.
func list[V any](c codec[V], limit int) codec[[]V] {
	return codec[[]V]{
		read: func(r *reader, n *node) []V {
			if n.kind != listNode || len(n.items) == 0 {
				r.problem(n, "must be a list with at least one item")
				return nil
			}
			if len(n.items) > limit {
				r.problem(n.items[limit], "more than %d items", limit)
				return nil
			}
			out := make([]V, 0, len(n.items))
			for i, item := range n.items {
				if r.full() {
					break
				}
				r.in(fmt.Sprintf("[%d]", i), func() { out = append(out, c.read(r, item)) })
			}
			return out
		},
		write: func(vs []V) *node {
			if len(vs) == 0 {
				return nil
			}
			out := &node{kind: listNode}
			for _, v := range vs {
				item := c.write(v)
				if item == nil {
					item = plain("{}")
				}
				out.items = append(out.items, item)
			}
			return out
		},
		schema: schema{"type": "array", "items": c.schema, "minItems": 1, "maxItems": limit},
	}
}

// textOrList is [list] of texts, where one item may stand without brackets.
func textOrList(limit int) codec[[]string] {
	c := list(text(0), limit)
	return codec[[]string]{
		read: func(r *reader, n *node) []string {
			if n.kind == scalarNode {
				n = &node{kind: listNode, items: []*node{n}}
			}
			return c.read(r, n)
		},
		write: func(v []string) *node {
			if len(v) == 1 {
				return quotedText(v[0])
			}
			return c.write(v)
		},
		schema: schema{"anyOf": []schema{text(0).schema, c.schema}},
	}
}
