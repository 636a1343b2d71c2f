package sqltable

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// A pgWriter writes one group with statements that take all rows at once.
type pgWriter struct {
	*writer
	conn *sql.Conn
}

func (w *writer) runPostgres(ctx context.Context, tx connectors.Tx, g *group) error {
	p := &pgWriter{writer: w, conn: tx.Conn().Conn}
	if !g.keyed { // the database says which key is whose only for one row
		for i := range g.rows {
			if err := p.halving(ctx, g.slice(i, i+1)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(g.rows) >= stageRows {
		// A row that COPY refuses is found by writing without it.
		err := p.guarded(ctx, func() error { return p.stage(ctx, tx.Conn(), g) })
		if err != nil && !rowFault(err) && store.Kind(err) != kedge.Forbidden {
			return err
		}
	}
	for len(g.rows) > 0 {
		n := len(g.rows)
		if g.staged == "" {
			n = min(n, maxValueRows)
		}
		if err := p.halving(ctx, g.slice(0, n)); err != nil {
			return err
		}
		g = g.slice(n, len(g.rows)) // nothing is left of a group that is staged
	}
	return nil
}

// maxValueRows is the most rows in a statement that holds the rows itself.
const maxValueRows = 1000

// guarded runs f under a savepoint, which is rolled back to if f fails because
// of what it sent.
func (p *pgWriter) guarded(ctx context.Context, f func() error) error {
	if err := p.exec(ctx, "SAVEPOINT kedge_batch"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		return p.exec(ctx, "RELEASE SAVEPOINT kedge_batch")
	}
	if _, answered := errors.AsType[pgdriver.Error](err); !answered {
		return err // the connection is lost
	}
	if back := p.exec(ctx, "ROLLBACK TO SAVEPOINT kedge_batch; RELEASE SAVEPOINT kedge_batch"); back != nil {
		return errors.Join(err, back)
	}
	return err
}

// halving writes g under a savepoint. If a row of it is refused the rest is
// written again in halves, down to that row.
func (p *pgWriter) halving(ctx context.Context, g *group) error {
	err := p.guarded(ctx, func() error { return p.write(ctx, g) })
	if err == nil || !rowFault(err) {
		return err
	}
	for i := range g.rows {
		p.results[g.rows[i]] = connectors.Result{Key: p.results[g.rows[i]].Key}
	}
	if len(g.rows) == 1 {
		return p.refused(g, 0, err)
	}
	half := len(g.rows) / 2
	if err := p.halving(ctx, g.slice(0, half)); err != nil {
		return err
	}
	return p.halving(ctx, g.slice(half, len(g.rows)))
}

// rowFault reports whether err may be the fault of a single row.
func rowFault(err error) bool {
	if e, ok := errors.AsType[pgdriver.Error](err); ok && e.Field('C') == "21000" { // one key twice
		return true
	}
	switch store.Kind(err) {
	case kedge.Invalid, kedge.Conflict, kedge.TooLarge:
		return true
	}
	return false
}

func (p *pgWriter) exec(ctx context.Context, query string, args ...any) error {
	_, err := p.conn.ExecContext(ctx, query, args...)
	return err
}

func (p *pgWriter) write(ctx context.Context, g *group) error {
	q := &query{engine: store.Postgres}
	switch {
	case !g.keyed:
		return p.insertNew(ctx, g)
	case g.op == kedge.Insert, g.op == kedge.Upsert:
		g.insertFrom(q)
		return p.inserted(ctx, g, q)
	case g.op == kedge.Delete:
		g.deleteFrom(q)
	case len(g.written()) > 0:
		g.updateFrom(q)
	}
	if q.Len() > 0 {
		state := connectors.Updated
		if g.op == kedge.Delete {
			state = connectors.Removed
		}
		n, err := p.affected(ctx, g, q, state)
		if err != nil || n == len(g.rows) {
			return err
		}
	}
	return p.others(ctx, g)
}

// affected notes the state for the rows whose ordinals q returns.
func (p *pgWriter) affected(ctx context.Context, g *group, q *query, state connectors.State) (n int, err error) {
	err = p.eachRow(ctx, q, 1, func(row []driver.Value) error {
		n++
		p.set(g, int(row[0].(int64))-g.base, state)
		return nil
	})
	return n, err
}

// others finds out about the rows that an update or delete left alone.
func (p *pgWriter) others(ctx context.Context, g *group) error {
	exists := make(map[int]bool, len(g.rows)) // and whether the version is the expected one
	if g.op == kedge.Update || len(g.version) > 0 {
		q := &query{engine: store.Postgres}
		q.WriteString("SELECT s.o, " + g.versionIs() + " FROM ")
		g.rowsFrom(q)
		q.WriteString(" JOIN " + g.e.ref + " AS t ON " + g.keysMatch())
		rows, err := p.conn.QueryContext(ctx, q.String(), q.args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var at int
			var fresh bool
			if err := rows.Scan(&at, &fresh); err != nil {
				return err
			}
			exists[at-g.base] = fresh
		}
		if err := rows.Err(); err != nil {
			return err
		}
	}
	for i := range g.rows {
		if p.results[g.rows[i]].State != connectors.Unset {
			continue
		}
		switch fresh, found := exists[i]; {
		case found && !fresh, !found && g.must:
			p.reject(g, i, kedge.Conflict, errStale)
		case !found && g.op == kedge.Update:
			p.reject(g, i, kedge.NotFound, errGone)
		default:
			p.set(g, i, connectors.Unchanged)
		}
	}
	return nil
}

// inserted runs an insert that returns for each row that it wrote whether it
// is new, and the key.
func (p *pgWriter) inserted(ctx context.Context, g *group, q *query) error {
	at := keyFinder{results: p.results, rows: g.rows}
	err := p.eachRow(ctx, q, 1+len(g.e.key), func(row []driver.Value) error {
		key, err := g.e.decodeKey(row[1:])
		if err != nil {
			return err
		}
		i := at.find(key)
		if i < 0 {
			return errors.New("the database returned a key that was not sent")
		}
		state := connectors.Updated
		if row[0] == true {
			state = connectors.Inserted
		}
		p.set(g, i, state)
		return nil
	})
	if err != nil {
		return err
	}
	for i := range g.rows {
		switch {
		case p.results[g.rows[i]].State != connectors.Unset:
		case g.op == kedge.Insert:
			p.reject(g, i, kedge.Conflict, errExists)
		default:
			p.set(g, i, connectors.Unchanged)
		}
	}
	return nil
}

// eachRow gives the rows of a query to f, as the driver returns them:
// database/sql would copy each value again.
func (p *pgWriter) eachRow(ctx context.Context, q *query, columns int, f func([]driver.Value) error) error {
	args := make([]driver.NamedValue, len(q.args))
	for i, a := range q.args {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	row := make([]driver.Value, columns)
	return p.conn.Raw(func(c any) error {
		rows, err := c.(driver.QueryerContext).QueryContext(ctx, q.String(), args)
		if err != nil {
			return err
		}
		defer rows.Close()
		for {
			switch err := rows.Next(row); err {
			case nil:
			case io.EOF:
				return nil
			default:
				return err
			}
			if err := f(row); err != nil {
				return err
			}
		}
	})
}

// A keyFinder finds rows by key. Keys come mostly in the order of the rows,
// because that is the order in which the database meets them.
type keyFinder struct {
	results []connectors.Result // hold the keys
	rows    []int
	next    int
	index   map[kedge.Key]int
}

// find returns the position of key in rows, or -1.
func (f *keyFinder) find(key kedge.Key) int {
	if f.next < len(f.rows) && f.results[f.rows[f.next]].Key == key {
		f.next++
		return f.next - 1
	}
	if f.index == nil {
		f.index = make(map[kedge.Key]int, len(f.rows))
		for i, at := range f.rows {
			f.index[f.results[at].Key] = i
		}
	}
	i, ok := f.index[key]
	if !ok {
		return -1
	}
	f.next = i + 1
	return i
}

func (e *entity) decodeKey(raw []driver.Value) (kedge.Key, error) {
	key := make([]kedge.Value, len(raw))
	for i, v := range raw {
		var err error
		if key[i], err = e.columns[e.key[i]].decode(v); err != nil {
			return "", err
		}
	}
	return kedge.NewKey(key...), nil
}

// insertNew inserts one row whose key the database makes.
func (p *pgWriter) insertNew(ctx context.Context, g *group) error {
	q := &query{engine: store.Postgres}
	g.insertFrom(q)
	return p.eachRow(ctx, q, 1+len(g.e.key), func(row []driver.Value) error {
		key, err := g.e.decodeKey(row[1:])
		p.results[g.rows[0]] = connectors.Result{State: connectors.Inserted, Key: key}
		return err
	})
}

// rowsFrom writes the rows of g as a table s: o is the position, c0, c1, …
// the values, v the expected version.
func (g *group) rowsFrom(q *query) {
	switch {
	case g.staged != "" && !g.sliced:
		q.WriteString(g.staged + " AS s")
		return
	case g.staged != "":
		q.WriteString("(SELECT * FROM " + g.staged + " WHERE o >= " + strconv.Itoa(g.base) + " AND o < " + strconv.Itoa(g.base+len(g.rows)) + ") AS s")
		return
	}
	q.WriteString("(VALUES ")
	for i := range g.rows {
		if i > 0 {
			q.WriteString(", ")
		}
		q.WriteString("(" + strconv.Itoa(g.base+i))
		for j, v := range g.row(i) {
			q.WriteString(", ")
			q.value(&g.e.columns[g.columns[j]], v)
		}
		if len(g.version) > 0 {
			q.WriteString(", ")
			q.value(&g.e.columns[g.e.version], g.version[i])
		}
		q.WriteString(")")
	}
	q.WriteString(") AS s(" + strings.Join(g.stageNames(), ", ") + ")")
}

func (g *group) stageNames() []string {
	names := []string{"o"}
	for j := range g.columns {
		names = append(names, "c"+strconv.Itoa(j))
	}
	if len(g.version) > 0 {
		names = append(names, "v")
	}
	return names
}

// assigned is the value of column j of the rows, as it is assigned.
func (g *group) assigned(j int) string {
	c := &g.e.columns[g.columns[j]]
	if c.Storage == catalog.Other || c.Storage == catalog.Float {
		return "s.c" + strconv.Itoa(j) + "::" + c.Cast
	}
	return "s.c" + strconv.Itoa(j)
}

// different is the condition that a written column of t differs from the same
// of the other row, whose values other gives.
func (g *group) different(other func(j int) string) string {
	var old, now []string
	for j := g.keys; j < len(g.columns); j++ {
		c := &g.e.columns[g.columns[j]]
		cast := c.compareAs()
		if c.Storage == catalog.JSON {
			cast = "::jsonb"
		}
		old, now = append(old, "t."+c.ref+cast), append(now, other(j)+cast)
	}
	return "(" + strings.Join(old, ", ") + ") IS DISTINCT FROM (" + strings.Join(now, ", ") + ")"
}

func (g *group) keysMatch() string {
	var parts []string
	for j := range g.keys {
		c := &g.e.columns[g.columns[j]]
		parts = append(parts, "t."+c.ref+c.compareAs()+" = s.c"+strconv.Itoa(j))
	}
	return strings.Join(parts, " AND ")
}

// versionIs is the condition that the row has its expected version.
func (g *group) versionIs() string {
	if len(g.version) == 0 {
		return "TRUE"
	}
	return "coalesce(t." + g.e.columns[g.e.version].ref + " = s.v, s.v IS NULL)"
}

// insertFrom writes an INSERT of the rows.
func (g *group) insertFrom(q *query) {
	e := g.e
	q.WriteString("INSERT INTO " + e.ref + " AS t")
	if len(g.columns) == 0 {
		q.WriteString(" DEFAULT VALUES")
	} else {
		q.WriteString(" (" + e.tuple(g.columns, "") + ") SELECT ")
		for j := range g.columns {
			if j > 0 {
				q.WriteString(", ")
			}
			q.WriteString(g.assigned(j))
		}
		q.WriteString(" FROM ")
		g.rowsFrom(q)
	}
	switch {
	case !g.keyed || !e.unique:
	case g.op == kedge.Insert || len(g.written()) == 0:
		q.WriteString(" ON CONFLICT (" + e.tuple(e.key, "") + ") DO NOTHING")
	default:
		q.WriteString(" ON CONFLICT (" + e.tuple(e.key, "") + ") DO UPDATE SET ")
		for i, c := range g.written() {
			if i > 0 {
				q.WriteString(", ")
			}
			q.WriteString(e.columns[c].ref + " = excluded." + e.columns[c].ref)
		}
		q.WriteString(" WHERE " + g.different(func(j int) string { return "excluded." + e.columns[g.columns[j]].ref }))
	}
	// A row that was updated carries the number of the updating transaction.
	q.WriteString(" RETURNING t.xmax = 0")
	for _, c := range e.key {
		q.WriteString(", " + e.columns[c].selected(q.engine, "t."))
	}
}

// updateFrom writes an UPDATE by the rows.
func (g *group) updateFrom(q *query) {
	q.WriteString("UPDATE " + g.e.ref + " AS t SET ")
	for i, c := range g.written() {
		if i > 0 {
			q.WriteString(", ")
		}
		q.WriteString(g.e.columns[c].ref + " = " + g.assigned(g.keys+i))
	}
	q.WriteString(" FROM ")
	g.rowsFrom(q)
	q.WriteString(" WHERE " + g.keysMatch() + " AND " + g.versionIs() + " AND " + g.different(g.assigned) + " RETURNING s.o")
}

// deleteFrom writes a DELETE by the rows.
func (g *group) deleteFrom(q *query) {
	q.WriteString("DELETE FROM " + g.e.ref + " AS t USING ")
	g.rowsFrom(q)
	q.WriteString(" WHERE " + g.keysMatch() + " AND " + g.versionIs() + " RETURNING s.o")
}
