package custom

import (
	"context"
	"database/sql"
	"slices"
)

// answerSame answers the events of a batch that change nothing, as far as that
// can be read without a transaction, and returns the other requests. They
// happen before the others, which is an order that their senders, who all wait,
// cannot tell from another.
func (c *Custom) answerSame(ctx context.Context, batch []*request) []*request {
	ids := map[int64]map[string][]any{} // by table and group
	of := map[int64]map[resourceKey][]*request{}
	for _, r := range batch {
		if r.Op != Event || r.DryRun || r.IdempotencyKey != "" || len(r.elements[0].subject.Identifiers) > 0 {
			continue
		}
		k := resourceKey{r.GroupKey, r.elements[0].id}
		if of[r.Table.No] == nil {
			of[r.Table.No], ids[r.Table.No] = map[resourceKey][]*request{}, map[string][]any{}
		}
		if of[r.Table.No][k] == nil {
			ids[r.Table.No][k.group] = append(ids[r.Table.No][k.group], k.id)
		}
		of[r.Table.No][k] = append(of[r.Table.No][k], r)
	}
	for no, groups := range ids {
		for group, list := range groups {
			if c.readSame(ctx, no, group, list, of[no]) != nil {
				return batch // the transaction will say what is wrong
			}
		}
	}
	return slices.DeleteFunc(batch, func(r *request) bool {
		if r.result != nil {
			close(r.done)
		}
		return r.result != nil
	})
}

func (c *Custom) readSame(ctx context.Context, no int64, group string, ids []any, of map[resourceKey][]*request) error {
	s := c.sql("SELECT id, hash, (SELECT active_version FROM ingest_schema WHERE no = ").arg(no).add("), (SELECT seq FROM ingest_head WHERE schema_no = ").arg(no).
		add(") FROM ingest_resource WHERE schema_no = ").arg(no).add(" AND group_key = ").arg(group).add(" AND id IN ").row(ids...)
	return s.each(ctx, c.store.DB().DB, func(rows *sql.Rows) error {
		var id string
		var sum sql.RawBytes
		var active int
		var seq int64
		if err := rows.Scan(&id, &sum, &active, &seq); err != nil {
			return err
		}
		for _, r := range of[resourceKey{group, id}] {
			if sum != nil && string(sum) == string(r.elements[0].hash[:]) && r.Table.Version == active {
				w := &work{c: c, table: r.Table, head: seq}
				w.begin(r)
				r.result.Event.Result = Unchanged
			}
		}
		return nil
	})
}
