package sqltable_test

import (
	"testing"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func TestTypelessKeys(t *testing.T) {
	s := storetest.SQLite(t)
	exec(t, s, "CREATE TABLE loose (k PRIMARY KEY, v)", "INSERT INTO loose VALUES (1, 1), (2, 2), (3, 3), ('4', 4), ('x', 5)")
	if got := readAll(t, open(t, s, ""), connectors.ReadRequest{Entity: "loose", Fields: []string{"v"}, Size: 1}); len(got) != 5 {
		t.Errorf("got %d rows of 5", len(got))
	}
}
