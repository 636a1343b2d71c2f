package subscriptions

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/lanes"
)

const (
	commitResults = 500
	commitWait    = 5 * time.Millisecond
	okSavedEvery  = 60_000 // ms between notes of a success after a success
)

// A verdict says what becomes of a delivery.
type verdict uint8

const (
	delivered verdict = iota
	dropped
	retried
	died
)

// A result is what is written about an attempt.
type result struct {
	q       *lanes.Queue
	sub     string
	row     lanes.Row // as after the attempt
	attempt int       // of the row before
	verdict verdict
	answer  answer
	gap     *gapRow // was told
	disable string  // reason to disable the subscription
	saveOK  bool    // the success is news
	delay   time.Duration
}

// settle decides what an answer means, for the lanes at once and for the
// tables with the next commit. The caller holds w.mu.
func (w *worker) settle(a *attempt, ans answer) {
	delete(w.flying, a)
	now := w.s.now()
	w.set.Finish(a.q)
	if ans.again {
		a.row.Due = now
		a.q.Retry(a.row, now)
		return
	}
	st := stateOf(a.q)
	r := &result{q: a.q, sub: a.q.ID, attempt: a.row.Attempt, answer: ans}
	switch {
	case ans.dropped:
		r.verdict = dropped
	case ans.class == ClassOK:
		a.q.Succeeded()
		r.gap = a.gap
		r.saveOK = st.failing || a.sub.firstFailAt != 0 || now-st.okSaved > okSavedEvery
		if r.saveOK {
			st.okSaved = now
		}
		st.blocked, st.failing = 0, false
		r.delay = time.Duration(now-a.row.Data.(*parcel).event.At) * time.Millisecond
	default:
		st.failing = true
		w.failed(a, ans, r, now)
	}
	r.row = *a.row
	if r.verdict == retried {
		a.q.Retry(a.row, now)
	} else {
		a.q.Done(a.row, now)
	}
	w.unsaved[a.q]++
	w.results = append(w.results, r)
	poke(w.notify)
	if _, ids := a.q.Missing(); len(ids) > 0 {
		w.want()
	}
}

// failed applies the table of classes.
func (w *worker) failed(a *attempt, ans answer, r *result, now int64) {
	st := stateOf(a.q)
	resting := a.q.Open() && ans.class.breaks()
	if ans.class.breaks() {
		if !a.q.Open() && a.q.Failed(now) {
			go w.s.notice(context.WithoutCancel(w.life), a.q.ID, "subscription.resting", string(ans.class))
		} else if a.q.Open() {
			a.q.Failed(now)
		}
	} else {
		a.q.Succeeded()
	}
	if ans.class == ClassBlocked {
		st.blocked++
	} else {
		st.blocked = 0
	}
	switch {
	case ans.class == ClassGone:
		r.disable = "gone"
	case st.blocked >= blockedInRow:
		r.disable = "blocked"
	case ans.class == ClassThrottled:
		a.q.Pause(now + ans.after.Milliseconds())
	}
	if r.disable != "" {
		st.stopped, a.q.Held = true, true
	}
	r.verdict = retried
	if !w.s.cfg.next(a.row, ans.class, ans.after, resting, a.q.Until(), now, w.s.opts.Rand()) {
		r.verdict = died
	}
	if ans.class == ClassGone {
		r.verdict = retried // it goes with all others
	}
}

