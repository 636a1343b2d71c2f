package sqltable_test

import (
	"testing"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// Columns without a type hold numbers beside texts and bytes, which come in
// the order of their types.
func TestTypelessKeys(t *testing.T) {
	s := storetest.SQLite(t)
	exec(t, s, "CREATE TABLE loose (k PRIMARY KEY, v)", "INSERT INTO loose VALUES (1, 1), (2.5, 2), (10, 3), ('4', 4), ('x', 5)")
	exec(t, s, "CREATE TABLE blobs (v, b BLOB, n INT, PRIMARY KEY (n, b))", "INSERT INTO blobs (b, n) VALUES ('text', 1), ('texts', 1), (x'00', 1), (x'ff', 1), ('text', 2)")
	for _, table := range []string{"loose", "blobs"} {
		if got := readAll(t, open(t, s, ""), connectors.ReadRequest{Entity: table, Fields: []string{"v"}, Size: 1}); len(got) != 5 {
			t.Errorf("%s: got %d rows of 5", table, len(got))
		}
	}
}
