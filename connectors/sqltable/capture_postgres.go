package sqltable

import (
	"context"
	"database/sql"
)

func (in *installer) postgresTriggers(ctx context.Context, listeners map[string]listener) (func(context.Context) error, bool, error) {
	want := in.set(listeners).Postgres()
	have := map[string]bool{} // and whether it fires
	err := eachRow(ctx, in.q, "SELECT tgname::text, tgenabled IN ('O', 'A') FROM pg_trigger WHERE tgrelid = to_regclass($1) AND starts_with(tgname::text, $2)",
		[]any{in.e.ref, want.Name}, func(rows *sql.Rows) error {
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
	_, err = first(ctx, in.q, "SELECT prosrc FROM pg_proc WHERE oid = to_regproc($1)", []any{in.schema + want.Name}, &body)
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