// commit writes the results so far, in the order in which they came, and
// reports how many.
func (w *worker) commit(ctx context.Context) (int, error) {
	w.committing.Lock()
	defer w.committing.Unlock()
	w.mu.Lock()
	batch := w.results[:min(len(w.results), commitResults)]
	w.mu.Unlock()
	if len(batch) == 0 {
		return 0, nil
	}
	if err := w.s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return w.s.save(ctx, tx, batch) }); err != nil {
		return 0, err
	}
	w.mu.Lock()
	w.results = w.results[len(batch):]
	if len(w.results) == 0 {
		w.results = nil
	}
	for _, r := range batch {
		if w.unsaved[r.q]--; w.unsaved[r.q] == 0 {
			delete(w.unsaved, r.q)
		}
		if st := stateOf(r.q); r.gap != nil || r.verdict == died {
			st.gapAsked = false
			st.gap = nil
			r.q.Wake() // to read the next gap
		}
	}
	w.reread()
	w.mu.Unlock()
	w.want()
	w.s.metrics.results(batch)
	for _, r := range batch {
		if r.disable != "" {
			if err := w.s.disable(ctx, r.sub, r.disable); err != nil {
				return len(batch), err
			}
		}
	}
	return len(batch), nil
}

// save writes a batch of results.
func (s *Service) save(ctx context.Context, tx *store.Tx, batch []*result) error {
	if err := s.relax(ctx, tx); err != nil {
		return err
	}
	gone := map[string]int64{}
	if err := s.saveHealth(ctx, tx, batch); err != nil { // first: see abandon
		return err
	}
	if err := s.saveDelivered(ctx, tx, batch, gone); err != nil {
		return err
	}
	if err := s.saveRetries(ctx, tx, batch); err != nil {
		return err
	}
	if err := s.saveDead(ctx, tx, batch, gone); err != nil {
		return err
	}
	if err := s.saveAttempts(ctx, tx, batch); err != nil {
		return err
	}
	for _, r := range batch {
		if r.gap != nil {
			err := told(ctx, tx, r.gap, s.now())
			if err != nil {
				return err
			}
		}
	}
	s.hook("results")
	return s.shrink(ctx, tx, gone)
}

