package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/uptrace/bun/driver/pgdriver" // registers "pg"
	_ "modernc.org/sqlite"                     // registers "sqlite"

	"github.com/kedge-sync/kedge/internal/store/pgcluster"
)

// An engine is a kind of database to write to.
type engine string

const (
	sqlite   engine = "sqlite"
	postgres engine = "postgres"
)

// title is the engine's name in the table.
func (e engine) title() string { return map[engine]string{sqlite: "SQLite", postgres: "PostgreSQL"}[e] }

// A sink is a database that one run writes to.
type sink struct {
	engine engine
	name   string // path of the file, or name of the database
	dsn    string // for the floor; kedge's has a scheme
}

func (s *sink) kedgeDSN() string {
	if s.engine == sqlite {
		return "sqlite:" + s.dsn
	}
	return s.dsn
}

// newSink makes a database, empty or as a copy of one that nobody uses.
func (b *bench) newSink(e engine, from *sink) (*sink, error) {
	b.sinks++
	name := fmt.Sprintf("sink%d", b.sinks)
	if e == sqlite {
		s := &sink{engine: e, name: b.path(name + ".db"), dsn: b.path(name + ".db")}
		if from == nil {
			return s, nil
		}
		return s, copyFile(s.name, from.name)
	}
	u, err := b.server()
	if err != nil {
		return nil, err
	}
	query := "CREATE DATABASE " + name
	if from != nil {
		query += " TEMPLATE " + from.name + " STRATEGY FILE_COPY"
	}
	// The checkpoint takes what was written for this copy out of the time of
	// the run that follows.
	if err := b.admin(query, "CHECKPOINT"); err != nil {
		return nil, err
	}
	u.Path = "/" + name
	return &sink{engine: e, name: name, dsn: u.String()}, nil
}

func copyFile(to, from string) error {
	if _, err := os.Stat(from + "-wal"); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not closed", from)
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// drop removes the database.
func (b *bench) drop(s *sink) error {
	if s.engine == sqlite {
		files, err := filepath.Glob(s.name + "*") // with those of other processes' locks
		for _, f := range files {
			err = errors.Join(err, os.Remove(f))
		}
		return err
	}
	return b.admin("DROP DATABASE " + s.name + " WITH (FORCE)")
}

// server returns the DSN of the PostgreSQL server, which is started if it does
// not run. One of KEDGE_TEST_POSTGRES must not have fsync off.
func (b *bench) server() (*url.URL, error) {
	if b.cluster == "" {
		b.cluster = os.Getenv("KEDGE_TEST_POSTGRES")
	}
	if b.cluster == "" {
		var err error
		if b.cluster, err = pgcluster.Start(pgcluster.Durable); err != nil {
			return nil, err
		}
	}
	return url.Parse(b.cluster)
}

func (b *bench) admin(queries ...string) error {
	db, err := sql.Open("pg", b.cluster)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, q := range queries {
		if _, err := db.ExecContext(b.ctx, q); err != nil {
			return fmt.Errorf("%s: %w", strings.SplitN(q, " ", 3)[:2], err)
		}
	}
	return nil
}

// durable fails if a commit on s does not wait for the disk.
func (b *bench) durable(s *sink) error {
	if s.engine == sqlite {
		return nil // kedge and the floor both say synchronous=FULL
	}
	var fsync, commit string
	err := s.query(b.ctx, "SELECT current_setting('fsync'), current_setting('synchronous_commit')", &fsync, &commit)
	if err == nil && (fsync != "on" || commit != "on") {
		err = fmt.Errorf("PostgreSQL runs with fsync=%s and synchronous_commit=%s; both must be on", fsync, commit)
	}
	return err
}

// holds fails if the table of customers in s does not have the rows of want.
func (s *sink) holds(ctx context.Context, want state) error {
	var got state
	err := s.query(ctx, "SELECT count(*), sum(row_version), sum(length(name)) FROM customer", &got.Rows, &got.Versions, &got.Letters)
	if err == nil && got != want {
		err = fmt.Errorf("the sink holds %+v, want %+v", got, want)
	}
	return err
}

func (s *sink) query(ctx context.Context, query string, into ...any) error {
	name := map[engine]string{sqlite: "sqlite", postgres: "pg"}[s.engine]
	db, err := sql.Open(name, s.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.QueryRowContext(ctx, query).Scan(into...)
}

// remembered returns the bytes on disk of kedge's own tables and their indexes.
func (s *sink) remembered(ctx context.Context) (bytes int64, err error) {
	query := `SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name <> 'customer')`
	if s.engine == postgres {
		query = `SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'customer'`
	}
	err = s.query(ctx, query, &bytes)
	return bytes, err
}
