package connectors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A keyReader answers reads by key.
type keyReader struct {
	*driver
	found func(keys []kedge.Key) []connectors.Found
}

func (r keyReader) ReadKeys(_ context.Context, _ string, _ []string, keys []kedge.Key) ([]connectors.Found, error) {
	return r.found(keys), nil
}

func TestReadKeysOfKeyReader(t *testing.T) {
	a, b := connectors.Found{Record: thing("a", 1), OK: true}, connectors.Found{Record: thing("b", 2), OK: true}
	cut := a
	cut.Record.Values = cut.Record.Values[:1]
	for name, tt := range map[string]struct {
		found []connectors.Found
		ok    bool
	}{
		"in order":           {[]connectors.Found{a, b}, true},
		"one is not there":   {[]connectors.Found{{}, b}, true},
		"too few answers":    {[]connectors.Found{a}, false},
		"too many answers":   {[]connectors.Found{a, b, b}, false},
		"in another order":   {[]connectors.Found{b, a}, false},
		"with a value short": {[]connectors.Found{cut, b}, false},
	} {
		conn := connectors.New(keyReader{&driver{}, func([]kedge.Key) []connectors.Found { return tt.found }}, nil)
		_, err := conn.ReadKeys(t.Context(), "things", thingFields.Names(), []kedge.Key{"a", "b"})
		if tt.ok && err != nil {
			t.Errorf("%s: got error %v, want none", name, err)
		} else if !tt.ok {
			wantKind(t, name, err, kedge.Internal)
		}
	}
}

// Without a KeyReader the keys become filters, of at most 50 keys and 8 KiB,
// and the answers come in the order of the keys.
func TestReadKeysByFilter(t *testing.T) {
	var records []kedge.Record
	var keys []kedge.Key
	for i := range 120 {
		records = append(records, thing(fmt.Sprintf("it's %03d", i), int64(i)))
	}
	for i := 119; i >= 0; i-- {
		keys = append(keys, records[i].Key, "absent")
	}
	d := filtering(things, records...)
	found, err := connectors.New(d, nil).ReadKeys(t.Context(), "things", thingFields.Names(), keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range found {
		want := keys[i] != "absent"
		if f.OK != want || want && f.Record.Key != keys[i] {
			t.Errorf("answer %d: found %v with key %q, want %v with %q", i, f.OK, f.Record.Key, want, keys[i])
		}
	}
}

func TestReadKeysWithLongKeys(t *testing.T) {
	fits, tooLong := strings.Repeat("'", 4000), strings.Repeat("x", 9000)
	d := filtering(things, thingsOf("a", fits, "b")...)
	conn := connectors.New(d, nil)
	found, err := conn.ReadKeys(t.Context(), "things", thingFields.Names(), []kedge.Key{"b", kedge.Key(fits), "a"})
	if err != nil || !found[0].OK || !found[1].OK || !found[2].OK {
		t.Errorf("keys of 1, 4000 quotes and 1 characters: got %d answers and error %v, want all", len(found), err)
	}
	_, err = conn.ReadKeys(t.Context(), "things", thingFields.Names(), []kedge.Key{"a", kedge.Key(tooLong)})
	wantKind(t, "a key that fits into no filter", err, kedge.Invalid)
	if err != nil && strings.Contains(err.Error(), "xxxx") {
		t.Error("the error holds the key")
	}
}

// Keys of all types that a filter can compare, and composite ones.
func TestReadKeysOfTypes(t *testing.T) {
	at := kedge.Time(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC))
	const guid = "6f1a2b3c-0000-4000-8000-00000000000a"
	for _, tt := range []struct {
		name   string
		fields []kedge.Field
		values [][]kedge.Value
	}{
		{"int", []kedge.Field{{Type: kedge.TypeInt}}, [][]kedge.Value{{kedge.Int(-1)}, {kedge.Int(1<<53 + 1)}, {kedge.Int(1 << 53)}}},
		{"decimal", []kedge.Field{{Type: kedge.TypeDecimal}}, [][]kedge.Value{{kedge.Decimal("19.90")}, {kedge.Decimal("-0.5")}}},
		{"guid", []kedge.Field{{Type: kedge.TypeString, Format: kedge.FormatGUID}}, [][]kedge.Value{{kedge.String(guid)}}},
		{"time", []kedge.Field{{Type: kedge.TypeTime}}, [][]kedge.Value{{at}}},
		{"date", []kedge.Field{{Type: kedge.TypeDate}}, [][]kedge.Value{{kedge.Date(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))}}},
		{"composite", []kedge.Field{{Type: kedge.TypeString}, {Type: kedge.TypeInt}},
			[][]kedge.Value{{kedge.String("a,b"), kedge.Int(1)}, {kedge.String(`a\`), kedge.Int(1)}, {kedge.String("a"), kedge.Int(-1)}}},
	} {
		e := kedge.Entity{Name: "things"}
		for i, f := range tt.fields {
			f.Name = fmt.Sprint("k", i)
			e.Fields, e.Key = append(e.Fields, f), append(e.Key, f.Name)
		}
		var records []kedge.Record
		var keys []kedge.Key
		for _, v := range tt.values {
			records = append(records, kedge.Record{Fields: kedge.NewFields(e.Key...), Values: v, Key: kedge.NewKey(v...)})
			keys = append(keys, kedge.NewKey(v...))
		}
		found, err := connectors.New(filtering(e, records...), nil).ReadKeys(t.Context(), "things", e.Key, keys)
		if err != nil || slices.ContainsFunc(found, func(f connectors.Found) bool { return !f.OK }) {
			t.Errorf("%s: got %v and error %v, want all records", tt.name, found, err)
		}
	}
	e := kedge.Entity{Name: "things", Key: []string{"k"}, Fields: []kedge.Field{{Name: "k", Type: kedge.TypeBytes}}}
	_, err := connectors.New(filtering(e), nil).ReadKeys(t.Context(), "things", nil, []kedge.Key{"AAAA"})
	wantKind(t, "a key of bytes", err, kedge.Unsupported)
}

// A system that compares without case answers with a record that was not
// asked for.
func TestReadKeysMatchesExactly(t *testing.T) {
	d := inPages(thingsOf("ABC", "abc"))
	e := things
	e.Filter = true
	d.entities = []kedge.Entity{e}
	found, err := connectors.New(d, nil).ReadKeys(t.Context(), "things", thingFields.Names(), []kedge.Key{"abc", "Abc"})
	if err != nil || !found[0].OK || found[0].Record.Key != "abc" || found[1].OK {
		t.Errorf("got %v and error %v, want abc only", found, err)
	}
}
