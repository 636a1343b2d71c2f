package sqltable

import (
	"context"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

const opAck = "sqltable.Ack"

// Ack deletes the notes that a durable anchor is past.
func (d *Driver) Ack(ctx context.Context, entity string, a kedge.Anchor) error {
	s, err := d.store(ctx)
	if err != nil {
		return err
	}
	e, err := d.entity(ctx, opAck, s.DB().DB, s.Engine(), entity)
	if err != nil || e.capture != byTrigger {
		return err
	}
	at, err := e.changeMark(a)
	if kedge.KindOf(err) == kedge.AnchorExpired {
		return nil
	}
	if err != nil {
		return err
	}
	h, err := d.horizon(ctx, s, e)
	if err != nil || h.sees(&at) != nil {
		return err
	}
	c, err := d.noteTables(ctx, s.DB().DB, s.Engine())
	if err != nil {
		return store.Error(opAck, e.Name, err)
	}
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		return store.Error(opAck, e.Name, d.ack(ctx, tx.Conn().Conn, c, e, &at, h))
	})
}

// ack forgets what lies before at.
func (d *Driver) ack(ctx context.Context, conn catalog.Querier, c *noteTables, e *entity, at *changeMark, h *horizon) error {
	mark := &query{engine: e.engine}
	mark.WriteString("UPDATE " + c.table("kedge_capture") + " SET acked = ")
	mark.arg(at.Bound, "bigint")
	mark.WriteString(" WHERE (acked < ")
	mark.arg(at.Bound, "bigint")
	mark.WriteString(" OR acked > ")
	mark.arg(h.top, "bigint")
	mark.WriteString(")")
	e.listener(mark, d.consumer)
	mark.WriteString(" AND epoch = ")
	mark.arg(at.Epoch, "text")
	res, err := conn.ExecContext(ctx, mark.String(), mark.args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return err // it was acknowledged before
	}
	del := &query{engine: e.engine}
	order := [...]string{store.SQLite: "seq", store.Postgres: "xid"}[e.engine]
	del.WriteString("DELETE FROM " + c.table("kedge_change") + " WHERE " + order + " >= ")
	del.arg(h.acked, "bigint") // what lies before it is deleted already
	del.WriteString(" AND " + order + " < ")
	del.arg(at.Bound, "bigint")
	e.listener(del, d.consumer)
	_, err = conn.ExecContext(ctx, del.String(), del.args...)
	return err
}

// listener adds the condition for the rows of e and a consumer.
func (e *entity) listener(q *query, consumer string) {
	q.WriteString(" AND entity = ")
	q.arg(e.noted(), "text")
	q.WriteString(" AND consumer = ")
	q.arg(consumer, "text")
}
