package filter

import "github.com/kedge-sync/kedge"

// An Op is what a [Node] of a filter does.
type Op uint8

// The operators. Each comment gives the arguments of the node.
const (
	And        Op = iota + 1 // two or more conditions, none of them And
	Or                       // two or more conditions, none of them Or
	Not                      // one condition
	Eq                       // two operands
	Ne                       // two operands
	Gt                       // two operands
	Ge                       // two operands
	Lt                       // two operands
	Le                       // two operands
	In                       // an operand and one or more literals
	Contains                 // text, part
	StartsWith               // text, part
	EndsWith                 // text, part
	Field                    // none; Name is the field. Alone it is a condition on a bool field
	Literal                  // none; Value is the value
	Call                     // one operand; Name is the function: tolower, toupper, trim, length, year, month, day, date
	Now                      // none, or one duration literal with Name "add" or "sub". Bind replaces it by a Literal
)

// A Node is one part of a filter's syntax tree. Renderers read it; only this
// package makes it.
type Node struct {
	Op    Op
	Args  []Node
	Name  string // of a Field, Call or Now; of a Literal the type that it is prefixed with: "Ns.Enum"
	Index int    // of a bound Field: its position in the entity's fields

	// Value is the value of a Literal. Once bound it has the type of what it
	// is compared with, but for two: null, and a number that the type cannot
	// hold (2.5 for an int, INF for a decimal), which keeps its own type.
	Value  kedge.Value
	Type   kedge.Type   // of a bound operand; of a bound null that of what it is compared with
	Format kedge.Format // of a bound operand and of each literal
	Raw    string       // of a Literal: its text in the source, with prefix and quotes ("duration'P30D'", "Ns.Enum'Red'")
	Column int          // where it starts, in runes from 1
}

// walk calls f for n and all below it.
func (n *Node) walk(f func(*Node)) {
	f(n)
	for i := range n.Args {
		n.Args[i].walk(f)
	}
}

// all reports whether f holds for n and all below it.
func (n *Node) all(f func(Node) bool) bool {
	if !f(*n) {
		return false
	}
	for i := range n.Args {
		if !n.Args[i].all(f) {
			return false
		}
	}
	return true
}
