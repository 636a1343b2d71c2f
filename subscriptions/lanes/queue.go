// Package lanes decides which delivery of a subscription is sent next: in
// order within a lane, one at a time, within limits of concurrency and rate,
// and not while the target is resting. It does no I/O and has no clock: times
// are milliseconds that the caller passes in.
package lanes

import (
	"container/heap"
	"math"
)

const (
	maxLaneRows       = 16     // rows of a lane in memory; of the others only the id
	readBelow         = 128    // read more rows when fewer are in memory
	maxWaiting        = 10_000 // waiting lanes after which nothing is read ahead
	breakAfter        = 10     // failures in a row that open the breaker
	firstRest         = 10_000 // ms
	longestRest       = 300_000
	never       int64 = math.MaxInt64
)

// A Row is one delivery that waits.
type Row struct {
	ID       int64
	Lane     int64
	Seq      int64 // of the event
	Op       string
	Attempt  int
	Step     int
	QueuedAt int64
	Due      int64
	Replay   int64 // 0: none
	Data     any   // the caller's
}

// A lane is the rows of one record, or of whatever must be in order.
type lane struct {
	id    int64
	rows  []*Row  // the first is next
	later []int64 // ids of rows that are not in memory
	busy  bool    // the first is being sent
	due   int64
	index int // in the heap, or -1
}

// A Queue is what waits for one subscription.
type Queue struct {
	ID          string
	Token       int64 // fence of the holder
	Pending     int   // rows that there were when the queue was claimed; a hint
	Concurrency int   // most requests at once; at least 1
	Interval    int64 // ms between requests for the rate; 0 means none
	Held        bool  // nothing is sent
	Epoch       int   // how often it was reset: rows that were read before are not added
	Data        any   // the caller's

	lanes    map[int64]*lane
	ready    ring // lanes that can be sent
	replays  ring // such whose first row is of a replay
	waiting  laneHeap
	hungry   []*lane // empty, but with rows that are not in memory
	after    int64   // last id that was read
	more     bool    // there may be rows after it
	reading  bool    // rows after it are being read
	rows     int     // in memory
	inFlight int
	replayed int // of inFlight

	until    int64 // nothing is sent before
	nextAt   int64 // by the rate
	failures int   // in a row
	rest     int64 // of the breaker; 0 while it is closed
	probing  bool
}

// NewQueue returns an empty queue that has not read anything.
func NewQueue(id string, token int64) *Queue {
	return &Queue{ID: id, Token: token, Concurrency: 1, lanes: map[int64]*lane{}, more: true}
}

// Wake tells that there are rows after those that were read.
func (q *Queue) Wake() { q.more = true }

// Reset forgets all rows, so that they are read again. None may be in flight.
func (q *Queue) Reset() {
	q.lanes, q.ready, q.replays, q.waiting, q.hungry = map[int64]*lane{}, ring{}, ring{}, nil, nil
	q.after, q.more, q.reading, q.rows = 0, true, false, 0
	q.Epoch++
}

// Wants reports whether rows are to be read.
func (q *Queue) Wants() bool {
	return q.more && !q.reading && q.rows < readBelow && len(q.waiting) < maxWaiting
}

// Scan begins to read rows, and returns the id after which. [Queue.Add] or
// [Queue.Broken] ends it; what [Queue.Wake] tells meanwhile is not forgotten.
func (q *Queue) Scan() (after int64) {
	q.more, q.reading = false, true
	return q.after
}

// Broken tells that the rows could not be read.
func (q *Queue) Broken() { q.more, q.reading = true, false }

// Add takes the rows that were read after [Queue.Scan], by id. more: there may
// be others.
func (q *Queue) Add(rows []*Row, more bool, now int64) {
	q.more, q.reading = q.more || more, false
	for _, r := range rows {
		q.after = max(q.after, r.ID)
		l := q.lanes[r.Lane]
		switch {
		case l == nil:
			l = &lane{id: r.Lane, index: -1}
			q.lanes[r.Lane] = l
			q.push(l, r)
			q.settle(l, now)
		case len(l.later) > 0 || len(l.rows) >= maxLaneRows || l.due > now:
			l.later = append(l.later, r.ID)
		default:
			q.push(l, r)
		}
	}
}

func (q *Queue) push(l *lane, r *Row) {
	l.rows = append(l.rows, r)
	q.rows++
}

// settle puts a lane that is not busy where it belongs.
func (q *Queue) settle(l *lane, now int64) {
	switch {
	case len(l.rows) == 0 && len(l.later) > 0:
		q.hungry = append(q.hungry, l)
	case len(l.rows) == 0:
		delete(q.lanes, l.id)
	case l.rows[0].Due > now:
		l.due = l.rows[0].Due
		heap.Push(&q.waiting, l)
	default:
		l.due = 0
		q.offer(l)
	}
}

func (q *Queue) offer(l *lane) {
	if l.rows[0].Replay != 0 {
		q.replays.push(l)
		return
	}
	q.ready.push(l)
}

// Missing returns ids of rows that lanes wait for, of one lane at a time.
func (q *Queue) Missing() (lane int64, ids []int64) {
	if len(q.hungry) == 0 {
		return 0, nil
	}
	l := q.hungry[0]
	return l.id, l.later[:min(maxLaneRows, len(l.later))]
}

