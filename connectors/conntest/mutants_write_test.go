package conntest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// written returns a mutation that changes what is written.
func written(change func(d *driver, ctx context.Context, c *kedge.Change)) mutation {
	return mutation{write: func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
		changed := slices.Clone(changes)
		for i := range changed {
			changed[i].Values = slices.Clone(changed[i].Values)
			change(d, ctx, &changed[i])
		}
		return d.write(ctx, changed)
	}}
}

// answered returns a mutation that changes the results.
func answered(change func(c *kedge.Change, r *connectors.Result)) mutation {
	return mutation{write: func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
		results, err := d.write(ctx, changes)
		for i := range results {
			change(&changes[i], &results[i])
		}
		return results, err
	}}
}

// refusing returns a mutation that changes the errors of refused changes.
func refusing(change func(c *kedge.Change, e *kedge.Error)) mutation {
	return answered(func(c *kedge.Change, r *connectors.Result) {
		if r.State == connectors.Rejected {
			change(c, r.Err)
		}
	})
}

var writeMutants = []mutant{
	{"decimals are rounded", written(func(_ *driver, _ context.Context, c *kedge.Change) {
		for i, v := range c.Values {
			if v.Type() == kedge.TypeDecimal {
				c.Values[i] = kedge.Decimal(strings.TrimRight(v.Str(), "0"))
			}
		}
	}), "write/Insert write/Mask"},
	{"the key that the system made is kept secret", answered(func(c *kedge.Change, r *connectors.Result) {
		if c.Key == "" && r.State == connectors.Inserted {
			r.Key = "made"
		}
	}), "write/ServerKey"},
	{"an insert replaces", written(func(_ *driver, _ context.Context, c *kedge.Change) {
		if c.Op == kedge.Insert && c.Key != "" {
			c.Op = kedge.Upsert
		}
	}), "write/Duplicate write/OneBad write/NoValueInErrors"},
	{"an existing key is invalid", refusing(func(c *kedge.Change, e *kedge.Error) {
		if c.Op == kedge.Insert && e.Kind == kedge.Conflict {
			e.Kind = kedge.Invalid
		}
	}), "write/Duplicate write/OneBad"},
	{"an update writes whole records", written(func(_ *driver, _ context.Context, c *kedge.Change) {
		for i, v := range c.Values {
			if c.Op == kedge.Update && v.IsMissing() && c.Fields.Name(i) != "id" {
				c.Values[i] = kedge.Null()
			}
		}
	}), "write/Mask write/ExpectedVersion write/OneBad"},
	{"null is not written", written(func(_ *driver, _ context.Context, c *kedge.Change) {
		for i, v := range c.Values {
			if v.IsNull() {
				c.Values[i] = kedge.Value{}
			}
		}
	}), "write/Mask"},
	{"an update makes what is missing", written(func(_ *driver, _ context.Context, c *kedge.Change) {
		if c.Op == kedge.Update && c.Version == "" {
			c.Op = kedge.Upsert
		}
	}), "write/UpdateMissing write/OneBad write/NoValueInErrors"},
	{"each version counts as stale", mutation{write: func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
		changed := slices.Clone(changes)
		for i := range changed {
			if changed[i].Version != "" {
				changed[i].Version += "0"
			}
		}
		return d.write(ctx, changed)
	}}, "write/ExpectedVersion"},
	{"the expected version is not sent", written(func(_ *driver, _ context.Context, c *kedge.Change) { c.Version = "" }), "write/Stale"},
	{"deletes overlook the version", written(func(_ *driver, _ context.Context, c *kedge.Change) {
		if c.Op == kedge.Delete {
			c.Version = ""
		}
	}), "write/Stale"},
	{"an upsert only updates", written(func(_ *driver, _ context.Context, c *kedge.Change) {
		if c.Op == kedge.Upsert {
			c.Op = kedge.Update
		}
	}), "write/Upsert"},
	{"an upsert replaces", written(func(_ *driver, _ context.Context, c *kedge.Change) {
		for i, v := range c.Values {
			if c.Op == kedge.Upsert && v.IsMissing() && c.Fields.Name(i) != "id" {
				c.Values[i] = kedge.Null()
			}
		}
	}), "write/Upsert"},
	{"a delete empties", mutation{write: func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
		results, err := d.write(ctx, changes)
		for i, r := range results {
			if r.State == connectors.Removed {
				d.sys.Put(ctx, changes[i].Entity, widget(string(r.Key)))
			}
		}
		return results, err
	}}, "write/Delete write/ExpectedVersion write/DeleteMissing"},
	{"a missing record cannot be deleted", answered(func(c *kedge.Change, r *connectors.Result) {
		if c.Op == kedge.Delete && r.State == connectors.Unchanged {
			*r = connectors.Result{State: connectors.Rejected, Key: c.Key, Err: &kedge.Error{Kind: kedge.NotFound}}
		}
	}), "write/DeleteMissing"},
	{"a batch ends at the first refusal", mutation{write: func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
		results, err := d.write(ctx, changes)
		for i := range results {
			if results[i].State == connectors.Rejected && i > 0 {
				return results, results[i].Err
			}
		}
		return results, err
	}}, "write/OneBad write/Stale"},
	{"results are in the wrong order", mutation{write: func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
		results, err := d.write(ctx, changes)
		slices.Reverse(results)
		return results, err
	}}, "write/OneBad write/Insert write/Mask write/Upsert write/Delete write/DeleteMissing write/Stale write/OwnVersion?"},
	{"no changes are a mistake", mutation{write: func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
		if len(changes) == 0 {
			return nil, &kedge.Error{Kind: kedge.Invalid}
		}
		return d.write(ctx, changes)
	}}, "write/EmptyBatch"},
	{"the idempotency key is not sent", written(func(_ *driver, _ context.Context, c *kedge.Change) { c.IdempotencyKey = "" }), "write/Replay"},
	{"a repeated insert writes again", written(func(d *driver, ctx context.Context, c *kedge.Change) {
		if c.IdempotencyKey != "" {
			c.Op = kedge.Upsert
			c.IdempotencyKey = ""
		}
	}), "write/Replay"},
	{"a lost answer counts as nothing done", mutation{write: func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
		results, err := d.write(ctx, changes)
		if kedge.KindOf(err) == kedge.OutcomeUnknown {
			err = &kedge.Error{Kind: kedge.Transient}
		}
		return results, err
	}}, "write/LostReply"},
	{"the version is the one before", answered(func(c *kedge.Change, r *connectors.Result) {
		if r.State == connectors.Updated {
			r.Version += "0"
		}
	}), "write/OwnVersion"},
	{"the system's words are in the error", refusing(func(c *kedge.Change, e *kedge.Error) {
		for _, v := range c.Values {
			if v.Type() == kedge.TypeString {
				e.Err = fmt.Errorf("%w: duplicate value %q", e.Err, v.Str())
			}
		}
	}), "write/NoValueInErrors"},
}

