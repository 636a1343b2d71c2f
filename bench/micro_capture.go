package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
)

// The tables of microCapture, by who writes them: nobody listens to the first.
var captureTables = []string{"customer_plain", "customer_own", "customer_noted"}

const captureListener = "crm"

// microCapture measures what the triggers cost that note changes: in writes
// that they skip, because the integration itself writes, and in those of others.
func microCapture(in microInput) (finding, error) {
	ctx := context.Background()
	st, err := store.Open(ctx, in.dsn, nil)
	if err != nil {
		return finding{}, err
	}
	defer st.Close()
	if _, err := st.Migrate(ctx, sqltable.Migrations()); err != nil {
		return finding{}, err
	}
	w := &writer{st: st, page: 1000}
	if st.Engine() == store.Postgres {
		w.page = 4000
	}
	if err := w.makeTables(ctx, captureTables...); err != nil {
		return finding{}, err
	}
	var ways []func(context.Context, *store.Tx) error
	for i, table := range captureTables {
		consumer := []string{captureListener, captureListener, "somebody"}[i]
		made, err := sqltable.Kind().New(json.RawMessage(`{"dsn": "kedge"}`), connectors.Env{Name: "local", Consumer: consumer, Store: st})
		if err != nil {
			return finding{}, err
		}
		d := made.(*sqltable.Driver)
		if i > 0 {
			err = st.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
				return d.SetListeners(ctx, tx, table, map[string][]string{captureListener: columns})
			})
		}
		if err != nil {
			return finding{}, err
		}
		ways = append(ways, w.into(table, d))
	}
	times, err := w.inTurn(ctx, ways)
	if err != nil {
		return finding{}, err
	}
	return finding{Rows: w.captureRows(times)}, w.checkNotes(ctx)
}

// into writes the page to a table.
func (w *writer) into(table string, d connectors.TxWriter) func(context.Context, *store.Tx) error {
	var changes []kedge.Change
	return func(ctx context.Context, tx *store.Tx) error {
		changes = append(changes[:0], w.changes...)
		for i := range changes {
			changes[i].Entity = table
		}
		_, err := d.WriteTx(ctx, tx, changes)
		return err
	}
}

// checkNotes fails unless each row of one table was noted, and no other.
func (w *writer) checkNotes(ctx context.Context) error {
	var notes int
	err := w.st.DB().DB.QueryRowContext(ctx, "SELECT count(DISTINCT key) FROM kedge_change WHERE entity LIKE '%customer_noted'").Scan(&notes)
	var all int
	if err == nil {
		err = w.st.DB().DB.QueryRowContext(ctx, "SELECT count(*) FROM kedge_change").Scan(&all)
	}
	if err == nil && (notes != w.next || all != w.next) {
		err = fmt.Errorf("%d notes of %d rows, want %d", all, notes, w.next)
	}
	return err
}

func (w *writer) captureRows(times []usage) []row {
	plain, own, noted := times[0], times[1], times[2]
	what := fmt.Sprintf("WriteTx, pages of %s, %s, captured by triggers, ", thousands(w.page), w.st.Engine())
	return []row{
		atLeast(what+"own writes, rows/s ÷ without triggers", ratio(plain.wall, own.wall), 0.85, "%.2f"),
		atLeast("writes of others, rows/s ÷ without triggers", ratio(plain.wall, noted.wall), 0.60, "%.2f"),
	}
}
