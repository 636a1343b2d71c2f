//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package store

// A lockFile does nothing where files cannot be locked by flock: there a dead
// holder's lease is free when it expires.
type lockFile struct{}

func newLockFile(database, id string) (*lockFile, error) { return &lockFile{}, nil }

func (l *lockFile) close() error { return nil }

func lockFileFree(database, id string) (bool, error) { return false, nil }

func sweepLockFiles(database string) {}

// A turnFile orders nothing here.
type turnFile struct{}

func newTurnFile(name string) (*turnFile, error) { return &turnFile{}, nil }

func (t *turnFile) tryLock() bool { return true }

func (t *turnFile) unlock() {}

func (t *turnFile) close() error { return nil }
