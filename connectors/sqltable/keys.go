package sqltable

import (
	"context"
	"database/sql"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

const (
	opKeys = "sqltable.ReadKeys"
	opGet  = "sqltable.GetTx"
)

// Keys in one statement. SQLite's driver looks for each argument among all of
// a statement's, so few of them are faster.
const (
	sqliteKeys   = 32
	postgresKeys = 10000
)

// ReadKeys reads rows by key.
func (d *Driver) ReadKeys(ctx context.Context, name string, fields []string, keys []kedge.Key) ([]connectors.Found, error) {
	s, err := d.store(ctx)
	if err != nil {
		return nil, err
	}
	db := s.DB().DB
	e, err := d.entity(ctx, opKeys, db, s.Engine(), name)
	if err != nil {
		return nil, err
	}
	if len(e.key) == 0 {
		return nil, fail(opKeys, kedge.Unsupported, name, "the table has no key")
	}
	sel, err := e.selection(opKeys, fields)
	if err != nil {
		return nil, err
	}
	records, err := sel.byKeys(ctx, db, opKeys, e.key, keys, "")
	if err != nil {
		return nil, err
	}
	byKey := make(map[kedge.Key]kedge.Record, len(records))
	for _, r := range records {
		byKey[r.Key] = r
	}
	found := make([]connectors.Found, len(keys))
	for i, k := range keys {
		found[i].Record, found[i].OK = byKey[k]
	}
	return found, nil
}

// GetTx reads and locks rows whose columns by equal one of keys.
func (d *Driver) GetTx(ctx context.Context, tx connectors.Tx, name string, fields, by []string, keys []kedge.Key) ([]kedge.Record, error) {
	conn, engine := tx.Conn().Conn, engineOf(tx)
	e, err := d.entity(ctx, opGet, conn, engine, name)
	if err != nil {
		return nil, err
	}
	sel, err := e.selection(opGet, fields)
	if err != nil {
		return nil, err
	}
	columns := e.key
	if by != nil {
		columns = make([]int, len(by))
		for i, f := range by {
			if columns[i] = e.table.Column(f); columns[i] < 0 {
				return nil, fail(opGet, kedge.Invalid, name, "there is no column %q", f)
			}
		}
	}
	if len(columns) == 0 {
		return nil, fail(opGet, kedge.Unsupported, name, "the table has no key")
	}
	lock := ""
	if engine == store.Postgres && len(keys) > 0 && !e.table.View {
		var readOnly string
		if err := conn.QueryRowContext(ctx, "SELECT current_setting('transaction_read_only')").Scan(&readOnly); err != nil {
			return nil, store.Error(opGet, name, err)
		}
		if readOnly == "off" { // a plan reads in a transaction that may not lock
			lock = " FOR UPDATE OF t"
		}
	}
	return sel.byKeys(ctx, conn, opGet, columns, keys, lock)
}

// byKeys reads the live rows whose columns equal one of keys, in parts. Keys
// that no value of the columns can have match nothing.
func (s *selection) byKeys(ctx context.Context, q catalog.Querier, op string, columns []int, keys []kedge.Key, lock string) ([]kedge.Record, error) {
	args := make([]any, 0, len(columns)*min(len(keys), postgresKeys))
	size := sqliteKeys
	if s.e.engine == store.Postgres {
		size = postgresKeys
	}
	var records []kedge.Record
	flush := func() (err error) {
		if len(args) > 0 {
			records, err = s.read(ctx, q, op, records, s.keysQuery(columns, args, lock))
		}
		args = args[:0]
		return err
	}
	for _, k := range keys {
		key, ok := s.e.parseKey(columns, k)
		if !ok {
			continue
		}
		for i, v := range key {
			args = append(args, s.e.columns[columns[i]].arg(s.e.engine, v))
		}
		if len(args) == size*len(columns) {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return records, flush()
}

// parseKey returns the values of a key over columns. It reports false if the
// columns cannot hold such values.
func (e *entity) parseKey(columns []int, k kedge.Key) ([]kedge.Value, bool) {
	texts, err := k.Parts(len(columns))
	if err != nil {
		return nil, false
	}
	values := make([]kedge.Value, len(columns))
	for i, c := range columns {
		v, err := kedge.ParseText(e.columns[c].Type, texts[i])
		if err == nil {
			v, err = e.columns[c].fit(e.engine, v)
		}
		if err != nil {
			return nil, false
		}
		values[i] = v
	}
	return values, true
}

// keysQuery selects the rows whose columns equal one of the keys that args are
// the values of.
func (s *selection) keysQuery(columns []int, args []any, lock string) *query {
	q := &query{engine: s.e.engine}
	q.WriteString("SELECT ")
	s.list(q, "t.")
	q.WriteString(" FROM " + s.e.ref + " AS t")
	if q.engine == store.SQLite {
		q.WriteString(" WHERE (" + s.e.tuple(columns, "t.") + ") IN (VALUES ")
		for i, a := range args {
			switch {
			case i == 0:
				q.WriteString("(")
			case i%len(columns) == 0:
				q.WriteString("), (")
			default:
				q.WriteString(", ")
			}
			q.arg(a, "")
		}
		q.WriteString("))")
		return q
	}
	// One argument per column, whatever the number of keys.
	q.WriteString(" JOIN unnest(")
	var on, names []string
	for i, at := range columns {
		c := &s.e.columns[at]
		texts := make([]string, 0, len(args)/len(columns))
		for j := i; j < len(args); j += len(columns) {
			texts = append(texts, arrayItem(args[j]))
		}
		if i > 0 {
			q.WriteString(", ")
		}
		q.arg(catalog.TextArray(texts), c.comparable()+"[]")
		name := "k" + strconv.Itoa(i)
		names = append(names, name)
		on = append(on, "t."+c.ref+c.compareAs()+" = w."+name)
	}
	q.WriteString(") AS w(" + strings.Join(names, ", ") + ") ON " + strings.Join(on, " AND ") + lock)
	return q
}

// comparable is the type of values to compare the column with: its own, where
// that keeps the value, so that an index can be used.
func (c *column) comparable() string {
	if c.Storage == catalog.Text {
		return c.Cast
	}
	return c.cast()
}

// ordered is the type of values to order the column by: its own.
func (c *column) ordered() string {
	if c.Storage == catalog.Other {
		return c.Cast
	}
	return c.comparable()
}

// compareAs is the cast of a column whose type has no operators.
func (c *column) compareAs() string {
	if c.Storage == catalog.Other {
		return "::text"
	}
	return ""
}

// arrayItem is an argument as the text of an array's element.
func arrayItem(arg any) string {
	switch a := arg.(type) {
	case string:
		return a
	case []byte:
		return `\x` + hex.EncodeToString(a)
	}
	return ""
}

// read appends the live records that q selects. A row that cannot be decoded
// is an error, because whoever asks for a key needs that row.
func (s *selection) read(ctx context.Context, db catalog.Querier, op string, records []kedge.Record, q *query) ([]kedge.Record, error) {
	rows, err := db.QueryContext(ctx, q.String(), q.args...)
	if err != nil {
		return nil, store.Error(op, s.e.Name, err)
	}
	return s.collect(rows, op, records)
}

func (s *selection) collect(rows *sql.Rows, op string, records []kedge.Record) ([]kedge.Record, error) {
	defer rows.Close()
	sc := s.scanner()
	for rows.Next() {
		r, _, bad, err := sc.scan(rows)
		if err != nil {
			return nil, store.Error(op, s.e.Name, err)
		}
		if bad != nil {
			return nil, &kedge.Error{Op: op, Kind: kedge.Invalid, Entity: s.e.Name, Key: bad.Key, Err: bad.Err}
		}
		if r.Removed == kedge.Live {
			records = append(records, r)
		}
	}
	return records, store.Error(op, s.e.Name, rows.Err())
}
