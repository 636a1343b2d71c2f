package subscriptions

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// Scrub erases what push tables hold of the records of p, in tx: of their
// events only the keys are left, and what waits of their creates and updates,
// and their dead letters, go. The end of a record is still told, by its key.
//
// Workers forget what they have in memory as soon as they notice; the residue
// counts what this process has in flight.
func (s *Service) Scrub(ctx context.Context, tx bun.IDB, p kedge.Subject) (kedge.Residue, error) {
	var seqs []int64
	for _, ref := range p.Refs {
		if ref.Connection != localConnection {
			continue
		}
		if err := s.fanOutRecord(ctx, tx, ref); err != nil {
			return kedge.Residue{}, err
		}
		err := each(ctx, tx, func(r *sql.Rows) error {
			var seq int64
			err := r.Scan(&seq)
			seqs = append(seqs, seq)
			return err
		}, "SELECT seq FROM push_event WHERE entity = ? AND record_key = ?", ref.Entity, string(ref.Key))
		if err != nil {
			return kedge.Residue{}, err
		}
	}
	gone := map[string]int64{}
	for chunk := range slices.Chunk(seqs, insertRows) {
		if err := scrubEvents(ctx, tx, chunk, gone); err != nil {
			return kedge.Residue{}, err
		}
	}
	if len(seqs) == 0 {
		return kedge.Residue{}, nil
	}
	if err := s.shrink(ctx, tx, gone); err != nil {
		return kedge.Residue{}, err
	}
	if _, err := exec(ctx, tx, "UPDATE push_state SET value = value + 1 WHERE name = 'scrub'"); err != nil {
		return kedge.Residue{}, err
	}
	store.OnCommit(ctx, s.signal)
	return kedge.Residue{InFlight: s.worker.flyingOf(seqs)}, nil
}

// scrubEvents erases the values of events, and adds to gone the deliveries
// that go with them.
func scrubEvents(ctx context.Context, tx bun.IDB, seqs []int64, gone map[string]int64) error {
	in := string(append(appendInts([]byte(" IN ("), seqs), ')'))
	for _, q := range []string{
		"UPDATE push_event SET image = '', before = '', changed = '' WHERE seq" + in,
		"UPDATE push_attempt SET head = '' WHERE head <> '' AND event_seq" + in,
		"UPDATE push_delivery SET changed = '' WHERE event_seq" + in,
		"DELETE FROM push_dead WHERE event_seq" + in,
	} {
		if _, err := exec(ctx, tx, q); err != nil {
			return err
		}
	}
	return each(ctx, tx, func(r *sql.Rows) error {
		var id string
		err := r.Scan(&id)
		gone[id]++
		return err
	}, "DELETE FROM push_delivery WHERE op <> 'd' AND event_seq"+in+" RETURNING sub")
}

// fanOutRecord queues the events of a record that wait for fan-out: who wants
// to know of its end is found by values that are about to go.
func (s *Service) fanOutRecord(ctx context.Context, tx bun.IDB, ref kedge.Ref) error {
	var rows []eventRow
	err := each(ctx, tx, func(r *sql.Rows) error {
		var e eventRow
		err := r.Scan(e.targets()...)
		rows = append(rows, e)
		return err
	}, "SELECT "+eventColumns+" FROM push_outbox o JOIN push_event e ON e.seq = o.seq WHERE e.entity = ? AND e.record_key = ? AND e.op = 'delete' ORDER BY o.seq",
		ref.Entity, string(ref.Key))
	if err != nil || len(rows) == 0 {
		return err
	}
	own, ok := tx.(*store.Tx)
	if !ok {
		return &kedge.Error{Op: "subscriptions.Scrub", Kind: kedge.Internal, Err: errors.New("the transaction is not the store's")}
	}
	next, _, err := s.lockDelivery(ctx, own, false)
	if err != nil {
		return err
	}
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
	if _, err := s.enqueue(ctx, own, next, list); err != nil {
		return err
	}
	_, err = exec(ctx, tx, string(append(appendInts([]byte("DELETE FROM push_outbox WHERE seq IN ("), taken), ')')))
	return err
}

// flyingOf returns how many attempts in flight are about the events.
func (w *worker) flyingOf(seqs []int64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for a := range w.flying {
		if slices.Contains(seqs, a.row.Seq) {
			n++
		}
	}
	return n
}
