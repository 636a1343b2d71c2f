package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/kedge-sync/kedge/internal/store/pgcopy"
	"github.com/uptrace/bun/dialect"
)

// A Table is one of kedge's own tables, for [Tx.Put].
type Table struct {
	Name   string
	Key    []string // the columns of its primary key
	Values []string // the columns that are written besides
}

// A PutMode says what [Tx.Put] does about keys that are there already.
type PutMode uint8

// The modes.
const (
	Insert  PutMode = iota // none is there, as the caller knows; else it is an error
	Replace                // the row of the key gets the values
	Update                 // so it does; keys that are not there are left out
)

// Put stores n rows. row appends the values of row i, first of the key, then
// the others: string, int64, []byte, time.Time (to the microsecond), or nil.
// Rows of one call have distinct keys. Insert is faster than Replace, and Update
// of few columns is, too.
func (t *Tx) Put(ctx context.Context, table *Table, mode PutMode, n int, row func(i int, values []any) []any) error {
	if n == 0 {
		return nil
	}
	put := t.putSQLite
	if t.Dialect().Name() == dialect.PG {
		put = t.putPostgres
	}
	return Error("store.Put", table.Name, put(ctx, table, mode, n, row))
}

// columns are the names of all columns, in the order of the values of a row.
func (t *Table) columns() string {
	return strings.Join(t.Key, ", ") + ", " + strings.Join(t.Values, ", ")
}

// each writes something for each of columns, with its name in place of @ and
// its number, counted from first, in place of #.
func each(columns []string, between, text string, first int) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = strings.NewReplacer("@", c, "#", strconv.Itoa(first+i)).Replace(text)
	}
	return strings.Join(parts, between)
}

// replace is the clause of INSERT that replaces rows that are there.
func (t *Table) replace() string {
	return " ON CONFLICT (" + strings.Join(t.Key, ", ") + ") DO UPDATE SET " + each(t.Values, ", ", "@ = EXCLUDED.@", 0)
}

// sqlite is the statement for one row.
func (t *Table) sqlite(mode PutMode) string {
	if mode == Update {
		return "UPDATE " + t.Name + " SET " + each(t.Values, ", ", "@ = ?#", len(t.Key)+1) + " WHERE " + each(t.Key, " AND ", "@ = ?#", 1)
	}
	insert := "INSERT INTO " + t.Name + " (" + t.columns() + ") VALUES (" + each(append(slices.Clone(t.Key), t.Values...), ", ", "?#", 1) + ")"
	if mode == Replace {
		insert += t.replace()
	}
	return insert
}

// putSQLite runs a prepared statement for each row, given to the driver itself:
// database/sql would convert each value again, and a statement with many rows
// is slower.
func (t *Tx) putSQLite(ctx context.Context, table *Table, mode PutMode, n int, row func(int, []any) []any) error {
	// The driver starts a goroutine for each statement whose context can end.
	ctx = context.WithoutCancel(ctx)
	return t.conn.Raw(func(dc any) error {
		conn, ok := dc.(driver.ConnPrepareContext)
		if !ok {
			return errors.New("the SQLite driver cannot prepare statements")
		}
		stmt, err := conn.PrepareContext(ctx, table.sqlite(mode))
		if err != nil {
			return err
		}
		defer stmt.Close()
		width := len(table.Key) + len(table.Values)
		exec, values, args := stmt.(driver.StmtExecContext), make([]any, 0, width), make([]driver.NamedValue, width)
		for i := range n {
			for j, v := range row(i, values[:0]) {
				args[j] = driver.NamedValue{Ordinal: j + 1, Value: sqliteValue(v)}
			}
			if _, err := exec.ExecContext(ctx, args); err != nil {
				return err
			}
		}
		return nil
	})
}

// sqliteTime is how bun writes times.
const sqliteTime = "2006-01-02 15:04:05.999999-07:00"

func sqliteValue(v any) driver.Value {
	if at, ok := v.(time.Time); ok {
		return at.UTC().Format(sqliteTime)
	}
	return v
}

// putPostgres copies the rows into the table, or, where they may be there
// already, into a temporary one with the same columns first.
func (t *Tx) putPostgres(ctx context.Context, table *Table, mode PutMode, n int, row func(int, []any) []any) error {
	into, columns := table.Name, table.columns()
	if mode != Insert {
		into = fmt.Sprintf("kedge_put_%x", xxhash.Sum64String(table.Name+columns))
		create := "CREATE TEMP TABLE IF NOT EXISTS " + into + " ON COMMIT DELETE ROWS AS SELECT " + columns + " FROM " + table.Name + " WITH NO DATA"
		if _, err := t.ExecContext(ctx, create+"; DELETE FROM pg_temp."+into); err != nil {
			return err
		}
		into = "pg_temp." + into
	}
	values := make([]any, 0, len(table.Key)+len(table.Values))
	err := pgcopy.Send(ctx, t.conn, into+" ("+columns+")", n, func(e *pgcopy.Encoder, i int) {
		values = row(i, values[:0])
		e.Row(len(values))
		for _, v := range values {
			encode(e, v)
		}
	})
	merge := ""
	switch mode {
	case Insert:
		return err
	case Replace:
		merge = "INSERT INTO " + table.Name + " (" + columns + ") SELECT " + columns + " FROM " + into + table.replace()
	case Update:
		merge = "UPDATE " + table.Name + " AS t SET " + each(table.Values, ", ", "@ = s.@", 0) + " FROM " + into + " AS s WHERE " + each(table.Key, " AND ", "t.@ = s.@", 0)
	}
	if err == nil {
		_, err = t.ExecContext(ctx, merge)
	}
	return err
}

func encode(e *pgcopy.Encoder, v any) {
	switch v := v.(type) {
	case nil:
		e.Null()
	case string:
		e.Text(v)
	case []byte:
		e.Text(string(v))
	case int64:
		e.Int8(v)
	case time.Time:
		e.Time(v)
	default:
		panic(fmt.Sprintf("store.Put: %T", v)) // a mistake in the program
	}
}
