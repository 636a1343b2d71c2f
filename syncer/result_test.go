package syncer

import (
	"testing"

	"pgregory.net/rapid"
)

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Counts
		want string
	}{
		{"13 new, 2 matched", Counts{Read: 15, Created: 13, Changed: 1, Unchanged: 1}, "RESULTS: ALL (15) : IMPORTED (13); UPDATED (2); FAILED (0)"},
		{"nothing", Counts{}, "RESULTS: ALL (0) : IMPORTED (0); UPDATED (0); FAILED (0)"},
		{"filtered is outside ALL", Counts{Read: 9, Created: 1, Deleted: 2, Kept: 1, Quarantined: 1, Duplicates: 1, Refused: 1, Filtered: 2}, "RESULTS: ALL (7) : IMPORTED (1); UPDATED (3); FAILED (3)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.c.Line(); got != tt.want {
				t.Errorf("Line() = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestCountsSum checks that whatever outcomes records have one after the
// other, each counts once.
func TestCountsSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Counts
		last := map[int]Outcome{}
		for range rapid.IntRange(0, 200).Draw(t, "events") {
			rec := rapid.IntRange(0, 20).Draw(t, "record")
			next := last[rec].then(Outcome(rapid.IntRange(int(Created), int(Filtered)).Draw(t, "outcome")))
			c.count(last[rec], next)
			last[rec] = next
		}
		sum := c.Created + c.Changed + c.Unchanged + c.Deleted + c.Kept + c.Quarantined + c.Duplicates + c.Refused + c.Filtered
		if int(c.Read) != len(last) || sum != c.Read || c.Imported()+c.Updated()+c.Failed()+c.Filtered != c.Read {
			t.Errorf("%d records: read %d, sum %d, %s", len(last), c.Read, sum, c.Line())
		}
	})
}
