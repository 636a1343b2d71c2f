package sqltable

import (
	"context"
	"strings"

	"github.com/kedge-sync/kedge/internal/store"
)

// InstallCapture makes the tables that changes are noted in. In kedge's own
// database they are there already.
func (d *Driver) InstallCapture(ctx context.Context) error {
	s, err := d.store(ctx)
	if err != nil {
		return err
	}
	defer d.forget()
	statements := sqliteControl
	if s.Engine() == store.Postgres {
		statements = strings.ReplaceAll(postgresControl, "{schema}", d.home(s.Engine()))
	}
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.Conn().Conn.ExecContext(ctx, statements)
		return store.Error("sqltable.InstallCapture", "", err)
	})
}
