package conntest

import (
	"context"

	"github.com/kedge-sync/kedge"
)

// A model remembers what the system's widgets must be.
type model struct {
	e    *env
	live map[kedge.Key]kedge.Record
}

func newModel(e *env) *model { return &model{e: e, live: map[kedge.Key]kedge.Record{}} }

func (m *model) put(ctx context.Context, records ...kedge.Record) error {
	for _, r := range records {
		m.live[r.Key] = r
	}
	return m.e.put(ctx, records...)
}

func (m *model) delete(ctx context.Context, keys ...kedge.Key) error {
	for _, k := range keys {
		delete(m.live, k)
	}
	return m.e.delete(ctx, keys...)
}

func (m *model) records() []kedge.Record {
	records := make([]kedge.Record, 0, len(m.live))
	for _, r := range m.live {
		records = append(records, r)
	}
	return records
}

// check compares what was read with the model. Without Deletes in the
// incremental reads, records that are gone may still be in h.
func (m *model) check(what string, h *history, ent *kedge.Entity) error {
	if ent.Deletes {
		if err := wantKeys(what, h.keys(), keysOf(m.records())); err != nil {
			return err
		}
	}
	return wantValues(what, h, m.records(), "int")
}

// followedBy adds what a later read said.
func (h *history) followedBy(later *history) {
	for k, r := range later.last {
		h.last[k] = r
	}
	h.anchor, h.approx = later.anchor, later.approx
}
