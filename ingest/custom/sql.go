package custom

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge/internal/store"
)

// A statement is SQL that is being written, with its arguments. It goes to the
// driver directly: bun's formatter would read a ? in a quoted name.
type statement struct {
	strings.Builder
	engine store.Engine
	args   []any
}

func (s *statement) arg(v any) *statement {
	s.args = append(s.args, v)
	if s.engine == store.SQLite {
		s.WriteByte('?')
	} else {
		s.WriteByte('$')
		s.WriteString(strconv.Itoa(len(s.args)))
	}
	return s
}

func (s *statement) add(text string) *statement {
	s.WriteString(text)
	return s
}

// row writes (?, ?, …).
func (s *statement) row(values ...any) *statement {
	for i, v := range values {
		s.WriteByte([...]byte{'(', ','}[min(i, 1)])
		s.arg(v)
	}
	s.WriteByte(')')
	return s
}

// A querier is a transaction or a pool of connections.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (s *statement) exec(ctx context.Context, q querier) (int64, error) {
	res, err := q.ExecContext(ctx, s.String(), s.args...)
	if err != nil {
		return 0, store.Error("ingest", "", err)
	}
	return res.RowsAffected()
}

// each calls scan for each row.
func (s *statement) each(ctx context.Context, q querier, scan func(*sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, s.String(), s.args...)
	if err != nil {
		return store.Error("ingest", "", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return store.Error("ingest", "", err)
		}
	}
	return store.Error("ingest", "", rows.Err())
}

func (c *Custom) sql(parts ...string) *statement {
	s := &statement{engine: c.store.Engine()}
	for _, p := range parts {
		s.WriteString(p)
	}
	return s
}

func (c *Custom) postgres() bool { return c.store.Engine() == store.Postgres }

// nullable makes "" a null.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// chunks calls fn with up to size items at a time.
func chunks[T any](items []T, size int, fn func([]T) error) error {
	for len(items) > 0 {
		n := min(size, len(items))
		if err := fn(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func anysOf[T any](items []T) []any {
	out := make([]any, len(items))
	for i, t := range items {
		out[i] = t
	}
	return out
}
