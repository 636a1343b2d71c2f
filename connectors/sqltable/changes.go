package sqltable

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/connectors/sqltable/trigger"
	"github.com/kedge-sync/kedge/internal/store"
)

// A capture is a way of finding changes.
type capture uint8

const (
	bySweep capture = iota // full reads are compared
	byVersion
	byTrigger
)

// reconcileTriggers is how often a full read is wished for: nothing is noted
// while triggers are off (session_replication_role) or replaced.
const reconcileTriggers = 7 * 24 * time.Hour

// readChanges reads a page of noted keys, and the rows that have them now.
func (d *Driver) readChanges(ctx context.Context, s *store.Store, sel *selection, req connectors.ReadRequest) (*connectors.Page, error) {
	e := sel.e
	from, err := e.changeMark(req.Anchor)
	if err != nil {
		return nil, err
	}
	h, err := d.horizon(ctx, s, e)
	if err != nil {
		return nil, err
	}
	if err := h.sees(&from); err != nil {
		return nil, err
	}
	n := &notes{consumer: d.consumer, e: e, at: from}
	if n.tables, err = d.noteTables(ctx, s.DB().DB, s.Engine()); err != nil {
		return nil, err
	}
	if req.Token == "" {
		err = n.begin(ctx, s.DB().DB, h)
	} else {
		err = n.resume(h, string(req.Token))
	}
	if err != nil {
		return nil, store.Error(opRead, e.Name, err)
	}
	page := &connectors.Page{Exact: req.Filter == nil}
	keys, more, err := n.next(ctx, s.DB().DB, req.Size, page)
	if err == nil {
		err = sel.current(ctx, s.DB().DB, keys, page)
	}
	if err != nil {
		return nil, store.Error(opRead, e.Name, err)
	}
	var text string
	if more {
		text, err = pack(n.at)
		page.Next = connectors.Token(text)
	} else {
		n.at.Xid, n.at.Seq = 0, 0
		text, err = pack(n.at)
		page.Anchor = kedge.Anchor(text)
	}
	return page, err
}

// notes are the changes of a table that are noted for a consumer.
type notes struct {
	consumer string
	e        *entity
	tables   *noteTables
	at       changeMark
}

// begin starts a read at the anchor n.at.
func (n *notes) begin(ctx context.Context, q catalog.Querier, h *horizon) error {
	if n.at.Bound < h.acked {
		return fail(opRead, kedge.AnchorExpired, n.e.Name, "changes after the anchor were acknowledged and are deleted")
	}
	n.at.Xid, n.at.Seq = n.at.Bound, 0
	if n.e.engine == store.SQLite { // which has no TRUNCATE
		n.at.Xid, n.at.Seq, n.at.Bound = 0, n.at.Bound-1, h.Bound
		return nil
	}
	n.at.Bound = max(h.Bound, n.at.Bound)
	query := n.query("1")
	query.WriteString(" AND op = '" + trigger.Truncated + "' LIMIT 1")
	var one int
	found, err := first(ctx, q, query.String(), query.args, &one)
	if found {
		return fail(opRead, kedge.AnchorExpired, n.e.Name, "the table was truncated, or changed so that its changes could not be noted")
	}
	return err
}

// resume goes on at a page token.
func (n *notes) resume(h *horizon, token string) error {
	var at changeMark
	if !unpack(token, &at) || at.Entity != n.e.Name || at.Epoch == "" || at.Seq == 0 && at.Xid == 0 {
		return fail(opRead, kedge.Invalid, n.e.Name, "the page token is not one of this read")
	}
	n.at = at
	return h.sees(&at)
}

// query selects what of the notes between position and bound.
func (n *notes) query(what string) *query {
	q := &query{engine: n.e.engine}
	q.WriteString("SELECT " + what + " FROM " + n.tables.table("kedge_change") + " WHERE consumer = ")
	q.arg(n.consumer, "text")
	q.WriteString(" AND entity = ")
	q.arg(n.e.noted(), "text")
	if n.e.engine == store.SQLite {
		q.WriteString(" AND seq > ")
	} else {
		q.WriteString(" AND (xid, seq) > (")
		q.arg(n.at.Xid, "bigint")
		q.WriteString(", ")
	}
	q.arg(n.at.Seq, "bigint")
	if n.e.engine == store.SQLite {
		q.WriteString(" AND seq < ")
	} else {
		q.WriteString(") AND xid < ")
	}
	q.arg(n.at.Bound, "bigint")
	return q
}

