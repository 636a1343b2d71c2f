package subscriptions

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/lanes"
	"github.com/kedge-sync/kedge/subscriptions/match"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// An Attempt is one request to a target, as the log has it.
type Attempt struct {
	ID      int64     `json:"id"`
	Message string    `json:"message"`
	Event   int64     `json:"sequence,omitempty"` // 0: a message of kedge itself
	Number  int64     `json:"attempt"`
	At      time.Time `json:"at"`
	Took    float64   `json:"took"` // milliseconds
	Status  int       `json:"status"`
	Class   Class     `json:"class"`
	Head    string    `json:"head,omitempty"` // of the answer to a failure, redacted
}

// An AttemptFilter narrows [Service.Attempts]. Zero values mean all.
type AttemptFilter struct {
	Class    string
	Event    string // id of a message
	From, To time.Time
	Before   int64 // id of the last attempt of the page before
	Limit    int
}

// Attempts returns attempts of a subscription, the newest first.
func (s *Service) Attempts(ctx context.Context, by Caller, id string, f AttemptFilter) ([]Attempt, error) {
	if _, err := s.row(ctx, s.db.DB(), by, id); err != nil {
		return nil, err
	}
	q := "SELECT id, message, event_seq, number, at, took_us, status, class, head FROM push_attempt WHERE sub = ?"
	args := []any{id}
	add := func(condition string, v any) {
		q += " AND " + condition
		args = append(args, v)
	}
	if f.Before > 0 {
		add("id < ?", f.Before)
	}
	if f.Class != "" {
		add("class = ?", f.Class)
	}
	if f.Event != "" {
		add("message = ?", f.Event)
	}
	if !f.From.IsZero() {
		add("at >= ?", millis(f.From))
	}
	if !f.To.IsZero() {
		add("at < ?", millis(f.To))
	}
	var out []Attempt
	err := each(ctx, s.db.DB(), func(r *sql.Rows) error {
		var a Attempt
		var at, took int64
		err := r.Scan(&a.ID, &a.Message, &a.Event, &a.Number, &at, &took, &a.Status, &a.Class, &a.Head)
		a.At, a.Took = time.UnixMilli(at).UTC(), float64(took)/1000
		out = append(out, a)
		return err
	}, q+" ORDER BY id DESC LIMIT ?", append(args, f.Limit)...)
	return out, err
}

// A Delivery is an event on its way to a subscription, or one that was given
// up.
type Delivery struct {
	ID        int64           `json:"id"`
	Message   string          `json:"message"`
	Sequence  int64           `json:"sequence"`
	Resource  string          `json:"resource"`
	Operation kedge.Operation `json:"operation"`
	Attempts  int64           `json:"attempts"`
	QueuedAt  *time.Time      `json:"queuedAt,omitempty"`
	DueAt     *time.Time      `json:"dueAt,omitempty"`
	Class     Class           `json:"class,omitempty"` // of a dead one: how the last attempt ended
	DiedAt    *time.Time      `json:"diedAt,omitempty"`
}

// Pending returns waiting deliveries, the newest first. before is the id of the
// last one of the page before, 0 for the first page.
func (s *Service) Pending(ctx context.Context, by Caller, id string, before int64, limit int) ([]Delivery, error) {
	return s.deliveries(ctx, by, id, before, limit, func(r *sql.Rows, d *Delivery, event *string) error {
		var queued, due int64
		err := r.Scan(&d.ID, &d.Sequence, event, &d.Resource, &d.Operation, &d.Attempts, &queued, &due)
		d.QueuedAt, d.DueAt = timeOf(queued), timeOf(due)
		return err
	}, "SELECT d.id, d.event_seq, e.id, e.resource, e.op, d.attempt, d.queued_at, d.due_at FROM push_delivery d JOIN push_event e ON e.seq = d.event_seq")
}

// Dead returns deliveries that were given up, as [Service.Pending] does.
func (s *Service) Dead(ctx context.Context, by Caller, id string, before int64, limit int) ([]Delivery, error) {
	return s.deliveries(ctx, by, id, before, limit, func(r *sql.Rows, d *Delivery, event *string) error {
		var at int64
		err := r.Scan(&d.ID, &d.Sequence, event, &d.Resource, &d.Operation, &d.Attempts, &d.Class, &at)
		d.DiedAt = timeOf(at)
		return err
	}, "SELECT d.id, d.event_seq, e.id, e.resource, e.op, d.attempts, d.class, d.at FROM push_dead d JOIN push_event e ON e.seq = d.event_seq")
}

