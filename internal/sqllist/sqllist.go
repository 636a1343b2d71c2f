// Package sqllist gives lists one form: a page of rows, filtered in kedge's
// filter language, in an order, with a cursor that stays right while rows come
// and go. Lists are read from a table by [Rows], or are slices, for [Slice].
package sqllist

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// A Query says which part of a list is wanted. The zero Query is the first
// page in the list's own order.
type Query struct {
	Limit   int    // rows; 0 means all
	Cursor  string // the cursor that came with the page before, for the same Filter and OrderBy
	Filter  string // "state eq 'open' and attempts gt 2"
	OrderBy string // a column, then maybe " desc"
}

// A Column is what rows can be filtered by and, unless it may be null, ordered
// by.
type Column[T any] struct {
	Name     string // as in JSON
	SQL      string // the column in the query; Slice does not need it
	Type     kedge.Type
	Nullable bool
	Value    func(*T) kedge.Value
}

// A List describes the rows of a list.
type List[T any] struct {
	Columns []Column[T]
	ID      string // the column that no two rows share
	OrderBy string // the order if none is asked for, as in Query
}

// A plan is a Query that was checked.
type plan[T any] struct {
	list     List[T]
	expr     *filter.Expr // nil: all rows
	by, id   *Column[T]
	desc     bool
	after    *mark
	limit    int
	orderBy  string
	filtered string
}

// A mark is the place of a row in the order, as cursors hold it.
type mark struct {
	By     string `json:"b"` // the order and the filter that it belongs to
	Value  string `json:"v"`
	ID     string `json:"i"`
	value  kedge.Value
	idText kedge.Value
}

func invalid(format string, args ...any) error {
	return &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf(format, args...)}
}

// names lists the columns, for errors.
func (l List[T]) names() []string {
	var out []string
	for _, c := range l.Columns {
		out = append(out, c.Name)
	}
	return out
}

func (l List[T]) column(name string) *Column[T] {
	i := slices.IndexFunc(l.Columns, func(c Column[T]) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &l.Columns[i]
}

// entity describes the columns for the filter language.
func (l List[T]) entity() *kedge.Entity {
	e := &kedge.Entity{Name: "list"}
	for _, c := range l.Columns {
		e.Fields = append(e.Fields, kedge.Field{Name: c.Name, Type: c.Type, Nullable: c.Nullable})
	}
	return e
}

func (l List[T]) plan(q Query, now time.Time) (*plan[T], error) {
	p := &plan[T]{list: l, limit: q.Limit, id: l.column(l.ID), filtered: q.Filter}
	if q.Filter != "" {
		expr, err := filter.Parse(q.Filter)
		if err == nil {
			expr, err = expr.Bind(l.entity(), now)
		}
		if err != nil {
			return nil, invalid("filter: %w", err)
		}
		p.expr = expr
	}
	if p.orderBy = q.OrderBy; p.orderBy == "" {
		p.orderBy = l.OrderBy
	}
	name, direction, _ := strings.Cut(strings.TrimSpace(p.orderBy), " ")
	if p.by = l.column(name); p.by == nil {
		if near := nearest.Name(name, l.names()); near != "" {
			return nil, invalid("orderby: there is no %q; did you mean %q?", name, near)
		}
		return nil, invalid("orderby: there is no such column; there are %s", strings.Join(l.names(), ", "))
	}
	switch direction = strings.TrimSpace(direction); {
	case direction != "" && direction != "asc" && direction != "desc":
		return nil, invalid("orderby: write a column, then maybe \" desc\"; one column only")
	case p.by.Nullable:
		return nil, invalid("orderby: %s may be null; order by another column", name)
	}
	p.desc = direction == "desc"
	if q.Cursor != "" {
		if err := p.read(q.Cursor); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// read takes a cursor.
func (p *plan[T]) read(cursor string) error {
	wrong := invalid("cursor: it does not belong to this list, filter and orderby; begin without one")
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	m := new(mark)
	if err != nil || json.Unmarshal(text, m) != nil || m.By != p.belongs() {
		return wrong
	}
	var errID error
	m.value, err = kedge.ParseText(p.by.Type, m.Value)
	m.idText, errID = kedge.ParseText(p.id.Type, m.ID)
	if errors.Join(err, errID) != nil {
		return wrong
	}
	p.after = m
	return nil
}

func (p *plan[T]) belongs() string { return p.orderBy + "\n" + p.filtered }

// next returns the cursor after row.
func (p *plan[T]) next(row *T) string {
	text, err := json.Marshal(mark{By: p.belongs(), Value: p.by.Value(row).Text(), ID: p.id.Value(row).Text()})
	if err != nil {
		panic(err) // plain text
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// cut takes the row off that only tells that there is another page.
func (p *plan[T]) cut(rows []T) ([]T, string) {
	if p.limit == 0 || len(rows) <= p.limit {
		return rows, ""
	}
	return rows[:p.limit], p.next(&rows[p.limit-1])
}

// Text returns s as a value.
func Text[S ~string](s S) kedge.Value { return kedge.String(string(s)) }

// Time returns t as a value, null if there is none.
func Time(t *time.Time) kedge.Value {
	if t == nil {
		return kedge.Null()
	}
	return kedge.Time(*t)
}

// Rows makes sel select a page of rows. What was scanned goes through the func
// it returns, which gives the rows of the page and the cursor of the next one,
// or "" if there is none.
func (l List[T]) Rows(sel *bun.SelectQuery, q Query, now time.Time) (*bun.SelectQuery, func([]T) ([]T, string), error) {
	p, err := l.plan(q, now)
	if err != nil {
		return nil, nil, err
	}
	if p.expr != nil {
		r := &renderer[T]{list: l, dialect: sel.Dialect().Name()}
		root := p.expr.Root()
		r.condition(&root)
		if r.err != nil {
			return nil, nil, r.err
		}
		sel = sel.Where(r.sql.String(), r.args...)
	}
	// An id is a UUID, which all collations order alike: its index serves.
	by, direction, than := p.by.SQL, "ASC", ">"
	if p.by != p.id {
		by = p.by.text(sel.Dialect().Name())
	}
	if p.desc {
		direction, than = "DESC", "<"
	}
	if p.after != nil {
		sel = sel.Where("("+by+", "+p.id.SQL+") "+than+" (?, ?)", argument(p.after.value), argument(p.after.idText))
	}
	if p.by != p.id {
		sel = sel.OrderExpr(by + " " + direction)
	}
	sel = sel.OrderExpr(p.id.SQL + " " + direction)
	if p.limit > 0 {
		sel = sel.Limit(int64(p.limit) + 1)
	}
	return sel, p.cut, nil
}
