package sqltable

import (
	"context"
	"errors"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

const opWrite = "sqltable.Write"

// Write writes changes in one transaction of its own.
func (d *Driver) Write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	s, err := d.store(ctx)
	if err != nil {
		return nil, err
	}
	var results []connectors.Result
	err = s.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		results, err = d.WriteTx(ctx, tx, changes)
		return err
	})
	if err != nil {
		return make([]connectors.Result, len(changes)), err // nothing was stored, or nobody knows
	}
	return results, nil
}

// WriteTx writes changes with distinct keys in the caller's transaction:
// first deletes, then updates, upserts and inserts, so that a unique value
// that one row gives up is free for another.
func (d *Driver) WriteTx(ctx context.Context, tx connectors.Tx, changes []kedge.Change) ([]connectors.Result, error) {
	results := make([]connectors.Result, len(changes))
	conn, engine := tx.Conn().Conn, engineOf(tx)
	err := d.asConsumer(ctx, conn, engine, func() error { return d.writeAll(ctx, tx, changes, results) })
	return results, err
}

// writeAll writes changes and fills in results, entity by entity.
func (d *Driver) writeAll(ctx context.Context, tx connectors.Tx, changes []kedge.Change, results []connectors.Result) error {
	conn, engine := tx.Conn().Conn, engineOf(tx)
	for done := 0; done < len(changes); {
		n := 1
		for done+n < len(changes) && changes[done+n].Entity == changes[done].Entity {
			n++
		}
		e, err := d.entity(ctx, opWrite, conn, engine, changes[done].Entity)
		if err != nil {
			return err
		}
		if !e.Insert {
			return fail(opWrite, kedge.Unsupported, e.Name, "the table cannot be written: it is a view, belongs to kedge, or has no key")
		}
		w := &writer{e: e, asked: changes[done : done+n], results: results[done : done+n]}
		w.changes = w.asked
		if e.deleted >= 0 {
			w.changes = e.marking(w.asked)
		}
		w.group()
		if err := w.run(ctx, tx); err != nil {
			return store.Error(opWrite, e.Name, err)
		}
		done += n
	}
	return nil
}

// A writer writes changes of one entity.
type writer struct {
	e       *entity
	asked   []kedge.Change
	changes []kedge.Change // asked, but with marks for deletes
	results []connectors.Result
	groups  []*group
}

// A group holds the changes of one operation that write the same columns.
type group struct {
	e       *entity
	op      kedge.Op
	must    bool  // an upsert with a version: the row must exist
	keyed   bool  // the key is known; else the database makes it
	columns []int // those of the key, if it is known, and those that are written
	keys    int   // how many of columns are of the key
	rows    []int // positions in changes
	values  []kedge.Value
	version []kedge.Value // expected; missing means any. Empty if no change has one

	base   int    // number of the first row in the group that this is a slice of
	staged string // PostgreSQL: temporary table that holds the rows of that group, or ""
	sliced bool
}

// row returns the values of row i, aligned with columns.
func (g *group) row(i int) []kedge.Value {
	n := len(g.columns)
	return g.values[i*n : (i+1)*n : (i+1)*n]
}

// written are the columns that an update sets.
func (g *group) written() []int { return g.columns[g.keys:] }

// expects reports whether row i has an expected version.
func (g *group) expects(i int) bool { return len(g.version) > 0 && !g.version[i].IsMissing() }

// slice returns the rows from i to j as a group.
func (g *group) slice(i, j int) *group {
	s := *g
	n := len(g.columns)
	s.rows, s.values = g.rows[i:j], g.values[i*n:j*n]
	s.base, s.sliced = g.base+i, g.sliced || j-i < len(g.rows)
	if len(g.version) > 0 {
		s.version = g.version[i:j]
	}
	return &s
}

func (w *writer) run(ctx context.Context, tx connectors.Tx) error {
	slices.SortStableFunc(w.groups, func(a, b *group) int { return groupOrder[a.op] - groupOrder[b.op] })
	for _, g := range w.groups {
		var err error
		if w.e.engine == store.SQLite {
			err = w.runSQLite(ctx, tx, g)
		} else {
			err = w.runPostgres(ctx, tx, g)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var groupOrder = [...]int{kedge.Delete: 1, kedge.Update: 2, kedge.Upsert: 3, kedge.Insert: 4}

// set notes what became of row i of g.
func (w *writer) set(g *group, i int, state connectors.State) {
	if state == connectors.Updated && w.asked[g.rows[i]].Op == kedge.Delete {
		state = connectors.Removed
	}
	w.results[g.rows[i]].State = state
}

// reject notes that row i of g was refused.
func (w *writer) reject(g *group, i int, kind kedge.Kind, err error) {
	if kind == kedge.NotFound && w.asked[g.rows[i]].Op == kedge.Delete {
		w.set(g, i, connectors.Unchanged)
		return
	}
	w.rejectChange(g.rows[i], kind, err)
}

func (w *writer) rejectChange(at int, kind kedge.Kind, err error) {
	e, ok := errors.AsType[*kedge.Error](err)
	if !ok || e.Key != "" {
		e = &kedge.Error{Err: err}
	}
	e.Op, e.Kind, e.Entity, e.Key = opWrite, kind, w.e.Name, w.changes[at].Key
	w.results[at] = connectors.Result{State: connectors.Rejected, Key: w.changes[at].Key, Err: e}
}

// refused rejects row i if err is the row's own fault, and returns err if not.
func (w *writer) refused(g *group, i int, err error) error {
	switch kind := store.Kind(err); kind {
	case kedge.Invalid, kedge.Conflict, kedge.TooLarge:
		w.reject(g, i, kind, store.Error(opWrite, w.e.Name, err))
		return nil
	}
	return err
}

var (
	errExists = errors.New("a record with this key exists already")
	errGone   = errors.New("there is no record with this key")
	errStale  = errors.New("the record was changed since it was read")
)
