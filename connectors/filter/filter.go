// Package filter is the one filter language of kedge: a subset of the OData
// $filter syntax that is parsed, checked against an entity, evaluated here
// and split into the part a remote system can evaluate and the rest.
//
// # Language
//
//	or      = and *("or" and)
//	and     = unary *("and" unary)
//	unary   = ["not"] prim
//	prim    = "(" or ")" | operand cmp operand | operand "in" "(" lit *("," lit) ")"
//	        | test "(" operand "," operand ")" | bool-field
//	cmp     = "eq" | "ne" | "gt" | "ge" | "lt" | "le"
//	test    = "contains" | "startswith" | "endswith"
//	operand = lit | name *("/" name) | fn "(" operand ")" | "now()" [("add" | "sub") duration]
//	fn      = "tolower" | "toupper" | "trim" | "length" | "year" | "month" | "day" | "date"
//
// Literals are null, true, false, 42, 19.90, 1e3, INF, NaN, 'text' with each
// quote in it doubled, a bare guid, 2026-01-31, 2026-01-31T10:00:00Z, 10:00:00,
// duration'P30D' and Ns.Enum'Red'. "not" stands only before a parenthesis, a
// test or a bool field, because readers disagree about "not a eq 1".
//
// # Meaning
//
// Conditions are Yes, No or Unknown, and only Yes passes. As in OData (URL
// Conventions 4.01, 5.1.1.1), null eq null is Yes, ne is the opposite of eq,
// and gt, ge, lt and le with null are No, so that not (a gt 5) is Yes for
// null. A null bool field, and each test or comparison with a function of
// null, is Unknown. Numbers compare exactly; strings compare by code point,
// with case; a time-of-day or duration compares as the text that was sent;
// NaN equals nothing. A float field compares with the nearest float of a
// literal. Functions of a time see it in UTC.
package filter

import (
	"slices"
	"sync/atomic"
)

// The limits of a filter.
const (
	MaxLength = 8 << 10 // bytes, of the text as written and in its canonical form
	MaxDepth  = 64      // parentheses inside each other
	MaxIn     = 1000    // literals of one "in"
)

// Space holds the characters that the function trim removes: those with the
// property White_Space in Unicode.
const Space = "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"

// A Truth is the result of testing a record: three-valued, as null demands.
type Truth uint8

// The truth values. Only Yes passes a filter.
const (
	No Truth = iota
	Unknown
	Yes
)

// String returns "no", "unknown" or "yes".
func (t Truth) String() string { return [...]string{"no", "unknown", "yes"}[min(t, Yes)] }

// An Expr is a parsed filter. It is immutable and safe for concurrent use.
type Expr struct {
	root     Node
	bound    bool
	volatile bool
	layout   atomic.Pointer[layout] // of the records tested last
}

// Root returns the syntax tree, for renderers.
func (e *Expr) Root() Node { return e.root }

// Volatile reports whether e uses now(), so that records leave it without
// being changed. It stays true when Bind has replaced now().
func (e *Expr) Volatile() bool { return e.volatile }

// Fields returns the names of the fields that e needs, sorted.
func (e *Expr) Fields() []string {
	var names []string
	e.root.walk(func(n *Node) {
		if n.Op == Field {
			names = append(names, n.Name)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// Split returns the part of e whose nodes can all be evaluated elsewhere, as
// decided by can, and whether it is all of e. push selects a superset of e; it
// is nil if nothing can be pushed. Conditions joined by "and" at the top are
// pushed one by one; "or" and "not" go whole or not at all. can sees
// conditions and operands alike, each before its arguments.
func (e *Expr) Split(can func(Node) bool) (push *Expr, exact bool) {
	parts := []Node{e.root}
	if e.root.Op == And {
		if !can(Node{Op: And, Args: e.root.Args, Column: e.root.Column}) {
			return nil, false
		}
		parts = e.root.Args
	}
	var pushed []Node
	for i := range parts {
		if parts[i].all(can) {
			pushed = append(pushed, parts[i])
		}
	}
	switch len(pushed) {
	case 0:
		return nil, false
	case len(parts):
		return e, true
	case 1:
		return &Expr{root: pushed[0], bound: e.bound, volatile: e.volatile}, false
	}
	root := Node{Op: And, Args: pushed, Column: pushed[0].Column}
	return &Expr{root: root, bound: e.bound, volatile: e.volatile}, false
}
