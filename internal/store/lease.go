package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/driver/pgdriver"
)

// A Lease is the right to do a named piece of work, held until it is released
// or not renewed for the store's lease time.
type Lease struct {
	Name   string
	Holder string
	Fence  int64 // grows with every change of holder
}

// A leaseRow is the row of a lease. It stays when the lease is released, so
// that the fence never goes back.
type leaseRow struct {
	bun.BaseModel `bun:"table:kedge_lease,alias:l"`

	Name    string `bun:",pk"`
	Holder  string // "" when released
	Fence   int64
	Expires int64  // milliseconds since 1970 by the database's clock
	Session string // of the holder
	Live    bool   `bun:",scanonly"` // not expired
}

// clock is the time as kedge_lease has it.
func (s *Store) clock() bun.Safe {
	if s.engine == Postgres {
		return "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
	}
	return "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)"
}

// Now returns the time by the database's clock, which all processes share: in
// UTC, to the millisecond.
func (s *Store) Now(ctx context.Context, db bun.IDB) (time.Time, error) {
	var ms int64
	err := db.NewSelect().ColumnExpr("?", s.clock()).Scan(ctx, &ms)
	return time.UnixMilli(ms).UTC(), Error("store.Now", "", err)
}

// LeaseTTL is how long a lease lasts without being renewed.
func (s *Store) LeaseTTL() time.Duration { return s.opts.LeaseTTL }

// Acquire takes the lease called name for holder. It returns an error of kind
// Conflict, which names the present holder, if somebody else holds it, also if
// that is another lease of the same holder. A holder that is provably dead is
// taken over at once: its lock (SQLite: a lock file beside the database;
// PostgreSQL: a session lock) is free.
func (s *Store) Acquire(ctx context.Context, name, holder string) (*Lease, error) {
	if name == "" || holder == "" {
		return nil, invalid("store.Acquire", "a lease needs a name and a holder")
	}
	me, err := s.alive(ctx)
	if err != nil {
		return nil, err
	}
	// First without a lock: who holds the lease locks its row for each page.
	if err := s.checkFree(ctx, s.db, name, ""); err != nil {
		return nil, err
	}
	lease := &Lease{Name: name, Holder: holder}
	err = s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		if err := s.lockFree(ctx, tx, name); err != nil {
			return err
		}
		q := tx.NewInsert().Model(&leaseRow{Name: name, Holder: holder, Fence: 1, Session: me}).
			Value("expires", "? + ?", s.clock(), s.opts.LeaseTTL.Milliseconds()).
			On("CONFLICT (name) DO UPDATE").
			Set("holder = EXCLUDED.holder, fence = l.fence + 1, expires = EXCLUDED.expires, session = EXCLUDED.session").
			Returning("fence")
		return q.Scan(ctx, &lease.Fence)
	})
	if e, ok := errors.AsType[pgdriver.Error](err); ok && e.Field('C') == lockNotAvailable {
		return nil, s.held(ctx, s.db, lease, "store.Acquire", "%s is in a transaction with it")
	}
	if err != nil {
		return nil, Error("store.Acquire", name, err)
	}
	return lease, nil
}

// lockNotAvailable is PostgreSQL's error for the end of lock_timeout.
const lockNotAvailable = "55P03"

// lockFree makes sure of the row, locks it until tx ends and checks that the
// lease is free.
func (s *Store) lockFree(ctx context.Context, tx *Tx, name string) error {
	if s.engine == SQLite {
		return s.checkFree(ctx, tx, name, "") // the transaction holds the writer lock
	}
	if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = '5s'"); err != nil {
		return err
	}
	_, err := tx.NewInsert().Model(&leaseRow{Name: name}).Value("expires", "0").On("CONFLICT (name) DO NOTHING").Exec(ctx)
	if err != nil {
		return err
	}
	return s.checkFree(ctx, tx, name, "UPDATE")
}

