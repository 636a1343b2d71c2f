package command

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-sync/kedge/syncer"
)

// TestProgressLines: without a terminal there is a line per entity every five
// seconds, and none for short work.
func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		tell := progressLines(&out)
		for i := range 13 { // six seconds, then half a second more
			time.Sleep(500 * time.Millisecond)
			tell(syncer.Progress{Integration: "crm", Entity: "customers", Rows: int64(i), Total: 100, Rate: 2, ETA: 49*time.Second + 400*time.Millisecond})
			tell(syncer.Progress{Integration: "crm", Entity: "contacts", Rows: int64(10 * i), Rate: 20})
		}
		want := "crm customers: 9 rows, 2 rows/s, 49s left\ncrm contacts: 90 rows, 20 rows/s\n"
		if out.String() != want {
			t.Errorf("after 6.5 s: got\n%swant\n%s", out.String(), want)
		}
		time.Sleep(4 * time.Second)
		tell(syncer.Progress{Integration: "crm", Entity: "customers", Rows: 50, Rate: 2})
		if got, want := strings.TrimPrefix(out.String(), want), "crm customers: 50 rows, 2 rows/s\n"; got != want {
			t.Errorf("five seconds later: got %q, want %q", got, want)
		}
	})
}
