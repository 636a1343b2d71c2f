package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

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
	var at position
	if s.engine == Postgres {
		if err := tx.QueryRowContext(ctx, s.commitProbe).Scan(&at.xid, &at.timeline); err != nil {
			return commitError(ctx, err)
		}
	}
	err := tx.Commit()
	if err == nil || s.engine == SQLite || !unknownCommit(err) {
		return commitError(ctx, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.resolveTime)
	defer cancel()
	switch s.resolve(ctx, at) {
	case "committed":
		return nil
	case "aborted":
		return &kedge.Error{Op: "store.InTx", Kind: kedge.Transient, Err: err}
	}
	return &kedge.Error{Op: "store.InTx", Kind: kedge.OutcomeUnknown, Err: err}
}

// commitError returns err, or the end of ctx that caused it.
func commitError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return Error("store.InTx", "", err)
}

// A position names a transaction to the server. A number alone does not: a
// replica that is promoted without it gives it to another transaction.
type position struct{ xid, timeline sql.NullString }

// resolve asks the server, over new connections, what became of a transaction:
// "committed", "aborted" or "" if it does not know.
func (s *Store) resolve(ctx context.Context, at position) string {
	if s.commitProbe != xidProbe {
		return ""
	}
	if !at.xid.Valid {
		return "aborted" // it wrote nothing that could be lost
	}
	for {
		status, err := s.askStatus(ctx, at)
		if err == nil && status != "in progress" {
			return status
		}
		select {
		case <-ctx.Done():
			return ""
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Store) askStatus(ctx context.Context, at position) (string, error) {
	db, err := s.fork()
	if err != nil {
		return "", err
	}
	defer db.Close()
	var status, timeline sql.NullString
	err = db.QueryRowContext(ctx, "SELECT pg_xact_status(?::text::xid8), left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)", at.xid.String).
		Scan(&status, &timeline)
	if Kind(err) == kedge.Invalid { // a number that this server has not reached
		return "", nil
	}
	if err == nil && timeline != at.timeline {
		return "", nil
	}
	return status.String, err
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
