package syncer_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/syncer"
)

// TestOrderOfAnUpload looks at what is durable at each step: local notes are
// kept until the outbox has them (p7), the write log knows what is about to be
// sent (p8), and the base is what the other side stored, not what was sent (p10).
func TestOrderOfAnUpload(t *testing.T) {
	eachNotes(t, odatatest.Options{Quirks: []string{odatatest.Normalise}}, nil, func(t *testing.T, w *odataWorld) {
		w.run(syncer.Request{})
		w.exec("INSERT INTO note (id, text) VALUES ('n1', ' padded ')")
		passed := ""
		w.hook = func(point string) {
			switch point {
			case "p7":
				if n := len(w.rows("kedge_change", "seq")); n == 0 {
					t.Error("p7: the notes of local edits are gone before the source was told")
				}
			case "p8":
				if n := len(w.rows("integration_writelog", "id")); n != 1 || len(w.service.Writes()) != 0 {
					t.Errorf("p8: %d rows in the write log, want one before anything is sent", n)
				}
			case "p10":
				if got := w.rows("integration_base", "base"); !slices.Equal(got, []string{`{"text":"padded","owner":null}`}) {
					t.Errorf("p10: base %q, want what the service stored", got)
				}
			default:
				return
			}
			passed += point + " "
		}
		w.run(syncer.Request{})
		if !strings.HasPrefix(passed, "p7 p8 p10 ") {
			t.Errorf("the run passed %s", passed)
		}
	})
}
