package sqltable

import (
	"math"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// where writes the part of a filter that the database tests exactly as kedge
// does, and reports whether that is all of it.
func (e *entity) where(q *query, expr *filter.Expr) (exact bool) {
	if expr == nil {
		q.WriteString("TRUE")
		return true
	}
	push, exact := expr.Split(func(n filter.Node) bool {
		switch n.Op {
		case filter.And, filter.Or, filter.Not, filter.Literal, filter.Call, filter.Now:
			return true // operands are looked at with their condition
		case filter.Field:
			return e.table.Column(n.Name) >= 0
		}
		r := renderer{e: e, q: &query{engine: e.engine}, ok: true}
		r.condition(&n, true)
		return r.ok
	})
	if push == nil {
		q.WriteString("TRUE")
		return false
	}
	root := push.Root()
	r := renderer{e: e, q: q, ok: true}
	r.condition(&root, false)
	return exact
}

// A renderer writes a bound filter as SQL. A condition that it cannot write
// sets ok to false.
//
// Three-valued logic is that of SQL, but for comparisons with null, which are
// No and not Unknown; below "not" that matters.
type renderer struct {
	e  *entity
	q  *query
	ok bool
}

func (r *renderer) write(text string) { r.q.WriteString(text) }

func (r *renderer) condition(n *filter.Node, negated bool) {
	switch n.Op {
	case filter.And:
		r.join(n.Args, " AND ", negated)
	case filter.Or:
		r.join(n.Args, " OR ", negated)
	case filter.Not:
		r.write("NOT (")
		r.condition(&n.Args[0], true)
		r.write(")")
	case filter.Field:
		r.operand(n)
		if r.q.engine == store.SQLite {
			r.write(" <> 0")
		}
	case filter.In:
		r.in(n, negated)
	case filter.Contains, filter.StartsWith, filter.EndsWith:
		r.test(n)
	default:
		r.comparison(n, negated)
	}
}

func (r *renderer) join(args []filter.Node, with string, negated bool) {
	r.write("(")
	for i := range args {
		if i > 0 {
			r.write(with)
		}
		r.condition(&args[i], negated)
	}
	r.write(")")
}

// comparable reports whether the database compares a and b as kedge does. One
// of them must be a literal, or both fields of one type.
func (r *renderer) comparable(a, b *filter.Node) bool {
	if a.Op == filter.Literal {
		a, b = b, a
	}
	switch {
	case a.Op == filter.Literal || !r.known(a) || !r.known(b):
		return false
	case b.Op == filter.Literal:
		return r.literalFits(a, b)
	case a.Op == filter.Call || b.Op == filter.Call || a.Type != b.Type || a.Format != b.Format:
		return false
	}
	x, y := r.column(a), r.column(b)
	return x.Storage == y.Storage && x.Storage != catalog.Float && x.Cast == y.Cast && x.Native == y.Native
}

// literalFits reports whether comparing a with the literal b loses nothing.
func (r *renderer) literalFits(a, b *filter.Node) bool {
	v, sqlite := b.Value, r.q.engine == store.SQLite
	switch {
	case v.IsNull():
		return true
	case a.Type == kedge.TypeInt && v.Type() == kedge.TypeDecimal, a.Type == kedge.TypeDecimal && v.Type() == kedge.TypeInt:
		return !sqlite
	case a.Type != v.Type():
		return false
	}
	switch v.Type() {
	case kedge.TypeFloat:
		return !math.IsNaN(v.Float())
	case kedge.TypeString:
		return strings.IndexByte(v.Str(), 0) < 0
	case kedge.TypeTime:
		return sqlite || v.Time().Nanosecond()%1000 == 0 // finer than PostgreSQL has
	}
	return v.Type() != kedge.TypeJSON
}

func (r *renderer) column(n *filter.Node) *column {
	return &r.e.columns[r.e.table.Column(n.Name)]
}

// known reports whether the operand n can be written.
func (r *renderer) known(n *filter.Node) bool {
	if n.Op == filter.Literal {
		return true
	}
	if n.Op == filter.Call {
		return n.Args[0].Op == filter.Field && r.known(&n.Args[0]) && n.Name != "tolower" && n.Name != "toupper" &&
			(n.Name != "length" || r.q.engine == store.Postgres) // SQLite's length ends at a NUL
	}
	at := r.e.table.Column(n.Name)
	if n.Op != filter.Field || at < 0 || r.e.columns[at].Type != n.Type {
		return false
	}
	c := &r.e.columns[at]
	if r.q.engine == store.Postgres {
		return c.Cast != "citext" && c.Cast != "bpchar" // they compare without case, or without trailing spaces
	}
	// Decimals are text; times of other programs have many forms.
	return c.Storage != catalog.Decimal && c.Storage != catalog.LocalTime && (c.Storage != catalog.Date || c.Native == "TEXT_DATE")
}

var operators = map[filter.Op]string{filter.Eq: " = ", filter.Ne: " <> ", filter.Gt: " > ", filter.Ge: " >= ", filter.Lt: " < ", filter.Le: " <= "}

func (r *renderer) comparison(n *filter.Node, negated bool) {
	a, b := &n.Args[0], &n.Args[1]
	if !r.comparable(a, b) {
		r.ok = false
		return
	}
	if a.Value.IsNull() || b.Value.IsNull() {
		r.nullComparison(n)
		return
	}
	call := a.Op == filter.Call || b.Op == filter.Call // Unknown if null, as in SQL
	if n.Op == filter.Ne && !call {
		r.operand(a)
		r.write(distinct(r.q.engine))
		r.operand(b)
		return
	}
	if negated && !call {
		r.write("coalesce(")
		defer r.write(", FALSE)")
	}
	r.write("(")
	r.ordered(a, n.Op)
	r.write(operators[n.Op])
	r.ordered(b, n.Op)
	r.notNaN(n, a, b)
	r.write(")")
}

// nullComparison writes a comparison with the literal null.
func (r *renderer) nullComparison(n *filter.Node) {
	field := &n.Args[0]
	if field.Op == filter.Literal {
		field = &n.Args[1]
	}
	switch n.Op {
	case filter.Eq:
		r.write(r.column(field).ref + " IS NULL")
	case filter.Ne:
		r.write(r.column(field).ref + " IS NOT NULL")
	default:
		r.write("FALSE")
	}
}

// ordered writes an operand; texts are ordered by code point.
func (r *renderer) ordered(n *filter.Node, op filter.Op) {
	r.operand(n)
	if r.q.engine == store.Postgres && n.Type == kedge.TypeString && n.Format != kedge.FormatGUID && n.Op != filter.Literal && op != filter.Eq {
		r.write(` COLLATE "C"`)
	}
}

// notNaN excludes NaN, which PostgreSQL takes for the greatest number.
func (r *renderer) notNaN(n, a, b *filter.Node) {
	if r.q.engine == store.SQLite || n.Op == filter.Eq || a.Type != kedge.TypeFloat {
		return
	}
	for _, x := range []*filter.Node{a, b} {
		if x.Op == filter.Field {
			r.write(" AND " + r.column(x).ref + " <> 'NaN'")
		}
	}
}

func (r *renderer) in(n *filter.Node, negated bool) {
	operand, items, null := &n.Args[0], 0, false
	for i := range n.Args[1:] {
		if !r.comparable(operand, &n.Args[i+1]) {
			r.ok = false
			return
		}
		null = null || n.Args[i+1].Value.IsNull()
	}
	r.write("(")
	if null {
		r.write(r.column(operand).ref + " IS NULL OR ")
	}
	if negated && operand.Op == filter.Field {
		r.write("coalesce(")
		defer r.write(", FALSE))")
	} else {
		defer r.write(")")
	}
	for i := range n.Args[1:] {
		v := &n.Args[i+1]
		if v.Value.IsNull() {
			continue
		}
		if items == 0 {
			r.operand(operand)
			r.write(" IN (")
		} else {
			r.write(", ")
		}
		r.operand(v)
		items++
	}
	if items == 0 {
		r.write("FALSE")
		return
	}
	r.write(")")
}

// test writes contains, startswith or endswith.
func (r *renderer) test(n *filter.Node) {
	text, part := &n.Args[0], &n.Args[1]
	for _, x := range []*filter.Node{text, part} {
		if !r.known(x) || x.Op == filter.Literal && (x.Value.IsNull() || strings.IndexByte(x.Value.Str(), 0) >= 0) {
			r.ok = false
			return
		}
	}
	if text.Op == filter.Literal && part.Op == filter.Literal {
		r.ok = false
		return
	}
	pair := func(before, between, after string) {
		r.write(before)
		r.operand(text)
		r.write(between)
		r.operand(part)
		r.write(after)
	}
	sqlite := r.q.engine == store.SQLite
	switch {
	case n.Op == filter.Contains && sqlite:
		pair("instr(", ", ", ") > 0")
	case n.Op == filter.Contains:
		pair("strpos(", ", ", ") > 0")
	case n.Op == filter.StartsWith && sqlite:
		pair("instr(", ", ", ") = 1")
	case n.Op == filter.StartsWith:
		pair("starts_with(", ", ", ")")
	case sqlite:
		r.sqliteEnds(text, part)
	default:
		pair("right(", ", char_length(", ")) = ")
		r.operand(part)
	}
}

// sqliteEnds compares bytes, because SQLite counts characters only up to a NUL.
func (r *renderer) sqliteEnds(text, part *filter.Node) {
	if part.Op != filter.Literal {
		r.ok = false
		return
	}
	if part.Value.Str() == "" {
		r.write("nullif(") // TRUE, or null of null
		r.operand(text)
		r.write(" IS NOT NULL, FALSE)")
		return
	}
	r.write("CASE WHEN ")
	r.operand(text)
	r.write(" IS NOT NULL THEN coalesce(substr(CAST(") // substr of nothing is null
	r.operand(text)
	r.write(" AS BLOB), -" + strconv.Itoa(len(part.Value.Str())) + "), x'') = CAST(")
	r.operand(part)
	r.write(" AS BLOB) END")
}

// operand writes a field, a literal or a function of a field.
func (r *renderer) operand(n *filter.Node) {
	switch n.Op {
	case filter.Literal:
		r.literal(n)
	case filter.Call:
		r.call(n)
	case filter.Field:
		if !r.known(n) {
			r.ok = false
			return
		}
		c := r.column(n)
		r.write(c.ref + c.compareAs())
		if r.q.engine == store.SQLite && c.Type == kedge.TypeString {
			r.write(" COLLATE BINARY")
		}
	default:
		r.ok = false
	}
}

// literal writes a literal as an argument of its own type.
func (r *renderer) literal(n *filter.Node) {
	c := column{Column: catalog.Column{Type: n.Value.Type(), Storage: literalStorage[n.Value.Type()]}}
	if n.Format == kedge.FormatGUID {
		c.Storage = catalog.UUID
	}
	r.q.value(&c, n.Value)
}

var literalStorage = map[kedge.Type]catalog.Storage{
	kedge.TypeBool: catalog.Bool, kedge.TypeInt: catalog.Int, kedge.TypeFloat: catalog.Float, kedge.TypeDecimal: catalog.Decimal,
	kedge.TypeTime: catalog.Time, kedge.TypeDate: catalog.Date, kedge.TypeBytes: catalog.Bytes,
}

// call writes a function of a field.
func (r *renderer) call(n *filter.Node) {
	if !r.known(n) {
		r.ok = false
		return
	}
	ref := r.column(&n.Args[0]).ref
	if r.q.engine == store.SQLite {
		r.write(sqliteCall(n.Name, ref))
		return
	}
	if r.column(&n.Args[0]).Storage == catalog.Time {
		ref = "(" + ref + " AT TIME ZONE 'UTC')"
	}
	switch n.Name {
	case "length":
		r.write("char_length(" + ref + ")")
	case "trim":
		r.write("btrim(" + ref + ", ")
		r.q.arg(filter.Space, "text")
		r.write(")")
	case "date":
		r.write(ref + "::date")
	default:
		r.write("extract(" + n.Name + " FROM " + ref + ")::bigint")
	}
}

// sqliteCall takes times and dates apart as the texts that they are.
func sqliteCall(name, ref string) string {
	switch name {
	case "trim":
		return "trim(" + ref + ", '" + filter.Space + "')"
	case "date":
		return "substr(" + ref + ", 1, 10)"
	case "year":
		return "CAST(substr(" + ref + ", 1, 4) AS INTEGER)"
	case "month":
		return "CAST(substr(" + ref + ", 6, 2) AS INTEGER)"
	}
	return "CAST(substr(" + ref + ", 9, 2) AS INTEGER)"
}
