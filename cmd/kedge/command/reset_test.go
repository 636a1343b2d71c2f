package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/syncer"
)

func TestAskReset(t *testing.T) {
	r := syncer.Reset{Integration: "bc", Entities: []syncer.ResetEntity{{Entity: "customers", Table: "account", Rows: 500}, {Entity: "contacts", Table: "contact", Rows: 51}}}
	for answer, agreed := range map[string]bool{"bc\n": true, " bc \n": true, "bc": true, "y\n": false, "BC\n": false, "\n": false, "": false} {
		var out bytes.Buffer
		if err := askReset(r, strings.NewReader(answer), &out); (err == nil) != agreed {
			t.Errorf("answer %q: %v", answer, err)
		}
		for _, want := range []string{`Type "bc" to continue`, "customers", "account", "500", "contacts", "51"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("warning lacks %q:\n%s", want, out.String())
			}
		}
	}
	if got, want := r.Refusal(), "refused: reset-local deletes 551 local rows of 2 entities; confirm with --yes"; got != want {
		t.Errorf("refusal %q, want %q", got, want)
	}
}
