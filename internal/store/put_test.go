package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

var parcels = store.Migration{
	Name:     "20261121_01_test",
	SQLite:   "CREATE TABLE parcel (ent BIGINT, id TEXT, name TEXT, data BLOB, at TIMESTAMP, PRIMARY KEY (ent, id))",
	Postgres: "CREATE TABLE parcel (ent bigint, id text, name text, data bytea, at timestamptz, PRIMARY KEY (ent, id))",
}

var parcelTable = store.Table{Name: "parcel", Key: []string{"ent", "id"}, Values: []string{"name", "data", "at"}}

type parcel struct {
	Ent  int64
	ID   string
	Name *string
	Data []byte
	At   time.Time `bun:",nullzero"`
}

func put(ctx context.Context, tx *store.Tx, mode store.PutMode, parcels ...parcel) error {
	return tx.Put(ctx, &parcelTable, mode, len(parcels), func(i int, row []any) []any {
		p := parcels[i]
		row = append(row, p.Ent, p.ID)
		for _, v := range []any{p.Name, p.Data, p.At} {
			switch v := v.(type) {
			case *string:
				if v == nil {
					row = append(row, nil)
				} else {
					row = append(row, *v)
				}
			case time.Time:
				if v.IsZero() {
					row = append(row, nil)
				} else {
					row = append(row, v)
				}
			default:
				row = append(row, v)
			}
		}
		return row
	})
}

func TestPut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		if _, err := s.Migrate(t.Context(), []store.Migration{parcels}); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 12, 1, 10, 30, 0, 123456000, time.UTC)
		text := func(s string) *string { return &s }
		rows := []parcel{{1, "a", text("ä 'quoted' \"text\"\n"), []byte{0, 255, 7}, at}, {1, "b", nil, []byte{1}, time.Time{}}, {2, "a", text(""), []byte{2}, at}}
		steps := []struct {
			mode store.PutMode
			rows []parcel
			kind kedge.Kind
		}{
			{rows: rows},
			{},
			{mode: store.Replace, rows: []parcel{{1, "b", text("new"), []byte{3}, at}, {3, "c", nil, nil, time.Time{}}}},
			{mode: store.Replace, rows: rows[:1]},
			{mode: store.Update, rows: []parcel{{3, "c", text("later"), nil, at}, {4, "missing", nil, nil, at}}},
			{rows: []parcel{{9, "x", nil, nil, at}, rows[0]}, kind: kedge.Conflict},
		}
		for i, step := range steps {
			err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error { return put(ctx, tx, step.mode, step.rows...) })
			if kedge.KindOf(err) != step.kind && (err != nil || step.kind != 0) {
				t.Fatalf("step %d: %v, want kind %v", i, err, step.kind)
			}
		}
		var got []parcel
		if err := s.DB().NewSelect().Model(&got).ModelTableExpr("parcel AS parcel").Order("ent", "id").Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []parcel{rows[0], {1, "b", text("new"), []byte{3}, at}, rows[2], {3, "c", text("later"), nil, at}}
		same := func(a, b parcel) bool {
			return a.Ent == b.Ent && a.ID == b.ID && (a.Name == nil) == (b.Name == nil) && (a.Name == nil || *a.Name == *b.Name) &&
				slices.Equal(a.Data, b.Data) && a.At.Equal(b.At)
		}
		if !slices.EqualFunc(got, want, same) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// Two puts of one transaction into one table do not meet each other's rows.
func TestPutTwice(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		if _, err := s.Migrate(t.Context(), []store.Migration{parcels}); err != nil {
			t.Fatal(err)
		}
		name := "first"
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := put(ctx, tx, store.Replace, parcel{Ent: 1, ID: "a", Name: &name}); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "UPDATE parcel SET name = 'kept'"); err != nil {
				return err
			}
			return put(ctx, tx, store.Replace, parcel{Ent: 1, ID: "b", Name: &name})
		})
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := s.DB().QueryRowContext(t.Context(), "SELECT name FROM parcel WHERE id = 'a'").Scan(&got); err != nil || got != "kept" {
			t.Errorf("the first row has %q (%v), want kept", got, err)
		}
	})
}
