package subscriptions

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/match"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

const (
	maxReplayMessages = 1000
	replayRows        = 5000 // events that one transaction looks at
)

// A ReplayQuery says what is sent again. Exactly one of Messages, Dead, Gap and
// the range from From to To is set.
type ReplayQuery struct {
	Messages []string   `json:"messages,omitempty"` // ids, at most 1,000
	Dead     bool       `json:"dead,omitempty"`     // all dead letters
	Gap      int64      `json:"gap,omitempty"`      // id of a gap
	From     *time.Time `json:"from,omitempty"`
	To       *time.Time `json:"to,omitempty"`    // nil: now
	Force    bool       `json:"force,omitempty"` // of a range, also what has arrived
}

// A Replay is a replay and how far it is.
type Replay struct {
	ID      int64  `json:"id"`
	State   string `json:"state"` // running, done or cancelled
	Matched int64  `json:"matched"`
	Queued  int64  `json:"queued"`
	Done    int64  `json:"done"` // of the queued ones: no longer waiting
}

// A replayRow is a replay. Its range is one of sequences, or a list of them.
type replayRow struct {
	bun.BaseModel `bun:"table:push_replay,alias:r"`

	ID      int64 `bun:",pk,autoincrement"`
	Sub     string
	Query   string // JSON of replayRange
	Cursor  int64  // sequence of the last event that was looked at
	Matched int64
	Queued  int64
	State   string
	At      int64
}

// The states of a replay.
const (
	replayRunning   = "running"
	replayDone      = "done"
	replayCancelled = "cancelled"
)

// A replayRange is what a replay looks at: events of a list, of dead letters,
// or of a range of sequences and times.
type replayRange struct {
	Seqs  []int64 `json:"seqs,omitempty"`
	Dead  bool    `json:"dead,omitempty"`
	From  int64   `json:"from,omitempty"` // sequence
	To    int64   `json:"to,omitempty"`
	Since int64   `json:"since,omitempty"` // time
	Until int64   `json:"until,omitempty"`
	Skip  bool    `json:"skip,omitempty"` // leave out what has arrived
}

// StartReplay begins to send events again, with the present state of the
// subscription. One replay of a subscription runs at a time.
func (s *Service) StartReplay(ctx context.Context, by Caller, id string, q ReplayQuery) (int64, error) {
	r := &replayRow{Sub: id, State: replayRunning, At: s.now()}
	err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := s.row(ctx, tx, by, id); err != nil {
			return err
		}
		// The generation's row keeps two from starting at once.
		if _, err := bump(ctx, tx); err != nil {
			return err
		}
		n, err := tx.NewSelect().Model((*replayRow)(nil)).Where("sub = ? AND state = ?", id, replayRunning).Count(ctx)
		if err != nil {
			return store.Error("subscriptions", "", err)
		}
		if n > 0 {
			return &kedge.Error{Op: "subscriptions", Kind: kedge.Conflict, Err: errors.New("a replay of this subscription is running; cancel it or wait")}
		}
		x, err := s.rangeOf(ctx, tx, id, q)
		if err != nil {
			return err
		}
		text, err := json.Marshal(x)
		if err != nil {
			return err
		}
		r.Query = string(text)
		_, err = tx.NewInsert().Model(r).Returning("id").Exec(ctx)
		return store.Error("subscriptions", "", err)
	})
	s.signal()
	return r.ID, err
}

func (s *Service) rangeOf(ctx context.Context, db bun.IDB, id string, q ReplayQuery) (*replayRange, error) {
	bad := func(pointer, detail string) (*replayRange, error) {
		return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: &spec.Problems{List: []spec.Problem{{Pointer: pointer, Detail: detail}}}}
	}
	forms := 0
	for _, set := range []bool{q.Messages != nil, q.Dead, q.Gap != 0, q.From != nil || q.To != nil} {
		if set {
			forms++
		}
	}
	last, err := lastSeq(ctx, db)
	switch {
	case err != nil:
		return nil, err
	case forms != 1:
		return bad("", `give one of messages, state "dead", gap, or from and to`)
	case q.Dead:
		return &replayRange{Dead: true, To: last}, nil
	case q.Gap != 0:
		g := &gapRow{}
		err := db.NewSelect().Model(g).Where("id = ? AND sub = ?", q.Gap, id).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return bad("/gap", "there is no such gap")
		}
		if g.ToSeq == 0 {
			g.ToSeq = last
		}
		return &replayRange{From: g.FromSeq, To: g.ToSeq, Skip: true}, store.Error("subscriptions", "", err)
	case q.Messages == nil:
		if q.From == nil {
			return bad("/from", "is required")
		}
		x := &replayRange{To: last, Since: millis(*q.From), Skip: !q.Force}
		if q.To != nil {
			x.Until = millis(*q.To)
		}
		return x, nil
	case len(q.Messages) == 0 || len(q.Messages) > maxReplayMessages:
		return bad("/messages", "give 1 to 1000 ids")
	}
	x := &replayRange{}
	for i, m := range q.Messages {
		seq, err := payload.SequenceOf(m)
		if err != nil {
			return bad("/messages/"+strconv.Itoa(i), "is not the id of a message")
		}
		x.Seqs = append(x.Seqs, seq)
	}
	slices.Sort(x.Seqs)
	x.Seqs = slices.Compact(x.Seqs)
	return x, nil
}