func (s *Service) deliveries(ctx context.Context, by Caller, id string, before int64, limit int, scan func(*sql.Rows, *Delivery, *string) error, query string) ([]Delivery, error) {
	if _, err := s.row(ctx, s.db.DB(), by, id); err != nil {
		return nil, err
	}
	args := []any{id}
	query += " WHERE d.sub = ?"
	if before > 0 {
		query += " AND d.id < ?"
		args = append(args, before)
	}
	var out []Delivery
	err := each(ctx, s.db.DB(), func(r *sql.Rows) error {
		var d Delivery
		var event string
		err := scan(r, &d, &event)
		d.Message = payload.MessageID(d.Sequence, event, id)
		out = append(out, d)
		return err
	}, query+" ORDER BY d.id DESC LIMIT ?", append(args, limit)...)
	return out, err
}

// A LostRange is a gap: events of which some never arrived.
type LostRange struct {
	ID     int64      `json:"id"`
	Reason string     `json:"reason"` // disabled, expired, backlog or dead
	From   int64      `json:"from"`   // first and last sequence
	To     *int64     `json:"to"`     // null: still open
	Count  *int64     `json:"count"`  // null: not known
	At     time.Time  `json:"at"`
	ToldAt *time.Time `json:"toldAt,omitempty"` // when a push that carried it arrived
}

// Gaps returns open and closed gaps of a subscription, the newest first.
func (s *Service) Gaps(ctx context.Context, by Caller, id string, before int64, limit int) ([]LostRange, error) {
	if _, err := s.row(ctx, s.db.DB(), by, id); err != nil {
		return nil, err
	}
	var rows []gapRow
	q := s.db.DB().NewSelect().Model(&rows).Where("sub = ?", id).OrderExpr("id DESC").Limit(int64(limit))
	if before > 0 {
		q.Where("id < ?", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, store.Error("subscriptions", "", err)
	}
	out := make([]LostRange, len(rows))
	for i, g := range rows {
		out[i] = LostRange{ID: g.ID, Reason: g.Reason, From: g.FromSeq, At: time.UnixMilli(g.At).UTC(), ToldAt: timeOf(g.ToldAt)}
		if g.ToSeq != 0 {
			out[i].To = &g.ToSeq
		}
		if g.Count >= 0 {
			out[i].Count = &g.Count
		}
	}
	return out, nil
}

var errNoMessage = &kedge.Error{Op: "subscriptions", Kind: kedge.NotFound, Err: errors.New("there is no such message, or not any more")}

// Message returns the whole body of a message, in the standard format, also if
// the subscription's pushes are thin or have no body.
func (s *Service) Message(ctx context.Context, by Caller, id, message string) ([]byte, error) {
	row, err := s.row(ctx, s.db.DB(), by, id)
	if err != nil {
		return nil, err
	}
	x, scopes, err := s.compile(row, by.Grants)
	if err != nil {
		return nil, err
	}
	seq, err := payload.SequenceOf(message)
	if err != nil {
		return nil, errNoMessage
	}
	e := eventRow{}
	err = s.db.DB().QueryRowContext(ctx, "SELECT "+eventColumns+" FROM push_event e WHERE e.seq = ?", seq).Scan(e.targets()...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errNoMessage
	}
	if err != nil {
		return nil, store.Error("subscriptions", "", err)
	}
	scope := x.scopes[e.Entity]
	if payload.MessageID(e.Seq, e.ID, x.id) != message || scope == nil {
		return nil, errNoMessage
	}
	op, err := s.meaning(x, scopes, &e)
	if err != nil {
		return nil, err
	}
	doc := *x.doc
	doc.Payload = "full"
	whole := *x
	whole.doc, whole.form = &doc, payload.Form{Method: "POST", Format: "standard", Source: s.cfg.PublicURL}
	return s.body(&whole, &e, op)
}

// meaning returns what an event means to a subscription now, or an error of
// kind NotFound if it is not for it.
func (s *Service) meaning(x *sub, scopes []spec.Scope, e *eventRow) (match.Op, error) {
	index := match.NewIndex()
	index.Put(x.id, x.account, scopes)
	ev, err := s.eventOf(e, true)
	if err != nil {
		return "", err
	}
	var op match.Op
	index.Match(ev, func(_ string, found match.Op) { op = found })
	if op == "" {
		return "", errNoMessage
	}
	return op, nil
}

// body writes the body of a message without regard to its size.
func (s *Service) body(x *sub, e *eventRow, op match.Op) ([]byte, error) {
	scope := x.scopes[e.Entity]
	m, err := s.message(&attempt{sub: x, row: &lanes.Row{Op: string(op)}}, &parcel{event: *e, collapsed: 1}, scope)
	if err != nil {
		return nil, err
	}
	if m.Data.Truncated {
		view := payload.View{Fields: scope.Fields, StringNumbers: x.doc.Numbers == "string"}
		if m.Data.Record, err = view.Record(nil, []byte(e.Image)); err != nil {
			return nil, err
		}
		m.Data.Truncated, m.Data.Link = false, ""
	}
	return x.form.Request(m).Body, nil
}
