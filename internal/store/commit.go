package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/driver/pgdriver"
)

// Asked just before COMMIT on PostgreSQL. Any statement fails if an earlier one
// did, whereas COMMIT then rolls back and reports success. The transaction's
// number and the server's timeline are what resolve needs.
const (
	xidProbe   = "SELECT pg_current_xact_id_if_assigned()::text, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
	plainProbe = "SELECT NULL, NULL"
)

// commit commits tx and finds out whether that worked.
func (s *Store) commit(ctx context.Context, tx bun.Tx) error {
	var xid, timeline sql.NullString
	if s.engine == Postgres {
		if err := tx.QueryRowContext(ctx, s.commitProbe).Scan(&xid, &timeline); err != nil {
			return Error("store.InTx", "", err)
		}
	}
	err := tx.Commit()
	if err == nil || s.engine == SQLite || !unknownCommit(err) {
		return Error("store.InTx", "", err)
	}
	return &kedge.Error{Op: "store.InTx", Kind: kedge.OutcomeUnknown, Err: err}
}

// unknownCommit reports whether err, of a COMMIT, leaves open what happened.
func unknownCommit(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrTxDone) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false // not sent
	}
	if e, ok := errors.AsType[pgdriver.Error](err); ok {
		fatal := e.Field('V') == "FATAL" || e.Field('V') == "PANIC"
		return fatal || e.Field('C') == "40003" // statement completion unknown
	}
	return true
}
