package ingest

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// What resourceIds is read as is never nothing, which a careless caller could
// take for all.
func FuzzResourceIDs(f *testing.F) {
	for _, s := range []string{"a", "a,b", `["a,b","[c"]`, "[", "[]", ",", "", `["a"`, `[""]`, `[1]`, "\xff", "a\x00", strings.Repeat("a,", 1001)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		ids, err := resourceIDs([]string{value})
		if err != nil {
			return
		}
		if len(ids) == 0 || len(ids) > maxIDs {
			t.Fatalf("%d ids", len(ids))
		}
		for _, id := range ids {
			if id == "" || !utf8.ValidString(id) || utf8.RuneCountInString(id) > maxIDLength {
				t.Fatalf("id %q", id)
			}
		}
	})
}
