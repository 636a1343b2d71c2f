package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A comparer walks two documents side by side.
type comparer struct {
	formats bool    // formats are asserted by the new version
	closed  [2]bool // the object around is closed, in the old and the new version
	changes []Change
}

func (c *comparer) add(pointer, kind, detail string, level Level) {
	c.changes = append(c.changes, Change{pointer, kind, detail, level})
}

func (c *comparer) metadata(old, next *Schema) {
	was, is := old.meta, next.meta
	at := "/kedge"
	if _, ok := next.document["resmo"]; ok {
		at = "/resmo"
	}
	if old.paths.id.pointer() != next.paths.id.pointer() {
		c.add(at+"/id", "changed", "another field is the id", Breaking)
	}
	if was.Formats != is.Formats {
		kind, level := "widened", Compatible
		if is.Formats {
			kind, level = "narrowed", Breaking
		}
		c.add(at+"/formats", kind, "", level)
	}
	for key, differs := range map[string]bool{"name": was.Name != is.Name, "version": was.Version != is.Version,
		"importantFields": !slices.Equal(was.ImportantFields, is.ImportantFields), "indexes": !slices.Equal(was.Indexes, is.Indexes)} {
		if differs {
			c.add(at+"/"+key, "changed", "", Compatible)
		}
	}
	slices.SortFunc(c.changes, func(a, b Change) int {
		return byPointer(jsonguard.Fault{Pointer: a.Pointer}, jsonguard.Fault{Pointer: b.Pointer})
	})
}

// Keywords by what a change of them means.
var (
	annotations = []string{"$schema", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
		"kedge", "resmo", "contentEncoding", "contentMediaType", "contentSchema"}
	lowerLimits = []string{"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
	upperLimits = []string{"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
	restricting = []string{"pattern", "multipleOf", "const", "uniqueItems", "not", "allOf", "anyOf", "oneOf", "dependentRequired",
		"dependentSchemas", "dependencies", "propertyNames", "contains", "if", "$ref", "$dynamicRef", "unevaluatedItems"}
)

// subschema compares two subschemas at the same place.
func (c *comparer) subschema(pointer string, old, next any) {
	was, wasObject := asObject(old)
	is, isObject := asObject(next)
	if !wasObject || !isObject {
		c.booleans(pointer, old, next)
		return
	}
	keys := maps.Clone(was)
	maps.Copy(keys, is)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		a, had := was[key]
		b, has := is[key]
		if had && has && equal(a, b) || slices.Contains(annotations, key) {
			continue
		}
		c.closed = [2]bool{closed(pointer, was), closed(pointer, is)}
		c.keyword(pointer, key, value{a, had}, value{b, has})
	}
}

// closed reports whether an object that a subschema declares refuses members
// that are not declared. The root always does, unless it says otherwise.
func closed(pointer string, object map[string]any) bool {
	additional, ok := object["additionalProperties"]
	if ok {
		return additional == false
	}
	return pointer == "" || object["unevaluatedProperties"] == false
}

// asObject returns a subschema as an object; true is the empty one.
func asObject(v any) (map[string]any, bool) {
	if v == true {
		return map[string]any{}, true
	}
	m, ok := v.(map[string]any)
	return m, ok
}

func (c *comparer) booleans(pointer string, old, next any) {
	switch {
	case equal(old, next):
	case old == false:
		c.add(pointer, "widened", "was not allowed", Compatible)
	default:
		c.add(pointer, "narrowed", "is not allowed any more", Breaking)
	}
}

// A value is that of a keyword, which may be absent.
type value struct {
	v  any
	ok bool
}

func (c *comparer) keyword(pointer, key string, old, next value) {
	at := pointer + jsonguard.Token(key)
	switch {
	case key == "properties":
		c.properties(at, old.v, next.v, c.closed)
	case key == "required":
		c.required(at, old.v, next.v)
	case key == "type":
		c.sets(at, old, next, func(v any) []any { return types(v) })
	case key == "enum":
		c.sets(at, old, next, func(v any) []any { list, _ := v.([]any); return list })
	case slices.Contains(lowerLimits, key):
		c.limit(at, old, next, -1)
	case slices.Contains(upperLimits, key):
		c.limit(at, old, next, +1)
	case key == "format":
		if c.formats {
			c.restriction(at, old, next)
		} else {
			c.add(at, "changed", "formats are annotations", Compatible)
		}
	case key == "$defs" || key == "definitions":
		c.definitions(at, old.v, next.v)
	case key == "items" || key == "additionalProperties":
		c.optional(at, old, next)
	case slices.Contains(restricting, key):
		c.restriction(at, old, next)
	default:
		c.add(at, "changed", "", Breaking)
	}
}

// properties compares declared members. In a closed object, a new one is a
// widening and one that is gone a narrowing; in an open one it is the reverse.
func (c *comparer) properties(pointer string, old, next any, closed [2]bool) {
	was, _ := old.(map[string]any)
	is, _ := next.(map[string]any)
	keys := maps.Clone(was)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, is)
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		at := pointer + jsonguard.Token(name)
		a, had := was[name]
		b, has := is[name]
		switch {
		case !had && (closed[0] || b == true):
			c.add(at, "added", "", Compatible)
		case !had:
			c.add(at, "added", "was not checked before", Breaking)
		case !has && closed[1]:
			c.add(at, "removed", "resources that have it are refused", Breaking)
		case !has:
			c.add(at, "removed", "is not checked any more", Compatible)
		default:
			c.subschema(at, a, b)
		}
	}
}

