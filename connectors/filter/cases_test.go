package filter_test

import (
	"path/filepath"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/filter/filtertest"
)

// TestSharedCases runs the cases that every renderer runs too.
func TestSharedCases(t *testing.T) {
	paths, err := filepath.Glob("../../testdata/filters/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no case files: %v", err)
	}
	for _, path := range paths {
		f, err := filtertest.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range f.Cases {
			c := &f.Cases[i]
			t.Run(c.Filter, func(t *testing.T) { runCase(t, f, c) })
		}
	}
}

func runCase(t *testing.T, f *filtertest.File, c *filtertest.Case) {
	e, err := f.Bind(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := filter.Parse(e.String())
	if err != nil {
		t.Fatalf("canonical text %q: %v", e, err)
	}
	if again, err = again.Bind(&f.Entity, f.Now); err != nil {
		t.Fatalf("canonical text %q: %v", e, err)
	}
	for i := range f.Records {
		r := &f.Records[i]
		want := c.Want(r.Key)
		if got, err := e.Match(r); got != want || err != nil {
			t.Errorf("record %s: got %v, %v, want %v", r.Key, got, err, want)
		}
		if got, err := again.Match(backwards(r)); got != want || err != nil {
			t.Errorf("record %s, fields in reverse, canonical text: got %v, %v, want %v", r.Key, got, err, want)
		}
	}
}

// backwards returns r with its fields in reverse order.
func backwards(r *kedge.Record) *kedge.Record {
	n := len(r.Values)
	names, values := make([]string, n), make([]kedge.Value, n)
	for i := range n {
		names[n-1-i], values[n-1-i] = r.Fields.Name(i), r.Values[i]
	}
	return &kedge.Record{Fields: kedge.NewFields(names...), Values: values, Key: r.Key}
}
