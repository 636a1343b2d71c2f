package subscriptions

import (
	"context"
	"database/sql"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/lanes"
)

const (
	workerTTL   = 15 * time.Second // of its row, by the database's clock
	workerBeat  = 5 * time.Second
	workerGrace = 13 * time.Second // no attempt starts later after the last beat was sent, nor is in flight a second later
	claimQueues = 512
	idleAfter   = 5_000 // ms until a queue is given back
)

// A worker claims queues and empties them. It has a life of its own in
// push_worker; when it cannot prove it in time it gives up all queues and
// begins a new one.
type worker struct {
	s *Service

	committing sync.Mutex // held while results are written, so that they are in their order

	mu        sync.Mutex
	id        string // in push_worker; "" before the first beat
	beaten    time.Time
	life      context.Context // of attempts; ends with the lease
	die       context.CancelFunc
	set       *lanes.Set
	seen      int64                // generation that attempts are made with
	scrubs    int64                // erasures that the rows in memory know of
	flying    map[*attempt]bool    // attempts in flight
	unsaved   map[*lanes.Queue]int // results that are not committed yet
	results   []*result
	notify    chan struct{} // results are there
	hungry    chan struct{} // rows are wanted
	draining  bool
	sending   sync.WaitGroup
	following sync.WaitGroup
	spawn     func(func()) // starts an attempt; tests run it at once
}

func newWorker(s *Service) *worker {
	w := &worker{s: s, set: lanes.NewSet(s.cfg.Limits.InFlight), flying: map[*attempt]bool{}, unsaved: map[*lanes.Queue]int{},
		notify: make(chan struct{}, 1), hungry: make(chan struct{}, 1)}
	w.spawn = func(f func()) { w.sending.Go(f) }
	return w
}

// A state is what the worker has of a queue besides its rows.
type state struct {
	sub       *sub
	gap       *gapRow // to be told
	gapAsked  bool    // gap was read
	blocked   int     // blocked attempts in a row
	failing   bool    // the last result was a failure
	okSaved   int64   // when a success was last noted
	idleSince int64
	gapSent   bool // a message about the gap was sent
	stopped   bool // the target is gone: nothing is sent until the subscription changes
	reread    bool // the rows in memory are stale
}

func stateOf(q *lanes.Queue) *state { return q.Data.(*state) }

// beat proves that the worker lives, for workerTTL, and takes note of the
// database's clock. It returns an error if the proof came too late: another
// worker may have the queues.
func (w *worker) beat(ctx context.Context) error {
	session, err := w.s.db.Session(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	id, seen := w.id, w.seen
	w.mu.Unlock()
	sent := time.Now()
	if id != "" {
		n, err := w.extend(ctx, id, session)
		if err != nil {
			return err
		}
		if n == 1 {
			w.mu.Lock()
			w.beaten = sent
			w.mu.Unlock()
			return nil
		}
		w.lose()
	}
	id = uuid.NewString()
	_, err = exec(ctx, w.s.db.DB(), "INSERT INTO push_worker (id, session, expires, seen) VALUES (?, ?, ? + ?, ?)",
		id, session, w.s.db.Clock(), workerTTL.Milliseconds(), seen)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id, w.beaten = id, sent
	w.life, w.die = context.WithCancel(context.WithoutCancel(ctx))
	return nil
}

func (w *worker) extend(ctx context.Context, id, session string) (int64, error) {
	before := time.Now()
	var clock int64
	rows, err := w.s.db.DB().QueryContext(ctx, "UPDATE push_worker SET expires = ? + ?, session = ? WHERE id = ? AND expires > ? RETURNING expires",
		w.s.db.Clock(), workerTTL.Milliseconds(), session, id, w.s.db.Clock())
	if err != nil {
		return 0, store.Error("subscriptions", "", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return 0, store.Error("subscriptions", "", rows.Err())
	}
	if err := rows.Scan(&clock); err != nil {
		return 0, store.Error("subscriptions", "", err)
	}
	if w.s.opts.Now == nil {
		there := time.UnixMilli(clock).Add(-workerTTL)
		here := before.Add(time.Since(before) / 2)
		if d := there.Sub(here); d.Abs() > 50*time.Millisecond || d.Abs() > time.Since(before) {
			w.s.offset.Store(int64(d))
		}
	}
	return 1, nil
}

// lose ends all attempts and forgets all queues.
func (w *worker) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.id != "" {
		w.s.log.Warn("push worker lost its lease", "worker", w.id)
	}
	w.forget()
}

func (w *worker) forget() {
	w.id = ""
	if w.die != nil {
		w.die()
	}
	var ids []string
	w.set.Each(func(q *lanes.Queue) { ids = append(ids, q.ID) })
	for _, id := range ids {
		w.set.Remove(id)
	}
}

// overdue gives up if the last beat is too long ago. The holder's clock is
// monotonic, so a jump of the time of day does not matter.
func (w *worker) overdue() {
	w.mu.Lock()
	late := w.id != "" && time.Since(w.beaten) > workerGrace
	w.mu.Unlock()
	if late {
		w.lose()
	}
}

// reap frees the queues of workers that live no more.
func (w *worker) reap(ctx context.Context) error {
	w.mu.Lock()
	me := w.id
	w.mu.Unlock()
	return w.s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		type other struct{ id, session string }
		var others, dead []other
		var live []bool
		err := each(ctx, tx, func(r *sql.Rows) error {
			var o other
			var alive bool
			err := r.Scan(&o.id, &o.session, &alive)
			others, live = append(others, o), append(live, alive)
			return err
		}, "SELECT id, session, expires > ? FROM push_worker WHERE id <> ? ORDER BY id", w.s.db.Clock(), me)
		if err != nil {
			return err
		}
		for i, o := range others {
			gone := !live[i]
			if !gone {
				if gone, err = w.s.db.SessionDead(ctx, tx, o.session); err != nil {
					return err
				}
			}
			if gone {
				dead = append(dead, o)
			}
		}
		for _, o := range dead {
			if _, err := exec(ctx, tx, "DELETE FROM push_worker WHERE id = ?", o.id); err != nil {
				return err
			}
		}
		_, err = exec(ctx, tx, "UPDATE push_queue SET holder = '', due_at = ? WHERE holder <> '' AND holder NOT IN (SELECT id FROM push_worker)", w.s.now())
		return err
	})
}

