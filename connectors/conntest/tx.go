package conntest

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A Transactor keeps its tables in kedge's own database.
type Transactor interface {
	// InTx calls f with a transaction, commits it, or rolls it back if f fails.
	InTx(ctx context.Context, f func(ctx context.Context, tx connectors.Tx) error) error
}

var txChecks = []check{
	{"tx/Rollback", txRollback},
	{"tx/Neighbours", txNeighbours},
	{"tx/OneBadKeepsTx", txOneBadKeepsTx},
}

// inTx gives the steps a transaction and a function that writes in it.
func (e *env) inTx(ctx context.Context, steps func(write func(states []connectors.State, changes ...kedge.Change) error) error) error {
	transactor, ok := e.sys.(Transactor)
	if !ok {
		return cannot("the system is not in kedge's own database")
	}
	writer, ok := e.driver().(connectors.TxWriter)
	if !ok {
		return cannot("the driver is no TxWriter")
	}
	return transactor.InTx(ctx, func(ctx context.Context, tx connectors.Tx) error {
		return steps(func(states []connectors.State, changes ...kedge.Change) error {
			results, err := writer.WriteTx(ctx, tx, changes)
			if err != nil {
				return fmt.Errorf("call WriteTx: %w", err)
			}
			if len(results) != len(states) {
				return fmt.Errorf("WriteTx gave %d results for %d changes", len(results), len(states))
			}
			for i, want := range states {
				what := fmt.Sprintf("WriteTx, %v of %q", changes[i].Op, changes[i].Key)
				if err := wantState(what, &results[i], results[i].Key, want); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// txRollback: nothing is left of a transaction that is rolled back.
func txRollback(ctx context.Context, e *env) error {
	records := widgets(1, 2)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	errBack := errors.New("roll back")
	err := e.inTx(ctx, func(write func([]connectors.State, ...kedge.Change) error) error {
		err := write([]connectors.State{connectors.Inserted, connectors.Updated, connectors.Removed},
			change(kedge.Insert, "w9", set("int", kedge.Int(9))), change(kedge.Update, "w0001", set("int", kedge.Int(9))), change(kedge.Delete, "w0002"))
		return errors.Join(err, errBack)
	})
	if err == nil || !errors.Is(err, errBack) || err.Error() != errBack.Error() {
		return err
	}
	_, err = e.wantStored(ctx, "after the transaction was rolled back", records...)
	return err
}

// txNeighbours: a row that is refused takes none with it, neither of its batch
// nor of those before.
func txNeighbours(ctx context.Context, e *env) error {
	old := widget("w0003", set("string", kedge.String("old")))
	if err := e.put(ctx, old); err != nil {
		return err
	}
	err := e.inTx(ctx, func(write func([]connectors.State, ...kedge.Change) error) error {
		if err := write([]connectors.State{connectors.Inserted}, change(kedge.Insert, "w0001")); err != nil {
			return err
		}
		return write([]connectors.State{connectors.Inserted, connectors.Rejected, connectors.Inserted},
			change(kedge.Insert, "w0002"), change(kedge.Insert, "w0003"), change(kedge.Insert, "w0004"))
	})
	if err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "neighbours of a refused row", widget("w0001"), widget("w0002"), old, widget("w0004"))
	return err
}

// txOneBadKeepsTx: after a row that is refused the transaction goes on.
func txOneBadKeepsTx(ctx context.Context, e *env) error {
	old := widget("w0001", set("string", kedge.String("old")))
	if err := e.put(ctx, old); err != nil {
		return err
	}
	seven := set("int", kedge.Int(7))
	err := e.inTx(ctx, func(write func([]connectors.State, ...kedge.Change) error) error {
		if err := write([]connectors.State{connectors.Rejected}, change(kedge.Insert, "w0001")); err != nil {
			return err
		}
		if err := write([]connectors.State{connectors.Rejected}, change(kedge.Update, "nobody", seven)); err != nil {
			return err
		}
		return write([]connectors.State{connectors.Inserted, connectors.Updated}, change(kedge.Insert, "w0002", seven), change(kedge.Update, "w0001", seven))
	})
	if err != nil {
		return err
	}
	_, err = e.wantStored(ctx, "written after a refused row", widget("w0001", set("string", kedge.String("old")), seven), widget("w0002", seven))
	return err
}
