package subscriptions

import (
	"context"
	"database/sql"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// localConnection is the connection whose records events are about.
const localConnection = "local"

// Interest returns which fields of an entity the subscriptions need, as of tx.
// Who calls it after a subscription was made, and publishes in the same
// transaction, is heard by it.
func (s *Service) Interest(ctx context.Context, tx bun.IDB, entity string) (kedge.Interest, error) {
	if s.catalog.Entry(entity) == nil {
		return kedge.Interest{}, nil
	}
	if err := s.refresh(ctx, tx); err != nil {
		return kedge.Interest{}, err
	}
	return s.stored.Interest(entity), nil
}

// publishRows bounds the rows of one statement.
const publishRows = 500

// Publish stores events in the transaction of the rows that they are about,
// after these were written. Events that nobody has subscribed are dropped.
func (s *Service) Publish(ctx context.Context, tx bun.IDB, events ...kedge.Event) error {
	events, err := s.unsuppressed(ctx, tx, events)
	if err != nil {
		return err
	}
	interests := map[string]kedge.Interest{}
	var rows []any
	n := 0
	for i := range events {
		e := &events[i]
		in, ok := interests[e.Entity]
		if !ok {
			in = s.stored.Interest(e.Entity)
			interests[e.Entity] = in
		}
		if !in.Any {
			continue
		}
		rows = append(rows, s.eventArgs(e, in)...)
		if n++; n%publishRows == 0 {
			if err := insertEvents(ctx, tx, rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	if n == 0 {
		return nil
	}
	if len(rows) > 0 {
		if err := insertEvents(ctx, tx, rows); err != nil {
			return err
		}
	}
	store.OnCommit(ctx, s.signal)
	return nil
}

// unsuppressed returns the events that may be told. That a record of a
// suppressed person is gone may be.
func (s *Service) unsuppressed(ctx context.Context, tx bun.IDB, events []kedge.Event) ([]kedge.Event, error) {
	if s.opts.Suppressor == nil || len(events) == 0 {
		return events, nil
	}
	subjects := make([]kedge.Subject, len(events))
	for i := range events {
		subjects[i].Refs = []kedge.Ref{{Connection: localConnection, Entity: events[i].Entity, Key: events[i].Key}}
	}
	hidden, err := s.opts.Suppressor.Suppressed(ctx, tx, subjects)
	if err != nil {
		return nil, err
	}
	out := make([]kedge.Event, 0, len(events))
	for i := range events {
		if !hidden[i] || events[i].Op == kedge.OpDelete {
			out = append(out, events[i])
		}
	}
	return out, nil
}

const eventArgCount = 11

func (s *Service) eventArgs(e *kedge.Event, in kedge.Interest) []any {
	id := e.ID
	if id == "" {
		id = "evt_" + strings.ReplaceAll(uuid.Must(uuid.NewV7()).String(), "-", "")
	}
	changed, before := "", ""
	if e.Changed != nil && e.Op == kedge.OpUpdate {
		text, err := json.Marshal(e.Changed)
		if err == nil {
			changed = string(text)
		}
	}
	if e.Before != nil {
		before = string(payload.AppendImage(nil, in.Before, e.Before))
	}
	image := "{}"
	if e.After != nil {
		image = string(payload.AppendImage(nil, in.After, e.After))
	}
	resource := spec.ResourceOf(e.Entity, e.Key, e.KeyNames)
	at := millis(e.At)
	if e.At.IsZero() {
		at = s.now()
	}
	return []any{id, e.Entity, string(e.Key), resource.String(), keyJSON(e, resource), string(e.Op), changed, image, before, e.Origin, at}
}

// keyJSON returns the key as a JSON object. Parts have the types that they have
// in the record, if it holds them.
func keyJSON(e *kedge.Event, r spec.Resource) string {
	names := e.KeyNames
	if len(names) == 0 {
		names = []string{"id"}
	}
	b := []byte{'{'}
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = payload.AppendValue(b, kedge.String(name))
		b = append(b, ':')
		v := kedge.Value{}
		if e.After != nil {
			v = e.After.Get(name)
		}
		if v.IsEmpty() && i < len(r.Values) {
			v = kedge.String(r.Values[i])
		}
		b = payload.AppendValue(b, v)
	}
	return string(append(b, '}'))
}

// insertEvents stores events and puts them into the outbox.
func insertEvents(ctx context.Context, tx bun.IDB, args []any) error {
	n := len(args) / eventArgCount
	row := "(" + strings.Repeat("?,", eventArgCount-1) + "?)"
	q := "INSERT INTO push_event (id, entity, record_key, resource, key_json, op, changed, image, before, origin, at) VALUES " +
		strings.Repeat(row+",", n-1) + row + " RETURNING seq"
	seqs := make([]int64, 0, n)
	err := each(ctx, tx, func(r *sql.Rows) error {
		var seq int64
		err := r.Scan(&seq)
		seqs = append(seqs, seq)
		return err
	}, q, args...)
	if err != nil {
		return err
	}
	b := []byte("INSERT INTO push_outbox (seq) VALUES (")
	for i, seq := range seqs {
		if i > 0 {
			b = append(b, "),("...)
		}
		b = appendInts(b, []int64{seq})
	}
	_, err = exec(ctx, tx, string(append(b, ')')))
	return err
}
