package jsonguard

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// MaxLeaves is the most leaves that [Flatten] makes.
const MaxLeaves = 10_000

// A Leaf is a value without values inside: a scalar, an empty object or an
// empty array.
type Leaf struct {
	// Path leads to the value: names after points, indexes in brackets. In
	// names \ . and [ have a \ before them, and the empty name is \0.
	Path  string
	Value any
}

var (
	escapeName   = strings.NewReplacer(`\`, `\\`, `.`, `\.`, `[`, `\[`)
	errTooMany   = fmt.Errorf("more than %d leaves", MaxLeaves)
	errBadPath   = errors.New("not a path of this value")
	errIncorrect = errors.New("the leaves belong to no value")
)

// Flatten lists the leaves of a decoded value, members in byte order. Paths
// begin with root, so a value that is a leaf itself has the path root. It
// fails with kind TooLarge past [MaxLeaves].
func Flatten(root string, v any) ([]Leaf, error) {
	var out []Leaf
	if out = flatten(nil, root, v); len(out) > MaxLeaves {
		return nil, &kedge.Error{Op: "flatten", Kind: kedge.TooLarge, Err: errTooMany}
	}
	return out, nil
}

func flatten(out []Leaf, path string, v any) []Leaf {
	if len(out) > MaxLeaves {
		return out
	}
	switch c := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(c)) {
			out = flatten(out, path+"."+escape(name), c[name])
		}
		if len(c) > 0 {
			return out
		}
	case []any:
		for i, e := range c {
			out = flatten(out, path+"["+strconv.Itoa(i)+"]", e)
		}
		if len(c) > 0 {
			return out
		}
	}
	return append(out, Leaf{path, v})
}

func escape(name string) string {
	if name == "" {
		return `\0`
	}
	return escapeName.Replace(name)
}

// Unflatten is the reverse of [Flatten]. It fails with kind Invalid if the
// leaves are not those of one value.
func Unflatten(root string, leaves []Leaf) (any, error) {
	var top tree
	for _, l := range leaves {
		rest, ok := strings.CutPrefix(l.Path, root)
		err := errBadPath
		if ok {
			err = top.put(rest, l.Value)
		}
		if err != nil {
			return nil, &kedge.Error{Op: "unflatten", Kind: kedge.Invalid, Err: err}
		}
	}
	v, err := top.value()
	if err != nil {
		return nil, &kedge.Error{Op: "unflatten", Kind: kedge.Invalid, Err: err}
	}
	return v, nil
}

// A tree is a value that is being put together.
type tree struct {
	leaf    bool
	v       any
	members map[string]*tree
	items   map[int]*tree
}

func (t *tree) put(path string, v any) error {
	if path == "" {
		if t.leaf || t.members != nil || t.items != nil {
			return errIncorrect
		}
		t.leaf, t.v = true, v
		return nil
	}
	var next *tree
	var rest string
	switch path[0] {
	case '.':
		name, after, err := cutName(path[1:])
		if err != nil {
			return err
		}
		if t.members == nil {
			t.members = map[string]*tree{}
		}
		if next, rest = t.members[name], after; next == nil {
			next = &tree{}
			t.members[name] = next
		}
	case '[':
		digits, after, ok := strings.Cut(path[1:], "]")
		i, err := strconv.Atoi(digits)
		if !ok || err != nil || i < 0 || strconv.Itoa(i) != digits {
			return errBadPath
		}
		if t.items == nil {
			t.items = map[int]*tree{}
		}
		if next, rest = t.items[i], after; next == nil {
			next = &tree{}
			t.items[i] = next
		}
	default:
		return errBadPath
	}
	return next.put(rest, v)
}

// cutName reads a name up to a point or bracket that ends it.
func cutName(path string) (name, rest string, err error) {
	var b strings.Builder
	i := 0
	for ; i < len(path) && path[i] != '.' && path[i] != '['; i++ {
		if path[i] != '\\' {
			b.WriteByte(path[i])
			continue
		}
		i++
		switch {
		case i == len(path):
			return "", "", errBadPath
		case path[i] == '0' && i == 1 && (len(path) == 2 || path[2] == '.' || path[2] == '['):
			return "", path[2:], nil
		case strings.IndexByte(`\.[`, path[i]) < 0:
			return "", "", errBadPath
		}
		b.WriteByte(path[i])
	}
	if i == 0 {
		return "", "", errBadPath
	}
	return b.String(), path[i:], nil
}

func (t *tree) value() (any, error) {
	switch {
	case t.leaf && t.members == nil && t.items == nil:
		return t.v, nil
	case t.leaf || t.members != nil && t.items != nil || t.members == nil && t.items == nil:
		return nil, errIncorrect
	case t.items != nil:
		list := make([]any, len(t.items))
		for i, e := range t.items {
			if i >= len(list) {
				return nil, errIncorrect
			}
			v, err := e.value()
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}
	object := make(map[string]any, len(t.members))
	for name, e := range t.members {
		v, err := e.value()
		if err != nil {
			return nil, err
		}
		object[name] = v
	}
	return object, nil
}
