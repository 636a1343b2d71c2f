package sqltable

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// runSQLite writes a group with prepared statements, given to the driver
// itself: database/sql would convert each argument again. Each row is a
// statement, so that a row that is refused leaves the others alone (SQLite,
// ON CONFLICT, ABORT).
func (w *writer) runSQLite(ctx context.Context, tx connectors.Tx, g *group) error {
	return tx.Conn().Raw(func(dc any) error {
		conn, ok := dc.(driver.ConnPrepareContext)
		if !ok {
			return errors.New("the SQLite driver cannot prepare statements")
		}
		s := &sqliteWriter{writer: w, g: g, caller: ctx, ctx: context.WithoutCancel(ctx), conn: conn, stmts: map[string]driver.Stmt{}}
		defer s.close()
		return s.run()
	})
}

// A sqliteWriter writes one group. Its statements run in a context that
// cannot end, because the driver starts a goroutine for one that can; the
// caller's is looked at between rows.
type sqliteWriter struct {
	*writer
	g      *group
	caller context.Context
	ctx    context.Context
	conn   driver.ConnPrepareContext
	stmts  map[string]driver.Stmt
	args   []driver.NamedValue
}

func (s *sqliteWriter) close() {
	for _, stmt := range s.stmts {
		stmt.Close()
	}
}

