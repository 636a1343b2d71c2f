package httpclient_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

var quiet = log.New(io.Discard, "", 0)

// A clock is a fake one that sleeping moves.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

func (c *clock) total() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum time.Duration
	for _, d := range c.slept {
		sum += d
	}
	return sum
}

// serve starts a server and returns a client of it, whose clock moves by itself.
func serve(t *testing.T, h http.HandlerFunc, set func(*httpclient.Options)) (*httpclient.Client, *url.URL, *clock) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, clk := connect(t, srv.URL, set)
	return c, parse(t, srv.URL), clk
}

func connect(t *testing.T, origin string, set func(*httpclient.Options)) (*httpclient.Client, *clock) {
	t.Helper()
	clk := newClock()
	opts := httpclient.Options{Name: "test", Origin: parse(t, origin), Now: clk.Now, Sleep: clk.Sleep}
	if set != nil {
		set(&opts)
	}
	c, err := httpclient.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, clk
}

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestReadIsRepeated(t *testing.T) {
	n := 0
	c, u, clk := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n < 6 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		io.WriteString(w, "hello")
	}, nil)
	var got string
	err := c.Do(t.Context(), httpclient.Request{Op: "test.Get", URL: u}, func(r *httpclient.Response) error {
		got = string(r.Body)
		return nil
	})
	if err != nil || got != "hello" || n != 6 {
		t.Errorf("got %q, %v after %d requests, want hello after 6", got, err, n)
	}
	if s := len(clk.slept); s != 5 {
		t.Errorf("slept %d times, want 5", s)
	}
}

func TestNotFoundIsNot(t *testing.T) {
	n := 0
	c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { n++; w.WriteHeader(404) }, nil)
	err := c.Do(t.Context(), httpclient.Request{Op: "test.Get", URL: u}, nil)
	if kedge.KindOf(err) != kedge.NotFound || n != 1 {
		t.Errorf("got %v after %d requests, want NotFound after 1", err, n)
	}
}
