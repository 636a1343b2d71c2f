package filter

import (
	"strconv"
	"time"

	"github.com/kedge-sync/kedge"
)

// Bind checks e against the fields of ent, types each node, and replaces
// now() by the given time and functions of literals by their values. Names
// match with case. The error is a *[SyntaxError].
func (e *Expr) Bind(ent *kedge.Entity, now time.Time) (*Expr, error) {
	b := binder{ent: ent, index: make(map[string]int, len(ent.Fields)), now: now}
	for i := range ent.Fields {
		b.index[ent.Fields[i].Name] = i
	}
	root, err := b.condition(&e.root)
	if err != nil {
		return nil, err
	}
	return &Expr{root: root, bound: true, volatile: e.volatile}, nil
}

type binder struct {
	ent   *kedge.Entity
	index map[string]int
	now   time.Time
}

func (b *binder) condition(src *Node) (Node, error) {
	n := *src
	switch n.Op {
	case And, Or, Not:
		n.Args = make([]Node, len(src.Args))
		for i := range src.Args {
			var err error
			if n.Args[i], err = b.condition(&src.Args[i]); err != nil {
				return n, err
			}
		}
		return n, nil
	case Field:
		n, err := b.operand(src)
		if err == nil && n.Type != kedge.TypeBool {
			err = fail(&n, strconv.Quote(n.Name)+" is "+kindOf(&n)+", not bool", "compare it with something")
		}
		return n, err
	}
	n.Args = make([]Node, len(src.Args))
	for i := range src.Args {
		var err error
		if n.Args[i], err = b.operand(&src.Args[i]); err != nil {
			return n, err
		}
	}
	switch n.Op {
	case In:
		for i := range n.Args[1:] {
			if err := b.align(&n.Args[0], &n.Args[i+1]); err != nil {
				return n, err
			}
		}
		return n, nil
	case Contains, StartsWith, EndsWith:
		return n, textOnly(n.Op.String(), n.Args)
	}
	return n, b.comparison(&n)
}

func (b *binder) operand(src *Node) (Node, error) {
	n := *src
	switch n.Op {
	case Field:
		i, ok := b.index[n.Name]
		if !ok {
			return n, fail(&n, "unknown field "+strconv.Quote(n.Name), b.nearest(n.Name))
		}
		n.Index, n.Type, n.Format = i, b.ent.Fields[i].Type, b.ent.Fields[i].Format
	case Literal:
		n.Type = n.Value.Type()
	case Now:
		t, ok := b.shifted(&n)
		if !ok {
			return n, fail(&n, "time is outside the years 1 to 9999", "")
		}
		return Node{Op: Literal, Value: kedge.Time(t), Type: kedge.TypeTime, Column: n.Column}, nil
	case Call:
		arg, err := b.operand(&src.Args[0])
		if err != nil {
			return n, err
		}
		n.Args = []Node{arg}
		return bindCall(n)
	}
	return n, nil
}

func (b *binder) nearest(name string) string {
	names := make([]string, len(b.ent.Fields))
	for i := range b.ent.Fields {
		names[i] = b.ent.Fields[i].Name
	}
	return didYouMean(name, names)
}

// shifted returns the time that the Now node n stands for.
func (b *binder) shifted(n *Node) (time.Time, bool) {
	t := b.now.UTC()
	if n.Name != "" {
		d, _ := parseDuration(n.Args[0].Value.Str())
		if n.Name == "sub" {
			d = -d
		}
		t = t.Add(d)
	}
	return t, fits(t)
}

func bindCall(n Node) (Node, error) {
	arg := &n.Args[0]
	switch n.Name {
	case "tolower", "toupper", "trim", "length":
		if err := textOnly(n.Name, n.Args); err != nil {
			return n, err
		}
		n.Type = kedge.TypeString
	default:
		if arg.Type != kedge.TypeTime && arg.Type != kedge.TypeDate {
			return n, fail(arg, n.Name+" needs a time or date, not "+kindOf(arg), "")
		}
		n.Type = kedge.TypeDate
	}
	switch n.Name {
	case "length", "year", "month", "day":
		n.Type = kedge.TypeInt
	}
	if arg.Op == Literal {
		return Node{Op: Literal, Value: call(n.Name, arg.Value), Type: n.Type, Column: n.Column}, nil
	}
	return n, nil
}

// textOnly returns an error unless all args are plain strings.
func textOnly(name string, args []Node) error {
	for i := range args {
		if a := &args[i]; a.Type != kedge.TypeString || a.Format != kedge.FormatNone {
			return fail(a, name+" needs a string, not "+kindOf(a), "")
		}
	}
	return nil
}

func (b *binder) comparison(n *Node) error {
	if err := b.align(&n.Args[0], &n.Args[1]); err != nil {
		return err
	}
	if n.Op == Eq || n.Op == Ne {
		return nil
	}
	for i := range n.Args {
		if a := &n.Args[i]; !ordered(a) && !a.Value.IsNull() {
			return fail(a, kindOf(a)+" has no order", `use "eq", "ne" or "in"`)
		}
	}
	return nil
}

func ordered(n *Node) bool {
	switch n.Type {
	case kedge.TypeBool, kedge.TypeBytes, kedge.TypeJSON, kedge.TypeNull:
		return false
	}
	return n.Format == kedge.FormatNone || n.Format == kedge.FormatClock
}

func fail(n *Node, msg, hint string) error {
	return &SyntaxError{Column: n.Column, Msg: msg, Hint: hint}
}
