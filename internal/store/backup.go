package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kedge-sync/kedge"
)

// Backup writes a SQLite database to a new file: as it was at one moment,
// while others read and write. The file appears only when it is complete and
// was read back; one that exists is a Conflict. It returns its size in bytes.
// Other engines are Unsupported.
func (s *Store) Backup(ctx context.Context, file string) (int64, error) {
	if s.engine != SQLite {
		return 0, &kedge.Error{Op: "store.Backup", Kind: kedge.Unsupported}
	}
	return NewFile(file, func(part string) error {
		db, err := s.fork() // past the turnstile: nobody waits for a backup
		if err != nil {
			return err
		}
		defer db.Close()
		if _, err := db.ExecContext(ctx, "VACUUM INTO ?", part); err != nil {
			return Error("store.Backup", "", err)
		}
		return checkCopy(ctx, part)
	})
}

// checkCopy reads a database file whole.
func checkCopy(ctx context.Context, path string) error {
	db := sqliteDB(sqliteConnector{path: path}, 1)
	defer db.Close()
	var answer string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&answer); err != nil {
		return Error("store.Backup", "", err)
	}
	if answer != "ok" {
		return fmt.Errorf("the copy is damaged: %s", answer)
	}
	return nil
}

// NewFile has fill write a file beside the one that is wanted, readable by its
// owner only, and gives it its name when it is complete and on disk. If there
// is such a file, it stays as it is, and the error is a Conflict.
func NewFile(file string, fill func(part string) error) (int64, error) {
	taken := &kedge.Error{Kind: kedge.Conflict, Err: fmt.Errorf("there is a file %s already; it is not overwritten", file)}
	if _, err := os.Lstat(file); err == nil {
		return 0, taken
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*") // 0600
	if err != nil {
		return 0, &kedge.Error{Kind: kedge.Invalid, Err: err}
	}
	part := f.Name()
	defer os.Remove(part)
	if err := errors.Join(f.Close(), fill(part), syncFile(part)); err != nil {
		return 0, err
	}
	info, err := os.Stat(part)
	if err != nil {
		return 0, err
	}
	if err := os.Link(part, file); errors.Is(err, os.ErrExist) {
		return 0, taken
	} else if err != nil { // no links on this file system
		if err := os.Rename(part, file); err != nil {
			return 0, err
		}
	}
	return info.Size(), syncFile(filepath.Dir(file))
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
