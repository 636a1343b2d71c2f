package store

import (
	"context"

	"github.com/uptrace/bun"
)

// Session returns the name of a lock that this process holds as long as it
// lives. It is for modules that claim work for processes without a lease for
// each piece.
func (s *Store) Session(ctx context.Context) (string, error) { return s.alive(ctx) }

// SessionDead reports whether the process of a session provably lives no more.
// db is a transaction on PostgreSQL, which holds the proof until it ends.
func (s *Store) SessionDead(ctx context.Context, db bun.IDB, session string) (bool, error) {
	dead, err := s.dead(ctx, db, session)
	return dead, Error("store.SessionDead", "", err)
}

// Clock is the SQL expression of the database's clock: milliseconds since
// 1970. Processes that share a database compare times by it only.
func (s *Store) Clock() bun.Safe { return s.clock() }

// Keys returns the key ring, which may be nil.
func (s *Store) Keys() *KeyRing { return s.opts.Keys }
