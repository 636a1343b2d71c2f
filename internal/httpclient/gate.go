package httpclient

import (
	"context"
	"slices"
	"sync"
	"time"
)

// growAfter is the time without a throttling answer after which one more call
// may be in flight.
const growAfter = 30 * time.Second

// A gate bounds the calls in flight of a connection, and can be shut for a time.
type gate struct {
	now func() time.Time

	mu      sync.Mutex
	max     int
	limit   int // 1 to max
	busy    int
	halved  time.Time       // when limit was last cut
	changed time.Time       // when limit was last cut, confirmed or raised
	until   time.Time       // shut until then
	waiting []chan struct{} // first come, first served
}

func newGate(max int, now func() time.Time) *gate {
	return &gate{now: now, max: max, limit: max}
}

// enter waits for a place. It returns how long the gate was shut meanwhile.
func (g *gate) enter(ctx context.Context, sleep func(context.Context, time.Duration) error) (time.Duration, error) {
	var paused time.Duration
	var slept time.Time // the end of the pause that was slept out
	for {
		until := g.shutUntil()
		if d := until.Sub(g.now()); d > 0 && until.After(slept) {
			if err := sleep(ctx, d); err != nil {
				return paused, err
			}
			paused += d
			slept = until
			continue
		}
		if err := g.take(ctx); err != nil {
			return paused, err
		}
		if !g.shutUntil().After(until) {
			return paused, nil
		}
		g.leave() // it was shut while we waited for the place
	}
}

func (g *gate) shutUntil() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until
}

func (g *gate) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.mu.Lock()
	g.grow()
	if g.busy < g.limit && len(g.waiting) == 0 {
		g.busy++
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	g.waiting = append(g.waiting, turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.waiting, turn)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 {
		g.leave() // our turn came at the same time
	}
	return ctx.Err()
}

// leave gives a place back.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy--
	g.grow()
	for g.busy < g.limit && len(g.waiting) > 0 {
		g.busy++
		close(g.waiting[0])
		g.waiting = g.waiting[1:]
	}
}

// grow raises the limit by one for each growAfter without a throttling answer.
func (g *gate) grow() {
	if g.limit == g.max {
		return
	}
	n := int(g.now().Sub(g.changed) / growAfter)
	if n <= 0 {
		return
	}
	g.limit = min(g.max, g.limit+n)
	g.changed = g.changed.Add(time.Duration(n) * growAfter)
}

// throttled halves the calls in flight after a throttling answer to a call
// that began at the given time. Calls that began before the last cut tell
// nothing new.
func (g *gate) throttled(began time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed = g.now()
	if began.Before(g.halved) {
		return
	}
	g.halved = g.changed
	g.limit = max(1, min(g.limit, g.busy)/2)
}

// pause shuts the gate for d and reports whether that is longer than before.
func (g *gate) pause(d time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	until := g.now().Add(d)
	if !until.After(g.until) {
		return false
	}
	g.until = until
	return true
}