var txMutants = []mutant{
	{"WriteTx uses a connection of its own", mutation{tx: func(d *driver, ctx context.Context, _ *undoing, changes []kedge.Change) ([]connectors.Result, error) {
		return d.Driver.Write(ctx, changes)
	}}, "tx/Rollback"},
	{"a refused row takes its batch with it", mutation{tx: func(d *driver, ctx context.Context, tx *undoing, changes []kedge.Change) ([]connectors.Result, error) {
		before := len(tx.undo)
		results, err := d.writeTx(ctx, tx, changes)
		if slices.ContainsFunc(results, func(r connectors.Result) bool { return r.State == connectors.Rejected }) {
			for _, undo := range slices.Backward(tx.undo[before:]) {
				undo()
			}
		}
		return results, err
	}}, "tx/Neighbours"},
	{"a refused row ends the transaction", mutation{tx: func(d *driver, ctx context.Context, tx *undoing, changes []kedge.Change) ([]connectors.Result, error) {
		if tx.aborted {
			return nil, &kedge.Error{Kind: kedge.Internal}
		}
		results, err := d.writeTx(ctx, tx, changes)
		tx.aborted = slices.ContainsFunc(results, func(r connectors.Result) bool { return r.State == connectors.Rejected })
		return results, err
	}}, "tx/OneBadKeepsTx"},
}
