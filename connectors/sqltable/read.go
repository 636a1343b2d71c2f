package sqltable

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

const (
	opRead      = "sqltable.ReadPage"
	defaultSize = 1000
)

// A query is a statement that is being written, with its arguments.
type query struct {
	strings.Builder
	engine store.Engine
	args   []any
}

// value writes a value that fits c as an argument.
func (q *query) value(c *column, v kedge.Value) { q.arg(c.arg(q.engine, v), c.cast()) }

// arg writes an argument, on PostgreSQL cast to the given type.
func (q *query) arg(a any, cast string) {
	q.args = append(q.args, a)
	if q.engine == store.SQLite {
		q.WriteByte('?')
		return
	}
	q.WriteByte('$')
	q.WriteString(strconv.Itoa(len(q.args)))
	q.WriteString("::")
	q.WriteString(cast)
}

// A selection is what is read of an entity: the fields asked for and, behind
// them, what else is needed to make a record.
type selection struct {
	e       *entity
	fields  *kedge.Fields
	columns []int // of the entity
	n       int   // how many of columns were asked for
	key     []int // positions in columns
	version int   // position in columns, or -1
	deleted int   // position in columns, or -1
}

func (e *entity) selection(op string, fields []string) (*selection, error) {
	s := &selection{e: e, fields: kedge.NewFields(fields...), n: len(fields), version: -1, deleted: -1}
	for _, name := range fields {
		i := e.table.Column(name)
		if i < 0 {
			return nil, fail(op, kedge.Invalid, e.Name, "there is no column %q", name)
		}
		s.columns = append(s.columns, i)
	}
	need := func(i int) int {
		for at, c := range s.columns {
			if c == i {
				return at
			}
		}
		s.columns = append(s.columns, i)
		return len(s.columns) - 1
	}
	for _, i := range e.key {
		s.key = append(s.key, need(i))
	}
	if e.version >= 0 {
		s.version = need(e.version)
	}
	if e.deleted >= 0 {
		s.deleted = need(e.deleted)
	}
	return s, nil
}

// list writes the columns to select.
func (s *selection) list(q *query, table string) {
	for i, c := range s.columns {
		if i > 0 {
			q.WriteString(", ")
		}
		q.WriteString(s.e.columns[c].selected(q.engine, table))
	}
}

// A scanner makes records of rows.
type scanner struct {
	*selection
	raw  []any
	ptrs []any
}

func (s *selection) scanner() *scanner {
	sc := &scanner{selection: s, raw: make([]any, len(s.columns)), ptrs: make([]any, len(s.columns))}
	for i := range sc.raw {
		sc.ptrs[i] = &sc.raw[i]
	}
	return sc
}

// scan reads one row. It returns the key's values for the page token, and a
// BadRecord instead of the record if a value cannot be decoded.
func (s *scanner) scan(rows *sql.Rows) (r kedge.Record, key []kedge.Value, bad *connectors.BadRecord, err error) {
	if err := rows.Scan(s.ptrs...); err != nil {
		return r, nil, nil, err
	}
	values := make([]kedge.Value, len(s.columns))
	for i, c := range s.columns {
		v, err := s.e.columns[c].decode(s.raw[i])
		if err != nil && bad == nil {
			bad = &connectors.BadRecord{Field: s.e.columns[c].Name, Err: err}
		}
		values[i] = v
	}
	r = kedge.Record{Fields: s.fields, Values: values[:s.n:s.n]}
	key = make([]kedge.Value, len(s.key))
	for i, at := range s.key {
		key[i] = values[at]
	}
	if len(key) > 0 {
		r.Key = kedge.NewKey(key...)
		if r.Key == "" && bad == nil {
			bad = &connectors.BadRecord{Field: s.e.Key[0], Err: errors.New("the key is null or empty")}
		}
	}
	for i, at := range s.key {
		if s.e.columns[s.columns[at]].anyType(s.e.engine) {
			key[i] = stored(s.raw[at])
		}
	}
	if s.version >= 0 {
		r.Version = values[s.version].Text()
	}
	if s.deleted >= 0 && kedge.Equal(values[s.deleted], s.e.marked) {
		r.Removed = kedge.Deleted
	}
	if bad != nil {
		bad.Key = r.Key
	}
	return r, key, bad, nil
}

