package conntest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

var writeChecks = []check{
	{"write/Insert", writeInsert},
	{"write/ServerKey", writeServerKey},
	{"write/Duplicate", writeDuplicate},
	{"write/Mask", writeMask},
	{"write/UpdateMissing", writeUpdateMissing},
	{"write/ExpectedVersion", writeExpectedVersion},
	{"write/Stale", writeStale},
	{"write/Upsert", writeUpsert},
	{"write/Delete", writeDelete},
	{"write/DeleteMissing", writeDeleteMissing},
	{"write/OneBad", writeOneBad},
	{"write/EmptyBatch", writeEmptyBatch},
	{"write/Replay", writeReplay},
	{"write/LostReply", writeLostReply},
	{"write/OwnVersion", writeOwnVersion},
	{"write/NoValueInErrors", writeNoValueInErrors},
}

// writable is the entity widgets, or a cannotRun if it cannot do what can asks for.
func (e *env) writable(ctx context.Context, what string, can func(*kedge.Entity) bool) (*kedge.Entity, error) {
	ent, err := e.entity(ctx, Widgets.Name)
	if err != nil {
		return nil, err
	}
	if _, ok := e.driver().(connectors.Writer); !ok {
		return nil, cannot("the driver is no Writer")
	}
	if !can(ent) {
		return nil, cannot("widgets cannot be written like that: %s", what)
	}
	return ent, nil
}

func canInsert(e *kedge.Entity) bool { return e.Insert }
func canUpdate(e *kedge.Entity) bool { return e.Update }
func canDelete(e *kedge.Entity) bool { return e.Delete }

// change changes a widget: values that are not given stay as they are.
func change(op kedge.Op, id string, values ...connectors.Named) kedge.Change {
	c := kedge.Change{Op: op, Entity: Widgets.Name, Key: kedge.NewKey(kedge.String(id)), Fields: widgetFields, Values: make([]kedge.Value, widgetFields.Len())}
	for _, n := range values {
		c.Values[widgetFields.Index(n.Name)] = n.Value
	}
	return c
}

// write writes changes with the first driver.
func (e *env) write(ctx context.Context, changes ...kedge.Change) ([]connectors.Result, error) {
	results, err := connectors.New(e.driver(), nil).Write(ctx, changes)
	if err != nil {
		err = fmt.Errorf("call Write: %w", err)
	}
	return results, err
}

// writeAll writes changes and wants each result to be in one of states.
func (e *env) writeAll(ctx context.Context, changes []kedge.Change, states ...connectors.State) ([]connectors.Result, error) {
	results, err := e.write(ctx, changes...)
	if err != nil {
		return nil, err
	}
	for i := range results {
		if err := wantState(fmt.Sprintf("%v of %q", changes[i].Op, changes[i].Key), &results[i], changes[i].Key, states...); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func wantState(what string, r *connectors.Result, key kedge.Key, states ...connectors.State) error {
	switch {
	case !slices.Contains(states, r.State) && r.Err != nil:
		return fmt.Errorf("%s: got %v (%w), want %v", what, r.State, r.Err, states)
	case !slices.Contains(states, r.State):
		return fmt.Errorf("%s: got %v, want %v", what, r.State, states)
	case r.Key != key:
		return fmt.Errorf("%s: the result has the key %q, want %q", what, r.Key, key)
	}
	return nil
}

func wantRefused(what string, r *connectors.Result, key kedge.Key, kind kedge.Kind) error {
	if err := wantState(what, r, key, connectors.Rejected); err != nil {
		return err
	}
	return wantKind(what, r.Err, kind)
}

// wantStored reads all widgets with a driver that knows nothing of the others,
// and compares all fields. Values that a record does not have must be null.
func (e *env) wantStored(ctx context.Context, what string, records ...kedge.Record) (*history, error) {
	h, err := read(ctx, e.another(), request(10, ""), nil)
	if err != nil {
		return nil, err
	}
	if err := wantKeys(what, h.keys(), keysOf(records)); err != nil {
		return nil, err
	}
	for _, want := range records {
		got := h.last[want.Key]
		for _, f := range Widgets.Fields {
			v := want.Get(f.Name)
			if v.IsMissing() {
				v = kedge.Null()
			}
			if err := sameValue(f.Name, got.Get(f.Name), v); err != nil {
				return nil, fmt.Errorf("%s: record %q: %w", what, want.Key, err)
			}
		}
	}
	return h, nil
}

// allValues are one value for each field of a widget but its id and its lookup.
func allValues() []connectors.Named {
	return []connectors.Named{
		set("bool", kedge.Bool(true)), set("int", kedge.Int(1<<53+1)), set("float", kedge.Float(0.5)), set("decimal", kedge.Decimal("19.90")),
		set("string", kedge.String("Ann & 'Bob' <x>")), set("time", parseTime("2026-01-02T03:04:05.123456Z")), set("date", parseDate("2026-01-02")),
		set("bytes", kedge.BytesText("\x00\xff")), set("json", kedge.JSON(`{"a":[1,null]}`)), set("guid", kedge.String("0f8fad5b-d9cb-469f-a165-70867728950e")),
	}
}

// writeInsert inserts a record with all values, one with nulls and one with
// hardly any.
func writeInsert(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "insert", canInsert); err != nil {
		return err
	}
	none := []connectors.Named{set("string", kedge.Null()), set("int", kedge.Null())}
	one := set("string", kedge.String(""))
	changes := []kedge.Change{change(kedge.Insert, "w-all", allValues()...), change(kedge.Insert, "w-null", none...), change(kedge.Insert, "w-one", one)}
	if _, err := e.writeAll(ctx, changes, connectors.Inserted); err != nil {
		return err
	}
	_, err := e.wantStored(ctx, "after the inserts", widget("w-all", allValues()...), widget("w-null"), widget("w-one", one))
	return err
}

// writeServerKey inserts without a key and finds the record under the one that
// the system made.
func writeServerKey(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "insert", canInsert); err != nil {
		return err
	}
	c := change(kedge.Insert, "", set("int", kedge.Int(1)))
	results, err := e.write(ctx, c)
	if err != nil {
		return err
	}
	r := &results[0]
	if r.State == connectors.Rejected && r.Err.Kind == kedge.Invalid {
		return cannot("the system makes no keys: %v", r.Err)
	}
	if r.Key == "" {
		return errors.New("insert without a key: the result has no key")
	}
	if err := wantState("insert without a key", r, r.Key, connectors.Inserted); err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "under the key of the result", widget(string(r.Key), set("int", kedge.Int(1))))
	return err
}

