package sqllist

import (
	"strings"

	"github.com/uptrace/bun/dialect"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// A renderer writes a bound filter as SQL that means the same on SQLite and
// PostgreSQL. What it cannot write is refused.
type renderer[T any] struct {
	list    List[T]
	dialect dialect.Name
	sql     strings.Builder
	args    []any
	err     error
}

func (r *renderer[T]) write(text string, args ...any) {
	r.sql.WriteString(text)
	r.args = append(r.args, args...)
}

var comparisons = map[filter.Op]string{filter.Eq: "=", filter.Ne: "<>", filter.Gt: ">", filter.Ge: ">=", filter.Lt: "<", filter.Le: "<="}

// condition writes n. What is Unknown in the filter language is null in SQL,
// which "not" leaves alone; comparisons are never Unknown.
func (r *renderer[T]) condition(n *filter.Node) {
	switch n.Op {
	case filter.And, filter.Or:
		with := map[filter.Op]string{filter.And: " AND ", filter.Or: " OR "}[n.Op]
		r.write("(")
		for i := range n.Args {
			if i > 0 {
				r.write(with)
			}
			r.condition(&n.Args[i])
		}
		r.write(")")
	case filter.Not:
		r.write("NOT (")
		r.condition(&n.Args[0])
		r.write(")")
	case filter.Field:
		r.write(r.column(n)+" = ?", true)
	case filter.In:
		r.write("(")
		for i := 1; i < len(n.Args); i++ {
			if i > 1 {
				r.write(" OR ")
			}
			r.equal(&n.Args[0], &n.Args[i], filter.Eq)
		}
		r.write(")")
	case filter.Contains, filter.StartsWith, filter.EndsWith:
		r.text(n)
	default:
		a, b, op := &n.Args[0], &n.Args[1], n.Op
		if a.Op == filter.Literal {
			a, b, op = b, a, turned(op)
		}
		r.equal(a, b, op)
	}
}

// turned returns the comparison with its sides exchanged.
func turned(op filter.Op) filter.Op {
	switch op {
	case filter.Gt:
		return filter.Lt
	case filter.Ge:
		return filter.Le
	case filter.Lt:
		return filter.Gt
	case filter.Le:
		return filter.Ge
	}
	return op
}

func (r *renderer[T]) equal(field, literal *filter.Node, op filter.Op) {
	if literal.Op != filter.Literal {
		r.refuse()
		return
	}
	column := r.column(field)
	switch {
	case strings.IndexByte(literal.Value.Str(), 0) >= 0:
		r.refuse() // PostgreSQL has no such text
	case literal.Value.IsNull() && op == filter.Eq:
		r.write(column + " IS NULL")
	case literal.Value.IsNull() && op == filter.Ne:
		r.write(column + " IS NOT NULL")
	case literal.Value.IsNull():
		r.write("1 = 0")
	case op == filter.Ne:
		r.write("coalesce("+column+" <> ?, TRUE)", argument(literal.Value))
	default:
		r.write("coalesce("+column+" "+comparisons[op]+" ?, FALSE)", argument(literal.Value))
	}
}

// text writes a test of a part of a text, with case on both engines.
func (r *renderer[T]) text(n *filter.Node) {
	field, part := &n.Args[0], &n.Args[1]
	if part.Op != filter.Literal || part.Value.IsNull() {
		r.refuse()
		return
	}
	column, want := r.column(field), part.Value.Str()
	switch {
	case strings.IndexByte(want, 0) >= 0:
		r.refuse()
	case want == "":
		r.write(column + " = " + column)
	case n.Op == filter.Contains:
		r.write("replace("+column+", ?, '') <> "+column, want)
	case n.Op == filter.StartsWith:
		r.write("substr("+column+", 1, length(?)) = ?", want, want)
	default:
		r.write("substr("+column+", length("+column+") - length(?) + 1) = ?", want, want)
	}
}

func (r *renderer[T]) column(n *filter.Node) string {
	if n.Op != filter.Field {
		r.refuse()
		return ""
	}
	return r.list.column(n.Name).text(r.dialect)
}

func (r *renderer[T]) refuse() {
	r.err = invalid("filter: this list compares its columns with values only, without functions; it has %s", strings.Join(r.list.names(), ", "))
}

// argument returns a value for the database driver.
func argument(v kedge.Value) any {
	switch v.Type() {
	case kedge.TypeInt:
		return v.Int()
	case kedge.TypeBool:
		return v.Bool()
	case kedge.TypeTime:
		return v.Time()
	case kedge.TypeFloat:
		return v.Float()
	}
	return v.Str()
}

// text returns the column for comparing and ordering: texts by code point.
func (c *Column[T]) text(d dialect.Name) string {
	if d == dialect.PG && c.Type == kedge.TypeString {
		return c.SQL + ` COLLATE "C"`
	}
	return c.SQL
}
