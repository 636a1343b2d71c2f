package sqltable

import (
	"context"
	"database/sql"
	"strings"

	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// The tables of trigger capture. {schema} is empty or a quoted name with a dot.
//
// On SQLite the order of seq is that of commits, and AUTOINCREMENT keeps
// numbers of deleted rows from coming back. Notes are found by ranges of seq,
// between what was acknowledged and what is new, so that there need be no index,
// which would cost a third of noting. On PostgreSQL the order of seq is not that
// of commits; there xid tells which rows can still be committed.
const (
	sqliteControl = `
CREATE TABLE IF NOT EXISTS kedge_change (
  seq integer PRIMARY KEY AUTOINCREMENT,
  xid bigint NOT NULL DEFAULT 0,
  consumer text NOT NULL,
  entity text NOT NULL,
  key text NOT NULL,
  op text NOT NULL, -- I, U, D, and T on PostgreSQL
  at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE IF NOT EXISTS kedge_capture (
  entity text NOT NULL,
  consumer text NOT NULL,
  key text NOT NULL, -- JSON, as fields is
  fields text NOT NULL,
  epoch text NOT NULL, -- anchors of another one are expired
  acked bigint NOT NULL, -- what lies before is deleted
  seen_at timestamp NOT NULL,
  PRIMARY KEY (entity, consumer)
);
CREATE TABLE IF NOT EXISTS kedge_origin (
  name text NOT NULL PRIMARY KEY
) WITHOUT ROWID;`

	postgresControl = `
CREATE TABLE IF NOT EXISTS {schema}kedge_change (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  xid bigint NOT NULL,
  consumer text NOT NULL,
  entity text NOT NULL,
  key text NOT NULL,
  op text NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS kedge_change_reader ON {schema}kedge_change (consumer, entity, xid, seq);
CREATE INDEX IF NOT EXISTS kedge_change_truncated ON {schema}kedge_change (consumer, entity, xid) WHERE op = 'T';
CREATE TABLE IF NOT EXISTS {schema}kedge_capture (
  entity text NOT NULL,
  consumer text NOT NULL,
  key text NOT NULL,
  fields text NOT NULL,
  epoch text NOT NULL,
  acked bigint NOT NULL,
  seen_at timestamptz NOT NULL,
  PRIMARY KEY (entity, consumer)
);
CREATE TABLE IF NOT EXISTS {schema}kedge_origin (
  name text NOT NULL PRIMARY KEY
);`
)

// Migrations returns the steps that make the tables of trigger capture in
// kedge's own database.
func Migrations() []store.Migration {
	return []store.Migration{{
		Name:     "20261126_08_capture",
		SQLite:   sqliteControl,
		Postgres: strings.ReplaceAll(postgresControl, "{schema}", ""),
	}}
}

// noteTables is where the tables of trigger capture lie.
type noteTables struct {
	engine store.Engine
	schema string // PostgreSQL: quoted, with a dot
	name   string // the schema's name
}

// table returns the name of a control table for SQL.
func (c *noteTables) table(name string) string { return c.schema + name }

// seconds is a column with a time as seconds since 1970.
func (c *noteTables) seconds(column string) string {
	if c.engine == store.Postgres {
		return "extract(epoch FROM " + column + ")"
	}
	return "strftime('%s', " + column + ")"
}

// home is the first schema that is configured, quoted, with a dot. The tables
// of trigger capture lie there; in kedge's own database, where kedge's are.
func (d *Driver) home(engine store.Engine) string {
	if engine == store.SQLite || d.own != nil || len(d.cfg.Schemas) == 0 {
		return ""
	}
	return catalog.Quote(engine, d.cfg.Schemas[0]) + "."
}

// noteTables looks for the tables of trigger capture. It returns nil if there are
// none. Where they are does not change, so that it looks once.
func (d *Driver) noteTables(ctx context.Context, q catalog.Querier, engine store.Engine) (*noteTables, error) {
	d.mu.Lock()
	known := d.notes
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	query, args := "SELECT '' FROM sqlite_master WHERE type = 'table' AND name = 'kedge_origin'", []any(nil)
	if engine == store.Postgres {
		query = "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('kedge_origin')"
		if d.home(engine) != "" {
			query = "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'kedge_origin' AND n.nspname = $1"
			args = []any{d.cfg.Schemas[0]}
		}
	}
	var schema string
	found, err := first(ctx, q, query, args, &schema)
	if err != nil || !found {
		return nil, err
	}
	c := &noteTables{engine: engine, name: schema}
	if engine == store.Postgres {
		c.schema = catalog.Quote(engine, schema) + "."
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = c
	return c, nil
}

// first scans the first row of a query, and reports whether there is one.
func first(ctx context.Context, q catalog.Querier, query string, args []any, to ...any) (found bool, err error) {
	err = catalog.Each(ctx, q, query, args, func(rows *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return rows.Scan(to...)
	})
	return found, err
}