// claim takes free queues that are due, and notices own ones that have grown.
// It reports whether there may be more.
func (w *worker) claim(ctx context.Context) (bool, error) {
	w.mu.Lock()
	me := w.id
	w.mu.Unlock()
	if me == "" {
		return false, nil
	}
	type claimed struct {
		id      string
		token   int64
		pending int
	}
	var list []claimed
	lock := ""
	if w.s.db.Engine() == store.Postgres {
		lock = " FOR UPDATE SKIP LOCKED"
	}
	// Only who really is a worker may claim: its row may have been reaped.
	err := each(ctx, w.s.db.DB(), func(r *sql.Rows) error {
		var c claimed
		err := r.Scan(&c.id, &c.token, &c.pending)
		list = append(list, c)
		return err
	}, `UPDATE push_queue SET holder = ?, due_at = NULL, token = token + CASE WHEN holder = ? THEN 0 ELSE 1 END
WHERE sub IN (SELECT sub FROM push_queue WHERE due_at <= ? AND holder IN ('', ?) ORDER BY due_at LIMIT `+strconv.Itoa(claimQueues)+lock+`)
AND EXISTS (SELECT 1 FROM push_worker WHERE id = ? AND expires > ?) RETURNING sub, token, pending`,
		me, me, w.s.now(), me, me, w.s.db.Clock())
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	for _, c := range list {
		w.adopt(c.id, c.token, c.pending)
	}
	w.mu.Unlock()
	if len(list) > 0 {
		w.want()
	}
	return len(list) == claimQueues, nil
}

// adopt begins or wakes a queue. The caller holds w.mu.
func (w *worker) adopt(id string, token int64, pending int) {
	q := w.set.Get(id)
	if q == nil {
		q = lanes.NewQueue(id, token)
		q.Data = &state{}
		w.equip(q, w.s.sub(id))
		w.set.Put(q)
	}
	q.Pending = pending
	q.Wake()
	stateOf(q).idleSince = 0
}

// equip gives a queue the present state of its subscription.
func (w *worker) equip(q *lanes.Queue, x *sub) {
	st := stateOf(q)
	st.sub, st.stopped, st.gapAsked, st.gap, st.gapSent = x, false, false, nil, false
	q.Held = x == nil || x.state != StateActive || st.reread
	if x == nil {
		return
	}
	q.Concurrency = max(1, min(x.doc.Concurrency, w.s.cfg.Limits.Concurrency))
	q.Interval = 0
	if x.doc.RatePerSecond > 0 {
		q.Interval = max(1, int64(1000/x.doc.RatePerSecond))
	}
}

// want asks for rows of queues that have too few.
func (w *worker) want() { poke(w.hungry) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// release gives back queues without work, with the time of their next
// delivery.
func (w *worker) release(ctx context.Context) error {
	now := w.s.now()
	type idle struct {
		q    *lanes.Queue
		due  int64
		gone bool
	}
	var list []idle
	w.mu.Lock()
	me := w.id
	w.set.Each(func(q *lanes.Queue) {
		st := stateOf(q)
		due, ok := q.Idle(now)
		gone := st.sub == nil || st.sub.state != StateActive
		switch {
		case q.InFlight() > 0 || w.unsaved[q] > 0 || !ok && !gone:
			st.idleSince = 0
		case gone:
			list = append(list, idle{q, 0, true})
		case st.idleSince == 0:
			st.idleSince = now
		case now-st.idleSince >= idleAfter || w.draining:
			list = append(list, idle{q, due, false})
		}
	})
	for _, x := range list {
		w.set.Remove(x.q.ID)
	}
	w.mu.Unlock()
	for _, x := range list {
		due := sql.NullInt64{Int64: x.due, Valid: x.due != 0}
		// A due time that fan-out has set meanwhile is the earlier one. Of a
		// subscription that may not send, as far as is known here, the tables
		// know better: it may have been resumed.
		_, err := exec(ctx, w.s.db.DB(), `UPDATE push_queue SET holder = '', due_at = COALESCE(due_at, ?, (SELECT CASE WHEN ? AND state = 'active' THEN ? END FROM push_subscription s WHERE s.id = push_queue.sub))
WHERE sub = ? AND holder = ? AND token = ?`, due, x.gone, now, x.q.ID, me, x.q.Token)
		if err != nil {
			return err
		}
	}
	return nil
}

// live returns the workers that are not known to be dead and have not seen
// generation g.
func unseen(ctx context.Context, db bun.IDB, clock bun.Safe, g int64) (int, error) {
	var n int
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM push_worker WHERE expires > ? AND seen < ?", clock, g).Scan(&n)
	return n, store.Error("subscriptions", "", err)
}

// load returns the number of attempts in flight and of open breakers.
func (w *worker) load() (flying, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set.Each(func(q *lanes.Queue) {
		if q.Open() {
			open++
		}
	})
	return len(w.flying), open
}
