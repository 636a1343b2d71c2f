package sqltable

import (
	"context"
	"database/sql"

	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
)

const (
	pgTriggers = `SELECT t.tgname::text, t.tgenabled IN ('O', 'A') FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE starts_with(t.tgname::text, $1) AND n.nspname = $2 AND c.relname = $3`
	pgFunction = `SELECT p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = $1 AND n.nspname = $2`
)

func (in *installer) postgresTriggers(ctx context.Context, listeners map[string]listener) (func(context.Context) error, bool, error) {
	want := in.set(listeners).Postgres()
	have := map[string]bool{} // and whether it fires
	err := catalog.Each(ctx, in.q, pgTriggers, []any{want.Name, in.e.table.Schema, in.e.table.Name}, func(rows *sql.Rows) error {
		var name string
		var fires bool
		err := rows.Scan(&name, &fires)
		have[name] = fires
		return err
	})
	if err != nil {
		return nil, false, err
	}
	var body string
	_, err = first(ctx, in.q, pgFunction, []any{want.Name, in.name}, &body)
	if err != nil {
		return nil, false, err
	}
	var statements []string
	for name := range have {
		statements = append(statements, "DROP TRIGGER "+name+" ON "+in.e.ref)
	}
	if len(listeners) == 0 {
		if body != "" {
			statements = append(statements, "DROP FUNCTION "+in.schema+want.Name+"()")
		}
		if len(statements) == 0 {
			return nil, false, nil
		}
		return in.exec(statements), false, nil
	}
	same, broken := body == want.Body, false
	for _, t := range want.Triggers {
		broken = broken || !have[t.Name]
	}
	if same && !broken {
		return nil, false, nil
	}
	// Writers who know only of the old triggers must end first. DROP TRIGGER
	// and CREATE TRIGGER would wait for them too, but in between would come
	// others.
	statements = append([]string{"LOCK TABLE " + in.e.ref + " IN SHARE ROW EXCLUSIVE MODE"}, statements...)
	statements = append(statements, want.SQL)
	for _, t := range want.Triggers {
		statements = append(statements, t.SQL)
	}
	return in.exec(statements), broken, nil
}
