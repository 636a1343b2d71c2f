package syncer_test

import (
	"context"
	"slices"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/syncer"
)

// An acking source wants to know which anchors are durable: it forgets what
// lies before them.
type acking struct {
	*source
	ack func(kedge.Anchor)
}

func (a *acking) Ack(_ context.Context, _ string, anchor kedge.Anchor) error {
	a.ack(anchor)
	return nil
}

// TestAckComesAfterTheCommit: an anchor that the source is told of is stored.
func TestAckComesAfterTheCommit(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		acks := 0
		w.connect(&acking{w.source, func(anchor kedge.Anchor) {
			acks++
			if stored := w.rows("integration_syncanchor WHERE direction = 'download'", "anchor"); !slices.Equal(stored, []string{string(anchor)}) {
				t.Errorf("ack %d of an anchor that is not stored: %q, stored is %q", acks, anchor, stored)
			}
		}})
		w.smallPages(2)
		for round := range 3 {
			w.put("A Anna 1", "B Bert 2", "C Carl 3", "D Dora 4", "E Eve "+string(rune('1'+round)))
			w.run(syncer.Request{})
		}
		if acks < 3 {
			t.Errorf("%d acks, want one for each run", acks)
		}
	})
}

// TestNoSweepOfPart: what a full read of an entity does not bring is not gone if
// such a read does not bring all.
func TestNoSweepOfPart(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.source.edit = func(e *kedge.Entity) { e.Full, e.Delta, e.Deletes = false, false, false }
		rows := w.many(10)
		w.run(syncer.Request{})
		w.deleteFirst(1)
		for range 2 {
			w.run(syncer.Request{Full: true})
			w.table(rows...)
		}
	})
}
