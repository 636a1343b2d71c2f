package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
)

// A Tx is an open transaction together with the connection it runs on. It is a
// connectors.Tx.
type Tx struct {
	bun.Tx
	conn bun.Conn
}

// Conn returns the connection that the transaction runs on. COPY needs it, and
// so do callers that prepare statements on the connection itself.
func (t *Tx) Conn() bun.Conn { return t.conn }

// A txState travels in the context of a writing transaction.
type txState struct {
	store    *Store
	onCommit []func()
}

type txKey struct{}

// InTx runs fn in a writing transaction: BEGIN IMMEDIATE on SQLite, READ
// COMMITTED on PostgreSQL. It commits if fn returns nil and rolls back
// otherwise, also if fn panics or ctx ends. fn's errors are returned as they
// are. Functions given to [OnCommit] run after the commit.
//
// InTx inside InTx of the same store is a programming error and answered with
// kind Internal: hand on tx instead.
//
// An error of kind OutcomeUnknown means that the connection was lost during
// the commit and the database could not be asked what became of it.
//
// fn must return the errors of its statements, unless it made a savepoint
// before or the kind is Invalid or Conflict and the engine SQLite: PostgreSQL
// commits nothing after a failed statement, and InTx returns an error then;
// SQLite may have rolled back already when the disk is full.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	if st, ok := ctx.Value(txKey{}).(*txState); ok && st.store == s {
		return &kedge.Error{Op: "store.InTx", Kind: kedge.Internal, Err: errors.New("called inside a transaction; use that one")}
	}
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return Error("store.InTx", "", err)
	}
	defer conn.Close()
	tx, err := s.begin(ctx, conn)
	if err != nil {
		return Error("store.InTx", "", err)
	}
	defer tx.Rollback() // does nothing after a commit
	st := &txState{store: s}
	if err := fn(context.WithValue(ctx, txKey{}, st), &Tx{Tx: tx, conn: conn}); err != nil {
		return err
	}
	if err := s.commit(ctx, tx); err != nil {
		return err
	}
	for _, f := range st.onCommit {
		f()
	}
	return nil
}

func (s *Store) begin(ctx context.Context, conn bun.Conn) (bun.Tx, error) {
	leave, err := s.turn.enter(ctx)
	if err != nil {
		return bun.Tx{}, err
	}
	defer leave()
	return conn.BeginTx(ctx, nil)
}

// InReadTx runs fn in a read-only transaction with one stable snapshot
// (REPEATABLE READ on PostgreSQL), and always rolls back. It may surround
// calls of [Store.InTx], whose writes it does not see.
func (s *Store) InReadTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return Error("store.InReadTx", "", err)
	}
	defer conn.Close()
	opts := &sql.TxOptions{ReadOnly: true}
	readOnly := "PRAGMA query_only=ON"
	if s.engine == Postgres {
		opts.Isolation = sql.LevelRepeatableRead
		readOnly = "SET LOCAL idle_in_transaction_session_timeout=0" // a slow reader harms nobody
	} else {
		defer conn.ExecContext(context.WithoutCancel(ctx), "PRAGMA query_only=OFF")
	}
	tx, err := conn.BeginTx(ctx, opts)
	if err != nil {
		return Error("store.InReadTx", "", err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, readOnly); err != nil {
		return Error("store.InReadTx", "", err)
	}
	return fn(ctx, &Tx{Tx: tx, conn: conn})
}

// OnCommit runs fn after the transaction of ctx has committed, or at once if
// ctx is in none. It is not run if the transaction rolls back. Workers are
// woken by it, in this process only.
func OnCommit(ctx context.Context, fn func()) {
	if st, ok := ctx.Value(txKey{}).(*txState); ok {
		st.onCommit = append(st.onCommit, fn)
		return
	}
	fn()
}
