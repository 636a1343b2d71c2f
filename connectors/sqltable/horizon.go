package sqltable

import (
	"context"
	"encoding/json"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// A changeMark is an anchor, or with a position the token of an incremental
// read, of trigger capture.
type changeMark struct {
	Entity   string `json:"e"`
	Database string `json:"d"` // which database it is; "" on SQLite
	Epoch    string `json:"p"` // of the listener
	Bound    int64  `json:"b"` // first transaction (SQLite: seq) that was not read, or will not be by this read
	Xid      int64  `json:"x,omitempty"`
	Seq      int64  `json:"s,omitempty"`
}

// A horizon is how far a read that begins now can see.
type horizon struct {
	changeMark
	top   int64 // first transaction (SQLite: seq) that has not begun
	acked int64 // what lies before is deleted
}

// databaseID tells a PostgreSQL database from its copies and from earlier
// states of itself: xids mean something only there. plainID does for users and
// servers that may not know more.
const (
	databaseID = `(SELECT system_identifier FROM pg_control_system())::text || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || '/' || ` + plainID
	plainID    = `(SELECT oid FROM pg_database WHERE datname = current_database())::text`
)

// sqliteHorizon looks for the next number of a note: SQLite has one writer at a
// time, so that no lower one can come.
const sqliteHorizon = `SELECT next, next, '', key, epoch, acked
FROM (SELECT coalesce(max(seq), 0) + 1 AS next FROM sqlite_sequence WHERE name = 'kedge_change'), kedge_capture WHERE entity = ? AND consumer = ?`

// horizon returns nil if the driver's consumer does not listen to e.
func (d *Driver) horizon(ctx context.Context, s *store.Store, e *entity) (*horizon, error) {
	db := s.DB().DB
	c, err := d.noteTables(ctx, db, s.Engine())
	if c == nil || err != nil {
		return nil, store.Error(opRead, e.Name, err)
	}
	h := &horizon{changeMark: changeMark{Entity: e.Name}}
	var key string
	query := func(id string) (bool, error) {
		text := sqliteHorizon
		if e.engine == store.Postgres {
			text = "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, " + id + ", key, epoch, acked FROM pg_current_snapshot() AS s, " +
				c.table("kedge_capture") + " WHERE entity = $1 AND consumer = $2"
		}
		return first(ctx, db, text, []any{e.noted(), d.consumer}, &h.Bound, &h.top, &h.Database, &key, &h.Epoch, &h.acked)
	}
	found, err := query(databaseID)
	if kind := store.Kind(err); err != nil && e.engine == store.Postgres && kind != kedge.Transient {
		found, err = query(plainID)
	}
	if err != nil || !found || key != e.notedKey() {
		return nil, store.Error(opRead, e.Name, err)
	}
	if h.acked > h.top {
		h.acked = 0 // it came with a dump, from a server where it meant something
	}
	return h, nil
}

// handoff lets a full read end with the anchor for what changes meanwhile.
func (d *Driver) handoff(ctx context.Context, s *store.Store, e *entity, pos *position) error {
	h, err := d.horizon(ctx, s, e)
	if h == nil || err != nil {
		return err
	}
	text, err := pack(h.changeMark)
	pos.Bound = &text
	return err
}

// noted is what the notes call the table.
func (e *entity) noted() string {
	if e.table.Schema != "" {
		return e.table.Schema + "." + e.table.Name
	}
	return e.table.Name
}

// notedKey tells which columns noted keys consist of.
func (e *entity) notedKey() string {
	text, _ := json.Marshal(e.Key) // cannot fail: texts
	return string(text)
}

// changeMark reads an anchor. Anchors of another way of finding changes are
// expired.
func (e *entity) changeMark(a kedge.Anchor) (changeMark, error) {
	var m changeMark
	switch {
	case !unpack(string(a), &m) || m.Entity != e.Name:
		return m, fail(opRead, kedge.Invalid, e.Name, "the anchor is not one of this table")
	case m.Epoch == "":
		return m, fail(opRead, kedge.AnchorExpired, e.Name, "changes were found in another way when the anchor was made")
	}
	return m, nil
}

// sees returns an error if changes after m may be missing from the notes.
func (h *horizon) sees(m *changeMark) error {
	why := ""
	switch {
	case h == nil:
		why = "nobody listens to the table for this integration any more"
	case h.Epoch != m.Epoch:
		why = "nobody listened to the table for some time"
	case h.Database != m.Database, m.Bound > h.top:
		why = "the database was restored, or is another one"
	}
	if why == "" {
		return nil
	}
	return fail(opRead, kedge.AnchorExpired, m.Entity, "%s", why)
}
