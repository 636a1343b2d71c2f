// Package store opens kedge's own database, SQLite or PostgreSQL, and gives it
// transactions, migrations, leases and sealed values. It has no business
// tables.
package store

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// An Engine is the kind of database behind a [Store].
type Engine uint8

// The engines.
const (
	SQLite Engine = iota
	Postgres
)

// Options configure a [Store]. The zero value is ready to use.
type Options struct {
	LeaseTTL time.Duration    // 0 means 30 s
	Now      func() time.Time // nil means time.Now. Leases use the database's clock
	Keys     *KeyRing         // nil: sealed values are refused
}

// A Store is an open database.
type Store struct {
	db     *bun.DB
	engine Engine
}

// Open opens the database that dsn names: "sqlite:PATH" or "postgres://…".
func Open(ctx context.Context, dsn string, opts *Options) (*Store, error) { panic("not written yet") }

// Close closes the database.
func (s *Store) Close() error { panic("not written yet") }

// DB returns the database for single statements and reads.
func (s *Store) DB() *bun.DB { return s.db }

// Engine tells which database it is.
func (s *Store) Engine() Engine { return s.engine }

// A Tx is an open transaction together with the connection it runs on. It is a
// connectors.Tx.
type Tx struct {
	bun.Tx
	conn bun.Conn
}

// Conn returns the connection that the transaction runs on.
func (t *Tx) Conn() bun.Conn { return t.conn }

// InTx runs fn in a writing transaction: BEGIN IMMEDIATE on SQLite, READ
// COMMITTED on PostgreSQL. It commits if fn returns nil and rolls back
// otherwise. Functions given to [OnCommit] run after the commit.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	panic("not written yet")
}

// InReadTx runs fn in a read-only transaction with one stable snapshot
// (REPEATABLE READ on PostgreSQL), and always rolls back.
func (s *Store) InReadTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	panic("not written yet")
}

// OnCommit runs fn after the transaction of ctx has committed, or at once if
// ctx is in none.
func OnCommit(ctx context.Context, fn func()) { panic("not written yet") }

// A Migration is one forward step of the database's schema. Names sort in the
// order of application: "20261124_01_syncer".
type Migration struct {
	Name     string
	SQLite   string // statements, separated by semicolons
	Postgres string // "" means the same as SQLite
}

// Migrate applies the migrations that are not yet recorded in kedge_migration,
// in order of name, each in a transaction, and returns their names. Two
// processes may call it at once.
func (s *Store) Migrate(ctx context.Context, migrations []Migration) ([]string, error) {
	panic("not written yet")
}

// Pending returns the names of the migrations that Migrate would apply.
func (s *Store) Pending(ctx context.Context, migrations []Migration) ([]string, error) {
	panic("not written yet")
}

// Migrations are the store's own tables: kedge_lease, connector_state.
func Migrations() []Migration { panic("not written yet") }

// A Lease is the right to do a named piece of work, held until it is released
// or not renewed for the store's lease time.
type Lease struct {
	Name   string
	Holder string
	Fence  int64 // grows with every change of holder
}

// Acquire takes the lease called name for holder. It returns an error of kind
// Conflict, which names the present holder, if somebody else holds it. A
// holder that is provably dead is taken over at once: its lock (SQLite: a lock
// file beside the database; PostgreSQL: a session lock) is free.
func (s *Store) Acquire(ctx context.Context, name, holder string) (*Lease, error) {
	panic("not written yet")
}

// Renew extends l. It returns an error of kind Conflict if l was lost.
func (s *Store) Renew(ctx context.Context, l *Lease) error { panic("not written yet") }

// Release gives l back. Releasing a lost lease does nothing.
func (s *Store) Release(ctx context.Context, l *Lease) error { panic("not written yet") }

// CheckFence returns an error of kind Conflict if l is no longer held, and
// keeps it from being taken until tx ends.
func (s *Store) CheckFence(ctx context.Context, tx *Tx, l *Lease) error { panic("not written yet") }

// A KeyRing seals values: the first key encrypts, all keys decrypt.
type KeyRing struct{}

// NewKeyRing returns the ring of the given keys, newest first.
func NewKeyRing(keys ...Key) (*KeyRing, error) { panic("not written yet") }

// A Key is an encryption key of 32 bytes.
type Key struct {
	ID    string
	Value []byte
}

// Seal encrypts plain so that only Open with the same context opens it.
func (k *KeyRing) Seal(plain []byte, context string) ([]byte, error) { panic("not written yet") }

// Open decrypts what Seal returned.
func (k *KeyRing) Open(sealed []byte, context string) ([]byte, error) { panic("not written yet") }

// State is a sealed key/value store of one connection (table connector_state).
type State struct{}

// State returns the state of the named connection.
func (s *Store) State(connection string) *State { panic("not written yet") }

// Get returns the value stored under name and the revision to swap it with,
// or nil and 0 if there is none.
func (st *State) Get(ctx context.Context, name string) (value []byte, rev int64, err error) {
	panic("not written yet")
}

// Put stores value under name if its revision is still rev (0: there is none
// yet), and returns an error of kind Conflict otherwise.
func (st *State) Put(ctx context.Context, name string, value []byte, rev int64) error {
	panic("not written yet")
}

// Delete forgets name.
func (st *State) Delete(ctx context.Context, name string) error { panic("not written yet") }