// replays takes each running replay one step further, and reports whether
// there is more to do.
func (s *Service) replays(ctx context.Context) (bool, error) {
	var ids []int64
	err := each(ctx, s.db.DB(), func(r *sql.Rows) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, "SELECT id FROM push_replay WHERE state = ? ORDER BY id", replayRunning)
	if err != nil || len(ids) == 0 {
		return false, err
	}
	more := false
	for _, id := range ids {
		step := false
		err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			step, err = s.replayStep(ctx, tx, id)
			return err
		})
		if err != nil {
			return false, err
		}
		more = more || step
	}
	return more, nil
}

// replayStep queues the next events of a replay, under the lock of deliveries.
func (s *Service) replayStep(ctx context.Context, tx *store.Tx, id int64) (more bool, err error) {
	next, ok, err := s.lockDelivery(ctx, tx, true)
	if err != nil || !ok {
		return false, err
	}
	r := &replayRow{}
	if err := tx.NewSelect().Model(r).Where("id = ?", id).Scan(ctx); err != nil {
		return false, store.Error("subscriptions", "", err)
	}
	if err := s.refresh(ctx, tx); err != nil || r.State != replayRunning {
		return false, err
	}
	x := s.sub(r.Sub)
	if x == nil || !x.queues() {
		return false, s.endReplay(ctx, tx, r, replayCancelled)
	}
	room, err := s.backlogRoom(ctx, tx, r.Sub)
	if err != nil || room <= 0 {
		return false, err // later
	}
	var q replayRange
	if err := json.Unmarshal([]byte(r.Query), &q); err != nil {
		return false, err
	}
	rows, err := s.replayEvents(ctx, tx, r, &q, min(room, replayRows))
	if err != nil {
		return false, err
	}
	list, err := s.replayMatches(ctx, tx, x, r, &q, rows)
	if err != nil {
		return false, err
	}
	if _, err := s.enqueue(ctx, tx, next, list); err != nil {
		return false, err
	}
	if err := s.revive(ctx, tx, r.Sub, list); err != nil {
		return false, err
	}
	r.Matched += int64(len(rows))
	r.Queued += int64(len(list))
	if len(rows) < min(room, replayRows) {
		return false, s.endReplay(ctx, tx, r, replayDone)
	}
	r.Cursor = rows[len(rows)-1].Seq
	return true, s.endReplay(ctx, tx, r, replayRunning)
}

func (s *Service) endReplay(ctx context.Context, tx bun.IDB, r *replayRow, state string) error {
	r.State = state
	_, err := tx.NewUpdate().Model(r).Column("cursor", "matched", "queued", "state").WherePK().Exec(ctx)
	return store.Error("subscriptions", "", err)
}

func (s *Service) backlogRoom(ctx context.Context, tx bun.IDB, id string) (int, error) {
	var pending int
	err := tx.QueryRowContext(ctx, "SELECT COALESCE((SELECT pending FROM push_queue WHERE sub = ?), 0)", id).Scan(&pending)
	return s.cfg.Limits.Backlog - pending, store.Error("subscriptions", "", err)
}

// replayEvents reads the next events of the range.
func (s *Service) replayEvents(ctx context.Context, tx bun.IDB, r *replayRow, q *replayRange, limit int) ([]eventRow, error) {
	b := []byte("SELECT " + eventColumns + " FROM push_event e WHERE e.seq > " + strconv.FormatInt(r.Cursor, 10))
	switch {
	case q.Seqs != nil:
		b = append(appendInts(append(b, " AND e.seq IN ("...), q.Seqs), ')')
	case q.Dead:
		b = append(appendIDs(append(b, " AND e.seq IN (SELECT event_seq FROM push_dead WHERE sub = "...), []string{r.Sub}), ')')
	}
	if q.To != 0 {
		b = append(b, " AND e.seq BETWEEN "+strconv.FormatInt(q.From, 10)+" AND "+strconv.FormatInt(q.To, 10)...)
	}
	if q.Since != 0 {
		b = append(b, " AND e.at >= "+strconv.FormatInt(q.Since, 10)...)
	}
	if q.Until != 0 {
		b = append(b, " AND e.at <= "+strconv.FormatInt(q.Until, 10)...)
	}
	b = append(b, " ORDER BY e.seq LIMIT "+strconv.Itoa(limit)...)
	var rows []eventRow
	err := each(ctx, tx, func(x *sql.Rows) error {
		var e eventRow
		err := x.Scan(e.targets()...)
		rows = append(rows, e)
		return err
	}, string(b))
	return rows, err
}

