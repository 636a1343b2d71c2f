package sqltable_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// A row that COPY itself refuses is found, and the others are written.
func TestOneBadAmongMany(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, conntest.Widgets)
		for _, n := range []int{63, 64, 65, 200} {
			var changes []kedge.Change
			for i := range n {
				id := fmt.Sprintf("%d-%03d", n, i)
				doc := kedge.JSON(`{"a":1}`)
				if i == 17 {
					doc = kedge.JSON(`{"a":"\u0000"}`) // jsonb has no NUL
				}
				changes = append(changes, change(kedge.Upsert, "widgets", kedge.Key(id), values{"json": doc, "decimal": kedge.Decimal("19.90")}))
			}
			results := write(t, s, d, changes...)
			for i, r := range results {
				want := connectors.Inserted
				if i == 17 && s.Engine() == store.Postgres {
					want = connectors.Rejected
				}
				if r.State != want || r.Err != nil && r.Err.Kind != kedge.Invalid {
					t.Errorf("%d rows, row %d: got %v (%v), want %v", n, i, r.State, r.Err, want)
				}
			}
		}
	})
}

// Batches of different shapes and several of one shape share a transaction.
func TestManyBatchesInOneTransaction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, benchEntity)
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			for i := range 3 {
				for _, op := range []kedge.Op{kedge.Insert, kedge.Upsert, kedge.Update, kedge.Delete} {
					n := 100
					results, err := d.WriteTx(ctx, tx, benchChanges(op, 1000*i, n, int(op)))
					if err != nil {
						return err
					}
					want := map[kedge.Op]connectors.State{kedge.Insert: connectors.Inserted, kedge.Upsert: connectors.Updated, kedge.Update: connectors.Updated, kedge.Delete: connectors.Removed}[op]
					for j, r := range results {
						if r.State != want {
							return fmt.Errorf("%v %d, row %d: got %v (%v), want %v", op, i, j, r.State, r.Err, want)
						}
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestGetTxInPlan(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, conntest.Widgets)
		var changes []kedge.Change
		var keys []kedge.Key
		for i := range 100 {
			k := kedge.Key(fmt.Sprintf("w%03d", i))
			keys = append(keys, k)
			changes = append(changes, change(kedge.Insert, "widgets", k, values{"guid": kedge.String(fmt.Sprintf("6f1a2b3c-0000-4000-8000-%012x", i))}))
		}
		write(t, s, d, changes...)
		err := s.InReadTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			found, err := d.GetTx(ctx, tx, "widgets", []string{"int"}, nil, keys)
			if err == nil && len(found) != 100 {
				t.Errorf("found %d rows by key, want 100", len(found))
			}
			if err != nil {
				return err
			}
			found, err = d.GetTx(ctx, tx, "widgets", []string{"int"}, []string{"guid"}, []kedge.Key{"6F1A2B3C-0000-4000-8000-000000000007", "no guid", "it's\x00"})
			if err == nil && (len(found) != 1 || found[0].Key != "w007") {
				t.Errorf("by guid: found %d rows, want w007", len(found))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// Two writers of one row wait for each other, and see what the other did.
func TestRowsAreLocked(t *testing.T) {
	s := storetest.Postgres(t)
	d := open(t, s, "")
	create(t, d, conntest.Widgets)
	write(t, s, d, change(kedge.Insert, "widgets", "a", values{"int": kedge.Int(0)}))
	const writers = 8
	done := make(chan error)
	for range writers {
		go func() {
			done <- s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				found, err := d.GetTx(ctx, tx, "widgets", []string{"int"}, nil, []kedge.Key{"a"})
				if err != nil {
					return err
				}
				_, err = d.WriteTx(ctx, tx, []kedge.Change{change(kedge.Update, "widgets", "a", values{"int": kedge.Int(found[0].Values[0].Int() + 1)})})
				return err
			})
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	got := readAll(t, d, connectors.ReadRequest{Entity: "widgets", Fields: []string{"int"}})["a"].Values[0]
	if !kedge.Equal(got, kedge.Int(writers)) {
		t.Errorf("after %d increments: got %s", writers, got.Text())
	}
}
