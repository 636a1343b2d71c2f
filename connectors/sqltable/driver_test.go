package sqltable_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// open returns a driver of kedge's own database s; more is added to its block.
func open(t testing.TB, s *store.Store, more string) *sqltable.Driver {
	t.Helper()
	return openDSN(t, "kedge", s, more)
}

func openDSN(t testing.TB, dsn string, s *store.Store, more string) *sqltable.Driver {
	t.Helper()
	d, err := sqltable.Kind().New(json.RawMessage(fmt.Sprintf(`{"dsn": %q%s}`, dsn, more)), connectors.Env{Name: "local", Store: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.(*sqltable.Driver).Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d.(*sqltable.Driver)
}

// create makes the tables of want.
func create(t testing.TB, d *sqltable.Driver, want ...kedge.Entity) {
	t.Helper()
	steps, err := d.PlanSchema(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ApplySchema(t.Context(), steps); err != nil {
		t.Fatalf("%v\n%v", err, steps)
	}
}

// write writes changes in a transaction of s.
func write(t testing.TB, s *store.Store, d *sqltable.Driver, changes ...kedge.Change) []connectors.Result {
	t.Helper()
	var results []connectors.Result
	err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		results, err = d.WriteTx(ctx, tx, changes)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// outcomes is what became of changes, as "inserted, rejected conflict".
func outcomes(results []connectors.Result) string {
	var parts []string
	for _, r := range results {
		text := r.State.String()
		if r.Err != nil {
			text += " " + r.Err.Kind.String()
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// readAll reads an entity in pages of size and returns the records by key.
func readAll(t testing.TB, d *sqltable.Driver, req connectors.ReadRequest) map[kedge.Key]kedge.Record {
	t.Helper()
	all := map[kedge.Key]kedge.Record{}
	for {
		page, err := d.ReadPage(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range page.Rejected {
			t.Errorf("rejected: field %s: %v", bad.Field, bad.Err)
		}
		for _, r := range page.Records {
			all[r.Key] = r
		}
		if page.Next == "" {
			return all
		}
		req.Token = page.Next
	}
}

// A values is a change's values by name.
type values map[string]kedge.Value

func change(op kedge.Op, entity string, key kedge.Key, v values) kedge.Change {
	var names []string
	var list []kedge.Value
	for n, x := range v {
		names, list = append(names, n), append(list, x)
	}
	return kedge.Change{Op: op, Entity: entity, Key: key, Fields: kedge.NewFields(names...), Values: list}
}

func TestWriteAndRead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, conntest.Widgets, conntest.Parts)
		str := kedge.String
		steps := []struct {
			change kedge.Change
			want   string
		}{
			{change(kedge.Insert, "widgets", "a", values{"id": str("a"), "int": kedge.Int(1)}), "inserted"},
			{change(kedge.Insert, "widgets", "a", values{"id": str("a")}), "rejected conflict"},
			{change(kedge.Update, "widgets", "a", values{"int": kedge.Int(2)}), "updated"},
			{change(kedge.Update, "widgets", "a", values{"int": kedge.Int(2)}), "unchanged"},
			{change(kedge.Update, "widgets", "b", values{"int": kedge.Int(2)}), "rejected not_found"},
			{change(kedge.Upsert, "widgets", "b", values{"int": kedge.Int(3)}), "inserted"},
			{change(kedge.Upsert, "widgets", "b", values{"int": kedge.Int(3)}), "unchanged"},
			{change(kedge.Upsert, "widgets", "b", values{"int": kedge.Null()}), "updated"},
			{change(kedge.Delete, "widgets", "b", nil), "deleted"},
			{change(kedge.Delete, "widgets", "b", nil), "unchanged"},
			{change(kedge.Insert, "widgets", "", values{"int": kedge.Int(1)}), "inserted"},
			{change(kedge.Insert, "parts", "", values{"No": str("p,1"), "Line": kedge.Int(1)}), "inserted"},
			{change(kedge.Update, "parts", `p\,1,1`, values{"name": str("x")}), "updated"},
			{change(kedge.Upsert, "parts", `p\,1,2`, values{"name": str("y")}), "inserted"},
			{change(kedge.Update, "parts", `p,1`, values{"name": str("y")}), "rejected not_found"},
			{change(kedge.Update, "parts", `p`, values{"name": str("y")}), "rejected invalid"},
			{change(kedge.Update, "widgets", "a", values{"nope": str("y")}), "rejected invalid"},
			{change(kedge.Update, "widgets", "a", values{"guid": str("y")}), "rejected invalid"},
			{change(kedge.Update, "widgets", "a", values{"id": str("y")}), "rejected invalid"},
		}
		for i, step := range steps {
			if got := outcomes(write(t, s, d, step.change)); got != step.want {
				t.Errorf("step %d, %v: got %s, want %s", i, step.change.Op, got, step.want)
			}
		}
		got := readAll(t, d, connectors.ReadRequest{Entity: "parts", Fields: []string{"name"}, Size: 1})
		if len(got) != 2 || got[`p\,1,1`].Values[0] != str("x") || got[`p\,1,2`].Values[0] != str("y") {
			t.Errorf("parts: got %v", got)
		}
		if got := readAll(t, d, connectors.ReadRequest{Entity: "widgets", Fields: []string{"int", "id"}, Size: 1}); len(got) != 2 {
			t.Errorf("widgets: got %v", got)
		}
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			found, err := d.GetTx(ctx, tx, "widgets", []string{"id"}, []string{"int"}, []kedge.Key{"2", "7", "x"})
			if err != nil || len(found) != 1 || found[0].Key != "a" {
				t.Errorf("GetTx by int: got %v, %v", found, err)
			}
			found, err = d.GetTx(ctx, tx, "parts", []string{"name"}, nil, []kedge.Key{`p\,1,1`, "p,1"})
			if err != nil || len(found) != 1 || found[0].Key != `p\,1,1` {
				t.Errorf("GetTx by key: got %v, %v", found, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