func (c *comparer) required(pointer string, old, next any) {
	was, _ := old.([]any)
	is, _ := next.([]any)
	for _, name := range is {
		if !slices.Contains(was, name) {
			c.add(pointer, "required", fmt.Sprintf("%q is required now", name), Breaking)
		}
	}
	for _, name := range was {
		if !slices.Contains(is, name) {
			c.add(pointer, "widened", fmt.Sprintf("%q is not required any more", name), Compatible)
		}
	}
}

// types returns the types of a "type" keyword; number includes integer.
func types(v any) []any {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if slices.Contains(list, any("number")) && !slices.Contains(list, any("integer")) {
		list = append(slices.Clone(list), "integer")
	}
	return list
}

// sets compares keywords whose value lists what is allowed.
func (c *comparer) sets(pointer string, old, next value, list func(any) []any) {
	if !old.ok || !next.ok {
		c.restriction(pointer, old, next)
		return
	}
	contains := func(all []any, v any) bool { return slices.ContainsFunc(all, func(e any) bool { return equal(e, v) }) }
	was, is := list(old.v), list(next.v)
	less := slices.ContainsFunc(was, func(v any) bool { return !contains(is, v) })
	more := slices.ContainsFunc(is, func(v any) bool { return !contains(was, v) })
	switch {
	case less:
		c.add(pointer, "narrowed", "allows less", Breaking)
	case more:
		c.add(pointer, "widened", "allows more", Compatible)
	}
}

// limit compares a number; direction says in which direction it allows more.
func (c *comparer) limit(pointer string, old, next value, direction int) {
	a, aok := rat(old.v)
	b, bok := rat(next.v)
	if !old.ok || !next.ok || !aok || !bok {
		c.restriction(pointer, old, next)
		return
	}
	switch b.Cmp(a) * direction {
	case 1:
		c.add(pointer, "widened", "allows more", Compatible)
	case -1:
		c.add(pointer, "narrowed", "allows less", Breaking)
	}
}

func rat(v any) (*big.Rat, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, false
	}
	return new(big.Rat).SetString(kedge.CanonicalDecimal(string(n)))
}

// restriction compares keywords that only take away.
func (c *comparer) restriction(pointer string, old, next value) {
	switch {
	case !next.ok:
		c.add(pointer, "widened", "is gone", Compatible)
	case !old.ok:
		c.add(pointer, "narrowed", "is new", Breaking)
	default:
		c.add(pointer, "narrowed", "differs", Breaking)
	}
}

// optional compares a subschema that may be absent, which is like true.
func (c *comparer) optional(pointer string, old, next value) {
	if !old.ok {
		old.v = true
	}
	if !next.ok {
		next.v = true
	}
	c.subschema(pointer, old.v, next.v)
}

// definitions compares what references lead to; definitions that nothing
// refers to matter to nobody, and references that change are found themselves.
func (c *comparer) definitions(pointer string, old, next any) {
	was, _ := old.(map[string]any)
	is, _ := next.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if b, has := is[name]; has {
			c.subschema(pointer+jsonguard.Token(name), was[name], b)
		}
	}
}
