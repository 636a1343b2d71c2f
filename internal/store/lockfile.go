//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A lockFile is a file that is locked as long as its process lives.
type lockFile struct{ f *os.File }

func lockFileName(database, id string) string { return database + ".lock-" + id }

// newLockFile makes and locks the file of id.
func newLockFile(database, id string) (*lockFile, error) {
	name := lockFileName(database, id)
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if sameFile(f, name) {
			return &lockFile{f}, nil
		}
		if err := f.Close(); err != nil { // swept between open and lock
			return nil, err
		}
	}
}

func sameFile(f *os.File, name string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(name)
	return err == nil && os.SameFile(have, there)
}

// close removes and unlocks the file.
func (l *lockFile) close() error { return errors.Join(os.Remove(l.f.Name()), l.f.Close()) }

// lockFileFree reports whether the process that made the file of id is gone,
// and removes the file then.
func lockFileFree(database, id string) (bool, error) {
	name := lockFileName(database, id)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// sweepLockFiles removes the files of processes that are gone and whose leases
// nobody wanted since.
func sweepLockFiles(database string) {
	dir, prefix := filepath.Dir(database), filepath.Base(database)+".lock-"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // leftovers do no harm
	}
	for _, e := range entries {
		if id, ok := strings.CutPrefix(e.Name(), prefix); ok {
			_, _ = lockFileFree(database, id)
		}
	}
}

// A turnFile is a file that the writers of all processes lock in turn. It
// stays when nobody uses it.
type turnFile struct{ f *os.File }

func newTurnFile(name string) (*turnFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &turnFile{f}, nil
}

// tryLock reports whether it locked the file. It also says so where the file
// system has no locks: then writers are unordered but as safe as before.
func (t *turnFile) tryLock() bool {
	return !errors.Is(syscall.Flock(int(t.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func (t *turnFile) unlock() { _ = syscall.Flock(int(t.f.Fd()), syscall.LOCK_UN) }

func (t *turnFile) close() error { return t.f.Close() }