// Fill takes the rows of [Queue.Missing] that are still there, by id.
func (q *Queue) Fill(id int64, asked int, rows []*Row, now int64) {
	l := q.lanes[id]
	if l == nil || len(q.hungry) == 0 || q.hungry[0] != l {
		return
	}
	q.hungry = q.hungry[1:]
	l.later = l.later[asked:]
	for _, r := range rows {
		q.push(l, r)
	}
	q.settle(l, now)
}

// Next returns the row to send now, which is in flight from then on, or nil.
// limit bounds the requests at once besides the queue's own limit.
func (q *Queue) Next(now int64, limit int) *Row {
	q.ripen(now)
	limit = min(limit, max(1, q.Concurrency))
	if q.rest > 0 {
		limit = 1 // a probe
	}
	if q.Held || now < q.until || now < q.nextAt || q.inFlight >= limit {
		return nil
	}
	l := q.ready.pop()
	if l == nil && q.replayed < max(1, q.Concurrency/2) {
		l = q.replays.pop()
	}
	if l == nil {
		return nil
	}
	l.busy = true
	r := l.rows[0]
	q.inFlight++
	if r.Replay != 0 {
		q.replayed++
	}
	q.probing = q.rest > 0
	if q.Interval > 0 {
		q.nextAt = max(q.nextAt+q.Interval, now+q.Interval)
	}
	return r
}

// ripen moves lanes whose time has come.
func (q *Queue) ripen(now int64) {
	for len(q.waiting) > 0 && q.waiting[0].due <= now {
		l := heap.Pop(&q.waiting).(*lane)
		l.due = 0
		q.offer(l)
	}
}

// Done tells that the row is delivered, dead or dropped.
func (q *Queue) Done(r *Row, now int64) { q.finish(r, now, true) }

// Retry tells that the row is to be sent again, at its Due.
func (q *Queue) Retry(r *Row, now int64) { q.finish(r, now, false) }

func (q *Queue) finish(r *Row, now int64, gone bool) {
	l := q.lanes[r.Lane]
	if l == nil || !l.busy || l.rows[0] != r {
		return
	}
	l.busy = false
	q.inFlight--
	if r.Replay != 0 {
		q.replayed--
	}
	if gone {
		l.rows[0] = nil
		l.rows = l.rows[1:]
		q.rows--
	} else {
		q.shed(l)
	}
	q.settle(l, now)
}

// shed forgets all rows but the first of a lane that has to wait.
func (q *Queue) shed(l *lane) {
	if len(l.rows) == 1 {
		return
	}
	ids := make([]int64, 0, len(l.rows)-1+len(l.later))
	for _, r := range l.rows[1:] {
		ids = append(ids, r.ID)
	}
	q.rows -= len(ids)
	l.later = append(ids, l.later...)
	l.rows = l.rows[:1:1]
}

// Behind returns the rows that follow r, which is in flight, in its lane and
// in memory.
func (q *Queue) Behind(r *Row) []*Row {
	if l := q.lanes[r.Lane]; l != nil && l.busy && l.rows[0] == r {
		return l.rows[1:]
	}
	return nil
}

// Absorb removes n rows behind r, which is in flight: r stands for them.
func (q *Queue) Absorb(r *Row, n int) {
	l := q.lanes[r.Lane]
	l.rows = append(l.rows[:1], l.rows[1+n:]...)
	q.rows -= n
}

// Pause keeps the queue from sending before until.
func (q *Queue) Pause(until int64) { q.until = max(q.until, until) }

// Succeeded tells that the target answered in a way that is no failure of its
// own: the breaker closes.
func (q *Queue) Succeeded() { q.failures, q.rest, q.probing = 0, 0, false }

// Failed tells that the target did not work. It reports whether the breaker
// is open now, so that the failure uses no step of the schedule if it was a
// probe.
func (q *Queue) Failed(now int64) (open bool) {
	q.failures++
	switch {
	case q.rest > 0 && q.probing:
		q.rest, q.probing = min(2*q.rest, longestRest), false
		q.Pause(now + q.rest)
	case q.rest == 0 && q.failures >= breakAfter:
		q.rest = firstRest
		q.Pause(now + q.rest)
	}
	return q.rest > 0
}

// Open reports whether the breaker is open.
func (q *Queue) Open() bool { return q.rest > 0 }

// Until returns when the queue may send again.
func (q *Queue) Until() int64 { return q.until }

// InFlight returns the number of rows in flight.
func (q *Queue) InFlight() int { return q.inFlight }

// Rows returns the number of rows in memory.
func (q *Queue) Rows() int { return q.rows }

// Idle reports whether nothing is in flight, due or to be read, and when the
// next row is due (0: no row).
func (q *Queue) Idle(now int64) (due int64, idle bool) {
	if q.inFlight > 0 || len(q.hungry) > 0 || q.reading || q.Wants() {
		return 0, false
	}
	if at := q.NextAt(now); at != never {
		return at, at > now
	}
	return 0, true
}

// NextAt returns when there can be something to send: now or later, or never
// (math.MaxInt64).
func (q *Queue) NextAt(now int64) int64 {
	at := never
	if q.Held {
		return never
	}
	if q.ready.len() > 0 || q.replays.len() > 0 {
		at = now
	} else if len(q.waiting) > 0 {
		at = max(now, q.waiting[0].due)
	}
	if at == never {
		return never
	}
	return max(at, q.until, q.nextAt)
}
