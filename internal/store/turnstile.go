package store

import (
	"context"
	"database/sql/driver"
	"strings"
	"time"

	"github.com/uptrace/bun/driver/sqliteshim"
)

// A turnstile gives every writer of a SQLite file its turn. SQLite itself lets
// writers poll, up to 100 ms apart, so one that commits page after page, with
// hardly a gap, would starve all others until they give up.
//
// A writer enters before it begins and leaves once it has SQLite's writer
// lock. While it polls for that lock inside, the one who has the lock cannot
// come back. Nobody who has the writer lock may enter.
type turnstile struct {
	inside chan struct{} // between goroutines
	file   *turnFile     // between processes
}

func newTurnstile(database string) (*turnstile, error) {
	f, err := newTurnFile(database + ".turn")
	return &turnstile{inside: make(chan struct{}, 1), file: f}, err
}

// enter waits until nobody else is inside, for the busy timeout at most:
// SQLite's own lock is what counts, this one only orders. A nil turnstile is
// always open.
func (t *turnstile) enter(ctx context.Context) (leave func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, busyTimeout)
	defer cancel()
	select {
	case t.inside <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for !t.file.tryLock() {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			<-t.inside
			return nil, ctx.Err()
		}
	}
	return func() {
		t.file.unlock()
		<-t.inside
	}, nil
}

func (t *turnstile) close() error {
	if t == nil {
		return nil
	}
	return t.file.close()
}

// A turnConnector opens connections whose single writing statements go through
// the turnstile.
type turnConnector struct {
	sqliteConnector
	turn *turnstile
}

// Connect opens a connection.
func (c turnConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.sqliteConnector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &turnConn{sqliteConn: conn.(sqliteConn), turn: c.turn}, nil
}

// Driver returns the SQLite driver.
func (c turnConnector) Driver() driver.Driver { return sqliteshim.Driver() }

// A sqliteConn is what the driver's connections offer to database/sql.
type sqliteConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type turnConn struct {
	sqliteConn
	turn *turnstile
	inTx bool // it may have the writer lock
}

// ExecContext runs query, in turn.
func (c *turnConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	leave, err := c.enter(ctx, query)
	if err != nil {
		return nil, err
	}
	defer leave()
	return c.sqliteConn.ExecContext(ctx, query, args)
}

// QueryContext runs query, in turn if it writes and returns rows. The driver
// does the writing before it returns the first of them.
func (c *turnConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	leave, err := c.enter(ctx, query)
	if err != nil {
		return nil, err
	}
	defer leave()
	return c.sqliteConn.QueryContext(ctx, query, args)
}

func (c *turnConn) enter(ctx context.Context, query string) (leave func(), err error) {
	if c.inTx || onlyReads(query) {
		return func() {}, nil
	}
	return c.turn.enter(ctx)
}

// onlyReads reports whether query begins like one that writes nothing. A wrong
// no costs a short wait, a wrong yes a fair turn.
func onlyReads(query string) bool {
	word := strings.TrimLeft(query, " \t\r\n(")
	word = strings.ToUpper(word[:min(6, len(word))])
	return strings.HasPrefix(word, "SELECT") || strings.HasPrefix(word, "PRAGMA") || strings.HasPrefix(word, "WITH")
}

// BeginTx begins a transaction, in turn if it can write.
func (c *turnConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if !opts.ReadOnly {
		leave, err := c.turn.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	tx, err := c.sqliteConn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.inTx = true
	return turnTx{Tx: tx, conn: c}, nil
}

type turnTx struct {
	driver.Tx
	conn *turnConn
}

// Commit commits.
func (t turnTx) Commit() error {
	t.conn.inTx = false
	return t.Tx.Commit()
}

// Rollback rolls back.
func (t turnTx) Rollback() error {
	t.conn.inTx = false
	return t.Tx.Rollback()
}
