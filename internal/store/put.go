package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-sync/kedge/internal/store/pgcopy"
	"github.com/uptrace/bun/dialect"
)

// A Table is one of kedge's own tables, for [Tx.Put].
type Table struct {
	Name   string
	Key    []string // the columns of its primary key
	Values []string // the columns that are written besides
}

// Put stores n rows. row appends the values of row i, first of the key, then
// the others: string, int64, []byte, time.Time (to the microsecond), or nil. A
// row whose key is there already is replaced. If fresh, the caller knows that
// no key is, which is faster; one that is there all the same is an error.
//
// Rows of one call have distinct keys.
func (t *Tx) Put(ctx context.Context, table *Table, fresh bool, n int, row func(i int, values []any) []any) error {
	if n == 0 {
		return nil
	}
	if t.Dialect().Name() == dialect.PG {
		return Error("store.Put", table.Name, t.putPostgres(ctx, table, fresh, n, row))
	}
	return Error("store.Put", table.Name, t.putSQLite(ctx, table, fresh, n, row))
}

// columns are the names of all columns, in the order of the values of a row.
func (t *Table) columns() string {
	return strings.Join(t.Key, ", ") + ", " + strings.Join(t.Values, ", ")
}

// replace is the clause of INSERT that replaces rows that are there.
func (t *Table) replace() string {
	sets := make([]string, len(t.Values))
	for i, c := range t.Values {
		sets[i] = c + " = EXCLUDED." + c
	}
	return " ON CONFLICT (" + strings.Join(t.Key, ", ") + ") DO UPDATE SET " + strings.Join(sets, ", ")
}

// putSQLite runs a prepared statement for each row, given to the driver itself:
// database/sql would convert each value again, and a statement with many rows
// is slower.
func (t *Tx) putSQLite(ctx context.Context, table *Table, fresh bool, n int, row func(int, []any) []any) error {
	width := len(table.Key) + len(table.Values)
	query := "INSERT INTO " + table.Name + " (" + table.columns() + ") VALUES (?" + strings.Repeat(", ?", width-1) + ")"
	if !fresh {
		query += table.replace()
	}
	// The driver starts a goroutine for each statement whose context can end.
	ctx = context.WithoutCancel(ctx)
	return t.conn.Raw(func(dc any) error {
		conn, ok := dc.(driver.ConnPrepareContext)
		if !ok {
			return errors.New("the SQLite driver cannot prepare statements")
		}
		stmt, err := conn.PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		defer stmt.Close()
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
// already, into a temporary one of the same shape first.
func (t *Tx) putPostgres(ctx context.Context, table *Table, fresh bool, n int, row func(int, []any) []any) error {
	into, columns := table.Name, table.columns()
	if !fresh {
		into = "kedge_put_" + table.Name
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
	if err != nil || fresh {
		return err
	}
	_, err = t.ExecContext(ctx, "INSERT INTO "+table.Name+" ("+columns+") SELECT "+columns+" FROM "+into+table.replace())
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
