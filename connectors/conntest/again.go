package conntest

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// The checks of writes that meet other writes, or are made again.

// writeExpectedVersion writes what has the version that it was read with.
func writeExpectedVersion(ctx context.Context, e *env) error {
	if err := e.put(ctx, widgets(1, 2)...); err != nil {
		return err
	}
	h, err := e.readAll(ctx, "")
	if err != nil {
		return err
	}
	// Some systems show only in what they deliver that they have versions.
	ent, err := e.writable(ctx, "update with an expected version", func(e *kedge.Entity) bool { return e.Update && e.Concurrency })
	if err != nil {
		return err
	}
	for round := range 2 {
		before := h.last["w0001"].Version
		if before == "" {
			return errors.New("a record of an entity with Concurrency came without a version")
		}
		c := change(kedge.Update, "w0001", set("int", kedge.Int(int64(100+round))))
		c.Version = before
		if _, err := e.writeAll(ctx, []kedge.Change{c}, connectors.Updated); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
		if h, err = e.readAll(ctx, ""); err != nil {
			return err
		}
		if h.last["w0001"].Version == before {
			return errors.New("an update left the version as it was")
		}
	}
	left := widget("w0001", set("int", kedge.Int(101)), set("string", kedge.String("widget")))
	if !ent.Delete {
		_, err = e.wantStored(ctx, "after the updates", left, widgets(2, 2)[0])
		return err
	}
	c := change(kedge.Delete, "w0002")
	c.Version = h.last["w0002"].Version
	if _, err := e.writeAll(ctx, []kedge.Change{c}, connectors.Removed); err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "after updates and a delete", left)
	return err
}

// writeStale writes records that were edited, or deleted, since they were read.
func writeStale(ctx context.Context, e *env) error {
	if err := e.put(ctx, widgets(1, 3)...); err != nil {
		return err
	}
	h, err := e.readAll(ctx, "")
	if err != nil {
		return err
	}
	// Some systems show only in what they deliver that they have versions.
	ent, err := e.writable(ctx, "update with an expected version", func(e *kedge.Entity) bool { return e.Update && e.Concurrency })
	if err != nil {
		return err
	}
	edits := []kedge.Record{widget("w0001", set("int", kedge.Int(5))), widget("w0002", set("int", kedge.Int(5)))}
	if err := errors.Join(e.put(ctx, edits...), e.delete(ctx, "w0003")); err != nil {
		return err
	}
	changes := []kedge.Change{change(kedge.Update, "w0001", set("string", kedge.String("late")))}
	if ent.Delete {
		changes = append(changes, change(kedge.Delete, "w0002"))
	}
	for i := range changes {
		changes[i].Version = h.last[changes[i].Key].Version
	}
	results, err := e.write(ctx, changes...)
	if err != nil {
		return err
	}
	for i := range results {
		if err := wantRefused(fmt.Sprintf("stale %v", changes[i].Op), &results[i], changes[i].Key, kedge.Conflict); err != nil {
			return err
		}
	}
	gone := change(kedge.Update, "w0003", set("int", kedge.Int(9)))
	gone.Version = h.last["w0003"].Version
	if results, err = e.write(ctx, gone); err != nil {
		return err
	}
	if err := wantState("update of a record that was deleted since", &results[0], "w0003", connectors.Rejected); err != nil {
		return err
	}
	if kind := results[0].Err.Kind; kind != kedge.Conflict && kind != kedge.NotFound {
		return fmt.Errorf("update of a record that was deleted since: got kind %v, want conflict or not found", kind)
	}
	_, err = e.wantStored(ctx, "after the stale changes", edits...)
	return err
}

// writeReplay inserts twice with one idempotency key, as after a crash. What
// others edited meanwhile stays.
func writeReplay(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "insert again", func(e *kedge.Entity) bool { return e.Insert && e.Idempotent }); err != nil {
		return err
	}
	c := change(kedge.Insert, "w1", set("int", kedge.Int(1)))
	c.IdempotencyKey = "6e1c6bd8-0b5e-4c0e-9d62-0d6a9f1d7e11"
	if _, err := e.writeAll(ctx, []kedge.Change{c}, connectors.Inserted); err != nil {
		return err
	}
	edit := widget("w1", set("int", kedge.Int(2)))
	if err := e.put(ctx, edit); err != nil {
		return err
	}
	results, err := connectors.New(e.another(), nil).Write(ctx, []kedge.Change{c})
	if err != nil {
		return fmt.Errorf("the same insert again: %w", err)
	}
	if err := wantState("the same insert again", &results[0], "w1", connectors.Inserted, connectors.Unchanged); err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "after the same insert twice", edit)
	return err
}

