package httpclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

const (
	read       = httpclient.Read
	idempotent = httpclient.Idempotent
	once       = httpclient.Once
)

// TestStatuses is the table of kinds: what each status means for each effect,
// and how often it is sent.
func TestStatuses(t *testing.T) {
	type result struct {
		kind  kedge.Kind
		tries int
	}
	again := result{kedge.Transient, 6}
	unknown := result{kedge.OutcomeUnknown, 1}
	slow := result{kedge.Throttled, 6}
	same := func(k kedge.Kind) [3]result { r := result{k, 1}; return [3]result{r, r, r} }
	for _, tt := range []struct {
		status     int
		retryAfter string
		want       [3]result // read, idempotent, once
	}{
		{400, "", same(kedge.Invalid)},
		{401, "", same(kedge.Unauthorized)},
		{402, "", same(kedge.Invalid)},
		{403, "", same(kedge.Forbidden)},
		{404, "", same(kedge.NotFound)},
		{405, "", same(kedge.Unsupported)},
		{406, "", same(kedge.Invalid)},
		{408, "", [3]result{again, again, unknown}},
		{409, "", same(kedge.Conflict)},
		{410, "", same(kedge.NotFound)},
		{412, "", same(kedge.Conflict)},
		{413, "", same(kedge.TooLarge)},
		{414, "", same(kedge.TooLarge)},
		{415, "", same(kedge.Invalid)},
		{418, "", same(kedge.Invalid)},
		{422, "", same(kedge.Invalid)},
		{424, "", [3]result{again, again, unknown}},
		{425, "", [3]result{again, again, unknown}},
		{428, "", same(kedge.Invalid)},
		{429, "", [3]result{slow, slow, slow}},
		{429, "7", [3]result{slow, slow, slow}},
		{429, "soon", [3]result{slow, slow, slow}},
		{451, "", same(kedge.Forbidden)},
		{499, "", same(kedge.Invalid)},
		{500, "", [3]result{again, again, unknown}},
		{500, "7", [3]result{again, again, unknown}},
		{501, "", same(kedge.Unsupported)},
		{502, "", [3]result{again, again, unknown}},
		{503, "", [3]result{again, again, unknown}},
		{503, "soon", [3]result{again, again, unknown}},
		{503, "7", [3]result{slow, slow, slow}},
		{504, "", [3]result{again, again, unknown}},
		{505, "", same(kedge.Unsupported)},
		{599, "", [3]result{again, again, unknown}},
	} {
		for effect, want := range tt.want {
			t.Run(fmt.Sprintf("%d %s effect %d", tt.status, tt.retryAfter, effect), func(t *testing.T) {
				n := 0
				c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
					n++
					if body, _ := io.ReadAll(r.Body); string(body) != "payload" {
						t.Errorf("request %d had body %q", n, body)
					}
					if tt.retryAfter != "" {
						w.Header().Set("Retry-After", tt.retryAfter)
					}
					w.WriteHeader(tt.status)
				}, nil)
				u.RawQuery = "secret=1"
				err := c.Do(t.Context(), httpclient.Request{Op: "test.Send", Method: "POST", URL: u, Body: []byte("payload"),
					Effect: httpclient.Effect(effect)}, func(*httpclient.Response) error { t.Error("read was called"); return nil })
				if got := (result{kedge.KindOf(err), n}); got != want {
					t.Errorf("got %v, want %v (%v)", got, want, err)
				}
				se, ok := errors.AsType[*httpclient.StatusError](err)
				if !ok || se.Status != tt.status {
					t.Errorf("no StatusError of %d in %v", tt.status, err)
				}
				if s := err.Error(); strings.Contains(s, "secret") || !strings.HasPrefix(s, "test.Send: POST http://127.0.0.1:") {
					t.Errorf("text %q", s)
				}
			})
		}
	}
}

func TestSingleTry(t *testing.T) {
	for effect, want := range map[httpclient.Effect]int{read: 6, idempotent: 1, once: 1} {
		for _, status := range []int{429, 502, 503} {
			n := 0
			c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { n++; w.WriteHeader(status) },
				func(o *httpclient.Options) { o.SingleTry = true })
			if c.Do(t.Context(), httpclient.Request{URL: u, Effect: effect}, nil) == nil || n != want {
				t.Errorf("status %d, effect %d: %d requests, want %d", status, effect, n, want)
			}
		}
	}
}

