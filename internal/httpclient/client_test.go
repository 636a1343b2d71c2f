package httpclient_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
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

// TestRequestHeaders: what the other system sees of a plain request.
func TestRequestHeaders(t *testing.T) {
	var got http.Header
	var path string
	c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { got, path = r.Header, r.RequestURI }, func(o *httpclient.Options) {
		o.UserAgent = "kedge/1.2.3"
	})
	u = parse(t, u.String()+"/Set('a%2Fb')?$skiptoken=a%20b+c%2B#fragment")
	mine := http.Header{"Prefer": {"odata.maxpagesize=5"}}
	if err := c.Do(t.Context(), httpclient.Request{URL: u, Header: mine}, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"User-Agent": "kedge/1.2.3", "Prefer": "odata.maxpagesize=5", "Accept-Encoding": "gzip"} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
	if want := "/Set('a%2Fb')?$skiptoken=a%20b+c%2B"; path != want { // next links are opaque
		t.Errorf("requested %s, want %s", path, want)
	}
	if len(mine) != 1 {
		t.Errorf("the caller's header was changed to %v", mine)
	}
}

// Cookies go with the requests that ask for it, and with no others.
func TestCookies(t *testing.T) {
	var got []string
	c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Cookie"))
		http.SetCookie(w, &http.Cookie{Name: "session", Value: fmt.Sprint(len(got))})
	}, nil)
	for _, cookies := range []bool{false, true, false, true} {
		if err := c.Do(t.Context(), httpclient.Request{URL: u, Cookies: cookies}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"", "", "", "session=2"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

func TestObserve(t *testing.T) {
	var seen []int
	n := 0
	c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n++; n {
		case 1:
			w.WriteHeader(502)
		case 2:
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		}
	}, func(o *httpclient.Options) {
		o.Observe = func(status int, _ time.Duration) { seen = append(seen, status) }
	})
	// Not GET, for net/http itself repeats that on a connection that was in use before.
	if err := c.Do(t.Context(), httpclient.Request{Method: "POST", URL: u}, nil); err != nil || len(seen) != 3 || seen[0] != 502 || seen[1] != 0 || seen[2] != 200 {
		t.Errorf("%v, observed %v, want 502, 0, 200", err, seen)
	}
}

// TestLogs: a repeat is a warning that names the connection, and shows neither
// query nor credentials.
func TestLogs(t *testing.T) {
	var out strings.Builder
	n := 0
	c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n++; n {
		case 1:
			w.WriteHeader(502)
		case 2:
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(429)
		}
	}, func(o *httpclient.Options) {
		o.Logger, o.Auth = slog.New(slog.NewTextHandler(&out, nil)), httpclient.Bearer("hush")
	})
	u.RawQuery = "filter=hush"
	if err := c.Do(t.Context(), httpclient.Request{Op: "test.Get", URL: u}, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`level=WARN msg="request will be repeated" connection=test op=test.Get attempt=1`, `msg="connection paused" connection=test op=test.Get status=429 wait=3s`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "hush") {
		t.Errorf("log shows a secret:\n%s", out.String())
	}
}