// anyType reports whether SQLite stores values of all types in the column as
// they are. It orders them by their types first (Datatypes In SQLite, 4.1).
func (c *column) anyType(engine store.Engine) bool {
	return engine == store.SQLite && (c.Native == "" || c.Storage == catalog.Bytes)
}

// stored is a value with the type that SQLite stores it with.
func stored(raw any) kedge.Value {
	switch v := raw.(type) {
	case int64:
		return kedge.Int(v)
	case float64:
		return kedge.Float(v)
	case string:
		return kedge.String(v)
	case []byte:
		return kedge.Bytes(v)
	}
	return kedge.Null()
}

// ReadPage reads rows in order of the key, or of version and key.
func (d *Driver) ReadPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	s, err := d.store(ctx)
	if err != nil {
		return nil, err
	}
	e, err := d.entity(ctx, opRead, s.DB().DB, s.Engine(), req.Entity)
	if err != nil {
		return nil, err
	}
	sel, err := e.selection(opRead, req.Fields)
	if err != nil {
		return nil, err
	}
	if req.Size <= 0 {
		req.Size = defaultSize
	}
	if e.capture == byTrigger && req.Anchor != "" {
		return d.readChanges(ctx, s, sel, req)
	}
	pos, err := d.position(ctx, s, e, req)
	if err != nil {
		return nil, err
	}
	page, err := d.readPage(ctx, s.DB().DB, sel, req, pos)
	if err != nil {
		return nil, store.Error(opRead, e.Name, err)
	}
	return page, nil
}

// readPage reads one row more than asked for, to know whether there is one.
func (d *Driver) readPage(ctx context.Context, db *sql.DB, sel *selection, req connectors.ReadRequest, pos *position) (*connectors.Page, error) {
	q, exact := pageQuery(sel, req, pos)
	rows, err := db.QueryContext(ctx, q.String(), q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	page := &connectors.Page{Exact: exact}
	sc := sel.scanner()
	n := 0
	for ; n < req.Size && rows.Next(); n++ {
		r, key, bad, err := sc.scan(rows)
		switch {
		case err != nil:
			return nil, err
		case bad != nil:
			page.Rejected = append(page.Rejected, *bad)
		default:
			page.Records = append(page.Records, r)
		}
		pos.step(key, r.Version)
	}
	more := n == req.Size && rows.Next()
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if more {
		page.Next, err = pos.token(sel.e)
		return page, err
	}
	switch {
	case pos.Bound == nil:
	case sel.e.capture == byTrigger:
		page.Anchor = kedge.Anchor(*pos.Bound)
	default:
		page.Approx = sel.e.floor == nil
		page.Anchor, err = sel.e.anchor(*pos.Bound)
	}
	return page, err
}

func pageQuery(sel *selection, req connectors.ReadRequest, pos *position) (*query, bool) {
	e := sel.e
	q := &query{engine: e.engine}
	q.WriteString("SELECT ")
	sel.list(q, "t.")
	q.WriteString(" FROM " + e.ref + " AS t WHERE ")
	exact := true
	if req.Anchor == "" {
		exact = e.where(q, req.Filter)
		if e.deleted >= 0 {
			q.WriteString(" AND ")
			c := &e.columns[e.deleted]
			q.WriteString(c.ref + distinct(e.engine))
			q.value(c, e.marked)
		}
	} else {
		exact = req.Filter == nil
		q.WriteString("TRUE")
	}
	order := pos.after(q, e)
	q.WriteString(" ORDER BY " + order + " LIMIT " + strconv.Itoa(req.Size+1))
	if len(e.key) == 0 && pos.Offset > 0 {
		q.WriteString(" OFFSET " + strconv.Itoa(pos.Offset))
	}
	return q, exact
}

// distinct is the operator that tells two values apart, nulls included.
func distinct(engine store.Engine) string {
	if engine == store.SQLite {
		return " IS NOT "
	}
	return " IS DISTINCT FROM "
}

// tuple writes (a, b) for the given columns, with a prefix before each.
func (e *entity) tuple(columns []int, prefix string) string {
	refs := make([]string, len(columns))
	for i, c := range columns {
		refs[i] = prefix + e.columns[c].ref
	}
	return strings.Join(refs, ", ")
}

// sortable are the columns that rows without a key are ordered by.
func (e *entity) sortable() []int {
	var columns []int
	for i := range e.columns {
		if s := e.columns[i].Storage; s != catalog.JSON && s != catalog.Other {
			columns = append(columns, i)
		}
	}
	return columns
}