// replayMatches returns the deliveries of those events that the subscription
// wants now, that do not wait already and, if asked, have not arrived.
func (s *Service) replayMatches(ctx context.Context, tx bun.IDB, x *sub, r *replayRow, q *replayRange, rows []eventRow) ([]delivery, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	skip := map[int64]bool{}
	note := func(row *sql.Rows) error {
		var seq int64
		err := row.Scan(&seq)
		skip[seq] = true
		return err
	}
	first, last := rows[0].Seq, rows[len(rows)-1].Seq
	if err := each(ctx, tx, note, "SELECT event_seq FROM push_delivery WHERE sub = ? AND event_seq BETWEEN ? AND ?", x.id, first, last); err != nil {
		return nil, err
	}
	if q.Skip {
		if err := each(ctx, tx, note, "SELECT event_seq FROM push_attempt WHERE sub = ? AND event_seq BETWEEN ? AND ? AND class = 'ok'", x.id, first, last); err != nil {
			return nil, err
		}
	}
	only := match.NewIndex()
	scopes := make([]spec.Scope, 0, len(x.scopes))
	for _, scope := range x.scopes {
		scopes = append(scopes, *scope)
	}
	only.Put(x.id, x.account, scopes)
	var list []delivery
	for i := range rows {
		e := &rows[i]
		if skip[e.Seq] || e.Image == "" && e.Op != string(kedge.OpDelete) {
			continue // of an erased record only the end is told
		}
		ev, err := s.eventOf(e, only.Tests(e.Entity))
		if err != nil {
			return nil, err
		}
		only.Match(ev, func(_ string, op match.Op) {
			d := x.delivery(e, op)
			d.replay = r.ID
			list = append(list, d)
		})
	}
	return list, nil
}

// revive removes the dead letters that are queued again.
func (s *Service) revive(ctx context.Context, tx bun.IDB, id string, list []delivery) error {
	for chunk := range slices.Chunk(list, insertRows) {
		seqs := make([]int64, len(chunk))
		for i, d := range chunk {
			seqs[i] = d.seq
		}
		_, err := exec(ctx, tx, string(append(appendInts([]byte("DELETE FROM push_dead WHERE event_seq IN ("), seqs), ") AND sub = ?"...)), id)
		if err != nil {
			return err
		}
	}
	return nil
}

// GetReplay returns how far a replay is.
func (s *Service) GetReplay(ctx context.Context, by Caller, id string, replay int64) (*Replay, error) {
	r, err := s.replayOf(ctx, s.db.DB(), by, id, replay)
	if err != nil {
		return nil, err
	}
	out := &Replay{ID: r.ID, State: r.State, Matched: r.Matched, Queued: r.Queued}
	var waiting int64
	err = s.db.DB().QueryRowContext(ctx, "SELECT count(*) FROM push_delivery WHERE sub = ? AND replay_id = ?", id, replay).Scan(&waiting)
	out.Done = out.Queued - waiting
	return out, store.Error("subscriptions", "", err)
}

func (s *Service) replayOf(ctx context.Context, db bun.IDB, by Caller, id string, replay int64) (*replayRow, error) {
	if _, err := s.row(ctx, db, by, id); err != nil {
		return nil, err
	}
	r := &replayRow{}
	err := db.NewSelect().Model(r).Where("id = ? AND sub = ?", replay, id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &kedge.Error{Op: "subscriptions", Kind: kedge.NotFound, Err: errors.New("there is no such replay")}
	}
	return r, store.Error("subscriptions", "", err)
}

// CancelReplay stops a replay: what it has queued and is not in flight goes.
func (s *Service) CancelReplay(ctx context.Context, by Caller, id string, replay int64) error {
	return s.change(ctx, func(ctx context.Context, tx *store.Tx, g int64) error {
		r, err := s.replayOf(ctx, tx, by, id, replay)
		if err != nil {
			return err
		}
		n, err := exec(ctx, tx, "DELETE FROM push_delivery WHERE sub = ? AND replay_id = ?", id, replay)
		if err != nil {
			return err
		}
		if err := s.shrink(ctx, tx, map[string]int64{id: n}); err != nil {
			return err
		}
		if _, err := exec(ctx, tx, "UPDATE push_state SET value = value + 1 WHERE name = 'scrub'"); err != nil {
			return err
		}
		if r.State != replayRunning {
			return nil
		}
		return s.endReplay(ctx, tx, r, replayCancelled)
	})
}