// A notedKey is a key as a note has it.
type notedKey struct {
	key  kedge.Key
	args []any // to look the row up
}

// next reads the keys of at most size notes, each once, and moves n past them.
func (n *notes) next(ctx context.Context, db *sql.DB, size int, page *connectors.Page) (keys []notedKey, more bool, err error) {
	q := n.query("xid, seq, key")
	q.WriteString([...]string{store.SQLite: " ORDER BY seq LIMIT ", store.Postgres: " ORDER BY xid, seq LIMIT "}[n.e.engine])
	q.arg(size+1, "bigint")
	read, met, seen := 0, map[string]bool{}, map[kedge.Key]bool{} // two notes of one key may differ in their text
	err = catalog.Each(ctx, db, q.String(), q.args, func(rows *sql.Rows) error {
		if read++; read > size {
			more = true
			return nil
		}
		var text string
		if err := rows.Scan(&n.at.Xid, &n.at.Seq, &text); err != nil || met[text] {
			return err
		}
		met[text] = true
		raw, err := trigger.Values(n.e.engine, n.e.table.Columns, n.e.key, text)
		if err != nil {
			page.Rejected = append(page.Rejected, connectors.BadRecord{Field: n.e.Key[0], Err: err})
			return nil
		}
		key, bad := n.e.notedValues(raw)
		switch {
		case bad != nil:
			page.Rejected = append(page.Rejected, *bad)
		case !seen[key.key]:
			seen[key.key] = true
			keys = append(keys, key)
		}
		return nil
	})
	return keys, more, err
}

// notedValues makes a key of what a driver would have scanned.
func (e *entity) notedValues(raw []any) (notedKey, *connectors.BadRecord) {
	values := make([]kedge.Value, len(raw))
	k := notedKey{args: raw}
	for i, c := range e.key {
		v, err := e.columns[c].decode(raw[i])
		if err != nil {
			return k, &connectors.BadRecord{Field: e.columns[c].Name, Err: err}
		}
		values[i] = v
		if e.engine == store.Postgres {
			raw[i] = e.columns[c].postgresArg(v)
		}
	}
	if k.key = kedge.NewKey(values...); k.key == "" {
		return k, &connectors.BadRecord{Field: e.Key[0], Err: errors.New("the key is empty")}
	}
	return k, nil
}

// current adds the rows that have the keys to the page, and deletions for keys
// that no row has.
func (s *selection) current(ctx context.Context, db *sql.DB, keys []notedKey, page *connectors.Page) error {
	live := make(map[kedge.Key]kedge.Record, len(keys))
	bad := map[kedge.Key]connectors.BadRecord{}
	size := sqliteKeys
	if s.e.engine == store.Postgres {
		size = postgresKeys
	}
	for rest := keys; len(rest) > 0; {
		part := rest[:min(size, len(rest))]
		rest = rest[len(part):]
		var args []any
		for _, k := range part {
			args = append(args, k.args...)
		}
		q := s.keysQuery(s.e.key, args, "")
		sc := s.scanner()
		err := catalog.Each(ctx, db, q.String(), q.args, func(rows *sql.Rows) error {
			r, _, b, err := sc.scan(rows)
			switch {
			case err != nil:
				return err
			case b != nil:
				bad[b.Key] = *b
			case r.Removed == kedge.Live:
				live[r.Key] = r
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, k := range keys {
		r, ok := live[k.key]
		if b, isBad := bad[k.key]; isBad {
			page.Rejected = append(page.Rejected, b)
			continue
		}
		if !ok {
			r = kedge.Record{Fields: s.fields, Key: k.key, Removed: kedge.Deleted}
		}
		page.Records = append(page.Records, r)
	}
	return nil
}
