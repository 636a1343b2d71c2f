// Package store opens kedge's own database, SQLite or PostgreSQL, and gives it
// transactions, migrations, leases and sealed values. It has no business
// tables.
//
// Everything here behaves the same on both engines; the tests run on both.
package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
)

// An Engine is the kind of database behind a [Store].
type Engine uint8

// The engines.
const (
	SQLite Engine = iota
	Postgres
)

// String returns "sqlite" or "postgres".
func (e Engine) String() string { return [...]string{"sqlite", "postgres"}[min(e, Postgres)] }

// DefaultLeaseTTL is how long a lease lasts without being renewed.
const DefaultLeaseTTL = 30 * time.Second

// Options configure a [Store]. The zero value is ready to use.
type Options struct {
	LeaseTTL time.Duration    // how long a lease lasts without being renewed; 0 means [DefaultLeaseTTL]
	Now      func() time.Time // for updated_at columns; nil means time.Now. Leases use the database's clock
	Keys     *KeyRing         // nil: sealed values are refused

	// BeforeQuery, if not nil, is called before most statements, commits among
	// them, for tests that end a process there by runtime.Goexit.
	BeforeQuery func(query string)
}

// A Store is an open database. Its methods may run concurrently.
type Store struct {
	db     *bun.DB
	write  *bun.DB // for InTx; on SQLite a pool of one connection, so that writers of this process queue fairly
	engine Engine
	path   string     // SQLite: absolute path of the file
	turn   *turnstile // SQLite: orders writers
	opts   Options
	fork   func() (*bun.DB, error) // opens one more connection, which is never replaced when lost

	commitProbe string // PostgreSQL: what prepareCommit asks

	resolveTime time.Duration // PostgreSQL: bounds the search for the outcome of a commit whose reply was lost

	mu      sync.Mutex // held while the session is made or replaced
	closed  bool
	session atomic.Pointer[session] // proof that this process lives, made by the first Acquire
}

// Open opens the database that dsn names: "sqlite:PATH" or "postgres://…". It
// creates a SQLite file that is missing, but no directory, and no tables: see
// [Store.Migrate].
//
// A PostgreSQL server must be version 13 or later and prove who it is by a
// certificate of a known authority (sslrootcert=FILE names another one),
// unless the DSN says sslmode=disable or names a Unix socket.
func Open(ctx context.Context, dsn string, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	s := &Store{opts: *opts, resolveTime: 15 * time.Second}
	if s.opts.LeaseTTL == 0 {
		s.opts.LeaseTTL = DefaultLeaseTTL
	}
	if s.opts.LeaseTTL < time.Second {
		return nil, invalid("store.Open", "leaseTTL %v is less than 1s", s.opts.LeaseTTL)
	}
	if s.opts.Now == nil {
		s.opts.Now = time.Now
	}
	var err error
	switch scheme, rest := splitScheme(dsn); scheme {
	case "sqlite":
		err = s.openSQLite(ctx, rest)
	case "postgres", "postgresql":
		err = s.openPostgres(ctx, dsn)
	default:
		err = invalid("store.Open", `the DSN starts with neither "sqlite:" nor "postgres://"`)
	}
	if err != nil {
		return nil, errors.Join(err, s.closePools())
	}
	if s.opts.BeforeQuery != nil {
		s.watch()
	}
	return s, nil
}

// watch calls BeforeQuery.
func (s *Store) watch() {
	db := s.db.WithQueryHook(queryHook(s.opts.BeforeQuery))
	if s.write == s.db {
		s.write = db
	} else {
		s.write = s.write.WithQueryHook(queryHook(s.opts.BeforeQuery))
	}
	s.db = db
}

type queryHook func(query string)

// BeforeQuery is called by bun.
func (f queryHook) BeforeQuery(ctx context.Context, e *bun.QueryEvent) context.Context {
	f(e.Query)
	return ctx
}

// AfterQuery is called by bun.
func (queryHook) AfterQuery(context.Context, *bun.QueryEvent) {}

// Close closes the database. Leases that are still held may be taken by others
// at once. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if p := s.session.Swap(nil); p != nil {
		err = p.close()
	}
	return errors.Join(err, s.closePools())
}

func (s *Store) closePools() error {
	var errs []error
	if s.write != nil && s.write != s.db {
		errs = append(errs, s.write.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	return errors.Join(append(errs, s.turn.close())...)
}

// DB returns the database for reads and for single writing statements. What
// writes more than once belongs into [Store.InTx]. Inside InTx use the
// transaction: on SQLite a write that goes past it waits for it in vain.
func (s *Store) DB() *bun.DB { return s.db }

// Engine tells which database it is.
func (s *Store) Engine() Engine { return s.engine }

func invalid(op, format string, args ...any) error {
	return &kedge.Error{Op: op, Kind: kedge.Invalid, Err: fmt.Errorf(format, args...)}
}