// writeDuplicate inserts a record that exists.
func writeDuplicate(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "insert", canInsert); err != nil {
		return err
	}
	old := widget("w1", set("string", kedge.String("old")))
	if err := e.put(ctx, old); err != nil {
		return err
	}
	results, err := e.write(ctx, change(kedge.Insert, "w1", set("string", kedge.String("new"))))
	if err != nil {
		return err
	}
	if err := wantRefused("insert of a key that exists", &results[0], "w1", kedge.Conflict); err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "after the refused insert", old)
	return err
}

// writeMask updates some fields: null clears, missing leaves alone.
func writeMask(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "update", canUpdate); err != nil {
		return err
	}
	if err := e.put(ctx, widget("w1", allValues()...), widget("w2", allValues()...)); err != nil {
		return err
	}
	changes := []kedge.Change{
		change(kedge.Update, "w1", set("int", kedge.Int(2)), set("bool", kedge.Null())),
		change(kedge.Update, "w2", set("string", kedge.String("")), set("decimal", kedge.Decimal("-0.50"))),
	}
	if _, err := e.writeAll(ctx, changes, connectors.Updated); err != nil {
		return err
	}
	_, err := e.wantStored(ctx, "after updates of some fields",
		widget("w1", append(allValues(), set("int", kedge.Int(2)), set("bool", kedge.Null()))...),
		widget("w2", append(allValues(), set("string", kedge.String("")), set("decimal", kedge.Decimal("-0.50")))...))
	return err
}

// writeUpdateMissing updates a record that does not exist, which must not make it.
func writeUpdateMissing(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "update", canUpdate); err != nil {
		return err
	}
	results, err := e.write(ctx, change(kedge.Update, "w1", set("int", kedge.Int(1))))
	if err != nil {
		return err
	}
	if err := wantRefused("update of a record that does not exist", &results[0], "w1", kedge.NotFound); err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "after the refused update")
	return err
}

func writeUpsert(ctx context.Context, e *env) error {
	if _, err := e.writable(ctx, "upsert", func(e *kedge.Entity) bool { return e.Upsert }); err != nil {
		return err
	}
	if err := e.put(ctx, widget("w1", allValues()...)); err != nil {
		return err
	}
	seven := set("int", kedge.Int(7))
	results, err := e.write(ctx, change(kedge.Upsert, "w1", seven), change(kedge.Upsert, "w2", seven))
	if err != nil {
		return err
	}
	if err := wantState("upsert of a record that exists", &results[0], "w1", connectors.Updated); err != nil {
		return err
	}
	if err := wantState("upsert of a record that does not exist", &results[1], "w2", connectors.Inserted); err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "after the upserts", widget("w1", append(allValues(), seven)...), widget("w2", seven))
	return err
}
