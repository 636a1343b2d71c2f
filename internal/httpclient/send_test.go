package httpclient_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// Send sends once, whatever the answer is, follows nothing, and bounds what it
// looks at.
func TestSend(t *testing.T) {
	var calls atomic.Int64
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/busy":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
		case "/long":
			_, _ = w.Write([]byte(strings.Repeat("x", 1<<20)))
		case "/hang":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-hang
		case "/silent":
			<-hang
		case "/abort":
			panic(http.ErrAbortHandler)
		default:
			_, _ = w.Write([]byte(r.Method + " " + r.Header.Get("Idempotency-Key") + " " + r.Header.Get("Accept-Encoding")))
		}
	}))
	defer s.Close()
	defer close(hang)
	open := func(o httpclient.Options) *httpclient.Client {
		c, err := httpclient.New(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	c := open(httpclient.Options{Egress: local, Timeout: 200 * time.Millisecond})
	send := func(c *httpclient.Client, path string) (httpclient.Reply, error) {
		u, err := url.Parse(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		return c.Send(t.Context(), httpclient.Request{Op: "test", Method: http.MethodPost, URL: u, Body: []byte("{}"),
			Header: http.Header{"Idempotency-Key": {"k"}}, MaxBytes: 100}, 50*time.Millisecond)
	}
	for _, tt := range []struct {
		path   string
		status int
		body   string
		phase  httpclient.Phase
	}{
		{"/", 200, "POST k identity", ""},
		{"/redirect", 302, "", ""},
		{"/busy", 503, "", ""},
		{"/long", 200, strings.Repeat("x", 100), ""},
		{"/hang", 200, "", ""},
		{"/silent", 0, "", httpclient.PhaseTimeout},
		{"/abort", 0, "", httpclient.PhaseAnswer},
	} {
		before := calls.Load()
		reply, err := send(c, tt.path)
		var e *httpclient.NetError
		if (err != nil) != (tt.phase != "") || err != nil && (!errors.As(err, &e) || e.Phase != tt.phase) || reply.Status != tt.status || string(reply.Body) != tt.body {
			t.Errorf("%s: %d %q, %v", tt.path, reply.Status, reply.Body, err)
		}
		if n := calls.Load() - before; n != 1 {
			t.Errorf("%s: %d requests", tt.path, n)
		}
	}
	before := calls.Load()
	if _, err := send(open(httpclient.Options{}), "/"); kedge.KindOf(err) != kedge.Forbidden {
		t.Errorf("a private address: %v, want Forbidden", err)
	}
	if n := calls.Load() - before; n != 0 {
		t.Errorf("a refused address got %d requests", n)
	}
}
