package odata

import (
	"math"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// push returns the part of expr that the service evaluates, as $filter, and
// whether nothing is left to test.
func (d *Driver) push(e *entity, expr *filter.Expr) (text string, exact bool) {
	f := filters{e: e, or: *d.cfg.OrFilters, negate: *d.cfg.PushStringNegation}
	if !e.info.Filter {
		return "", false
	}
	part, exact := expr.Split(f.can)
	if part == nil {
		return "", false
	}
	root := part.Root()
	text = f.render(&root, false)
	if len(wire.EscapeQuery(text)) > d.cfg.MaxURL/2 {
		return "", false // it would leave no room for the rest of the URL
	}
	// Tested again: strings, which a service may compare without case, and bool
	// fields alone, of which "eq true" makes No where null is Unknown.
	return text, exact && root.Op != filter.Field && !f.any(&root, func(n *filter.Node) bool {
		return n.Type == kedge.TypeString || f.bareField(n)
	})
}

// filters decides what an entity's service can evaluate, and writes it as
// $filter (URL Conventions 4.01, 5.1.1). What it selects must be a superset of
// what kedge selects. So these stay here: the order of strings, which depends
// on a collation; functions, whose meaning differs in time zones and in what
// counts as a letter; equality of floats, which are rounded on the way.
type filters struct {
	e      *entity
	or     bool // or over different fields
	negate bool // negated tests of strings
}

func (f *filters) can(n filter.Node) bool {
	switch n.Op {
	case filter.And, filter.Field:
		return n.Op == filter.And || f.filterable(n.Name)
	case filter.Or:
		return f.or || f.oneField(&n)
	case filter.Not:
		return f.negate || !f.any(&n, func(n *filter.Node) bool { return n.Type == kedge.TypeString })
	case filter.Eq, filter.Ne, filter.In:
		return f.canEqual(&n)
	case filter.Gt, filter.Ge, filter.Lt, filter.Le:
		return n.Args[0].Type != kedge.TypeString && n.Args[0].Type != kedge.TypeBytes
	case filter.Contains, filter.StartsWith, filter.EndsWith:
		return true
	case filter.Literal:
		return canWrite(&n)
	}
	return false
}

func (f *filters) filterable(field string) bool {
	return f.e.info.Field(field) != nil && !slices.Contains(f.e.set.Hints.Unfilterable, field)
}

func (f *filters) canEqual(n *filter.Node) bool {
	switch a := &n.Args[0]; {
	case a.Type == kedge.TypeFloat || n.Args[1].Type == kedge.TypeFloat, a.Type == kedge.TypeBytes, a.Type == kedge.TypeJSON:
		return isNull(&n.Args[1])
	case n.Op == filter.Ne && a.Type == kedge.TypeString && !isNull(&n.Args[1]):
		return f.negate && a.Format != kedge.FormatClock && a.Format != kedge.FormatDuration
	case n.Op == filter.In:
		return len(n.Args) <= 50
	}
	return true
}

func isNull(n *filter.Node) bool { return n.Op == filter.Literal && n.Value.IsNull() }

// canWrite reports whether a literal can be written for every service.
func canWrite(n *filter.Node) bool {
	switch n.Value.Type() {
	case kedge.TypeNull, kedge.TypeBool, kedge.TypeInt, kedge.TypeDecimal, kedge.TypeString, kedge.TypeTime, kedge.TypeDate:
		return true
	case kedge.TypeFloat:
		return !math.IsNaN(n.Value.Float()) && !math.IsInf(n.Value.Float(), 0)
	}
	return false
}

// any reports whether is holds for n or a node below it.
func (f *filters) any(n *filter.Node, is func(*filter.Node) bool) bool {
	if is(n) {
		return true
	}
	for i := range n.Args {
		if f.any(&n.Args[i], is) {
			return true
		}
	}
	return false
}

// bareField reports whether a condition in n is a bool field alone.
func (f *filters) bareField(n *filter.Node) bool {
	switch n.Op {
	case filter.And, filter.Or, filter.Not:
		return slices.ContainsFunc(n.Args, func(a filter.Node) bool { return a.Op == filter.Field })
	}
	return false
}

// oneField reports whether n is about one field only.
func (f *filters) oneField(n *filter.Node) bool {
	name := ""
	return !f.any(n, func(n *filter.Node) bool {
		if n.Op != filter.Field {
			return false
		}
		other := name != "" && n.Name != name
		name = n.Name
		return other
	})
}

// render writes a condition. inner tells that it is an argument of and, or, not.
func (f *filters) render(n *filter.Node, inner bool) string {
	switch n.Op {
	case filter.And, filter.Or:
		parts := make([]string, len(n.Args))
		for i := range n.Args {
			parts[i] = f.render(&n.Args[i], true)
		}
		return enclose(strings.Join(parts, map[filter.Op]string{filter.And: " and ", filter.Or: " or "}[n.Op]), inner)
	case filter.Not:
		return "not (" + f.render(&n.Args[0], false) + ")"
	case filter.Field:
		return n.Name + " eq true"
	case filter.In: // the operator in is not in 4.0
		parts := make([]string, len(n.Args)-1)
		for i := range parts {
			parts[i] = f.operand(&n.Args[0], &n.Args[0]) + " eq " + f.operand(&n.Args[i+1], &n.Args[0])
		}
		return enclose(strings.Join(parts, " or "), inner && len(parts) > 1)
	}
	a, b := f.operand(&n.Args[0], &n.Args[1]), f.operand(&n.Args[1], &n.Args[0])
	if name, ok := testNames[n.Op]; ok {
		return name + "(" + a + "," + b + ")"
	}
	return a + " " + comparisonNames[n.Op] + " " + b
}

var testNames = map[filter.Op]string{filter.Contains: "contains", filter.StartsWith: "startswith", filter.EndsWith: "endswith"}

var comparisonNames = map[filter.Op]string{
	filter.Eq: "eq", filter.Ne: "ne", filter.Gt: "gt", filter.Ge: "ge", filter.Lt: "lt", filter.Le: "le",
}

func enclose(text string, inner bool) string {
	if inner {
		return "(" + text + ")"
	}
	return text
}

// operand writes a field or a literal, which has the type of other if that is
// a field.
func (f *filters) operand(n, other *filter.Node) string {
	if n.Op == filter.Field {
		return n.Name
	}
	if n.Value.IsNull() {
		return "null"
	}
	c := wire.Column{Type: n.Value.Type(), Format: n.Format}
	if other.Op == filter.Field {
		c.EnumType = f.e.columns[other.Name].EnumType
	}
	return wire.Literal(&c, n.Value.Text())
}
