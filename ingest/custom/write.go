package custom

import (
	"cmp"
	"context"
	"database/sql/driver"
	"encoding/json"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// maxRows is how many rows one statement writes. SQLite takes 32,766
// arguments, and longer statements are not quicker.
const maxRows = 100

// write stores changes whose previous data is known: the last state of each
// resource, and the history.
func (w *work) write(changes []*change) error {
	last := map[resourceKey]*change{}
	for _, ch := range changes {
		last[ch.key] = ch
		if ch.el != nil {
			if err := ch.el.minify(); err != nil {
				return err
			}
		}
		if ch.op == kedge.OpUpdate {
			var err error
			if ch.fields, err = changedFields(ch.prevData(), ch.el.data); err != nil {
				return err
			}
		}
	}
	var stored, removed []*change
	for _, ch := range changes {
		switch {
		case last[ch.key] != ch:
		case ch.op == kedge.OpDelete:
			removed = append(removed, ch)
		default:
			stored = append(stored, ch)
		}
	}
	// In the order of the keys, in which the table has them; the numbers are
	// given already.
	slices.SortFunc(stored, func(a, b *change) int {
		return cmp.Or(strings.Compare(a.key.group, b.key.group), strings.Compare(a.key.id, b.key.id))
	})
	if err := w.writeResources(stored); err != nil {
		return err
	}
	if err := chunks(removed, maxRows, w.writeTombstones); err != nil {
		return err
	}
	return w.writeHistory(changes)
}

// writeResources inserts or replaces resources. One that comes back after it
// was deleted is a new one.
func (w *work) writeResources(changes []*change) error {
	const head = "INSERT INTO ingest_resource (schema_no, group_key, id, data, hash, name, version, schema_version, valid, seq, event, actor, created_at, updated_at) VALUES "
	const tail = ` ON CONFLICT (schema_no, group_key, id) DO UPDATE SET data = excluded.data, hash = excluded.hash, name = excluded.name,
 version = excluded.version, schema_version = excluded.schema_version, valid = excluded.valid, seq = excluded.seq, event = excluded.event, actor = excluded.actor,
 created_at = CASE WHEN ingest_resource.hash IS NULL THEN excluded.created_at ELSE ingest_resource.created_at END, updated_at = excluded.updated_at`
	return w.insertRows(head, tail, len(changes), func(i int, args []any) []any {
		ch := changes[i]
		e := ch.el
		return append(args, w.table.No, ch.key.group, ch.key.id, text(e.data), e.hash[:], nullable(e.name), nullable(e.version), int64(w.table.Version), true, ch.seq,
			nullable(ch.r.Event), nullable(ch.r.Actor), w.at, w.at)
	})
}

// writeTombstones takes the data of resources away.
func (w *work) writeTombstones(changes []*change) error {
	s := w.sql("WITH v (group_key, id, seq, event, actor) AS (VALUES ")
	for i, ch := range changes {
		if i > 0 {
			s.add(", ")
		}
		s.row(ch.key.group, ch.key.id, ch.seq, nullable(ch.r.Event), nullable(ch.r.Actor))
	}
	s.add(") UPDATE ingest_resource AS r SET data = NULL, hash = NULL, seq = v.seq, event = v.event, actor = v.actor, updated_at = ").arg(w.at).
		add(" FROM v WHERE r.schema_no = ").arg(w.table.No).add(" AND r.group_key = v.group_key" + w.bytewise() + " AND r.id = v.id" + w.bytewise())
	return w.exec(s)
}

// bytewise makes PostgreSQL compare a text of a statement by its bytes.
func (w *work) bytewise() string {
	if w.c.postgres() {
		return ` COLLATE "C"`
	}
	return ""
}

// writeHistory adds changes to the history.
func (w *work) writeHistory(changes []*change) error {
	const head = "INSERT INTO ingest_change (schema_no, seq, group_key, id, op, event, actor, fields, data, key_id, request_id, at) VALUES "
	return w.insertRows(head, "", len(changes), func(i int, args []any) []any {
		ch := changes[i]
		var fields any
		if ch.op == kedge.OpUpdate {
			names, _ := json.Marshal(ch.fields) // strings
			fields = string(names)
		}
		return append(args, w.table.No, ch.seq, ch.key.group, ch.key.id, string(ch.op), nullable(ch.r.Event), nullable(ch.r.Actor), fields, text(ch.prevData()),
			nullable(ch.r.KeyID), nullable(ch.r.RequestID), w.at)
	})
}

// insertRows runs an INSERT for n rows. SQLite prepares it once and runs it
// for each row, past database/sql, which would convert each argument again;
// PostgreSQL takes many rows at a time.
func (w *work) insertRows(head, tail string, n int, row func(i int, args []any) []any) error {
	if n == 0 {
		return nil
	}
	if !w.c.postgres() {
		return w.insertPrepared(head, tail, n, row)
	}
	args := make([]any, 0, 16)
	for from := 0; from < n; from += maxRows {
		s := w.sql(head)
		for i := from; i < min(n, from+maxRows); i++ {
			if i > from {
				s.add(", ")
			}
			args = row(i, args[:0])
			s.row(args...)
		}
		if err := w.exec(s.add(tail)); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) insertPrepared(head, tail string, n int, row func(i int, args []any) []any) error {
	args := row(0, make([]any, 0, 16))
	query := head + "(?" + strings.Repeat(", ?", len(args)-1) + ")" + tail
	named := make([]driver.NamedValue, len(args))
	// The driver starts a goroutine for each statement whose context can end.
	ctx := context.WithoutCancel(w.ctx)
	err := w.tx.Conn().Raw(func(dc any) error {
		stmt, err := dc.(driver.ConnPrepareContext).PrepareContext(ctx, query)
		if err != nil {
			return err
		}
		defer stmt.Close()
		run := stmt.(driver.StmtExecContext)
		for i := range n {
			args = row(i, args[:0])
			for j, v := range args {
				named[j] = driver.NamedValue{Ordinal: j + 1, Value: v}
			}
			if _, err := run.ExecContext(ctx, named); err != nil {
				return err
			}
		}
		return nil
	})
	return store.Error("ingest", "", err)
}

// text makes data an argument that is text, or null.
func text(data []byte) any {
	if data == nil {
		return nil
	}
	return string(data)
}
