package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// sessionTimeout is how long the connection of a session may take to answer.
const sessionTimeout = 10 * time.Second

// A session proves that this process lives, by a lock that the operating
// system or the server frees when it dies: a locked file beside a SQLite
// database, an advisory lock of a connection to PostgreSQL.
type session struct {
	id   string // UUID, in kedge_lease.session
	file *lockFile
	db   *bun.DB // PostgreSQL: the connection that holds the lock
}

// alive makes the session of this store, or replaces one whose connection was
// lost, and returns its id.
func (s *Store) alive(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.session.Load(); old != nil {
		if old.holds(ctx) {
			return old.id, nil
		}
		_ = old.close() // its connection is gone
	}
	next, err := s.newSession(ctx)
	if err != nil {
		return "", Error("store.Acquire", "", err)
	}
	s.session.Store(next)
	return next.id, nil
}

// sessionID returns the id of the present session, or "" if there is none.
func (s *Store) sessionID() string {
	if p := s.session.Load(); p != nil {
		return p.id
	}
	return ""
}

func (s *Store) newSession(ctx context.Context) (*session, error) {
	id := uuid.NewString()
	if s.engine == SQLite {
		sweepLockFiles(s.path)
		f, err := newLockFile(s.path, id)
		return &session{id: id, file: f}, err
	}
	db, err := s.fork()
	if err != nil {
		return nil, err
	}
	// pg_try_…: nobody else uses this key, so waiting would only hide a mistake.
	var ok bool
	err = db.QueryRowContext(ctx, "SELECT pg_try_advisory_lock(?)", advisoryKey(id)).Scan(&ok)
	if err == nil && !ok {
		err = errors.New("advisory lock is taken")
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &session{id: id, db: db}, nil
}

// holds reports whether the lock is still held. Its connection connects only
// once, so an answer proves it.
func (p *session) holds(ctx context.Context) bool {
	if p.file != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sessionTimeout)
	defer cancel()
	var one int
	return p.db.QueryRowContext(ctx, "SELECT 1").Scan(&one) == nil
}

func (p *session) close() error {
	if p.file != nil {
		return p.file.close()
	}
	return p.db.Close()
}

// dead reports whether the holder of session id provably lives no more.
func (s *Store) dead(ctx context.Context, db bun.IDB, id string) (bool, error) {
	if id == "" {
		return false, nil
	}
	if s.engine == SQLite {
		return lockFileFree(s.path, id)
	}
	// Shared, so that two who ask at once do not take each other for the holder.
	var free sql.NullBool
	err := db.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock_shared(?)", advisoryKey(id)).Scan(&free)
	return free.Bool, err
}

// advisoryKey is the first half of the UUID id.
func advisoryKey(id string) int64 {
	u, err := uuid.Parse(id)
	if err != nil {
		return 0
	}
	return int64(binary.BigEndian.Uint64(u[:8]))
}