// TestWaits: random between 0.5 s and a bound that grows to 60 s.
func TestWaits(t *testing.T) {
	s := time.Second
	for _, tt := range []struct {
		rand float64
		want []time.Duration
	}{
		{0, []time.Duration{s / 2, s / 2, s / 2, s / 2, s / 2}},
		{0.999999999999, []time.Duration{2 * s, 8 * s, 32 * s, 60 * s, 60 * s}},
	} {
		c, u, clk := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502) },
			func(o *httpclient.Options) { o.Rand = func() float64 { return tt.rand } })
		c.Do(t.Context(), httpclient.Request{URL: u}, nil)
		if len(clk.slept) != len(tt.want) {
			t.Fatalf("slept %v", clk.slept)
		}
		for i, d := range clk.slept {
			if d.Round(time.Millisecond) != tt.want[i] {
				t.Errorf("rand %v: wait %d is %v, want %v", tt.rand, i, d, tt.want[i])
			}
		}
	}
}

// TestTotal: no try begins later than 10 minutes after the first.
func TestTotal(t *testing.T) {
	for _, tt := range []struct {
		each time.Duration // time of a request
		want int
	}{
		{100 * time.Second, 6}, {120 * time.Second, 5}, {9*time.Minute + 59*time.Second, 2}, {10 * time.Minute, 1},
	} {
		n := 0
		var clk *clock
		c, u, clk := serve(t, func(w http.ResponseWriter, r *http.Request) {
			n++
			clk.Sleep(r.Context(), tt.each)
			w.WriteHeader(502)
		}, func(o *httpclient.Options) { o.Rand = func() float64 { return 0 } })
		c.Do(t.Context(), httpclient.Request{URL: u}, nil)
		if n != tt.want {
			t.Errorf("requests of %v: %d, want %d", tt.each, n, tt.want)
		}
	}
}

// TestPause: Retry-After keeps all calls of the connection back, and the time
// does not count.
func TestPause(t *testing.T) {
	for _, tt := range []struct {
		value string // %s: date of now plus 90 s
		want  time.Duration
	}{
		{"2", 2 * time.Second}, {"90", 90 * time.Second}, {"900", 15 * time.Minute}, {"901", 15 * time.Minute}, {"999999999999999999999", 15 * time.Minute},
		{"date", 90 * time.Second},
	} {
		t.Run(tt.value, func(t *testing.T) {
			n := 0
			var clk *clock
			var first, second time.Time
			c, u, clk := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if n++; n > 1 {
					second = clk.Now()
					return
				}
				first = clk.Now()
				w.Header().Set("Date", clk.Now().Add(time.Hour).Format(http.TimeFormat)) // its clock is wrong
				v := tt.value
				if v == "date" {
					v = clk.Now().Add(time.Hour + 90*time.Second).Format(http.TimeFormat)
				}
				w.Header().Set("Retry-After", v)
				w.WriteHeader(429)
			}, func(o *httpclient.Options) { o.SingleTry = true })
			err := c.Do(t.Context(), httpclient.Request{URL: u, Effect: idempotent}, nil)
			if e, ok := errors.AsType[*kedge.Error](err); !ok || e.Kind != kedge.Throttled || e.RetryAfter < tt.want {
				t.Errorf("got %#v, want Throttled with RetryAfter", err)
			}
			if err := c.Do(t.Context(), httpclient.Request{URL: u}, nil); err != nil {
				t.Error(err)
			}
			if got := second.Sub(first); got != tt.want {
				t.Errorf("next request after %v, want %v", got, tt.want)
			}
		})
	}
}

// TestLongPauseIsWaitedOut: a run at night shall get through, not fail, so
// pauses do not count towards the 10 minutes.
func TestLongPauseIsWaitedOut(t *testing.T) {
	n := 0
	c, u, clk := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n < 4 {
			w.Header().Set("Retry-After", "840")
			w.WriteHeader(503)
		}
	}, nil)
	if err := c.Do(t.Context(), httpclient.Request{URL: u, Effect: once}, nil); err != nil || n != 4 || clk.total() != 42*time.Minute {
		t.Errorf("%v after %d requests and %v", err, n, clk.total())
	}
}

// TestStrangersDoNotPause: without an origin only the call itself waits.
func TestStrangersDoNotPause(t *testing.T) {
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(429)
		}
	}))
	defer srv.Close()
	clk := newClock()
	c, err := httpclient.New(httpclient.Options{Egress: loopback, SingleTry: true, Now: clk.Now, Sleep: clk.Sleep})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	first := c.Do(t.Context(), httpclient.Request{URL: parse(t, srv.URL), Effect: idempotent}, nil)
	second := c.Do(t.Context(), httpclient.Request{URL: parse(t, srv.URL), Effect: idempotent}, nil)
	if kedge.KindOf(first) != kedge.Throttled || second != nil || clk.total() != 0 {
		t.Errorf("%v, then %v after %v", first, second, clk.total())
	}
}

