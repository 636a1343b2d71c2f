package odata_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/filter/filtertest"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// Of each filter the service must select at least what Match selects, and just
// that if the page says that it is exact, with all options of what is pushed
// and on the services that need them.
func TestFilterCases(t *testing.T) {
	f, err := filtertest.Load("../../testdata/filters/all-types.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		or, negation bool
		quirk        string
	}{
		{or: true, negation: true}, {or: true, negation: true, quirk: odatatest.NoIEEE754}, {negation: true, quirk: odatatest.NoOr}, {or: true, quirk: odatatest.CaseInsensitive},
	} {
		t.Run(fmt.Sprintf("%+v", tt), func(t *testing.T) {
			o := odatatest.Options{Entities: []kedge.Entity{f.Entity}, NoDelta: true}
			if tt.quirk != "" {
				o.Quirks = []string{tt.quirk}
			}
			s := odatatest.New(o)
			if err := s.Put(f.Entity.Name, f.Records...); err != nil {
				t.Fatal(err)
			}
			d := newDriver(t, s.Start(t), map[string]any{"tracking": "full", "orFilters": tt.or, "pushStringNegation": tt.negation})
			exact := 0
			for i := range f.Cases {
				c := f.Cases[i].Filter
				for _, text := range []string{c, "not (" + c + ")", "(" + c + ") or qty eq 6", "id gt 2 and not (" + c + " and qty ne 5)"} {
					if checkFilter(t, d, f, text) {
						exact++
					}
				}
			}
			if exact < len(f.Cases)/2 {
				t.Errorf("only %d filters are exact, want at least %d", exact, len(f.Cases)/2)
			}
		})
	}
}

func checkFilter(t *testing.T, d connectors.Driver, f *filtertest.File, text string) (exact bool) {
	t.Helper()
	expr, err := f.Bind(&filtertest.Case{Filter: text})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	req := connectors.ReadRequest{Entity: f.Entity.Name, Fields: f.Records[0].Fields.Names(), Filter: expr, Size: 100}
	page, err := d.ReadPage(t.Context(), req)
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return false
	}
	var got, want []kedge.Key
	for _, r := range page.Records {
		got = append(got, r.Key)
	}
	for _, r := range f.Records {
		truth, err := expr.Match(&r)
		if err != nil {
			t.Fatal(err)
		}
		if truth == filter.Yes {
			want = append(want, r.Key)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if page.Exact && !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", text, got, want)
	}
	for _, k := range want {
		if !slices.Contains(got, k) {
			t.Errorf("%s: the service leaves out %v: got %v", text, k, got)
		}
	}
	return page.Exact
}
