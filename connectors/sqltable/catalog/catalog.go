// Package catalog reads what a SQLite or PostgreSQL database says about its
// tables: columns, types, keys, lookups. It reads the catalog and no rows.
package catalog

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Querier runs statements as they are: *sql.DB, *sql.Conn or *sql.Tx.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// A Table is a table or view.
type Table struct {
	Schema  string // PostgreSQL: the schema it lies in
	Name    string
	Title   string // its comment
	View    bool   // rows cannot be written
	Columns []Column
	Primary []int   // positions of the primary key's columns, in order
	Unique  [][]int // other unique indexes that hold for all rows and can be named in ON CONFLICT
	Links   []Link  // foreign keys
}

// A Column is one column of a table.
type Column struct {
	Name      string
	Title     string  // its comment
	Native    string  // declared type, for people
	Cast      string  // PostgreSQL: type to cast to, without length
	Storage   Storage // how values are stored
	Type      kedge.Type
	Format    kedge.Format
	MaxLength int // characters; 0 means no limit
	Precision int
	Scale     int // -1 means any
	NotNull   bool
	Default   bool // has a default, or makes its own value
	Generated bool // can never be written
	Enum      []string
}

// A Link is a foreign key.
type Link struct {
	Columns []int
	Schema  string // of the target
	Table   string
	Targets []string // columns of the target; empty means its primary key
}

// A Storage says how the values of a column are stored and travel.
type Storage uint8

// The ways of storing values.
const (
	Text  Storage = iota
	Bool          // SQLite: 0 and 1
	Int           // all widths
	Float         // all widths
	Decimal
	Time      // PostgreSQL: timestamptz. SQLite: UTC text of fixed width with nanoseconds
	LocalTime // PostgreSQL: timestamp, taken as UTC. SQLite: DATETIME, written as CURRENT_TIMESTAMP is
	Date
	Bytes
	JSON
	UUID
	Other // PostgreSQL: any other type, read and written as its text
)

// Column returns the position of the named column, or -1.
func (t *Table) Column(name string) int {
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
}

// Key returns the primary key or, without one, the only unique index whose
// columns are all not null.
func (t *Table) Key() []int {
	if len(t.Primary) > 0 {
		return t.Primary
	}
	var found [][]int
	for _, u := range t.Unique {
		if !slices.ContainsFunc(u, func(i int) bool { return !t.Columns[i].NotNull }) {
			found = append(found, u)
		}
	}
	if len(found) != 1 {
		return nil
	}
	return found[0]
}

// IsUnique reports whether an index makes the set of columns unique.
func (t *Table) IsUnique(columns []int) bool {
	want := slices.Sorted(slices.Values(columns))
	for _, u := range append([][]int{t.Primary}, t.Unique...) {
		if len(u) > 0 && slices.Equal(slices.Sorted(slices.Values(u)), want) {
			return true
		}
	}
	return false
}

// A Source is a database to read the catalog of.
type Source struct {
	Engine  store.Engine
	Schemas []string // PostgreSQL; none means the current schema
}

// Load returns the tables and views of a database, sorted by schema and name,
// and notices about what it had to leave out.
func (s Source) Load(ctx context.Context, q Querier) ([]*Table, []string, error) {
	var tables []*Table
	var notices []string
	var err error
	if s.Engine == store.Postgres {
		tables, err = loadPostgres(ctx, q, s.Schemas)
	} else {
		tables, notices, err = loadSQLite(ctx, q)
	}
	if err != nil {
		return nil, nil, store.Error("sqltable.Schema", "", err)
	}
	slices.SortFunc(tables, func(a, b *Table) int {
		return 2*strings.Compare(a.Schema, b.Schema) + strings.Compare(a.Name, b.Name)
	})
	return tables, notices, nil
}

// Each calls f for each row of a query.
func Each(ctx context.Context, q Querier, query string, args []any, f func(rows *sql.Rows) error) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
