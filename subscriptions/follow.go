package subscriptions

import (
	"context"
	"database/sql"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/lanes"
)

const (
	lastSecond = time.Second // that attempts with an old state may still take
	barrierMax = 16 * time.Second
)

// follow notices that subscriptions have changed: it goes on with their new
// state, sees to it that no attempt with the old one is in flight, and then
// reports the generation as seen.
func (w *worker) follow(ctx context.Context) error {
	w.mu.Lock()
	seen, scrubs, id := w.seen, w.scrubs, w.id
	w.mu.Unlock()
	g, scrub, err := readState(ctx, w.s.db.DB())
	if err != nil || id == "" {
		return err
	}
	if scrub != scrubs {
		w.stale(scrub)
	}
	if g == seen {
		return nil
	}
	if err := w.s.refresh(ctx, w.s.db.DB()); err != nil {
		return err
	}
	var changed []string
	err = each(ctx, w.s.db.DB(), func(r *sql.Rows) error {
		var id string
		err := r.Scan(&id)
		changed = append(changed, id)
		return err
	}, "SELECT id FROM push_subscription WHERE generation > ? AND generation <= ?", seen, g)
	if err != nil {
		return err
	}
	waits := w.apply(changed, g)
	// Not here: the last second of one target must not delay all others.
	w.following.Go(func() {
		w.outlast(waits)
		_, err := exec(context.WithoutCancel(ctx), w.s.db.DB(), "UPDATE push_worker SET seen = ? WHERE id = ? AND seen < ?", g, id, g)
		w.s.report(ctx, "generation", err)
		poke(w.s.seen)
	})
	return nil
}

// stale notes that rows in memory may be erased. They are not sent, and read
// again as soon as none of their queue is in flight.
func (w *worker) stale(scrub int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set.Each(func(q *lanes.Queue) { stateOf(q).reread, q.Held = true, true })
	w.scrubs = scrub
	w.reread()
}

// reread forgets the rows of stale queues. The caller holds w.mu.
func (w *worker) reread() {
	w.set.Each(func(q *lanes.Queue) {
		st := stateOf(q)
		if !st.reread || q.InFlight() > 0 || w.unsaved[q] > 0 {
			return
		}
		st.reread = false
		q.Held = st.sub == nil || st.sub.state != StateActive || st.stopped
		q.Reset()
		w.set.Offer(q)
	})
	w.want()
}

// apply gives the queues of changed subscriptions their new state and returns
// the attempts in flight that have the old one. They are not cut off at once,
// also not those of a deleted subscription: what is written to a connection
// arrives all the same, and that would be after the answer.
func (w *worker) apply(changed []string, g int64) []*attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	isChanged := make(map[string]bool, len(changed))
	for _, id := range changed {
		isChanged[id] = true
		if q := w.set.Get(id); q != nil {
			x, st := w.s.sub(id), stateOf(q)
			if x != nil && st.sub != nil && x.startSeq != st.sub.startSeq {
				st.reread = true // it was stopped meanwhile, and what waited is gone
			}
			w.equip(q, x)
			q.Wake()
			w.set.Offer(q)
		}
	}
	var waits []*attempt
	for a := range w.flying {
		x := w.s.sub(a.sub.id)
		if x == a.sub || !isChanged[a.sub.id] {
			continue
		}
		waits = append(waits, a)
	}
	w.seen = max(w.seen, g)
	w.want()
	return waits
}

// outlast waits until the attempts have ended, and cuts them off after a
// second.
func (w *worker) outlast(list []*attempt) {
	timer := time.NewTimer(lastSecond)
	defer timer.Stop()
	for i, a := range list {
		select {
		case <-a.done:
			continue
		case <-timer.C:
		}
		for _, b := range list[i:] {
			b.cancel()
		}
		for _, b := range list[i:] {
			<-b.done
		}
		return
	}
}

// change runs fn in a transaction with a new generation, and returns when no
// worker of any process acts on the old state any more.
func (s *Service) change(ctx context.Context, fn func(ctx context.Context, tx *store.Tx, generation int64) error) error {
	var g int64
	err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if g, err = bump(ctx, tx); err != nil {
			return err
		}
		return fn(ctx, tx, g)
	})
	if err != nil {
		return err
	}
	return s.barrier(ctx, g)
}

// awaitSeen waits until each worker that lives has seen generation g.
func (s *Service) awaitSeen(ctx context.Context, g int64) error {
	deadline := time.Now().Add(barrierMax)
	for wait := time.Millisecond; ; wait = min(2*wait, pollBusy) {
		s.signal()
		n, err := unseen(ctx, s.db.DB(), s.db.Clock(), g)
		if err != nil || n == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return &kedge.Error{Op: "subscriptions", Kind: kedge.Transient, Err: errBarrier}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.seen:
		case <-time.After(wait):
		}
	}
}
