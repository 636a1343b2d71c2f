package conntest

import (
	"context"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// writeDelete deletes records. A delta may leave out what its own driver wrote,
// but must not deliver what is gone.
func writeDelete(ctx context.Context, e *env) error {
	ent, err := e.writable(ctx, "delete", canDelete)
	if err != nil {
		return err
	}
	records := widgets(1, 5)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	before, err := e.readAll(ctx, "")
	if err != nil {
		return err
	}
	gone := []kedge.Change{change(kedge.Delete, widgetID(2)), change(kedge.Delete, widgetID(4))}
	if _, err := e.writeAll(ctx, gone, connectors.Removed); err != nil {
		return err
	}
	if _, err := e.wantStored(ctx, "after the deletes", records[0], records[2], records[4]); err != nil {
		return err
	}
	if !ent.Delta || before.anchor == "" {
		return nil
	}
	h, err := e.changed(ctx, before.anchor)
	if err != nil {
		return err
	}
	for _, c := range gone {
		if slices.Contains(h.keys(), c.Key) {
			return fmt.Errorf("incremental read: record %q, which was deleted, came alive", c.Key)
		}
	}
	return nil
}

// writeDeleteMissing deletes what was never there, and what is there no more.
func writeDeleteMissing(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "delete", canDelete); err != nil {
		return err
	}
	if err := e.put(ctx, widgets(1, 2)...); err != nil {
		return err
	}
	if _, err := e.writeAll(ctx, []kedge.Change{change(kedge.Delete, widgetID(1))}, connectors.Removed); err != nil {
		return err
	}
	missing := []kedge.Change{change(kedge.Delete, widgetID(1)), change(kedge.Delete, "never")}
	if _, err := e.writeAll(ctx, missing, connectors.Unchanged); err != nil {
		return err
	}
	_, err := e.wantStored(ctx, "after deletes of missing records", widgets(2, 2)...)
	return err
}

// writeOneBad puts a change that must be refused among others, which are not
// touched by it.
func writeOneBad(ctx context.Context, e *env) error {
	ent, err := e.writable(ctx, "insert", canInsert)
	if err != nil {
		return err
	}
	const bad = 5
	records := widgets(1, 9)
	old := widget(widgetID(bad), set("string", kedge.String("old")))
	if err := e.put(ctx, old); err != nil {
		return err
	}
	changes := make([]kedge.Change, len(records))
	for i, r := range records {
		changes[i] = change(kedge.Insert, widgetID(i+1), set("int", r.Get("int")), set("string", r.Get("string")))
	}
	if err := e.writeWithBad(ctx, changes, bad-1, kedge.Conflict, connectors.Inserted); err != nil {
		return err
	}
	records[bad-1] = old
	if _, err := e.wantStored(ctx, "inserts with a bad one among them", records...); err != nil {
		return err
	}
	if !ent.Update {
		return nil
	}
	for i := range changes {
		changes[i] = change(kedge.Update, widgetID(i+1), set("int", kedge.Int(int64(100+i))))
		records[i].Values = slices.Clone(records[i].Values)
		records[i].Values[widgetFields.Index("int")] = kedge.Int(int64(100 + i))
	}
	changes[bad-1].Key = "nobody"
	records[bad-1] = old
	if err := e.writeWithBad(ctx, changes, bad-1, kedge.NotFound, connectors.Updated); err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "updates with a bad one among them", records...)
	return err
}

// writeWithBad writes changes, of which one must be refused.
func (e *env) writeWithBad(ctx context.Context, changes []kedge.Change, bad int, kind kedge.Kind, others connectors.State) error {
	results, err := e.write(ctx, changes...)
	if err != nil {
		return err
	}
	for i := range results {
		what := fmt.Sprintf("%v %d of a batch in which %d is bad", changes[i].Op, i+1, bad+1)
		if i == bad {
			err = wantRefused(what, &results[i], changes[i].Key, kind)
		} else {
			err = wantState(what, &results[i], changes[i].Key, others)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeEmptyBatch(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "at all", func(e *kedge.Entity) bool { return true }); err != nil {
		return err
	}
	for _, changes := range [][]kedge.Change{nil, {}} {
		if results, err := e.driver().(connectors.Writer).Write(ctx, changes); err != nil || len(results) > 0 {
			return fmt.Errorf("call Write with no changes: got %d results and error %w, want none", len(results), err)
		}
	}
	return nil
}
