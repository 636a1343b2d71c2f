package custom

import (
	"context"
	"database/sql"
	"strconv"
	"time"

	"github.com/kedge-sync/kedge/internal/store"
)

// tombstoneAge is how long the row of a deleted resource stays.
const tombstoneAge = 30 * 24 * time.Hour

// expireRows is how many rows one transaction removes, so that senders need
// not wait.
const expireRows = 5000

// Expire removes tombstones and history of a table that are too old. The
// floor moves with the tombstones: who reads the feed from before it starts
// again.
func (c *Custom) Expire(ctx context.Context, t *Table) error {
	for {
		n, err := c.expireTombstones(ctx, t.No, c.now().Add(-tombstoneAge).UnixMilli())
		if err != nil {
			return err
		}
		if n < expireRows {
			break
		}
	}
	if t.Settings.History == 0 {
		return nil
	}
	before := c.now().Add(-t.Settings.History).UnixMilli()
	for {
		s := c.sql("DELETE FROM ingest_change WHERE schema_no = ").arg(t.No).add(" AND seq IN (SELECT seq FROM ingest_change WHERE schema_no = ").arg(t.No).
			add(" AND at < ").arg(before).add(" ORDER BY seq LIMIT " + strconv.Itoa(expireRows) + ")")
		n, err := s.exec(ctx, c.store.DB().DB)
		if err != nil || n < expireRows {
			return err
		}
	}
}

// expireTombstones removes some old tombstones, the oldest first, and moves
// the floor to the last of them.
func (c *Custom) expireTombstones(ctx context.Context, no, before int64) (n int64, err error) {
	err = c.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		q := tx.Tx.Tx
		var last sql.NullInt64
		s := c.sql("SELECT max(seq) FROM (SELECT seq FROM ingest_resource WHERE schema_no = ").arg(no).add(" AND hash IS NULL AND updated_at < ").arg(before).
			add(" ORDER BY seq LIMIT " + strconv.Itoa(expireRows) + ") AS old")
		if err := s.each(ctx, q, func(rows *sql.Rows) error { return rows.Scan(&last) }); err != nil || !last.Valid {
			return err
		}
		s = c.sql("UPDATE ingest_head SET floor_seq = ").arg(last.Int64).add(" WHERE schema_no = ").arg(no).add(" AND floor_seq < ").arg(last.Int64)
		if _, err := s.exec(ctx, q); err != nil {
			return err
		}
		s = c.sql("DELETE FROM ingest_resource WHERE schema_no = ").arg(no).add(" AND hash IS NULL AND updated_at < ").arg(before).add(" AND seq <= ").arg(last.Int64)
		n, err = s.exec(ctx, q)
		return err
	})
	return n, err
}

// ExpireRequests removes stored answers and sessions that are over.
func (c *Custom) ExpireRequests(ctx context.Context) error {
	now := c.now().UnixMilli()
	for _, s := range []*statement{
		c.sql("DELETE FROM ingest_idempotency WHERE expires_at <= ").arg(now),
		c.sql("DELETE FROM ingest_session_part WHERE session_id IN (SELECT id FROM ingest_session WHERE expires_at <= ").arg(now).add(")"),
		c.sql("DELETE FROM ingest_session WHERE expires_at <= ").arg(now),
	} {
		if _, err := s.exec(ctx, c.store.DB().DB); err != nil {
			return err
		}
	}
	return nil
}
