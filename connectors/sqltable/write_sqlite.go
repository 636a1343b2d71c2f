package sqltable

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strconv"
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
		s := &sqliteWriter{writer: w, g: g, caller: ctx, ctx: context.WithoutCancel(ctx), conn: conn}
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
	stmts  [statements]driver.Stmt // prepared when first needed
	args   []driver.NamedValue

	updating bool // an upsert updated the row before
}

// The statements of a group.
const (
	insertOnly     = iota // does nothing if the key exists
	insertNew             // returns the key that the database made
	updateExisting        // inserts, or updates what differs
	updateOnly
	updateVersion // updateOnly of an expected version
	deleteOnly
	deleteVersion
	lookUp
	statements
)

func (s *sqliteWriter) close() {
	for _, stmt := range s.stmts {
		if stmt != nil {
			stmt.Close()
		}
	}
}

// text is the SQL of a statement.
func (s *sqliteWriter) text(which int) string {
	g := s.g
	versionIs := func() string { return " AND " + s.e.columns[s.e.version].ref + " IS " + g.param(len(g.columns)) }
	switch which {
	case insertOnly:
		return g.insertSQL() + g.onConflict()
	case insertNew:
		return g.insertSQL() + " RETURNING " + s.e.tuple(s.e.key, "")
	case updateOnly:
		return g.updateSQL()
	case updateVersion:
		return g.updateSQL() + versionIs()
	case deleteOnly:
		return "DELETE FROM " + s.e.ref + " WHERE " + g.keyIs()
	case deleteVersion:
		return "DELETE FROM " + s.e.ref + " WHERE " + g.keyIs() + versionIs()
	}
	what := "1"
	if len(g.version) > 0 {
		what = s.e.columns[s.e.version].selected(s.e.engine, "")
	}
	return "SELECT " + what + " FROM " + s.e.ref + " WHERE " + g.keyIs()
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
	n, err := s.exec(insertOnly, s.values(i))
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

// upsert tries first what worked for the row before: to insert, or to update.
// Only the second try tells a row that exists and is equal from a new one.
func (s *sqliteWriter) upsert(i int) error {
	for range 2 {
		var n int64
		var err error
		if s.updating {
			if len(s.g.written()) > 0 {
				n, err = s.exec(updateOnly, s.values(i))
			}
		} else {
			n, err = s.exec(insertOnly, s.values(i))
		}
		if err != nil {
			return err
		}
		if n > 0 {
			state := connectors.Inserted
			if s.updating {
				state = connectors.Updated
			}
			s.set(s.g, i, state)
			return nil
		}
		s.updating = !s.updating
	}
	s.set(s.g, i, connectors.Unchanged)
	return nil
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

func (s *sqliteWriter) prepare(which int) (stmt driver.Stmt, err error) {
	if s.stmts[which] == nil {
		s.stmts[which], err = s.conn.PrepareContext(s.ctx, s.text(which))
	}
	return s.stmts[which], err
}

func (s *sqliteWriter) exec(which int, args []driver.NamedValue) (int64, error) {
	stmt, err := s.prepare(which)
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
func (s *sqliteWriter) first(which int, args []driver.NamedValue, n int) ([]driver.Value, error) {
	stmt, err := s.prepare(which)
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
	g := s.g
	if len(g.written()) > 0 {
		s.values(i)
		n, err := s.exec(s.versioned(i, updateOnly), s.args)
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

// versioned adds the expected version of row i, if there is one, to the
// arguments and returns the statement, or the next one, which takes it.
func (s *sqliteWriter) versioned(i, which int) int {
	if !s.g.expects(i) {
		return which
	}
	s.addArg(s.e.columns[s.e.version].sqliteArg(s.g.version[i]))
	return which + 1
}

// check looks whether row i exists with its expected version, and rejects it
// if not.
func (s *sqliteWriter) check(i int) (bool, error) {
	g := s.g
	s.args = s.args[:0]
	s.addArgs(g.columns[:g.keys], g.row(i)[:g.keys])
	found, err := s.first(lookUp, s.args, 1)
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
	n, err := s.exec(s.versioned(i, deleteOnly), s.args)
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
	raw, err := s.first(insertNew, s.values(i), len(s.e.key))
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

// onConflict makes an insert do nothing if the key exists.
func (g *group) onConflict() string {
	if !g.e.unique {
		return ""
	}
	return " ON CONFLICT (" + g.e.tuple(g.e.key, "") + ") DO NOTHING"
}

// updateSQL takes the values in the order of g.columns. They have numbers
// because each is used twice.
func (g *group) updateSQL() string {
	var b strings.Builder
	b.WriteString("UPDATE " + g.e.ref)
	for i, c := range g.written() {
		b.WriteString([...]string{" SET ", ", "}[min(i, 1)] + g.e.columns[c].ref + " = " + g.param(g.keys+i))
	}
	b.WriteString(" WHERE " + g.keyIs() + " AND (")
	for i, c := range g.written() {
		b.WriteString([...]string{"", " OR "}[min(i, 1)] + g.e.columns[c].ref + " IS NOT " + g.param(g.keys+i))
	}
	return b.String() + ")"
}

// param is the parameter of column j.
func (g *group) param(j int) string { return "?" + strconv.Itoa(j+1) }

func (g *group) keyIs() string {
	var parts []string
	for j, c := range g.e.key {
		parts = append(parts, g.e.columns[c].ref+" = "+g.param(j))
	}
	return strings.Join(parts, " AND ")
}