func TestRate(t *testing.T) {
	c, u, clk := serve(t, func(http.ResponseWriter, *http.Request) {}, func(o *httpclient.Options) { o.Rate, o.Burst = 2, 3 })
	for range 13 {
		if err := c.Do(t.Context(), httpclient.Request{URL: u}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := clk.total().Round(time.Millisecond); got != 5*time.Second {
		t.Errorf("13 requests at 2/s with a burst of 3 took %v, want 5s", got)
	}
}

// TestReadIsPartOfTheTry: a page that cannot be decoded because it was cut is
// fetched again; a page that is wrong is not.
func TestReadIsPartOfTheTry(t *testing.T) {
	cut := &kedge.Error{Op: "odata.ReadPage", Kind: kedge.Transient}
	wrong := &kedge.Error{Op: "odata.ReadPage", Kind: kedge.Invalid}
	for _, tt := range []struct {
		effect httpclient.Effect
		err    error
		kind   kedge.Kind
		tries  int
	}{
		{read, cut, kedge.Transient, 6}, {idempotent, cut, kedge.Transient, 6}, {once, cut, kedge.OutcomeUnknown, 1},
		{read, wrong, kedge.Invalid, 1}, {once, wrong, kedge.Invalid, 1},
		{read, io.ErrUnexpectedEOF, kedge.Internal, 1}, {read, fmt.Errorf("wrapped: %w", cut), kedge.Transient, 6},
	} {
		n := 0
		c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { n++ }, nil)
		err := c.Do(t.Context(), httpclient.Request{Op: "x", URL: u, Effect: tt.effect}, func(*httpclient.Response) error { return tt.err })
		if _, ok := err.(*kedge.Error); !ok || kedge.KindOf(err) != tt.kind || n != tt.tries {
			t.Errorf("read returns %v, effect %d: %T %v after %d tries, want %v after %d", tt.err, tt.effect, err, err, n, tt.kind, tt.tries)
		}
	}
}

func TestClassify(t *testing.T) {
	n := 0
	var bodies []string
	c, u, clk := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		w.WriteHeader(403)
		fmt.Fprintf(w, "slow down %d", n)
	}, nil)
	err := c.Do(t.Context(), httpclient.Request{URL: u, Classify: func(r *httpclient.Response) error {
		if bodies = append(bodies, string(r.Body)); n == 3 {
			return nil
		}
		return &kedge.Error{Kind: kedge.Throttled, RetryAfter: 5 * time.Second}
	}}, nil)
	if kedge.KindOf(err) != kedge.Forbidden || strings.Join(bodies, ",") != "slow down 1,slow down 2,slow down 3" || clk.total() != 10*time.Second {
		t.Errorf("got %v after %q and %v", err, bodies, clk.total())
	}
}

// TestLostReplies: the connection breaks before, in or after the header.
func TestLostReplies(t *testing.T) {
	for _, answer := range []string{"", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "garbage\r\n\r\n"} {
		for effect, want := range map[httpclient.Effect]kedge.Kind{read: kedge.Transient, idempotent: kedge.Transient, once: kedge.OutcomeUnknown} {
			var n atomic.Int32
			c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				n.Add(1)
				conn, _, err := w.(http.Hijacker).Hijack()
				if err == nil {
					io.WriteString(conn, answer)
					conn.Close()
				}
			}, nil)
			// With this header net/http would send a POST again by itself.
			h := http.Header{"Idempotency-Key": {"k1"}}
			err := c.Do(t.Context(), httpclient.Request{Method: "POST", Header: h, URL: u, Effect: effect, Body: []byte("x")}, nil)
			tries := int32(6)
			if effect == once {
				tries = 1
			}
			if kedge.KindOf(err) != want || n.Load() != tries {
				t.Errorf("answer %q, effect %d: %v after %d requests, want %v after %d", answer, effect, err, n.Load(), want, tries)
			}
			if strings.Contains(err.Error(), "garbage") {
				t.Errorf("text shows what the server sent: %v", err)
			}
		}
	}
}

// TestReusedConnectionIsLost: the second request on a connection meets a
// server that reads it and hangs up; net/http must not send it again.
func TestReusedConnectionIsLost(t *testing.T) {
	var n atomic.Int32
	var key atomic.Value
	c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			return
		}
		key.Store(r.Header.Get("Idempotency-Key"))
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	}, nil)
	r := httpclient.Request{Method: "POST", URL: u, Effect: once, Header: http.Header{"Idempotency-Key": {"k1"}}}
	if err := c.Do(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	err := c.Do(t.Context(), r, nil)
	if kedge.KindOf(err) != kedge.OutcomeUnknown || n.Load() != 2 || key.Load() != "k1" {
		t.Errorf("%v after %d requests with key %v, want OutcomeUnknown after 2 with k1", err, n.Load(), key.Load())
	}
}

