package subscriptions

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/subscriptions/lanes"
	"github.com/kedge-sync/kedge/subscriptions/match"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

const readRows = 256

// A parcel is a delivery with its event, in memory.
type parcel struct {
	event     eventRow
	collapsed int64
	changed   string  // of all the collapsed ones, or ""
	merged    []int64 // rows that this one stands for, still to be deleted
	hidden    bool    // of a person that nothing may be told of any more
}

const parcelQuery = "SELECT d.id, d.event_seq, d.lane, d.op, d.attempt, d.step, d.queued_at, d.due_at, d.replay_id, d.collapsed, d.changed, " +
	eventColumns + " FROM push_delivery d JOIN push_event e ON e.seq = d.event_seq WHERE d.sub = ? AND "

// refill reads rows for the queues that have too few, and reports whether any
// were read.
func (w *worker) refill(ctx context.Context) (bool, error) {
	type scan struct {
		q     *lanes.Queue
		epoch int
		after int64
		lane  int64
		ids   []int64
	}
	var list []scan
	w.mu.Lock()
	w.set.Each(func(q *lanes.Queue) {
		if st := stateOf(q); st.stopped || st.reread {
			return
		}
		if lane, ids := q.Missing(); len(ids) > 0 {
			list = append(list, scan{q: q, epoch: q.Epoch, lane: lane, ids: ids})
		} else if after, ok := q.Scan(); ok {
			list = append(list, scan{q: q, epoch: q.Epoch, after: after})
		}
	})
	w.mu.Unlock()
	for _, x := range list {
		if err := w.loadGap(ctx, x.q); err != nil {
			return false, err
		}
		var rows []*lanes.Row
		var err error
		if x.ids != nil {
			rows, err = w.readParcels(ctx, string(append(appendInts([]byte(parcelQuery+"d.id IN ("), x.ids), ") ORDER BY d.id"...)), x.q.ID)
		} else {
			rows, err = w.readParcels(ctx, parcelQuery+"d.id > ? ORDER BY d.id LIMIT "+strconv.Itoa(readRows), x.q.ID, x.after)
		}
		if err == nil {
			err = w.s.hide(ctx, rows)
		}
		if err != nil {
			return false, err
		}
		w.mu.Lock()
		now := w.s.now()
		switch {
		case w.set.Get(x.q.ID) != x.q || x.q.Epoch != x.epoch:
		case x.ids != nil:
			x.q.Fill(x.lane, len(x.ids), rows, now)
		default:
			x.q.Add(rows, len(rows) == readRows, now)
		}
		w.set.Offer(x.q)
		w.mu.Unlock()
		w.pump()
	}
	return len(list) > 0, nil
}

func (w *worker) readParcels(ctx context.Context, query string, args ...any) ([]*lanes.Row, error) {
	var out []*lanes.Row
	err := each(ctx, w.s.db.DB(), func(r *sql.Rows) error {
		p := &parcel{}
		row := &lanes.Row{Data: p}
		err := r.Scan(append([]any{&row.ID, &row.Seq, &row.Lane, &row.Op, &row.Attempt, &row.Step, &row.QueuedAt, &row.Due, &row.Replay, &p.collapsed, &p.changed},
			p.event.targets()...)...)
		out = append(out, row)
		return err
	}, query, args...)
	return out, err
}

// loadGap reads once what the queue's receiver has to be told.
func (w *worker) loadGap(ctx context.Context, q *lanes.Queue) error {
	w.mu.Lock()
	known := stateOf(q).gapAsked
	w.mu.Unlock()
	if known {
		return nil
	}
	g, err := untoldGap(ctx, w.s.db.DB(), q.ID)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	st := stateOf(q)
	st.gap, st.gapAsked = g, true
	if g != nil && g.ToSeq != 0 && st.sub != nil && st.sub.state == StateActive && st.sub.selects(spec.EventGap) && !st.gapSent {
		st.gapSent = true
		w.spawn(func() { w.s.tellGap(w.life, st.sub, g) })
	}
	return nil
}

// hide marks the rows that may not be told of any more, for the record belongs
// to somebody who was suppressed after the event. That it is gone may be told.
func (s *Service) hide(ctx context.Context, rows []*lanes.Row) error {
	if s.opts.Suppressor == nil || len(rows) == 0 {
		return nil
	}
	subjects := make([]kedge.Subject, len(rows))
	for i, r := range rows {
		e := &r.Data.(*parcel).event
		subjects[i].Refs = []kedge.Ref{{Connection: localConnection, Entity: e.Entity, Key: kedge.Key(e.RecordKey)}}
	}
	hidden, err := s.opts.Suppressor.Suppressed(ctx, s.db.DB(), subjects)
	if err != nil {
		return err
	}
	for i, r := range rows {
		r.Data.(*parcel).hidden = hidden[i] && match.Op(r.Op) != match.Delete
	}
	return nil
}
