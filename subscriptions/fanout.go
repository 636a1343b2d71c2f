package subscriptions

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/match"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

const (
	fanoutEvents     = 500
	fanoutDeliveries = 20_000
	insertRows       = 500 // of deliveries, in one statement
)

// A delivery is a row of push_delivery that is about to be written.
type delivery struct {
	sub    string
	seq    int64
	lane   int64
	op     match.Op
	replay int64
}

// fanOut turns events of the outbox into deliveries, in one transaction, and
// returns how many events it took and whose queues have grown. One process at
// a time does so, for ids of deliveries must be committed in their order; if
// it is another one now, nothing is done.
func (s *Service) fanOut(ctx context.Context) (events int, touched []string, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		next, ok, err := s.lockDelivery(ctx, tx, true)
		if err != nil || !ok {
			return err
		}
		rows, err := s.readOutbox(ctx, tx)
		if err != nil || len(rows) == 0 {
			return err
		}
		if err := s.relax(ctx, tx); err != nil {
			return err
		}
		// After the outbox: who subscribed before an event is in memory then.
		if err := s.refresh(ctx, tx); err != nil {
			return err
		}
		list, taken, missed, err := s.matchEvents(rows)
		if err != nil {
			return err
		}
		if err := widenGaps(ctx, tx, missed); err != nil {
			return err
		}
		events = len(taken)
		if touched, err = s.enqueue(ctx, tx, next, list); err != nil {
			return err
		}
		s.hook("fanout")
		_, err = exec(ctx, tx, string(append(appendInts([]byte("DELETE FROM push_outbox WHERE seq IN ("), taken), ')')))
		return err
	})
	return events, touched, err
}

// lockDelivery locks the counter of deliveries until tx ends and returns its
// value. With skip it returns false instead of waiting for another process.
func (s *Service) lockDelivery(ctx context.Context, tx *store.Tx, skip bool) (int64, bool, error) {
	q := "SELECT value FROM push_state WHERE name = 'delivery'"
	if s.db.Engine() == store.Postgres {
		q += " FOR UPDATE"
		if skip {
			q += " SKIP LOCKED"
		}
	}
	var next int64
	err := tx.QueryRowContext(ctx, q).Scan(&next)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return next, err == nil, store.Error("subscriptions", "", err)
}

// relax lets a commit of PostgreSQL return before it is on disk. Lost with a
// crash of the server, the transaction is done again: a repeat, never a loss.
func (s *Service) relax(ctx context.Context, tx *store.Tx) error {
	if s.db.Engine() != store.Postgres {
		return nil
	}
	_, err := exec(ctx, tx, "SET LOCAL synchronous_commit = off")
	return err
}

func (s *Service) readOutbox(ctx context.Context, tx bun.IDB) ([]eventRow, error) {
	var rows []eventRow
	err := each(ctx, tx, func(r *sql.Rows) error {
		var e eventRow
		err := r.Scan(e.targets()...)
		rows = append(rows, e)
		return err
	}, "SELECT "+eventColumns+" FROM push_outbox o JOIN push_event e ON e.seq = o.seq ORDER BY o.seq LIMIT "+strconv.Itoa(fanoutEvents))
	return rows, err
}

// matchEvents returns the deliveries of events, the sequences of those that it
// took before there were enough, and for subscriptions that are stopped the
// first event that they would have got.
func (s *Service) matchEvents(rows []eventRow) (list []delivery, taken []int64, missed map[string]int64, err error) {
	tests := map[string]bool{}
	missed = map[string]int64{}
	for i := range rows {
		e := &rows[i]
		need, ok := tests[e.Entity]
		if !ok {
			need = s.stored.Tests(e.Entity)
			tests[e.Entity] = need
		}
		ev, err := s.eventOf(e, need)
		if err != nil {
			return nil, nil, nil, err
		}
		s.stored.Match(ev, func(id string, op match.Op) {
			x := s.sub(id)
			switch {
			case x == nil:
			case x.queues() && e.Seq > x.startSeq:
				list = append(list, x.delivery(e, op))
			default:
				if _, ok := missed[id]; !ok {
					missed[id] = e.Seq
				}
			}
		})
		taken = append(taken, e.Seq)
		if len(list) >= fanoutDeliveries {
			break
		}
	}
	return list, taken, missed, nil
}

// eventOf returns what is matched of an event; its values only if they are
// needed.
func (s *Service) eventOf(e *eventRow, values bool) (*match.Event, error) {
	ev := &match.Event{Entity: e.Entity, Key: kedge.Key(e.RecordKey), Op: kedge.Operation(e.Op), At: time.UnixMilli(e.At), Scrubbed: e.Image == ""}
	if e.Changed != "" {
		if err := json.Unmarshal([]byte(e.Changed), &ev.Changed); err != nil {
			return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Internal, Err: err}
		}
	}
	entry := s.catalog.Entry(e.Entity)
	if !values || entry == nil {
		return ev, nil
	}
	for via := range entry.Parents {
		if group := s.catalog.Group(entry, via, ev.Key); group != "" {
			if ev.Groups == nil {
				ev.Groups = map[string]string{}
			}
			ev.Groups[via] = group
		}
	}
	var err error
	if ev.After, err = payload.ReadImage([]byte(e.Image), entry.Schema); err == nil && e.Before != "" {
		ev.Before, err = payload.ReadImage([]byte(e.Before), entry.Schema)
	}
	if err != nil {
		return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Internal, Err: err}
	}
	return ev, nil
}

