package sqltable

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/connectors/sqltable/trigger"
	"github.com/kedge-sync/kedge/internal/store"
)

const opInstall = "sqltable.Capture"

// A CaptureState tells of one integration that listens to one table.
type CaptureState struct {
	Table       string    `json:"table"`
	Integration string    `json:"integration"`
	Fields      []string  `json:"fields"`
	Triggers    bool      `json:"triggers"` // they are in place
	Waiting     int64     `json:"waiting"`  // notes that were not acknowledged
	SeenAt      time.Time `json:"seenAt"`   // when the integration last said that it listens
}

// CaptureStatements returns what InstallCapture carries out: nothing where the
// tables that changes are noted in are there.
func (d *Driver) CaptureStatements(ctx context.Context) (string, error) {
	s, err := d.store(ctx)
	if err != nil {
		return "", err
	}
	c, err := d.noteTables(ctx, s.DB().DB, s.Engine())
	if c != nil || err != nil {
		return "", store.Error(opInstall, "", err)
	}
	if s.Engine() == store.Postgres {
		return strings.TrimSpace(strings.ReplaceAll(postgresControl, "{schema}", d.home(s.Engine()))), nil
	}
	return strings.TrimSpace(sqliteControl), nil
}

// InstallCapture makes the tables that changes are noted in. The triggers come
// with the first integration that listens, see SetListeners.
func (d *Driver) InstallCapture(ctx context.Context) error {
	statements, err := d.CaptureStatements(ctx)
	if statements == "" || err != nil {
		return err
	}
	s, err := d.store(ctx)
	if err != nil {
		return err
	}
	defer d.forget()
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Conn().Conn.ExecContext(ctx, statements)
		return store.Error(opInstall, "", err)
	})
}

// CaptureStatus tells who listens to which tables, sorted by table and
// integration. It is of kind NotFound where capture is not installed.
func (d *Driver) CaptureStatus(ctx context.Context) ([]CaptureState, error) {
	s, err := d.store(ctx)
	if err != nil {
		return nil, err
	}
	db := s.DB().DB
	c, err := d.noteTables(ctx, db, s.Engine())
	if err != nil {
		return nil, store.Error(opInstall, "", err)
	}
	if c == nil {
		return nil, &kedge.Error{Op: opInstall, Kind: kedge.NotFound, Err: errors.New("capture by triggers is not installed")}
	}
	triggers := map[string]bool{}
	if err := c.triggersNamed(ctx, db, trigger.AnyPrefix, func(name, _ string) { triggers[name] = true }); err != nil {
		return nil, store.Error(opInstall, "", err)
	}
	states := []CaptureState{}
	query := "SELECT entity, consumer, fields, " + c.seconds("seen_at") + ", (SELECT count(*) FROM " + c.table("kedge_change") +
		" AS n WHERE n.consumer = l.consumer AND n.entity = l.entity) FROM " + c.table("kedge_capture") + " AS l ORDER BY 1, 2"
	err = catalog.Each(ctx, db, query, nil, func(rows *sql.Rows) error {
		var st CaptureState
		var fields string
		var seen float64
		if err := rows.Scan(&st.Table, &st.Integration, &fields, &seen, &st.Waiting); err != nil {
			return err
		}
		st.SeenAt = time.Unix(int64(seen), 0).UTC()
		st.Triggers = triggers[trigger.OnInsert(st.Table)]
		err := json.Unmarshal([]byte(fields), &st.Fields)
		states = append(states, st)
		return err
	})
	return states, store.Error(opInstall, "", err)
}

// RemoveCapture removes all triggers and notes, and in a database that is not
// kedge's own the tables too.
func (d *Driver) RemoveCapture(ctx context.Context) error {
	s, err := d.store(ctx)
	if err != nil {
		return err
	}
	defer d.forget()
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		conn := tx.Conn().Conn
		c, err := d.noteTables(ctx, conn, s.Engine())
		if c == nil || err != nil {
			return store.Error(opInstall, "", err)
		}
		return store.Error(opInstall, "", c.remove(ctx, conn))
	})
}

func (c *noteTables) remove(ctx context.Context, q catalog.Querier) error {
	if err := c.dropTriggers(ctx, q, trigger.AnyPrefix); err != nil {
		return err
	}
	own, err := c.areOwn(ctx, q)
	if err != nil {
		return err
	}
	verb := "DROP TABLE "
	if own {
		verb = "DELETE FROM "
	}
	for _, table := range []string{"kedge_change", "kedge_capture", "kedge_origin"} {
		if _, err := q.ExecContext(ctx, verb+c.table(table)); err != nil {
			return err
		}
	}
	return nil
}

// areOwn reports whether the tables lie in kedge's own database, where its
// migrations made them, whatever the connection says.
func (c *noteTables) areOwn(ctx context.Context, q catalog.Querier) (bool, error) {
	query, args := "SELECT 1 FROM sqlite_master WHERE name = 'kedge_migration'", []any(nil)
	if c.engine == store.Postgres {
		query, args = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'kedge_migration' AND n.nspname = $1", []any{c.name}
	}
	return first(ctx, q, query, args, new(int))
}

// dropTriggers drops the triggers whose names begin with prefix, and their
// functions.
func (c *noteTables) dropTriggers(ctx context.Context, q catalog.Querier, prefix string) error {
	var statements []string
	err := c.triggersNamed(ctx, q, prefix, func(name, table string) {
		drop := "DROP TRIGGER " + catalog.Quote(c.engine, name)
		if table != "" {
			drop += " ON " + table
		}
		statements = append(statements, drop)
	})
	if err != nil {
		return err
	}
	if c.engine == store.Postgres {
		err = catalog.Each(ctx, q, "SELECT p.proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE starts_with(p.proname::text, $1) AND n.nspname = $2",
			[]any{prefix, c.name}, func(rows *sql.Rows) error {
				var name string
				err := rows.Scan(&name)
				statements = append(statements, "DROP FUNCTION "+c.schema+catalog.Quote(c.engine, name)+"()")
				return err
			})
		if err != nil {
			return err
		}
	}
	for _, s := range statements {
		if _, err := q.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// triggersNamed gives f the triggers whose names begin with prefix, and on
// PostgreSQL the quoted names of their tables.
func (c *noteTables) triggersNamed(ctx context.Context, q catalog.Querier, prefix string, f func(name, table string)) error {
	query, args := "SELECT name, '', '' FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, ?) = ?", []any{len(prefix), prefix}
	if c.engine == store.Postgres {
		query = `SELECT t.tgname::text, n.nspname::text, r.relname::text FROM pg_trigger t JOIN pg_class r ON r.oid = t.tgrelid JOIN pg_namespace n ON n.oid = r.relnamespace
			JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn ON pn.oid = p.pronamespace WHERE starts_with(t.tgname::text, $1) AND pn.nspname = $2 ORDER BY 1`
		args = []any{prefix, c.name}
	}
	return catalog.Each(ctx, q, query, args, func(rows *sql.Rows) error {
		var name, schema, table string
		if err := rows.Scan(&name, &schema, &table); err != nil {
			return err
		}
		if table != "" {
			table = catalog.Quote(c.engine, schema) + "." + catalog.Quote(c.engine, table)
		}
		f(name, table)
		return nil
	})
}
