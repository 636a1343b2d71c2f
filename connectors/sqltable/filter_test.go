package sqltable_test

import (
	"slices"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/filter/filtertest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// Each filter must select at least what Match selects of the rows as they were
// stored, and just that if the page says that it is exact.
func TestFilterCases(t *testing.T) {
	f, err := filtertest.Load("../../testdata/filters/all-types.yaml")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		d := open(t, s, "")
		create(t, d, f.Entity)
		var changes []kedge.Change
		for _, r := range f.Records {
			changes = append(changes, kedge.Change{Op: kedge.Insert, Entity: f.Entity.Name, Key: r.Key, Fields: r.Fields, Values: r.Values})
		}
		for i, r := range write(t, s, d, changes...) {
			if r.State != connectors.Inserted {
				t.Fatalf("row %d: %v", i+1, r.Err)
			}
		}
		req := connectors.ReadRequest{Entity: f.Entity.Name, Fields: f.Records[0].Fields.Names()}
		stored := readAll(t, d, req)
		exact := 0
		for i := range f.Cases {
			c := &f.Cases[i]
			for _, text := range []string{c.Filter, "not (" + c.Filter + ")", "(" + c.Filter + ") or qty eq 6", "id gt 2 and not (" + c.Filter + " and qty ne 5)"} {
				exact += checkFilter(t, d, req, &f.Entity, f, text, stored)
			}
		}
		if least := 2 * len(f.Cases); exact < least {
			t.Errorf("only %d filters are exact, want at least %d", exact, least)
		}
	})
}

func checkFilter(t *testing.T, d connectors.Driver, req connectors.ReadRequest, ent *kedge.Entity, f *filtertest.File, text string, stored map[kedge.Key]kedge.Record) int {
	t.Helper()
	expr, err := filter.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if req.Filter, err = expr.Bind(ent, f.Now); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	page, err := d.ReadPage(t.Context(), req)
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return 0
	}
	var got, want []kedge.Key
	for _, r := range page.Records {
		got = append(got, r.Key)
	}
	for k, r := range stored {
		if truth, err := req.Filter.Match(&r); err != nil {
			t.Fatal(err)
		} else if truth == filter.Yes {
			want = append(want, k)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if page.Exact {
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
		return 1
	}
	for _, k := range want {
		if !slices.Contains(got, k) {
			t.Errorf("%s: got %v, which lacks %v", text, got, k)
		}
	}
	return 0
}