func (s *sqliteWriter) run() error {
	for i := range s.g.rows {
		if i%256 == 0 {
			if err := s.caller.Err(); err != nil {
				return err
			}
		}
		if err := s.writeRow(i); err != nil {
			if err = s.refused(s.g, i, err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sqliteWriter) writeRow(i int) error {
	switch s.g.op {
	case kedge.Insert:
		return s.insert(i)
	case kedge.Upsert:
		return s.upsert(i)
	case kedge.Update:
		return s.update(i)
	}
	return s.delete(i)
}

func (s *sqliteWriter) insert(i int) error {
	if !s.g.keyed {
		return s.insertNew(i)
	}
	n, err := s.exec(s.g.insertSQL()+s.g.onConflict("NOTHING"), s.values(i))
	if err != nil {
		return err
	}
	if n == 0 {
		s.reject(s.g, i, kedge.Conflict, errExists)
	} else {
		s.set(s.g, i, connectors.Inserted)
	}
	return nil
}

func (s *sqliteWriter) upsert(i int) error {
	n, err := s.exec(s.g.insertSQL()+s.g.onConflict("NOTHING"), s.values(i))
	if err != nil {
		return err
	}
	if n == 1 {
		s.set(s.g, i, connectors.Inserted)
		return nil
	}
	if len(s.g.written()) > 0 {
		n, err = s.exec(s.g.insertSQL()+s.g.onConflict("UPDATE"), s.values(i))
	}
	if err == nil {
		s.set(s.g, i, changed(n))
	}
	return err
}

func changed(n int64) connectors.State {
	if n == 0 {
		return connectors.Unchanged
	}
	return connectors.Updated
}

// values are the arguments of row i.
func (s *sqliteWriter) values(i int) []driver.NamedValue {
	s.args = s.args[:0]
	s.addArgs(s.g.columns, s.g.row(i))
	return s.args
}

func (s *sqliteWriter) addArgs(columns []int, values []kedge.Value) {
	for j, v := range values {
		s.addArg(s.e.columns[columns[j]].sqliteArg(v))
	}
}

func (s *sqliteWriter) addArg(v any) {
	s.args = append(s.args, driver.NamedValue{Ordinal: len(s.args) + 1, Value: v})
}

func (s *sqliteWriter) prepare(query string) (driver.Stmt, error) {
	if stmt := s.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(s.ctx, query)
	if err == nil {
		s.stmts[query] = stmt
	}
	return stmt, err
}

func (s *sqliteWriter) exec(query string, args []driver.NamedValue) (int64, error) {
	stmt, err := s.prepare(query)
	if err != nil {
		return 0, err
	}
	res, err := stmt.(driver.StmtExecContext).ExecContext(s.ctx, args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// first returns the first row of a query with n columns, or nil.
func (s *sqliteWriter) first(query string, args []driver.NamedValue, n int) ([]driver.Value, error) {
	stmt, err := s.prepare(query)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.(driver.StmtQueryContext).QueryContext(s.ctx, args)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	row := make([]driver.Value, n)
	switch err := rows.Next(row); err {
	case nil:
		for rows.Next(make([]driver.Value, n)) == nil {
		}
		return row, nil
	case io.EOF:
		return nil, nil
	default:
		return nil, err
	}
}

// update sets the values of row i, if one differs.
func (s *sqliteWriter) update(i int) error {
	g, row := s.g, s.g.row(i)
	s.args = s.args[:0]
	s.addArgs(g.written(), row[g.keys:])
	s.addArgs(g.columns[:g.keys], row[:g.keys])
	s.addArgs(g.written(), row[g.keys:])
	query := g.updateSQL()
	if g.expects(i) {
		query += " AND " + s.e.columns[s.e.version].ref + " IS ?"
		s.addArg(s.e.columns[s.e.version].sqliteArg(g.version[i]))
	}
	if len(g.written()) > 0 {
		n, err := s.exec(query, s.args)
		if err != nil {
			return err
		}
		if n > 0 {
			s.set(g, i, connectors.Updated)
			return nil
		}
	}
	ok, err := s.check(i)
	if ok {
		s.set(g, i, connectors.Unchanged)
	}
	return err
}

// check looks whether row i exists with its expected version, and rejects it
// if not.
func (s *sqliteWriter) check(i int) (bool, error) {
	g := s.g
	s.args = s.args[:0]
	s.addArgs(g.columns[:g.keys], g.row(i)[:g.keys])
	what := "1"
	if g.expects(i) {
		what = s.e.columns[s.e.version].selected(s.e.engine, "")
	}
	found, err := s.first("SELECT "+what+" FROM "+s.e.ref+" WHERE "+g.keyIs(), s.args, 1)
	switch {
	case err != nil:
		return false, err
	case found == nil && g.must:
		s.reject(g, i, kedge.Conflict, errStale)
	case found == nil:
		s.reject(g, i, kedge.NotFound, errGone)
	case g.expects(i):
		if v, err := s.e.columns[s.e.version].decode(found[0]); err != nil || !kedge.Equal(v, g.version[i]) {
			s.reject(g, i, kedge.Conflict, errStale)
			return false, nil
		}
		return true, nil
	default:
		return true, nil
	}
	return false, nil
}

func (s *sqliteWriter) delete(i int) error {
	g := s.g
	s.args = s.args[:0]
	s.addArgs(g.columns, g.row(i))
	query := "DELETE FROM " + s.e.ref + " WHERE " + g.keyIs()
	if g.expects(i) {
		query += " AND " + s.e.columns[s.e.version].ref + " IS ?"
		s.addArg(s.e.columns[s.e.version].sqliteArg(g.version[i]))
	}
	n, err := s.exec(query, s.args)
	switch {
	case err != nil:
		return err
	case n > 0:
		s.set(g, i, connectors.Removed)
		return nil
	case g.expects(i):
		if _, err := s.check(i); err != nil || s.results[g.rows[i]].Err.Kind == kedge.Conflict {
			return err
		}
	}
	s.results[g.rows[i]] = connectors.Result{State: connectors.Unchanged, Key: s.changes[g.rows[i]].Key}
	return nil
}

// insertNew inserts a row whose key the database makes.
func (s *sqliteWriter) insertNew(i int) error {
	query := s.g.insertSQL() + " RETURNING " + s.e.tuple(s.e.key, "")
	raw, err := s.first(query, s.values(i), len(s.e.key))
	if err != nil {
		return err
	}
	key := make([]kedge.Value, len(raw))
	for j, v := range raw {
		if key[j], err = s.e.columns[s.e.key[j]].decode(v); err != nil {
			return err
		}
	}
	s.results[s.g.rows[i]] = connectors.Result{State: connectors.Inserted, Key: kedge.NewKey(key...)}
	return nil
}

func (g *group) insertSQL() string {
	if len(g.columns) == 0 {
		return "INSERT INTO " + g.e.ref + " DEFAULT VALUES"
	}
	return "INSERT INTO " + g.e.ref + " (" + g.e.tuple(g.columns, "") + ") VALUES (?" + strings.Repeat(", ?", len(g.columns)-1) + ")"
}

// onConflict is what an insert does if the key exists: NOTHING, or an UPDATE
// of what differs.
func (g *group) onConflict(do string) string {
	if !g.e.unique {
		return ""
	}
	var b strings.Builder
	b.WriteString(" ON CONFLICT (" + g.e.tuple(g.e.key, "") + ") DO " + do)
	if do == "NOTHING" {
		return b.String()
	}
	for i, c := range g.written() {
		b.WriteString([...]string{" SET ", ", "}[min(i, 1)] + g.e.columns[c].ref + " = excluded." + g.e.columns[c].ref)
	}
	for i, c := range g.written() {
		b.WriteString([...]string{" WHERE ", " OR "}[min(i, 1)] + g.e.columns[c].ref + " IS NOT excluded." + g.e.columns[c].ref)
	}
	return b.String()
}

func (g *group) updateSQL() string {
	var b strings.Builder
	b.WriteString("UPDATE " + g.e.ref)
	for i, c := range g.written() {
		b.WriteString([...]string{" SET ", ", "}[min(i, 1)] + g.e.columns[c].ref + " = ?")
	}
	b.WriteString(" WHERE " + g.keyIs() + " AND (")
	for i, c := range g.written() {
		b.WriteString([...]string{"", " OR "}[min(i, 1)] + g.e.columns[c].ref + " IS NOT ?")
	}
	return b.String() + ")"
}

func (g *group) keyIs() string {
	var parts []string
	for _, c := range g.e.key {
		parts = append(parts, g.e.columns[c].ref+" = ?")
	}
	return strings.Join(parts, " AND ")
}
