package httpclient

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestGateLimit: a story of cuts and growth.
func TestGateLimit(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	g := newGate(8, func() time.Time { return now })
	g.busy = 8
	for i, step := range []struct {
		after    time.Duration
		throttle time.Duration // a 429 to a call that began this long ago; -1: none
		want     int
	}{
		{0, -1, 8},
		{time.Second, 500 * time.Millisecond, 4}, // halved
		{time.Millisecond, time.Second, 4},       // began before the cut: no news
		{time.Second, 500 * time.Millisecond, 2}, // halved
		{time.Second, 500 * time.Millisecond, 1}, // halved
		{time.Second, 500 * time.Millisecond, 1}, // never 0
		{30*time.Second - 1, -1, 1}, {1, -1, 2},  // one more after 30 s
		{30*time.Second - 1, -1, 2}, {1, -1, 3}, // and again
		{29 * time.Second, time.Hour, 3}, // old news, but starts the 30 s again
		{29 * time.Second, -1, 3}, {time.Second, -1, 4},
		{time.Hour, -1, 8}, // up to the maximum
	} {
		now = now.Add(step.after)
		if step.throttle >= 0 {
			g.throttled(now.Add(-step.throttle))
		}
		g.mu.Lock()
		g.grow()
		if g.limit != step.want {
			t.Errorf("step %d: limit %d, want %d", i, g.limit, step.want)
		}
		g.busy = g.limit
		g.mu.Unlock()
	}
}

// TestGateBounds: never more inside than the limit, all get in, first come
// first served, and those who give up leave no place taken.
func TestGateBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(3, time.Now)
		var inside, most, gaveUp atomic.Int32
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%7)*time.Minute)
				defer cancel()
				time.Sleep(time.Duration(rand.IntN(60)) * time.Second)
				if _, err := g.enter(ctx, sleep); err != nil {
					gaveUp.Add(1)
					return
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(5 * time.Second)
				if i%20 == 0 {
					g.throttled(time.Now())
				}
				if i%50 == 0 {
					g.pause(3 * time.Second)
				}
				inside.Add(-1)
				g.leave()
			})
		}
		wg.Wait()
		if most.Load() > 3 || g.busy != 0 || len(g.waiting) != 0 {
			t.Errorf("at most %d inside, %d left, %d waiting", most.Load(), g.busy, len(g.waiting))
		}
		if n := gaveUp.Load(); n == 0 || n == 200 {
			t.Errorf("%d gave up; the test wants some of both", n)
		}
	})
}

// TestGateShutWhileWaiting: who waits for a place when the pause begins does
// not slip through.
func TestGateShutWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, time.Now)
		start := time.Now()
		if _, err := g.enter(t.Context(), sleep); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Second)
			g.pause(10 * time.Second)
			g.leave()
		}()
		paused, err := g.enter(t.Context(), sleep)
		if got := time.Since(start); err != nil || got != 11*time.Second || paused != 10*time.Second {
			t.Errorf("in after %v, paused %v, %v; want 11s, 10s", got, paused, err)
		}
	})
}

// TestConcurrencyOverHTTP: the server sees the limit, and half of it after 429.
func TestConcurrencyOverHTTP(t *testing.T) {
	var busy, most, n atomic.Int32
	meet := make(chan struct{}, 8) // lets four requests in at once before the first ends
	var throttle atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := busy.Add(1)
		defer busy.Add(-1)
		for m := most.Load(); b > m && !most.CompareAndSwap(m, b); m = most.Load() {
		}
		if n.Add(1) <= 4 {
			meet <- struct{}{}
			for len(meet) < 4 {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Millisecond):
				}
			}
		}
		if throttle.CompareAndSwap(true, false) {
			w.WriteHeader(429)
		}
		io.WriteString(w, "ok")
	}))
	defer srv.Close()
	u, _ := url.Parse(srv.URL)
	c, err := New(Options{Origin: u, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := func(calls int) {
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				if err := c.Do(t.Context(), Request{URL: u}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	all(40)
	if most.Load() != 4 {
		t.Errorf("%d at once, want 4", most.Load())
	}
	throttle.Store(true)
	all(1)
	most.Store(0)
	all(40)
	if most.Load() != 1 { // one was in flight, and half of it is at least 1
		t.Errorf("%d at once after 429, want 1", most.Load())
	}
	if c.gate.busy != 0 {
		t.Errorf("%d places are still taken", c.gate.busy)
	}
}
