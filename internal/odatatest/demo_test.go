package odatatest

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// The demo data is the same on every machine. The hashes change when it does;
// then CHANGELOG.md says so, for people who compare copies.
func TestDemoIsDeterministic(t *testing.T) {
	a, b, other := New(Options{Rows: 50}), New(Options{Rows: 50}), New(Options{Rows: 50, Seed: 1})
	want := map[string]string{}
	for _, e := range a.Entities() {
		x, err := a.Stats(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		y, _ := b.Stats(e.Name)
		z, _ := other.Stats(e.Name)
		if x.Hash != y.Hash || x.Hash == z.Hash {
			t.Errorf("%s: hashes %s and %s, and %s of another seed", e.Name, x.Hash, y.Hash, z.Hash)
		}
		want[e.Name] = x.Hash[:8]
	}
	got, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "demo.json", string(got)+"\n")
}

// Keys ascend, also where numbers get more digits, and every lookup leads
// somewhere.
func TestDemoIsSound(t *testing.T) {
	for _, rows := range []int{1, 2, 9, 11, 1001, 100_001} {
		s := New(Options{Rows: rows})
		for _, table := range s.tables {
			for i, r := range table.rows {
				if i > 0 && compareKeys(table.rows[i-1].keys(), r.keys()) >= 0 {
					t.Fatalf("%d rows: key of row %d of %s does not ascend", rows, i, table.ent.Name)
				}
				if i > 2000 {
					continue
				}
				values := table.values(r, 0)
				for j, v := range values {
					checkDemoValue(t, &table.props[j], v)
				}
				for n := range table.navs {
					nav := &table.navs[n]
					if to, _ := s.follow(nav, s.table(nav.target), values); to == nil && !values[nav.from[0]].IsNull() {
						t.Fatalf("%d rows: %s of a row of %s leads nowhere", rows, nav.name, table.ent.Name)
					}
				}
			}
		}
	}
}

func checkDemoValue(t *testing.T, p *property, v kedge.Value) {
	t.Helper()
	switch {
	case v.IsNull() && !p.Nullable:
		t.Errorf("%s is null", p.Name)
	case !v.IsNull() && v.Type() != p.Type:
		t.Errorf("%s is of type %v, want %v", p.Name, v.Type(), p.Type)
	case p.MaxLength > 0 && utf8.RuneCountInString(v.Str()) > p.MaxLength:
		t.Errorf("%s is longer than %d", p.Name, p.MaxLength)
	}
}

// Customers point to contacts and contacts to customers, a row is about 450
// bytes of JSON, and some numbers do not fit a float64.
func TestDemoShape(t *testing.T) {
	s := New(Options{Rows: 100})
	url := s.Start(t)
	raw := get(t, url+"customers", "Accept", "application/json;IEEE754Compatible=true").raw
	if per := len(raw) / 100; per < 380 || per > 480 {
		t.Errorf("a customer has %d bytes of JSON, want about 450", per)
	}
	if v := s.table("customers").set.Row(7)[9]; v.Text() != "9007199254740993" {
		t.Errorf("credit limit of C00008 is %s, want 9007199254740993", v.Text())
	}
	seen := map[string]bool{}
	for _, table := range s.tables {
		for i := range table.navs {
			seen[table.ent.Name+" "+table.navs[i].target] = true
		}
	}
	for _, want := range []string{"customers contacts", "contacts customers", "orders customers", "orderLines orders"} {
		if !seen[want] {
			t.Errorf("no navigation %s", want)
		}
	}
}
