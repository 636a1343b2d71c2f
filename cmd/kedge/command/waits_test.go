package command

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// What the HTTP client waits for is one plain line per connection every few
// seconds; other lines stay what they are.
func TestWaitLines(t *testing.T) {
	var out, rest strings.Builder
	now := time.Unix(0, 0)
	log := slog.New(&waitLines{Handler: slog.NewTextHandler(&rest, nil), out: &out, now: func() time.Time { return now }})
	repeat := func(connection string, wait time.Duration) {
		log.Warn("request will be repeated", "connection", connection, "op", "odata.Schema", "attempt", 1, "wait", wait, "err", errors.New("GET refused"))
	}
	repeat("crm", 1600*time.Millisecond)
	repeat("crm", 2*time.Second)
	repeat("erp", 100*time.Millisecond)
	now = now.Add(waitEvery)
	log.Warn("connection paused", "connection", "crm", "status", 429, "wait", time.Minute)
	repeat("crm", 0)
	want := `kedge: connection "crm": GET refused; trying again in 2s
kedge: connection "erp": GET refused; trying again in 1s
kedge: connection "crm": the service asks for a pause (429); trying again in 1m0s
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if rest.Len() > 0 {
		t.Errorf("logged %q, want nothing", rest.String())
	}
	log.Warn("disk nearly full", "connection", "crm")
	if !strings.Contains(rest.String(), `msg="disk nearly full" connection=crm`) {
		t.Errorf("logged %q, want the other line", rest.String())
	}
}
