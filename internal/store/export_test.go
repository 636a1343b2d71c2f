package store

import "time"

// SetResolveTime shortens the search for the outcome of a commit.
func (s *Store) SetResolveTime(d time.Duration) { s.resolveTime = d }

// SessionID names the lock that proves the process alive.
func (s *Store) SessionID() string { return s.sessionID() }