// delivery returns the delivery of an event to x.
func (x *sub) delivery(e *eventRow, op match.Op) delivery {
	d := delivery{sub: x.id, seq: e.Seq, op: op}
	switch x.doc.Ordering {
	case spec.OrderNone:
		d.lane = -1 // its own id, once it has one
	case spec.OrderSubscription:
	default:
		d.lane = laneOf(e.Entity, e.RecordKey)
	}
	return d
}

// laneOf returns the lane of a record. Two records may share one.
func laneOf(entity, key string) int64 {
	return int64(xxhash.Sum64String(entity+"\x00"+key) >> 1)
}

// enqueue writes deliveries with ids from next on, except those above the
// backlog of their subscription, which become a gap, and makes their queues
// due. The caller holds the lock of deliveries.
func (s *Service) enqueue(ctx context.Context, tx *store.Tx, next int64, list []delivery) ([]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	list, err := s.cutBacklog(ctx, tx, list)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	now := s.now()
	counts := map[string]int64{}
	for chunk := range slices.Chunk(list, insertRows) {
		b := append(make([]byte, 0, 128*len(chunk)), "INSERT INTO push_delivery (id, sub, event_seq, lane, op, attempt, step, queued_at, due_at, replay_id, collapsed, changed) VALUES "...)
		for i, d := range chunk {
			next++
			counts[d.sub]++
			if d.lane == -1 {
				d.lane = next
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '(')
			b = strconv.AppendInt(b, next, 10)
			b = append(append(append(b, ",'"...), d.sub...), "',"...)
			b = appendInts(b, []int64{d.seq, d.lane})
			b = append(append(append(b, ",'"...), d.op...), "',0,0,"...)
			b = appendInts(b, []int64{now, now, d.replay})
			b = append(b, ",1,'')"...)
		}
		if _, err := exec(ctx, tx, string(b)); err != nil {
			return nil, err
		}
	}
	if _, err := exec(ctx, tx, "UPDATE push_state SET value = "+strconv.FormatInt(next, 10)+" WHERE name = 'delivery'"); err != nil {
		return nil, err
	}
	s.metrics.fanned(len(list))
	touched := slices.Sorted(maps.Keys(counts))
	if err := s.grow(ctx, tx, touched, counts, now); err != nil {
		return nil, err
	}
	return touched, s.tellOthers(ctx, tx)
}

// grow adds to the queues' pending deliveries and makes those due that may
// send.
func (s *Service) grow(ctx context.Context, tx bun.IDB, ids []string, counts map[string]int64, now int64) error {
	for chunk := range slices.Chunk(ids, insertRows) {
		b := []byte("INSERT INTO push_queue (sub, due_at, holder, token, pending) VALUES ")
		for i, id := range chunk {
			if i > 0 {
				b = append(b, ',')
			}
			due := "NULL"
			if x := s.sub(id); x != nil && x.state == StateActive {
				due = strconv.FormatInt(now, 10)
			}
			b = append(append(append(b, "('"...), id...), "',"...)
			b = append(append(append(b, due...), ",'',0,"...), strconv.FormatInt(counts[id], 10)...)
			b = append(b, ')')
		}
		b = append(b, " ON CONFLICT (sub) DO UPDATE SET due_at = excluded.due_at, pending = push_queue.pending + excluded.pending"...)
		if _, err := exec(ctx, tx, string(b)); err != nil {
			return err
		}
	}
	return nil
}

// cutBacklog leaves out what is above the backlog of a subscription and
// records that as a gap.
func (s *Service) cutBacklog(ctx context.Context, tx bun.IDB, list []delivery) ([]delivery, error) {
	room := map[string]int64{}
	var ids []string
	for _, d := range list {
		if _, ok := room[d.sub]; !ok {
			room[d.sub] = int64(s.cfg.Limits.Backlog)
			ids = append(ids, d.sub)
		}
	}
	for chunk := range slices.Chunk(ids, insertRows) {
		q := string(append(appendIDs([]byte("SELECT sub, pending FROM push_queue WHERE sub IN ("), chunk), ')'))
		err := each(ctx, tx, func(r *sql.Rows) error {
			var id string
			var pending int64
			err := r.Scan(&id, &pending)
			room[id] -= pending
			return err
		}, q)
		if err != nil {
			return nil, err
		}
	}
	out := list[:0]
	for _, d := range list {
		if room[d.sub] > 0 {
			room[d.sub]--
			out = append(out, d)
			continue
		}
		if err := s.lose(ctx, tx, d.sub, "backlog", d.seq, d.seq, 1); err != nil {
			return nil, err
		}
	}
	return out, nil
}
