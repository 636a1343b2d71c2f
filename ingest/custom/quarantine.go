package custom

import (
	"context"
	"database/sql"
	"strconv"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// keepQuarantine notes the resources that could not be written to the local
// entity, and forgets those that could.
func (w *work) keepQuarantine(items []*mapped) error {
	var fine, bad []*mapped
	for _, it := range items {
		if it.code == "" {
			fine = append(fine, it)
			continue
		}
		bad = append(bad, it)
		if r := it.ch.r; r != nil && r.result != nil && r.result.Bulk != nil {
			r.result.Bulk.Quarantined++
		}
	}
	err := chunks(fine, maxRows, func(part []*mapped) error {
		s := w.sql("DELETE FROM ingest_quarantine WHERE schema_no = ").arg(w.table.No).add(" AND (group_key, id) IN (VALUES ")
		for i, it := range part {
			if i > 0 {
				s.add(", ")
			}
			s.row(it.ch.key.group, it.ch.key.id)
		}
		return w.exec(s.add(")"))
	})
	if err != nil {
		return err
	}
	return chunks(bad, maxRows, func(part []*mapped) error {
		s := w.sql("INSERT INTO ingest_quarantine (schema_no, group_key, id, seq, field, code, message, attempts, at) VALUES ")
		for i, it := range part {
			if i > 0 {
				s.add(", ")
			}
			s.row(w.table.No, it.ch.key.group, it.ch.key.id, it.ch.seq, it.field, it.code, it.err.Error(), 1, w.at)
		}
		s.add(` ON CONFLICT (schema_no, group_key, id) DO UPDATE SET seq = excluded.seq, field = excluded.field, code = excluded.code,
 message = excluded.message, attempts = ingest_quarantine.attempts + 1, at = excluded.at`)
		return w.exec(s)
	})
}

// A Quarantined is a resource that is stored, but not in the local entity.
type Quarantined struct {
	Table    string    `json:"table"`
	GroupKey string    `json:"groupKey"`
	ID       string    `json:"id"`
	Seq      int64     `json:"seq"`
	Field    string    `json:"field,omitempty"`
	Code     string    `json:"code"`
	Message  string    `json:"message"`
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at"`
}

// Quarantine returns a page of the quarantined resources of a table.
func (c *Custom) Quarantine(ctx context.Context, t *Table, limit int, after string) ([]Quarantined, string, error) {
	at, err := parseCursor(after, "quarantine")
	if err != nil {
		return nil, "", err
	}
	s := c.sql("SELECT group_key, id, seq, field, code, message, attempts, at FROM ingest_quarantine WHERE schema_no = ").arg(t.No)
	if at != nil {
		s.add(" AND (group_key, id) > ").row(at.Group, at.ID)
	}
	s.add(" ORDER BY group_key, id LIMIT " + strconv.Itoa(limit+1))
	var out []Quarantined
	next := ""
	err = s.each(ctx, c.store.DB().DB, func(rows *sql.Rows) error {
		if len(out) == limit {
			last := out[limit-1]
			next = cursor{Group: last.GroupKey, ID: last.ID, Query: "quarantine"}.String()
			return nil
		}
		q := Quarantined{Table: t.Full}
		var ms int64
		err := rows.Scan(&q.GroupKey, &q.ID, &q.Seq, &q.Field, &q.Code, &q.Message, &q.Attempts, &ms)
		q.At = time.UnixMilli(ms).UTC()
		out = append(out, q)
		return err
	})
	return out, next, err
}

// Remapped counts what [Custom.Remap] did.
type Remapped struct {
	Mapped      int `json:"mapped"`
	Quarantined int `json:"quarantined"`
}

// Remap writes all live resources of a table to the local entity of its
// mapping, in portions, as if they had been pushed now.
func (c *Custom) Remap(ctx context.Context, t *Table) (Remapped, error) {
	var done Remapped
	p, err := c.localPlan(ctx, t, true)
	switch {
	case err != nil:
		return done, err
	case p == nil:
		return done, conflict("the table has no mapping")
	case p.err != nil:
		return done, p.err
	}
	at := resourceKey{}
	for first := true; ; first = false {
		n := 0
		err := c.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			w := &work{c: c, ctx: ctx, tx: tx, at: c.now().UnixMilli(), table: t}
			r := &request{Push: &Push{Op: Bulk, Table: t}, result: &Result{Bulk: &BulkResult{}}}
			changes, err := w.page(r, at, first)
			if err != nil || len(changes) == 0 {
				return err
			}
			n, at = len(changes), changes[len(changes)-1].key
			if err := w.mapLocal(changes); err != nil {
				return err
			}
			done.Mapped += n - r.result.Bulk.Quarantined
			done.Quarantined += r.result.Bulk.Quarantined
			return w.publish(nil)
		})
		if err != nil || n == 0 {
			return done, err
		}
	}
}

// page reads live resources after a key, as changes that nobody made. They are
// locked, so that what is mapped is what is stored.
func (w *work) page(r *request, after resourceKey, first bool) ([]*change, error) {
	s := w.sql("SELECT group_key, id, seq, data, coalesce(name, '') FROM ingest_resource WHERE schema_no = ").arg(w.table.No).add(" AND hash IS NOT NULL")
	if !first {
		s.add(" AND (group_key, id) > ").row(after.group, after.id)
	}
	s.add(" ORDER BY group_key, id LIMIT " + strconv.Itoa(bulkRows))
	if w.c.postgres() {
		s.add(" FOR SHARE")
	}
	var out []*change
	err := w.each(s, func(rows *sql.Rows) error {
		ch := &change{r: r, op: kedge.OpUpdate, el: new(element)}
		out = append(out, ch)
		return rows.Scan(&ch.key.group, &ch.key.id, &ch.seq, &ch.el.data, &ch.el.name)
	})
	return out, err
}
