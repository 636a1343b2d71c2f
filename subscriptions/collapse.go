package subscriptions

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/lanes"
	"github.com/kedge-sync/kedge/subscriptions/match"
)

// collapse makes row, which is about to be sent for the first time, stand for
// the updates that follow it in its lane and were never sent either: it becomes
// the newest of them. The caller holds w.mu.
func (w *worker) collapse(q *lanes.Queue, row *lanes.Row) {
	p := row.Data.(*parcel)
	if !collapsible(row, p, p) {
		return
	}
	behind := q.Behind(row)
	n := 0
	for n < len(behind) && collapsible(behind[n], behind[n].Data.(*parcel), p) {
		n++
	}
	if n == 0 {
		return
	}
	newest := behind[n-1]
	next := *newest.Data.(*parcel)
	next.merged = append(slices.Clone(p.merged), row.ID)
	next.collapsed = p.collapsed
	changed := p.changes()
	for i, r := range behind[:n] {
		b := r.Data.(*parcel)
		next.collapsed += b.collapsed
		changed = union(changed, b.changes())
		if i < n-1 {
			next.merged = append(next.merged, r.ID)
		}
	}
	text, err := json.Marshal(changed)
	if err != nil {
		return
	}
	next.changed = string(text) // "null" if not known
	row.ID, row.Seq, row.QueuedAt, row.Data = newest.ID, newest.Seq, newest.QueuedAt, &next
	q.Absorb(row, n)
}

// collapsible reports whether a row is an update of first's record that was
// not sent yet. A lane may hold several records.
func collapsible(row *lanes.Row, p, first *parcel) bool {
	return row.Attempt == 0 && row.Op == string(match.Update) && row.Replay == 0 && p.event.Resource == first.event.Resource
}

// changes returns the changed fields; nil means not known.
func (p *parcel) changes() []string {
	text := p.event.Changed
	if p.changed != "" {
		text = p.changed
	}
	var names []string
	if text == "" || json.Unmarshal([]byte(text), &names) != nil {
		return nil
	}
	return names
}

func union(a, b []string) []string {
	if a == nil || b == nil {
		return nil
	}
	for _, name := range b {
		if !slices.Contains(a, name) {
			a = append(a, name)
		}
	}
	return a
}

// saveCollapse notes, before it is sent, what a row stands for: later attempts
// carry the same, also after a crash.
func (s *Service) saveCollapse(ctx context.Context, a *attempt, p *parcel) error {
	if len(p.merged) == 0 {
		return nil
	}
	err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		n, err := exec(ctx, tx, string(append(appendInts([]byte("DELETE FROM push_delivery WHERE id IN ("), p.merged), ')')))
		if err != nil {
			return err
		}
		if _, err := exec(ctx, tx, "UPDATE push_delivery SET collapsed = ?, changed = ? WHERE id = ?", p.collapsed, p.changed, a.row.ID); err != nil {
			return err
		}
		return s.shrink(ctx, tx, map[string]int64{a.sub.id: n})
	})
	if err == nil {
		p.merged = nil
	}
	return err
}