// checkFree returns an error of kind Conflict if a living holder has the lease.
func (s *Store) checkFree(ctx context.Context, db bun.IDB, name, lock string) error {
	var row leaseRow
	q := db.NewSelect().Model(&row).ColumnExpr("l.*, l.expires > ? AS live", s.clock()).Where("name = ?", name)
	if lock != "" {
		q.For(lock)
	}
	switch err := q.Scan(ctx); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return Error("store.Acquire", name, err)
	case row.Holder == "" || !row.Live:
		return nil
	}
	dead, err := s.dead(ctx, db, row.Session)
	if err != nil {
		return Error("store.Acquire", name, err)
	}
	if dead {
		return nil
	}
	return &kedge.Error{Op: "store.Acquire", Entity: name, Kind: kedge.Conflict, Err: fmt.Errorf("held by %s", row.Holder)}
}

// Renew extends l. It returns an error of kind Conflict if l was lost; a lease
// that expired but that nobody took is not lost. It waits for a transaction
// that checks the fence of l.
func (s *Store) Renew(ctx context.Context, l *Lease) error {
	if _, err := s.alive(ctx); err != nil {
		return err
	}
	return s.InTx(ctx, func(ctx context.Context, tx *Tx) error { return s.extend(ctx, tx, l, "store.Renew") })
}

// Holds returns an error of kind Conflict if l was lost. It writes only if less
// than half of the lease time is left: then l is renewed.
func (s *Store) Holds(ctx context.Context, l *Lease) error {
	fresh, err := s.db.NewSelect().Model((*leaseRow)(nil)).
		Where("name = ? AND holder = ? AND fence = ?", l.Name, l.Holder, l.Fence).
		Where("expires > ? + ?", s.clock(), s.opts.LeaseTTL.Milliseconds()/2).Exists(ctx)
	if err != nil || fresh {
		return Error("store.Holds", l.Name, err)
	}
	return s.Renew(ctx, l)
}

// CheckFence returns an error of kind Conflict if l is no longer held, and
// keeps it from being taken until tx ends. It also extends l from the commit
// on, so that who commits pages need not renew.
func (s *Store) CheckFence(ctx context.Context, tx *Tx, l *Lease) error {
	return s.extend(ctx, tx, l, "store.CheckFence")
}

func (s *Store) extend(ctx context.Context, tx *Tx, l *Lease, op string) error {
	res, err := tx.NewUpdate().Model((*leaseRow)(nil)).
		Set("expires = ? + ?", s.clock(), s.opts.LeaseTTL.Milliseconds()).
		Set("session = ?", s.sessionID()).
		Where("name = ? AND holder = ? AND fence = ?", l.Name, l.Holder, l.Fence).
		Exec(ctx)
	if err != nil {
		return Error(op, l.Name, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return Error(op, l.Name, err)
	}
	return s.held(ctx, tx, l, op, "the lease was lost to %s")
}

// held returns an error of kind Conflict that tells who has the lease of l's
// name now; format has one %s for it.
func (s *Store) held(ctx context.Context, db bun.IDB, l *Lease, op, format string) error {
	var row leaseRow
	err := db.NewSelect().Model(&row).Column("holder").Where("name = ?", l.Name).Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Error(op, l.Name, err)
	}
	cause := errors.New("the lease was released")
	if row.Holder != "" {
		cause = fmt.Errorf(format, row.Holder)
	}
	return &kedge.Error{Op: op, Entity: l.Name, Kind: kedge.Conflict, Err: cause}
}

// Release gives l back. Releasing a lost lease does nothing.
func (s *Store) Release(ctx context.Context, l *Lease) error {
	return s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.NewUpdate().Model((*leaseRow)(nil)).Set("holder = '', session = '', expires = 0").
			Where("name = ? AND holder = ? AND fence = ?", l.Name, l.Holder, l.Fence).Exec(ctx)
		return Error("store.Release", l.Name, err)
	})
}
