package custom

import (
	"encoding/json"

	"github.com/kedge-sync/kedge"
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
		if ch.op == kedge.OpUpdate {
			var err error
			if ch.fields, err = changedFields(ch.prev.data, ch.el.data); err != nil {
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
	if err := chunks(stored, maxRows, w.writeResources); err != nil {
		return err
	}
	if err := chunks(removed, maxRows, w.writeTombstones); err != nil {
		return err
	}
	return chunks(changes, maxRows, w.writeHistory)
}

// writeResources inserts or replaces resources. One that comes back after it
// was deleted is a new one.
func (w *work) writeResources(changes []*change) error {
	s := w.sql("INSERT INTO ingest_resource (schema_no, group_key, id, data, hash, name, version, schema_version, valid, seq, event, actor, created_at, updated_at) VALUES ")
	for i, ch := range changes {
		if i > 0 {
			s.add(", ")
		}
		e := ch.el
		s.row(w.table.No, ch.key.group, ch.key.id, text(e.data), e.hash[:], nullable(e.name), nullable(e.version), w.table.Version, true, ch.seq,
			nullable(ch.r.Event), nullable(ch.r.Actor), w.at, w.at)
	}
	s.add(` ON CONFLICT (schema_no, group_key, id) DO UPDATE SET data = excluded.data, hash = excluded.hash, name = excluded.name,
 version = excluded.version, schema_version = excluded.schema_version, valid = excluded.valid, seq = excluded.seq, event = excluded.event, actor = excluded.actor,
 created_at = CASE WHEN ingest_resource.hash IS NULL THEN excluded.created_at ELSE ingest_resource.created_at END, updated_at = excluded.updated_at`)
	return w.exec(s)
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
	s := w.sql("INSERT INTO ingest_change (schema_no, seq, group_key, id, op, event, actor, fields, data, key_id, request_id, at) VALUES ")
	for i, ch := range changes {
		if i > 0 {
			s.add(", ")
		}
		data := []byte(nil)
		if ch.el != nil {
			data = ch.el.data
		} else {
			data = ch.prev.data
		}
		var fields any
		if ch.op == kedge.OpUpdate {
			names, err := json.Marshal(ch.fields)
			if err != nil {
				return err
			}
			fields = string(names)
		}
		s.row(w.table.No, ch.seq, ch.key.group, ch.key.id, string(ch.op), nullable(ch.r.Event), nullable(ch.r.Actor), fields, text(data),
			nullable(ch.r.KeyID), nullable(ch.r.RequestID), w.at)
	}
	return w.exec(s)
}

// text makes data an argument that is text, or null.
func text(data []byte) any {
	if data == nil {
		return nil
	}
	return string(data)
}
