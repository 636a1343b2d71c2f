package syncer

import (
	"context"
	"slices"
	"sync"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A Publisher is told what happened to local records, in the transaction that
// changes them.
type Publisher interface {
	// Interest returns which fields of an entity's events are needed.
	Interest(ctx context.Context, tx bun.IDB, entity string) (kedge.Interest, error)
	// Publish is called after the rows were written.
	Publish(ctx context.Context, tx bun.IDB, events ...kedge.Event) error
}

// publishing is ownTables for a Publisher. It reads the rows before and after
// they are written, but only of entities that somebody listens to.
type publishing struct {
	ownTables
	to     Publisher
	origin string
	schema func() (*kedge.Schema, error)
}

// newPublishing returns own with events for the run's Publisher, if it has one.
func (r *run) newPublishing(ctx context.Context, own ownTables) target {
	if r.s.opts.Publisher == nil {
		return own
	}
	return publishing{own, r.s.opts.Publisher, r.name, sync.OnceValues(func() (*kedge.Schema, error) { return r.loc.Driver().Schema(ctx) })}
}

func (t publishing) write(ctx context.Context, tx connectors.Tx, changes []kedge.Change) ([]connectors.Result, error) {
	if len(changes) == 0 {
		return t.ownTables.write(ctx, tx, changes)
	}
	name := changes[0].Entity // a call is about one entity
	in, err := t.to.Interest(ctx, tx, name)
	if err != nil || !in.Any {
		if err != nil {
			return nil, err
		}
		return t.ownTables.write(ctx, tx, changes)
	}
	schema, err := t.schema()
	if err != nil {
		return nil, err
	}
	ent := schema.Entity(name)
	if ent == nil {
		return t.ownTables.write(ctx, tx, changes)
	}
	fields := fieldsOf(ent, in)
	before, err := t.rows(ctx, tx, name, fields, changes, nil)
	if err != nil {
		return nil, err
	}
	results, err := t.ownTables.write(ctx, tx, changes)
	if err != nil {
		return nil, err
	}
	after, err := t.rows(ctx, tx, name, fields, changes, results)
	if err != nil {
		return nil, err
	}
	return results, t.to.Publish(ctx, tx, t.events(ent, fields, changes, results, before, after)...)
}

// fieldsOf returns the fields of ent that are needed, with those of its key.
func fieldsOf(ent *kedge.Entity, in kedge.Interest) []string {
	fields := slices.Concat(ent.Key, in.After, in.Before)
	slices.Sort(fields)
	return slices.DeleteFunc(slices.Compact(fields), func(f string) bool { return ent.Field(f) == nil })
}

// rows returns the rows that changes are about, before they are written, or,
// if there are results, those that were inserted or updated.
func (t publishing) rows(ctx context.Context, tx connectors.Tx, name string, fields []string, changes []kedge.Change, results []connectors.Result) (map[kedge.Key]*kedge.Record, error) {
	var keys []kedge.Key
	for i := range changes {
		key := changes[i].Key
		if results != nil {
			if s := results[i].State; s != connectors.Inserted && s != connectors.Updated {
				continue
			}
			key = keyOf(changes[i], results[i])
		}
		if key != "" && (results != nil || changes[i].Op != kedge.Insert) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	list, err := t.find(ctx, tx, &kedge.Entity{Name: name}, fields, nil, keys)
	if err != nil {
		return nil, err
	}
	out := make(map[kedge.Key]*kedge.Record, len(list))
	for i := range list {
		out[list[i].Key] = &list[i]
	}
	return out, nil
}

func keyOf(c kedge.Change, r connectors.Result) kedge.Key {
	if r.Key != "" {
		return r.Key
	}
	return c.Key
}

// events returns what the changes did.
func (t publishing) events(ent *kedge.Entity, fields []string, changes []kedge.Change, results []connectors.Result, before, after map[kedge.Key]*kedge.Record) []kedge.Event {
	var out []kedge.Event
	for i, r := range results {
		key := keyOf(changes[i], r)
		e := kedge.Event{Entity: ent.Name, Key: key, KeyNames: ent.Key, After: after[key], Before: before[key], Origin: t.origin}
		switch r.State {
		case connectors.Inserted:
			e.Op, e.Before = kedge.OpCreate, nil
		case connectors.Updated:
			e.Op = kedge.OpUpdate
			if e.Before != nil && e.After != nil {
				e.Changed = changedFields(fields, e.Before, e.After)
			}
		case connectors.Removed:
			e.Op, e.After, e.Before = kedge.OpDelete, before[key], nil
		default:
			continue
		}
		out = append(out, e)
	}
	return out
}

// changedFields returns the fields that differ. It is never nil: what changed
// is known.
func changedFields(fields []string, before, after *kedge.Record) []string {
	out := []string{}
	for _, f := range fields {
		if a, b := before.Get(f), after.Get(f); a.Type() != b.Type() || !kedge.Equal(a, b) {
			out = append(out, f)
		}
	}
	return out
}
