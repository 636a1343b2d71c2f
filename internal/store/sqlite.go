package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/driver/sqliteshim"
)

const (
	sqliteReaders = 8                // connections besides the writer
	busyTimeout   = 10 * time.Second // for the writer of another process
)

// splitScheme splits "sqlite:kedge.db" into "sqlite" and "kedge.db".
func splitScheme(dsn string) (scheme, rest string) {
	scheme, rest, ok := strings.Cut(dsn, ":")
	if !ok {
		return "", dsn
	}
	return strings.ToLower(scheme), rest
}

func (s *Store) openSQLite(ctx context.Context, name string) error {
	path, err := sqlitePath(name)
	if err != nil {
		return err
	}
	s.engine, s.path = SQLite, path
	c := sqliteConnector{path: path}
	if err := enableWAL(ctx, c); err != nil {
		return &kedge.Error{Op: "store.Open", Entity: path, Kind: Kind(err), Err: err}
	}
	if s.turn, err = newTurnstile(path); err != nil {
		return &kedge.Error{Op: "store.Open", Kind: kedge.Forbidden, Err: err}
	}
	s.db = sqliteDB(turnConnector{sqliteConnector: c, turn: s.turn}, sqliteReaders)
	s.write = sqliteDB(sqliteConnector{path: path, more: writerPragmas}, 1)
	s.fork = func() (*bun.DB, error) { return sqliteDB(&onceConnector{Connector: c}, 1), nil }
	return nil
}

// sqlitePath checks the part of the DSN after "sqlite:" and makes the file if
// it is missing.
func sqlitePath(name string) (string, error) {
	name = strings.TrimPrefix(name, "//")
	switch {
	case name == "":
		return "", invalid("store.Open", `the DSN names no file; write for example "sqlite:kedge.db"`)
	case strings.Contains(name, ":memory:"):
		return "", invalid("store.Open", "a database in memory would forget how far the sync got; name a file")
	case strings.Contains(name, "?"):
		return "", invalid("store.Open", "a SQLite DSN takes no options; write only the path of the file")
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || !dir.IsDir() {
		return "", &kedge.Error{Op: "store.Open", Entity: path, Kind: kedge.NotFound, Err: errors.New("its directory does not exist; create it first")}
	}
	return path, createFile(path)
}

// creating keeps two stores of this process from creating files at once.
var creating sync.Mutex

// createFile makes the file, readable by its owner only; SQLite gives its side
// files the same permissions. A file that exists is not opened: closing it
// again would drop the locks that SQLite has on it in this process
// (https://sqlite.org/howtocorrupt.html, section 2.2).
func createFile(path string) error {
	creating.Lock()
	defer creating.Unlock()
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return invalid("store.Open", "%s is not a file", path)
	}
	if err == nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist): // another process was quicker
		return nil
	case errors.Is(err, fs.ErrPermission):
		return &kedge.Error{Op: "store.Open", Kind: kedge.Forbidden, Err: err}
	case err != nil:
		return &kedge.Error{Op: "store.Open", Kind: kedge.Invalid, Err: err}
	}
	return f.Close()
}

func sqliteDB(c driver.Connector, conns int) *bun.DB {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return bun.NewDB(db, sqlitedialect.New())
}

// enableWAL switches the file to write-ahead logging, which lasts, and checks
// thereby that it is a database. Switching needs the file for itself and does
// not heed the busy timeout, so two processes that start together try in turn.
func enableWAL(ctx context.Context, c driver.Connector) error {
	db := sql.OpenDB(c)
	defer db.Close()
	db.SetMaxOpenConns(1)
	for deadline := time.Now().Add(busyTimeout); ; {
		var mode string
		err := db.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode)
		switch {
		case err == nil && mode == "wal":
			return nil
		case err == nil:
			return &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("the file system cannot hold a write-ahead log; use a local disk")}
		case Kind(err) != kedge.Transient || time.Now().After(deadline):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A sqliteConnector opens connections to one file.
type sqliteConnector struct {
	path string
	more []string // pragmas besides sqlitePragmas
}

// writerPragmas keep what would undo a single statement in small pieces of
// memory. Else each statement that fires a trigger asks the system for a block
// of 64 KiB, which takes longer than the statement.
var writerPragmas = []string{"temp_store=MEMORY"}

// sqlitePragmas are set on each connection. Foreign keys stay off: rows of one
// page may come before the rows they refer to.
var sqlitePragmas = []string{
	"busy_timeout=10000",
	"synchronous=FULL",
	"foreign_keys=OFF",
	"journal_size_limit=67108864", // gives the space back after a long read kept the log from being reused
}

// Connect opens a connection whose writing transactions are BEGIN IMMEDIATE.
func (c sqliteConnector) Connect(ctx context.Context) (driver.Conn, error) {
	name := (&url.URL{Path: c.path}).EscapedPath()
	conn, err := sqliteshim.Driver().Open("file:" + name + "?_txlock=immediate")
	if err != nil {
		return nil, err
	}
	for _, p := range slices.Concat(sqlitePragmas, c.more) {
		if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "PRAGMA "+p, nil); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// Driver returns the SQLite driver.
func (c sqliteConnector) Driver() driver.Driver { return sqliteshim.Driver() }