// saveDelivered deletes what arrived or is not wanted any more: a fact, also
// if the queue has another owner by now.
func (s *Service) saveDelivered(ctx context.Context, tx *store.Tx, batch []*result, gone map[string]int64) error {
	var ids []int64
	for _, r := range batch {
		if r.verdict == delivered || r.verdict == dropped {
			ids = append(ids, r.row.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	q := append(appendInts([]byte("DELETE FROM push_delivery WHERE id IN ("), ids), ") RETURNING sub"...)
	return each(ctx, tx, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		gone[id]++
		return err
	}, string(q))
}

// saveRetries writes the new due times. Who is not the owner any more loses
// the comparison of attempts.
func (s *Service) saveRetries(ctx context.Context, tx *store.Tx, batch []*result) error {
	// With short waits a row may have failed several times since the last
	// commit: the table has the attempt before the first of them.
	last, stored := map[int64]*result{}, map[int64]int{}
	for _, r := range batch {
		if r.verdict != retried {
			continue
		}
		if last[r.row.ID] == nil {
			stored[r.row.ID] = r.attempt
		}
		last[r.row.ID] = r
	}
	if len(last) == 0 {
		return nil
	}
	var values []byte
	for _, id := range slices.Sorted(maps.Keys(last)) {
		r := last[id]
		if values != nil {
			values = append(values, ',')
		}
		values = append(values, '(')
		values = appendInts(values, []int64{id, int64(stored[id]), int64(r.row.Attempt), int64(r.row.Step), r.row.Due})
		values = append(values, ')')
	}
	_, err := exec(ctx, tx, "UPDATE push_delivery SET attempt = v.column3, step = v.column4, due_at = v.column5 FROM (VALUES "+string(values)+
		") AS v WHERE push_delivery.id = v.column1 AND push_delivery.attempt = v.column2")
	return err
}

func (s *Service) saveDead(ctx context.Context, tx *store.Tx, batch []*result, gone map[string]int64) error {
	for _, r := range batch {
		if r.verdict != died {
			continue
		}
		n, err := exec(ctx, tx, "DELETE FROM push_delivery WHERE id = ? AND attempt = ?", r.row.ID, r.attempt)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		gone[r.sub]++
		_, err = exec(ctx, tx, "INSERT INTO push_dead (sub, event_seq, op, class, attempts, at) VALUES (?, ?, ?, ?, ?, ?)",
			r.sub, r.row.Seq, r.row.Op, string(r.answer.class), r.row.Attempt, s.now())
		if err != nil {
			return err
		}
		if err := s.lose(ctx, tx, r.sub, "dead", r.row.Seq, r.row.Seq, 1); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) saveAttempts(ctx context.Context, tx *store.Tx, batch []*result) error {
	b := make([]byte, 0, 160*len(batch))
	b = append(b, "INSERT INTO push_attempt (sub, event_seq, message, number, at, took_us, status, class, head) VALUES "...)
	var heads []any
	first := true
	for _, r := range batch {
		if r.verdict == dropped {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(append(b, "('"...), r.sub...), "',"...)
		b = strconv.AppendInt(b, r.row.Seq, 10)
		b = append(append(append(b, ",'"...), r.answer.message...), "',"...)
		b = appendInts(b, []int64{int64(r.attempt + 1), r.answer.at, r.answer.took.Microseconds(), int64(r.answer.status)})
		b = append(append(append(b, ",'"...), r.answer.class...), "',"...)
		if r.answer.head == "" {
			b = append(b, "'')"...)
			continue
		}
		b = append(b, "?)"...)
		heads = append(heads, r.answer.head)
	}
	if first {
		return nil
	}
	_, err := exec(ctx, tx, string(b), heads...)
	return err
}

// saveHealth notes since when the targets fail, and that they work.
func (s *Service) saveHealth(ctx context.Context, tx *store.Tx, batch []*result) error {
	type health struct {
		ok       bool
		failures int64
	}
	list := map[string]*health{}
	of := func(id string) *health {
		if list[id] == nil {
			list[id] = &health{}
		}
		return list[id]
	}
	for _, r := range batch {
		switch {
		case r.saveOK:
			*of(r.sub) = health{ok: true}
		case r.verdict == retried || r.verdict == died:
			of(r.sub).failures++
		}
	}
	now := s.now()
	var well []string
	for _, id := range slices.Sorted(maps.Keys(list)) {
		h := list[id]
		if h.ok {
			well = append(well, id)
		}
		if h.failures == 0 {
			continue
		}
		fresh := 0
		if h.ok {
			fresh = 1 // what was before the success does not count
		}
		_, err := exec(ctx, tx, `UPDATE push_subscription SET failures = CASE WHEN ? = 1 THEN 0 ELSE failures END + ?,
first_fail_at = CASE WHEN ? = 1 OR first_fail_at = 0 THEN ? ELSE first_fail_at END WHERE id = ?`, fresh, h.failures, fresh, now, id)
		if err != nil {
			return err
		}
		if h.ok {
			well = well[:len(well)-1]
		}
	}
	if len(well) == 0 {
		return nil
	}
	_, err := exec(ctx, tx, string(append(appendIDs([]byte("UPDATE push_subscription SET last_ok_at = ?, failures = 0, first_fail_at = 0, noticed = noticed - (noticed / ? % 2) * ? WHERE id IN ("), well), ')')),
		now, noticedFailing, noticedFailing)
	return err
}

// shrink takes deliveries that are gone from the pending ones. Rows are locked
// in order of subscription, as in grow.
func (s *Service) shrink(ctx context.Context, tx bun.IDB, gone map[string]int64) error {
	ids := slices.Sorted(maps.Keys(gone))
	if len(ids) == 0 {
		return nil
	}
	if s.db.Engine() == store.Postgres && len(ids) > 1 {
		q := string(append(appendIDs([]byte("SELECT 1 FROM push_queue WHERE sub IN ("), ids), ") ORDER BY sub FOR UPDATE"...))
		if _, err := exec(ctx, tx, q); err != nil {
			return err
		}
	}
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("('" + id + "'," + strconv.FormatInt(gone[id], 10) + ")")
	}
	_, err := exec(ctx, tx, "UPDATE push_queue SET pending = pending - v.column2 FROM (VALUES "+b.String()+") AS v WHERE push_queue.sub = v.column1")
	return err
}
