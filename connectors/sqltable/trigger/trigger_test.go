package trigger_test

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/connectors/sqltable/trigger"
	"github.com/kedge-sync/kedge/internal/store"
)

func TestValues(t *testing.T) {
	columns := []catalog.Column{{Storage: catalog.Int}, {Storage: catalog.Text}, {Storage: catalog.Bytes}, {Storage: catalog.Bool}, {Storage: catalog.Float}}
	for _, tt := range []struct {
		engine store.Engine
		key    []int
		noted  string
		want   []any // nil: refused
	}{
		{store.SQLite, []int{0}, "i-7", []any{int64(-7)}},
		{store.SQLite, []int{1}, `ta,b\`, []any{`a,b\`}},
		{store.SQLite, []int{1, 2}, `ta\,b\\,b00FF`, []any{`a,b\`, []byte{0, 255}}},
		{store.SQLite, []int{1, 1}, `t,r1.5`, []any{"", 1.5}},
		{store.SQLite, []int{4}, "r0.0", []any{0.0}},
		{store.SQLite, []int{4}, "r1.0e+300", nil}, // SQLite may have meant a neighbour
		{store.SQLite, []int{4}, "r1.0e-300", nil},
		{store.SQLite, []int{0}, "ix", nil},
		{store.SQLite, []int{0}, "x7", nil},
		{store.SQLite, []int{0}, "", nil},
		{store.SQLite, []int{0, 1}, "i7", nil},
		{store.Postgres, []int{0}, "9223372036854775807", []any{int64(9223372036854775807)}},
		{store.Postgres, []int{3, 4}, "true,-Infinity", []any{true, math.Inf(-1)}},
		{store.Postgres, []int{1, 2}, `a\,b,00ff`, []any{"a,b", []byte{0, 255}}},
		{store.Postgres, []int{0}, "9223372036854775808", nil},
		{store.Postgres, []int{2}, "xyz", nil},
	} {
		got, err := trigger.Values(tt.engine, columns, tt.key, tt.noted)
		if (err != nil) != (tt.want == nil) || err == nil && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v %q: got %v, %v, want %v", tt.engine, tt.noted, got, err, tt.want)
		}
		if err != nil && tt.noted != "" && strings.Contains(err.Error(), tt.noted) {
			t.Errorf("%q is in the error", tt.noted)
		}
	}
}

func FuzzValues(f *testing.F) {
	columns := []catalog.Column{{Storage: catalog.Int}, {Storage: catalog.Bytes}}
	f.Add("i1,b00")
	f.Add("1,00")
	f.Fuzz(func(t *testing.T, noted string) {
		for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
			if got, err := trigger.Values(engine, columns, []int{0, 1}, noted); (err == nil) != (len(got) == 2) {
				t.Errorf("%q: got %v, %v", noted, got, err)
			}
		}
	})
}
