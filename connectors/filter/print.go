package filter

import (
	"strings"

	"github.com/kedge-sync/kedge"
)

// String returns the canonical text of e: one space around words, no needless
// parentheses, times in UTC. Parsing it gives the same tree.
func (e *Expr) String() string {
	var b strings.Builder
	e.root.print(&b)
	return b.String()
}

var words = map[Op]string{
	And: "and", Or: "or", Not: "not", Eq: "eq", Ne: "ne", Gt: "gt", Ge: "ge", Lt: "lt", Le: "le", In: "in",
	Contains: "contains", StartsWith: "startswith", EndsWith: "endswith",
}

// String returns the operator as it is written, and "" for operands.
func (o Op) String() string { return words[o] }

func (n *Node) print(b *strings.Builder) {
	switch n.Op {
	case And, Or:
		for i := range n.Args {
			if i > 0 {
				b.WriteString(" " + words[n.Op] + " ")
			}
			n.Args[i].printIn(b, n.Op == And && n.Args[i].Op == Or)
		}
	case Not:
		b.WriteString("not ")
		op := n.Args[0].Op
		n.Args[0].printIn(b, op != Field && op != Contains && op != StartsWith && op != EndsWith)
	case Eq, Ne, Gt, Ge, Lt, Le:
		n.Args[0].print(b)
		b.WriteString(" " + words[n.Op] + " ")
		n.Args[1].print(b)
	case In:
		n.Args[0].print(b)
		b.WriteString(" in ")
		printList(b, n.Args[1:])
	case Contains, StartsWith, EndsWith:
		b.WriteString(words[n.Op])
		printList(b, n.Args)
	case Field:
		b.WriteString(n.Name)
	case Literal:
		n.printLiteral(b)
	case Call:
		b.WriteString(n.Name)
		printList(b, n.Args)
	case Now:
		b.WriteString("now()")
		if n.Name != "" {
			b.WriteString(" " + n.Name + " ")
			n.Args[0].print(b)
		}
	}
}

func (n *Node) printIn(b *strings.Builder, parentheses bool) {
	if !parentheses {
		n.print(b)
		return
	}
	b.WriteByte('(')
	n.print(b)
	b.WriteByte(')')
}

func printList(b *strings.Builder, args []Node) {
	b.WriteByte('(')
	for i := range args {
		if i > 0 {
			b.WriteByte(',')
		}
		args[i].print(b)
	}
	b.WriteByte(')')
}

func (n *Node) printLiteral(b *strings.Builder) {
	switch {
	case n.Value.IsNull():
		b.WriteString("null")
	case n.Value.Type() != kedge.TypeString, n.Format == kedge.FormatGUID, n.Format == kedge.FormatClock:
		b.WriteString(n.Value.Text())
	default:
		if n.Format == kedge.FormatDuration {
			b.WriteString("duration")
		}
		b.WriteString(n.Name)
		b.WriteString("'" + strings.ReplaceAll(n.Value.Str(), "'", "''") + "'")
	}
}