// A Loser can do the work of a write and lose the answer.
type Loser interface {
	// LoseReply lets the writes of existing and new drivers be done, but not
	// answered, until stop is called.
	LoseReply() (stop func())
}

// writeLostReply: of a write whose answer is lost nobody knows what became of
// it, and the driver must say so.
func writeLostReply(ctx context.Context, e *env) error {
	loser, ok := e.sys.(Loser)
	if !ok {
		return cannot("answers of the system cannot be lost")
	}
	if _, err := e.writable(ctx, "insert", canInsert); err != nil {
		return err
	}
	stop := loser.LoseReply()
	results, err := e.write(ctx, change(kedge.Insert, "w1", set("int", kedge.Int(1))))
	stop()
	if err := wantKind("insert whose answer is lost", err, kedge.OutcomeUnknown); err != nil {
		return err
	}
	if err := wantState("insert whose answer is lost", &results[0], results[0].Key, connectors.Unset); err != nil {
		return err
	}
	if _, err = e.wantStored(ctx, "after the lost answer", widget("w1", set("int", kedge.Int(1)))); err != nil {
		return err
	}
	_, err = e.writeAll(ctx, []kedge.Change{change(kedge.Insert, "w2")}, connectors.Inserted)
	return err
}

// writeOwnVersion: the version of a result is the one that reads deliver, so
// that an echo is known.
func writeOwnVersion(ctx context.Context, e *env) error {
	ent, err := e.writable(ctx, "insert and update", func(e *kedge.Entity) bool { return e.Insert && e.Update })
	if err != nil {
		return err
	}
	if err := e.put(ctx, widgets(1, 2)...); err != nil {
		return err
	}
	h, err := e.readAll(ctx, "")
	if err != nil {
		return err
	}
	anchor := h.anchor
	results, err := e.write(ctx, change(kedge.Update, "w0001", set("int", kedge.Int(7))), change(kedge.Insert, "w0003", set("int", kedge.Int(8))))
	if err != nil {
		return err
	}
	if results[0].Version == "" && results[1].Version == "" {
		return cannot("results carry no versions")
	}
	if h, err = e.readAll(ctx, ""); err != nil {
		return err
	}
	for _, r := range results {
		if _, ok := h.last[r.Key]; !ok {
			return fmt.Errorf("full read: record %q, which was written, was not delivered", r.Key)
		}
	}
	if err := wantVersions("full read", h, results); err != nil || !ent.Delta || anchor == "" {
		return err
	}
	if h, err = e.changed(ctx, anchor); err != nil {
		return err
	}
	return wantVersions("incremental read", h, results)
}

// wantVersions compares versions of records that were written. An incremental
// read may leave out what its own driver wrote.
func wantVersions(what string, h *history, results []connectors.Result) error {
	for _, r := range results {
		if got, ok := h.last[r.Key]; ok && r.Version != "" && got.Version != r.Version {
			return fmt.Errorf("%s: record %q has the version %s, but Write said %s", what, r.Key, got.Version, r.Version)
		}
	}
	return nil
}

// writeNoValueInErrors: errors hold no keys and no values.
func writeNoValueInErrors(ctx context.Context, e *env) error {
	ent, err := e.writable(ctx, "insert", canInsert)
	if err != nil {
		return err
	}
	value := set("string", kedge.String(canary))
	if err := e.put(ctx, widget(canary, value)); err != nil {
		return err
	}
	changes := []kedge.Change{change(kedge.Insert, canary, value), change(kedge.Insert, "w-"+canary, set("int", kedge.String(canary)))}
	if ent.Update {
		changes = append(changes, change(kedge.Update, "no-"+canary, value))
	}
	for _, c := range changes {
		results, err := e.write(ctx, c)
		if err == nil {
			if err := wantState("a bad "+c.Op.String(), &results[0], c.Key, connectors.Rejected); err != nil {
				return errors.New("a bad " + c.Op.String() + " was not refused")
			}
			err = results[0].Err
		}
		if err := keepsQuiet("a bad "+c.Op.String(), err, []string{canary}); err != nil {
			return err
		}
	}
	return nil
}