// TestNothingSent: what cannot have been executed may be repeated.
func TestNothingSent(t *testing.T) {
	down := closedPort(t)
	for effect := range once + 1 {
		c, clk := connect(t, down, nil)
		err := c.Do(t.Context(), httpclient.Request{Op: "x", Method: "POST", URL: parse(t, down), Effect: effect}, nil)
		ne, ok := errors.AsType[*httpclient.NetError](err)
		if kedge.KindOf(err) != kedge.Transient || len(clk.slept) != 5 || !ok || ne.Phase != httpclient.PhaseConnect {
			t.Errorf("effect %d: %v after %d waits, want Transient after 5", effect, err, len(clk.slept))
		}
	}
}

// TestFailFast: a person who waits is told at once that nothing can be reached,
// but a bad answer is still repeated.
func TestFailFast(t *testing.T) {
	n := 0
	c, u, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.WriteHeader(http.StatusBadGateway)
	}, func(o *httpclient.Options) { o.FailFast = true })
	if err := c.Do(t.Context(), httpclient.Request{Op: "x", URL: u}, nil); kedge.KindOf(err) != kedge.Transient || n != 6 {
		t.Errorf("a bad answer: %v after %d requests, want Transient after 6", err, n)
	}
	for name, down := range map[string]string{"refused": closedPort(t), "unknown host": "https://nothing.invalid"} {
		c, clk := connect(t, down, func(o *httpclient.Options) { o.FailFast = true })
		err := c.Do(t.Context(), httpclient.Request{Op: "x", URL: parse(t, down)}, nil)
		if kedge.KindOf(err) != kedge.Transient || len(clk.slept) != 0 {
			t.Errorf("%s: %v after %d waits, want Transient at once", name, err, len(clk.slept))
		}
		if want := "x: GET " + down + ": connection refused: nothing listens at " + down[len("http://"):]; name == "refused" && err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

// closedPort returns the URL of a server that was closed.
func closedPort(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(nil)
	srv.Close()
	return srv.URL
}

func TestMalformedRequests(t *testing.T) {
	c, u, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") }, nil)
	for _, r := range []httpclient.Request{
		{}, {URL: u, Method: "NOT A METHOD"}, {URL: u, Header: http.Header{"X-Secret": {"top\nsecret"}}},
		{URL: u, Header: http.Header{"Bad Name": {"x"}}},
	} {
		r.Op, r.Effect = "test.Bad", once
		if err := c.Do(t.Context(), r, nil); kedge.KindOf(err) != kedge.Invalid || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v, want Invalid", r, err)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		c, u, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") }, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := c.Do(ctx, httpclient.Request{URL: u, Effect: once}, nil)
		if kedge.KindOf(err) != kedge.Transient || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	for effect, want := range map[httpclient.Effect]kedge.Kind{read: kedge.Transient, once: kedge.OutcomeUnknown} {
		t.Run(fmt.Sprintf("while waiting for the answer, effect %d", effect), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }, nil)
			err := c.Do(ctx, httpclient.Request{URL: u, Effect: effect, Method: "POST"}, nil)
			if kedge.KindOf(err) != want || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
	t.Run("while waiting for the next try", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { n++; w.WriteHeader(502) }, func(o *httpclient.Options) {
			o.Sleep = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
		})
		err := c.Do(ctx, httpclient.Request{URL: u}, nil)
		if !errors.Is(err, context.Canceled) || n != 1 {
			t.Errorf("got %v after %d requests", err, n)
		}
	})
}

func TestFirstByteTimeout(t *testing.T) {
	for effect, want := range map[httpclient.Effect]kedge.Kind{read: kedge.Transient, once: kedge.OutcomeUnknown} {
		var n atomic.Int32
		c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, func(o *httpclient.Options) { o.Timeout = 10 * time.Millisecond })
		err := c.Do(t.Context(), httpclient.Request{URL: u, Effect: effect}, nil)
		ne, ok := errors.AsType[*httpclient.NetError](err)
		if !ok || ne.Phase != httpclient.PhaseTimeout || kedge.KindOf(err) != want {
			t.Errorf("effect %d: %v, want a time-out of kind %v", effect, err, want)
		}
	}
}
