package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/kedge-sync/kedge/bench/floor/feed"
)

const (
	pushRows  = 100_000 // in the source
	pushEdits = 10_000
)

// push measures sending edits of local rows. kedge and the floor each have a
// service of their own, with the same rows, since both change them.
func (b *bench) push() ([]row, error) {
	kedgeTurn, stop, err := b.pushKedge()
	if err != nil {
		return nil, err
	}
	defer stop()
	floorTurn, stopFloor, err := b.pushFloor()
	if err != nil {
		return nil, err
	}
	defer stopFloor()
	p, err := b.inTurn(kedgeTurn, floorTurn)
	if err != nil {
		return nil, err
	}
	return []row{p.rate(fmt.Sprintf("two-way, %s local edits pushed, SQLite", thousands(pushEdits)), 0.50)}, nil
}

// pushKedge returns the turn of kedge: edits, a sync that is measured, and one
// that reads the echoes and is not.
func (b *bench) pushKedge() (turn func() (usage, error), stop func() error, err error) {
	from, err := b.start(pushRows)
	if err != nil {
		return nil, nil, err
	}
	empty, err := b.emptyAs(bothWays, sqlite)
	if err != nil {
		return nil, nil, err
	}
	s, _, err := b.loadAs(bothWays, empty, from)
	if err != nil {
		return nil, nil, err
	}
	return func() (usage, error) {
		if err := s.edit(b.ctx, pushRows/pushEdits); err != nil {
			return usage{}, err
		}
		u, err := b.kedgeAs(bothWays, s, from, "sync", "bench")
		if err != nil {
			return u, err
		}
		if err := b.pushed(s, from, pushEdits); err != nil {
			return u, err
		}
		_, err = b.kedgeAs(bothWays, s, from, "sync", "bench")
		return u, err
	}, from.stop, nil
}

func (b *bench) pushFloor() (turn func() (usage, error), stop func() error, err error) {
	from, err := b.start(pushRows)
	if err != nil {
		return nil, nil, err
	}
	s, err := b.newSink(sqlite, nil)
	if err != nil {
		return nil, nil, err
	}
	if _, _, err := b.floor("floor-sqlite", from.URL+feed.Select, s); err != nil {
		return nil, nil, err
	}
	const note = `CREATE TABLE edited (no TEXT PRIMARY KEY) WITHOUT ROWID;
		CREATE TRIGGER note AFTER UPDATE OF name ON customer BEGIN INSERT INTO edited VALUES (new.no); END`
	if err := s.exec(b.ctx, note); err != nil {
		return nil, nil, err
	}
	return func() (usage, error) {
		if err := s.edit(b.ctx, pushRows/pushEdits); err != nil {
			return usage{}, err
		}
		_, u, err := b.floor("floor-push", from.URL, s)
		if err != nil {
			return u, err
		}
		return u, b.pushed(s, from, pushEdits)
	}, from.stop, nil
}

// edit makes the name of every n-th customer one letter longer.
func (s *sink) edit(ctx context.Context, every int) error {
	return s.exec(ctx, fmt.Sprintf("UPDATE customer SET name = name || '.' WHERE CAST(substr(no, 2) AS integer) %% %d = 0", every))
}

// pushed fails if the service does not have what s has, with as many edits as
// were made.
func (b *bench) pushed(s *sink, from *service, edits int64) error {
	before := from.State
	if err := from.change(0); err != nil { // reads everything again
		return err
	}
	if made := from.State.Letters - before.Letters; made != edits {
		return fmt.Errorf("%d edits have arrived, want %d", made, edits)
	}
	return s.holds(b.ctx, from.State)
}

// exec runs statements on a SQLite database.
func (s *sink) exec(ctx context.Context, query string) error {
	db, err := sql.Open("sqlite", s.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, query)
	return err
}
