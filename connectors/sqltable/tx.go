package sqltable

import (
	"github.com/uptrace/bun/dialect"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// engineOf tells which database tx runs on.
func engineOf(tx connectors.Tx) store.Engine {
	if tx.Dialect().Name() == dialect.PG {
		return store.Postgres
	}
	return store.SQLite
}
