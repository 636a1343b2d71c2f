package filter

import "github.com/kedge-sync/kedge"

// An Op is what a [Node] of a filter does.
type Op uint8

// The operators. Each comment gives the arguments of the node.
const (
	And        Op = iota + 1 // two or more conditions
	Or                       // two or more conditions
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
	Op     Op
	Args   []Node
	Name   string       // of a Field, Call or Now
	Index  int          // of a bound Field: its position in the entity's fields
	Value  kedge.Value  // of a Literal; bound literals have the type of what they are compared with
	Type   kedge.Type   // of a bound operand
	Format kedge.Format // of a bound operand
	Raw    string       // of a Literal: its text in the source, with prefix and quotes ("duration'P30D'", "Ns.Enum'Red'")
	Column int          // where it starts, in runes from 1
}
