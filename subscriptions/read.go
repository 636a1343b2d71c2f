package subscriptions

import (
	"context"
	"database/sql"
	"slices"
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

const parcelQuery = "SELECT d.sub, d.id, d.event_seq, d.lane, d.op, d.attempt, d.step, d.queued_at, d.due_at, d.replay_id, d.collapsed, d.changed, " +
	eventColumns + " FROM push_delivery d JOIN push_event e ON e.seq = d.event_seq WHERE "

const (
	fewRows    = 16 // of a queue that is read together with others
	batchReads = 64 // queues that are read together
)

// A scan is rows of a queue that are being read.
type scan struct {
	q     *lanes.Queue
	epoch int
	after int64
	lane  int64
	ids   []int64 // rows of one lane; nil: all after
	rows  []*lanes.Row
	more  bool
}

// refill reads rows for the queues that have too few, and reports whether any
// were read.
func (w *worker) refill(ctx context.Context) (bool, error) {
	few, others := w.scans()
	for chunk := range slices.Chunk(few, batchReads) {
		if err := w.read(ctx, chunk, w.readTogether); err != nil {
			return false, err
		}
	}
	for i := range others {
		if err := w.read(ctx, others[i:i+1], w.readOne); err != nil {
			return false, err
		}
	}
	return len(few)+len(others) > 0, nil
}

// scans begins to read: queues with few rows, which can be read together, and
// the others.
func (w *worker) scans() (few, others []*scan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set.Each(func(q *lanes.Queue) {
		if st := stateOf(q); st.stopped || st.reread {
			return
		}
		if lane, ids := q.Missing(); len(ids) > 0 {
			others = append(others, &scan{q: q, epoch: q.Epoch, lane: lane, ids: slices.Clone(ids)})
			return
		}
		if !q.Wants() {
			return
		}
		x := &scan{q: q, epoch: q.Epoch, after: q.Scan()}
		if x.after == 0 && q.Pending <= fewRows {
			few = append(few, x)
		} else {
			others = append(others, x)
		}
	})
	return few, others
}

// read reads some scans by f and hands the rows to their queues.
func (w *worker) read(ctx context.Context, list []*scan, f func(context.Context, []*scan) error) error {
	err := w.loadGaps(ctx, list)
	if err == nil {
		err = f(ctx, list)
	}
	for _, x := range list {
		if err == nil {
			err = w.s.hide(ctx, x.rows)
		}
	}
	w.mu.Lock()
	now := w.s.now()
	for _, x := range list {
		switch {
		case w.set.Get(x.q.ID) != x.q || x.q.Epoch != x.epoch:
		case err != nil && x.ids == nil:
			x.q.Broken()
		case err != nil:
		case x.ids != nil:
			x.q.Fill(x.lane, len(x.ids), x.rows, now)
		default:
			x.q.Add(x.rows, x.more, now)
		}
		w.set.Offer(x.q)
	}
	w.mu.Unlock()
	w.pump()
	return err
}

// readOne reads the next rows of a queue, or those that one of its lanes waits
// for.
func (w *worker) readOne(ctx context.Context, list []*scan) (err error) {
	x := list[0]
	if x.ids != nil {
		_, err = w.readParcels(ctx, list, string(append(appendInts([]byte(parcelQuery+"d.sub = ? AND d.id IN ("), x.ids), ") ORDER BY d.id"...)), x.q.ID)
		return err
	}
	n, err := w.readParcels(ctx, list, parcelQuery+"d.sub = ? AND d.id > ? ORDER BY d.id LIMIT "+strconv.Itoa(readRows), x.q.ID, x.after)
	x.more = n == readRows
	return err
}

// readTogether reads all rows of queues that have few.
func (w *worker) readTogether(ctx context.Context, list []*scan) error {
	ids := make([]string, len(list))
	for i, x := range list {
		ids[i] = x.q.ID
	}
	_, err := w.readParcels(ctx, list, string(append(appendIDs([]byte(parcelQuery+"d.sub IN ("), ids), ") ORDER BY d.sub, d.id"...)))
	return err
}

// readParcels reads rows into the scans of their queues, and returns how many.
func (w *worker) readParcels(ctx context.Context, list []*scan, query string, args ...any) (int, error) {
	byID := make(map[string]*scan, len(list))
	for _, x := range list {
		byID[x.q.ID] = x
	}
	n := 0
	err := each(ctx, w.s.db.DB(), func(r *sql.Rows) error {
		p := &parcel{}
		row := &lanes.Row{Data: p}
		var sub string
		err := r.Scan(append([]any{&sub, &row.ID, &row.Seq, &row.Lane, &row.Op, &row.Attempt, &row.Step, &row.QueuedAt, &row.Due, &row.Replay, &p.collapsed, &p.changed},
			p.event.targets()...)...)
		if x := byID[sub]; x != nil {
			x.rows = append(x.rows, row)
		}
		n++
		return err
	}, query, args...)
	return n, err
}

// loadGaps reads once what the queues' receivers have to be told.
func (w *worker) loadGaps(ctx context.Context, list []*scan) error {
	var ids []string
	w.mu.Lock()
	for _, x := range list {
		if !stateOf(x.q).gapAsked {
			ids = append(ids, x.q.ID)
		}
	}
	w.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	gaps, err := untoldGaps(ctx, w.s.db.DB(), ids)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range list {
		st := stateOf(x.q)
		if st.gapAsked {
			continue
		}
		g := gaps[x.q.ID]
		st.gap, st.gapAsked = g, true
		if g != nil && g.ToSeq != 0 && st.sub != nil && st.sub.state == StateActive && st.sub.selects(spec.EventGap) && !st.gapSent {
			st.gapSent = true
			life, about := w.life, st.sub
			w.spawn(func() { w.s.tellGap(life, about, g) })
		}
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
