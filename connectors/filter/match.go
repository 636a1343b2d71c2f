package filter

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// absent is the fourth result of a condition: a field that it needs is missing.
const absent Truth = 3

// A layout says where the fields of a bound filter are in records that share a
// field list.
type layout struct {
	fields *kedge.Fields
	pos    []int // by Node.Index; -1 if not there
}

// Match tests r, whose fields may be in any order. It returns ErrMissing if a
// field that decides is missing in r. e must be bound.
//
// It remembers where the fields of r are, so it is fastest if the records
// tested in a row share one field list; then it does not allocate, except for
// toupper and tolower of text that they change and for numbers with exponents
// or of different types.
func (e *Expr) Match(r *kedge.Record) (Truth, error) {
	if !e.bound {
		return Unknown, errors.New("filter: Match before Bind")
	}
	l := e.layout.Load()
	if l == nil || l.fields != r.Fields {
		l = e.newLayout(r.Fields)
		e.layout.Store(l)
	}
	m := matcher{values: r.Values, pos: l.pos}
	if t := m.condition(&e.root); t != absent {
		return t, nil
	}
	return Unknown, ErrMissing
}

func (e *Expr) newLayout(fields *kedge.Fields) *layout {
	l := &layout{fields: fields}
	e.root.walk(func(n *Node) {
		if n.Op != Field {
			return
		}
		for len(l.pos) <= n.Index {
			l.pos = append(l.pos, -1)
		}
		l.pos[n.Index] = fields.Index(n.Name)
	})
	return l
}

type matcher struct {
	values []kedge.Value
	pos    []int
}

func (m *matcher) condition(n *Node) Truth {
	switch n.Op {
	case And:
		return m.junction(n.Args, No)
	case Or:
		return m.junction(n.Args, Yes)
	case Not:
		return m.condition(&n.Args[0]).not()
	case Field:
		v := m.value(n)
		switch {
		case v.IsMissing():
			return absent
		case v.Type() != kedge.TypeBool:
			return Unknown
		}
		return truth(v.Bool())
	case In:
		return m.in(n.Args)
	}
	a, b := m.value(&n.Args[0]), m.value(&n.Args[1])
	if a.IsMissing() || b.IsMissing() {
		return absent
	}
	if a.IsNull() && n.Args[0].Op == Call || b.IsNull() && n.Args[1].Op == Call {
		return Unknown
	}
	switch n.Op {
	case Contains, StartsWith, EndsWith:
		return test(n.Op, a, b)
	}
	return compare(n.Op, a, b)
}

// junction tests args until one is decisive: No for "and", Yes for "or". A
// missing field counts only if nothing is decisive.
func (m *matcher) junction(args []Node, decisive Truth) Truth {
	result := decisive.not()
	for i := range args {
		switch t := m.condition(&args[i]); {
		case t == decisive:
			return t
		case t == absent || result == absent:
			result = absent
		case t == Unknown:
			result = Unknown
		}
	}
	return result
}

func (t Truth) not() Truth {
	if t == absent {
		return absent
	}
	return Yes - t
}

func truth(b bool) Truth {
	if b {
		return Yes
	}
	return No
}

func (m *matcher) in(args []Node) Truth {
	v := m.value(&args[0])
	switch {
	case v.IsMissing():
		return absent
	case v.IsNull() && args[0].Op == Call:
		return Unknown
	}
	for i := range args[1:] {
		if equal(v, args[i+1].Value) {
			return Yes
		}
	}
	return No
}

func test(op Op, text, part kedge.Value) Truth {
	if text.IsNull() || part.IsNull() {
		return Unknown
	}
	switch op {
	case Contains:
		return truth(strings.Contains(text.Str(), part.Str()))
	case StartsWith:
		return truth(strings.HasPrefix(text.Str(), part.Str()))
	}
	return truth(strings.HasSuffix(text.Str(), part.Str()))
}

func compare(op Op, a, b kedge.Value) Truth {
	switch op {
	case Eq:
		return truth(equal(a, b))
	case Ne:
		return truth(!equal(a, b))
	}
	c, ok := order(a, b)
	switch op {
	case Gt:
		ok = ok && c > 0
	case Ge:
		ok = ok && c >= 0
	case Lt:
		ok = ok && c < 0
	case Le:
		ok = ok && c <= 0
	}
	return truth(ok)
}

// value returns the value of the operand n; missing if a field is.
func (m *matcher) value(n *Node) kedge.Value {
	switch n.Op {
	case Literal:
		return n.Value
	case Field:
		if i := m.pos[n.Index]; i >= 0 && i < len(m.values) {
			return m.values[i]
		}
		return kedge.Value{}
	}
	return call(n.Name, m.value(&n.Args[0]))
}

// call returns the value of a function; v itself if it is empty.
func call(name string, v kedge.Value) kedge.Value {
	if v.IsEmpty() {
		return v
	}
	switch name {
	case "tolower":
		return kedge.String(strings.ToLower(v.Str()))
	case "toupper":
		return kedge.String(strings.ToUpper(v.Str()))
	case "trim":
		return kedge.String(strings.TrimSpace(v.Str()))
	case "length":
		return kedge.Int(int64(utf8.RuneCountInString(v.Str())))
	case "year":
		return kedge.Int(int64(v.Time().Year()))
	case "month":
		return kedge.Int(int64(v.Time().Month()))
	case "day":
		return kedge.Int(int64(v.Time().Day()))
	}
	return kedge.Date(v.Time())
}
