package sqltable_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// changed reads on from an anchor and returns the keys, with "-" before those
// of deleted rows, and the next anchor.
func changed(t testing.TB, d *sqltable.Driver, from kedge.Anchor) ([]string, kedge.Anchor) {
	t.Helper()
	req := connectors.ReadRequest{Entity: "doc", Fields: []string{"rev"}, Anchor: from, Size: 2}
	var keys []string
	for {
		page, err := d.ReadPage(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			key := string(r.Key)
			if r.Removed == kedge.Deleted {
				key = "-" + key
			}
			keys = append(keys, key)
		}
		if page.Next == "" {
			if !page.Approx {
				t.Error("the anchor is not approximate")
			}
			slices.Sort(keys)
			return keys, page.Anchor
		}
		req.Token = page.Next
	}
}

func docEntity(rev kedge.Type) kedge.Entity {
	return kedge.Entity{Name: "doc", Key: []string{"k"}, Fields: []kedge.Field{
		{Name: "k", Type: kedge.TypeString}, {Name: "rev", Type: rev}, {Name: "gone", Type: kedge.TypeBool},
	}}
}

func doc(op kedge.Op, k string, rev kedge.Value) kedge.Change {
	return change(op, "doc", kedge.Key(k), values{"rev": rev})
}

func TestVersionCapture(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, `, "entities": {"doc": {"capture": "version", "version": {"column": "rev", "window": 10}, "deleted": {"column": "gone", "value": true}}}`)
		create(t, d, docEntity(kedge.TypeInt))
		if keys, _ := changed(t, d, ""); len(keys) != 0 {
			t.Errorf("empty table: got %v", keys)
		}
		_, empty := changed(t, d, "")
		for i := range 5 {
			write(t, s, d, doc(kedge.Insert, fmt.Sprint("r", i), kedge.Int(int64(100+i))))
		}
		keys, anchor := changed(t, d, empty)
		if want := []string{"r0", "r1", "r2", "r3", "r4"}; !slices.Equal(keys, want) {
			t.Errorf("after an empty table: got %v, want %v", keys, want)
		}
		// A late commit inside the window is found, one outside is not.
		write(t, s, d, doc(kedge.Insert, "late", kedge.Int(94)), doc(kedge.Insert, "lost", kedge.Int(93)), doc(kedge.Update, "r0", kedge.Int(50)))
		write(t, s, d, change(kedge.Delete, "doc", "r1", nil))
		keys, anchor = changed(t, d, anchor)
		if want := []string{"-r1", "late", "r2", "r3", "r4"}; !slices.Equal(keys, want) {
			t.Errorf("within the window: got %v, want %v", keys, want)
		}
		if keys, _ := changed(t, d, ""); slices.Contains(keys, "r1") || slices.Contains(keys, "-r1") || len(keys) != 6 {
			t.Errorf("full read: got %v, want all but r1", keys)
		}
		// A stale expected version.
		stale := doc(kedge.Update, "r2", kedge.Int(102))
		stale.Version = "101"
		gone := change(kedge.Delete, "doc", "r3", nil)
		gone.Version = "1"
		missing := doc(kedge.Upsert, "none", kedge.Int(1))
		missing.Version = "1"
		fine := doc(kedge.Upsert, "r4", kedge.Int(110))
		fine.Version = "104"
		if got, want := outcomes(write(t, s, d, stale, gone, missing, fine)), "rejected conflict, rejected conflict, rejected conflict, updated"; got != want {
			t.Errorf("expected versions: got %s, want %s", got, want)
		}
		// Rows that are marked are gone, and come back with an upsert.
		if got, want := outcomes(write(t, s, d, change(kedge.Delete, "doc", "r1", nil), change(kedge.Delete, "doc", "no", nil))), "unchanged, unchanged"; got != want {
			t.Errorf("deleted twice: got %s, want %s", got, want)
		}
		if got := outcomes(write(t, s, d, doc(kedge.Upsert, "r1", kedge.Int(111)))); got != "updated" {
			t.Errorf("upsert of a marked row: got %s, want updated", got)
		}
		if keys, _ := changed(t, d, anchor); !slices.Contains(keys, "r1") {
			t.Errorf("after its return r1 is not delivered: %v", keys)
		}
		other := open(t, s, `, "entities": {"doc": {"version": {"column": "k"}}}`)
		if _, err := other.Schema(t.Context()); kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("a text as version: got %v, want Invalid", err)
		}
		sweep := open(t, s, "")
		if _, err := sweep.ReadPage(t.Context(), connectors.ReadRequest{Entity: "doc", Anchor: anchor}); kedge.KindOf(err) != kedge.AnchorExpired {
			t.Errorf("an anchor after the version column went: got %v, want AnchorExpired", err)
		}
	})
}

func TestVersionOfTimes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, `, "entities": {"doc": {"version": {"column": "rev", "overlap": "2s"}}}`)
		create(t, d, docEntity(kedge.TypeTime))
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		in := func(ms int) kedge.Value { return kedge.Time(at.Add(time.Duration(ms) * time.Millisecond)) }
		write(t, s, d, doc(kedge.Insert, "a", in(0)), doc(kedge.Insert, "b", in(500)))
		_, anchor := changed(t, d, "")
		write(t, s, d, doc(kedge.Insert, "late", in(-1500)), doc(kedge.Insert, "lost", in(-1501)), doc(kedge.Insert, "null", kedge.Null()))
		if keys, _ := changed(t, d, anchor); !slices.Equal(keys, []string{"a", "b", "late"}) {
			t.Errorf("overlap of 2s: got %v, want a, b, late", keys)
		}
	})
}
