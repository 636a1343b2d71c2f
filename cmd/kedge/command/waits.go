package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// waitEvery is how often it is told, at the most, that a connection is waited
// for.
const waitEvery = 5 * time.Second

// waitLines is a log for people: what the HTTP client waits for is told in one
// plain line, at most every few seconds; all else goes to the Handler.
type waitLines struct {
	slog.Handler
	out io.Writer
	now func() time.Time

	mu   sync.Mutex
	last map[string]time.Time // by connection
}

// Handle prints a record that says how long is waited, and hands on others.
func (h *waitLines) Handle(ctx context.Context, r slog.Record) error {
	var connection, why string
	var wait time.Duration
	waits := false
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "connection":
			connection = a.Value.String()
		case "wait":
			waits, wait = true, a.Value.Duration() // 0 after a pause, which was told
		case "err":
			why = a.Value.String()
		case "status":
			why = fmt.Sprintf("the service asks for a pause (%v)", a.Value)
		}
		return true
	})
	if !waits {
		return h.Handler.Handle(ctx, r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if before, ok := h.last[connection]; ok && now.Sub(before) < waitEvery {
		return nil
	}
	if h.last == nil {
		h.last = map[string]time.Time{}
	}
	h.last[connection] = now
	_, err := fmt.Fprintf(h.out, "kedge: connection %q: %s; trying again in %v\n", connection, why, max(wait.Round(time.Second), time.Second))
	return err
}
