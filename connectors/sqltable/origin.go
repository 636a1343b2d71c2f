package sqltable

import (
	"context"
	"database/sql"
	"errors"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// asConsumer runs f so that what it writes is not noted for the driver's
// consumer. On PostgreSQL a setting of the transaction says who writes. SQLite
// has none: there it is a row that nobody else ever sees, because it is gone
// again before the transaction commits.
func (d *Driver) asConsumer(ctx context.Context, conn *sql.Conn, engine store.Engine, f func() error) error {
	if d.consumer == "" {
		return f()
	}
	enter, leave, args := "INSERT INTO kedge_origin (name) VALUES (?)", "DELETE FROM kedge_origin", []any{d.consumer}
	if engine == store.Postgres {
		enter, leave = "SELECT set_config('kedge.origin', $1, true)", "SELECT set_config('kedge.origin', '', true)"
	}
	if _, err := conn.ExecContext(ctx, enter, args...); err != nil {
		if engine == store.SQLite && store.Kind(err) == kedge.NotFound {
			return f() // nothing is captured here
		}
		return store.Error(opWrite, "", err)
	}
	err := f()
	if _, left := conn.ExecContext(context.WithoutCancel(ctx), leave); left != nil && err == nil {
		return store.Error(opWrite, "", left)
	} else if left != nil && engine == store.SQLite {
		return errors.Join(err, left)
	}
	return err
}
