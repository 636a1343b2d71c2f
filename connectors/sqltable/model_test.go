package sqltable_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// modelEntity has a unique field u besides its key.
var modelEntity = kedge.Entity{
	Name: "model", Key: []string{"k"}, AlternateKeys: [][]string{{"u"}},
	Fields: []kedge.Field{
		{Name: "k", Type: kedge.TypeString}, {Name: "a", Type: kedge.TypeInt, Nullable: true},
		{Name: "b", Type: kedge.TypeString, Nullable: true, MaxLength: 3}, {Name: "u", Type: kedge.TypeInt, Nullable: true},
	},
}

// A row is a row of the model: texts by field, "" is null.
type row [4]string

// A model says what WriteTx must do. Unique values are only drawn so that the
// order of operations inside a call does not matter.
type model map[string]row

// apply does c and returns its outcome.
func (m model) apply(c kedge.Change) string {
	key := string(c.Key)
	old, exists := m[key]
	now := old
	now[0] = key
	for i, v := range c.Values {
		if !v.IsMissing() {
			now[slices.Index([]string{"k", "a", "b", "u"}, c.Fields.Name(i))] = v.Text()
		}
	}
	switch {
	case c.Op == kedge.Delete && !exists:
		return "unchanged"
	case c.Op == kedge.Delete:
		delete(m, key)
		return "deleted"
	case utf8.RuneCountInString(now[2]) > 3:
		return "rejected invalid"
	case c.Op == kedge.Insert && exists:
		return "rejected conflict"
	case c.Op == kedge.Update && !exists:
		return "rejected not_found"
	case exists && now == old:
		return "unchanged"
	}
	for k, r := range m {
		if k != key && r[3] != "" && r[3] == now[3] {
			return "rejected conflict"
		}
	}
	m[key] = now
	if exists {
		return "updated"
	}
	return "inserted"
}

// drawChanges draws changes with distinct keys. Now and then there are enough
// for COPY.
func drawChanges(t *rapid.T, m model) []kedge.Change {
	max := rapid.SampledFrom([]int{5, 40, 200}).Draw(t, "max")
	numbers := rapid.SliceOfNDistinct(rapid.IntRange(0, 300), 0, max, rapid.ID[int]).Draw(t, "keys")
	slices.Sort(numbers)
	var changes []kedge.Change
	oneOp := rapid.SampledFrom([]kedge.Op{0, kedge.Insert, kedge.Update, kedge.Upsert, kedge.Delete}).Draw(t, "one op")
	fields := kedge.NewFields("k", "a", "b", "u")
	for _, n := range numbers {
		op := oneOp
		if op == 0 {
			op = rapid.SampledFrom([]kedge.Op{kedge.Insert, kedge.Update, kedge.Upsert, kedge.Delete}).Draw(t, "op")
		}
		key := kedge.Key(fmt.Sprintf("%03d", n))
		list := make([]kedge.Value, 4)
		if rapid.Bool().Draw(t, "with key") {
			list[0] = kedge.String(string(key))
		}
		list[1] = rapid.SampledFrom([]kedge.Value{{}, kedge.Null(), kedge.Int(1), kedge.Int(2)}).Draw(t, "a")
		list[2] = rapid.SampledFrom([]kedge.Value{{}, kedge.String("é€😀"), kedge.String("xyz"), kedge.String("long")}).Draw(t, "b")
		if rapid.IntRange(0, 9).Draw(t, "unique") == 0 {
			// A value of row 0, which no change of this call touches.
			list[3] = kedge.Int(int64(rapid.SampledFrom([]int{-1, n}).Draw(t, "u")))
		}
		changes = append(changes, kedge.Change{Op: op, Entity: "model", Key: key, Fields: fields, Values: list})
	}
	return changes
}

func TestWriteTxAgainstModel(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, modelEntity)
		rapid.Check(t, func(rt *rapid.T) {
			if _, err := s.DB().DB.ExecContext(t.Context(), "DELETE FROM model"); err != nil {
				rt.Fatal(err)
			}
			m := model{"zero": {"zero", "", "", "-1"}}
			write(t, s, d, change(kedge.Insert, "model", "zero", values{"u": kedge.Int(-1)}))
			for range rapid.IntRange(1, 4).Draw(rt, "calls") {
				before := maps.Clone(m)
				changes := drawChanges(rt, m)
				fails := rapid.IntRange(0, 4).Draw(rt, "rollback") == 0
				var results []connectors.Result
				err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
					if results, err = d.WriteTx(ctx, tx, changes); err == nil && fails {
						err = context.Canceled
					}
					return err
				})
				if err != nil && !fails {
					rt.Fatal(err)
				}
				for i, c := range changes {
					want, got := m.apply(c), outcomes(results[i:i+1])
					if got != want {
						rt.Fatalf("%v of %s: got %s, want %s", c.Op, c.Key, got, want)
					}
					if results[i].Key != c.Key {
						rt.Fatalf("result of %s has the key %s", c.Key, results[i].Key)
					}
				}
				if fails {
					m = before
				}
				checkModel(t, rt, d, m)
			}
		})
	})
}

func checkModel(t *testing.T, rt *rapid.T, d *sqltable.Driver, m model) {
	got := model{}
	for k, r := range readAll(t, d, connectors.ReadRequest{Entity: "model", Fields: []string{"k", "a", "b", "u"}, Size: 7}) {
		var x row
		for i, v := range r.Values {
			x[i] = v.Text()
		}
		got[string(k)] = x
	}
	if !maps.Equal(got, m) {
		rt.Fatalf("got %v, want %v", got, m)
	}
}
