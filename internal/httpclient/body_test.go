package httpclient_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

func zip(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func chunked(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := min(7, len(s))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, s[:n])
		s = s[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// raw answers each request with the bytes that answer returns, then hangs up.
func raw(t *testing.T, answer func(n int) string) (*httpclient.Client, httpclient.Request, *atomic.Int32) {
	t.Helper()
	var n atomic.Int32
	c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		io.WriteString(conn, answer(int(n.Add(1))))
		conn.Close()
	}, nil)
	return c, httpclient.Request{Op: "test.Get", URL: u}, &n
}

// TestCutAtEveryByte: wherever the first answer breaks off, the second try
// delivers the whole page, and no part of a page is ever delivered.
func TestCutAtEveryByte(t *testing.T) {
	page := `{"value":[{"id":1},{"id":2}]}`
	zipped := zip(t, page)
	for name, whole := range map[string]string{
		"length":       fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(page), page),
		"chunked":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(page),
		"gzip":         fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(zipped), zipped),
		"gzip chunked": "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(zipped),
	} {
		t.Run(name, func(t *testing.T) {
			cut := 0
			c, r, n := raw(t, func(n int) string {
				if n == 1 {
					return whole[:cut]
				}
				return whole
			})
			for cut = range len(whole) {
				n.Store(0)
				calls := 0
				err := c.Do(t.Context(), r, func(r *httpclient.Response) error {
					if calls++; string(r.Body) != page {
						t.Errorf("cut at %d: read got %q", cut, r.Body)
					}
					return nil
				})
				if err != nil || calls != 1 || n.Load() != 2 {
					t.Fatalf("cut at %d: %v, %d calls of read, %d requests; want nil, 1, 2", cut, err, calls, n.Load())
				}
			}
		})
	}
}

func TestMaxBytes(t *testing.T) {
	const max = 1000
	for _, form := range []string{"length", "chunked", "gzip", "close"} {
		for size, ok := range map[int]bool{0: true, 1: true, max - 1: true, max: true, max + 1: false, 100 * max: false} {
			t.Run(fmt.Sprint(form, " ", size), func(t *testing.T) {
				n := 0
				page := strings.Repeat("x", size)
				c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
					n++
					body := page
					switch form {
					case "length":
						w.Header().Set("Content-Length", fmt.Sprint(size))
					case "gzip":
						body = zip(t, page)
						w.Header().Set("Content-Encoding", "gzip")
					case "chunked":
						w.(http.Flusher).Flush()
					case "close":
						conn, _, _ := w.(http.Hijacker).Hijack()
						io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\n"+page)
						conn.Close()
						return
					}
					io.WriteString(w, body)
				}, nil)
				got := ""
				err := c.Do(t.Context(), httpclient.Request{URL: u, MaxBytes: max}, func(r *httpclient.Response) error { got = string(r.Body); return nil })
				if ok && (err != nil || got != page) {
					t.Errorf("got %d bytes and %v", len(got), err)
				}
				if !ok && (kedge.KindOf(err) != kedge.TooLarge || n != 1) {
					t.Errorf("got %v after %d requests, want TooLarge after 1", err, n)
				}
				if once := c.Do(t.Context(), httpclient.Request{URL: u, MaxBytes: max, Effect: once}, nil); !ok && kedge.KindOf(once) != kedge.OutcomeUnknown {
					t.Errorf("effect Once: %v, want OutcomeUnknown, for it was executed", once)
				}
			})
		}
	}
}

// TestLyingLength: a server that announces what it does not send costs no
// memory and is no success.
func TestLyingLength(t *testing.T) {
	c, r, n := raw(t, func(int) string { return "HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\nshort" })
	if err := c.Do(t.Context(), r, nil); kedge.KindOf(err) != kedge.Transient || n.Load() != 6 {
		t.Errorf("got %v after %d requests, want Transient after 6", err, n.Load())
	}
}

func TestContentEncodings(t *testing.T) {
	for _, tt := range []struct {
		answer string
		kind   kedge.Kind
	}{
		{"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", kedge.Invalid},
		{"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 1\r\n\r\nx", kedge.Invalid},
		{"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", kedge.Internal},
		{"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n", kedge.Internal},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", kedge.Internal},
		{"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nnot zip", kedge.Transient},
	} {
		c, r, _ := raw(t, func(int) string { return tt.answer })
		called := false
		err := c.Do(t.Context(), r, func(*httpclient.Response) error { called = true; return nil })
		if kedge.KindOf(err) != tt.kind || called != (err == nil) {
			t.Errorf("%q: %v, read called: %v; want %v", tt.answer, err, called, tt.kind)
		}
	}
}

func TestHead(t *testing.T) {
	c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "99999") }, nil)
	err := c.Do(t.Context(), httpclient.Request{Method: "HEAD", URL: u, MaxBytes: 10}, func(r *httpclient.Response) error {
		if len(r.Body) != 0 || r.Header.Get("Content-Length") != "99999" {
			t.Errorf("got %+v", r)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestErrorBodies: the status of a refusal counts even if its body is long or cut.
func TestErrorBodies(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	for name, tt := range map[string]struct {
		answer string
		want   int
	}{
		"long": {fmt.Sprintf("HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s", len(long), long), 1 << 20},
		"cut":  {"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\nabc", 3},
		"none": {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0},
	} {
		c, r, n := raw(t, func(int) string { return tt.answer })
		got := -1
		r.Classify = func(r *httpclient.Response) error { got = len(r.Body); return nil }
		if err := c.Do(t.Context(), r, nil); kedge.KindOf(err) != kedge.NotFound || got != tt.want || n.Load() != 1 {
			t.Errorf("%s: %v with %d bytes after %d requests", name, err, got, n.Load())
		}
	}
}

// pipeNet is a network in memory, so that synctest owns all its clocks.
type pipeNet struct{ conns chan net.Conn }

func (p pipeNet) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipeNet) Close() error   { close(p.conns); return nil }
func (p pipeNet) Addr() net.Addr { return &net.TCPAddr{} }
func (p pipeNet) Dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// TestTimers: the first byte may take as long as Timeout and each pause in the
// body as long as IdleTimeout, and not longer.
func TestTimers(t *testing.T) {
	for _, tt := range []struct {
		first, pause time.Duration
		ok           bool
	}{
		{0, 0, true}, {2*time.Minute - 1, time.Minute - 1, true}, {2*time.Minute + 1, 0, false}, {0, time.Minute + 1, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := pipeNet{make(chan net.Conn)}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(tt.first) // the clock of the bubble
				for range 5 {
					io.WriteString(w, "part ")
					w.(http.Flusher).Flush()
					time.Sleep(tt.pause)
				}
			})}
			go srv.Serve(p)
			c, err := httpclient.New(httpclient.Options{Origin: parse(t, "http://localhost"), Dial: p.Dial})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Do(t.Context(), httpclient.Request{URL: parse(t, "http://localhost/x")}, nil)
			ne, _ := errors.AsType[*httpclient.NetError](err)
			if tt.ok != (err == nil) || !tt.ok && (kedge.KindOf(err) != kedge.Transient || ne == nil || ne.Phase != httpclient.PhaseTimeout) {
				t.Errorf("first byte after %v, pauses of %v: %v, want ok %v", tt.first, tt.pause, err, tt.ok)
			}
			c.Close()
			srv.Shutdown(t.Context())
		})
	}
}
