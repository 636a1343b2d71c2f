package httpclient_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

func TestRedirects(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request left for another origin") }))
	defer other.Close()
	for _, tt := range []struct {
		name, method, to string
		status           int
		kind             kedge.Kind // Internal: success
		requests         int
	}{
		{"3 hops", "GET", "/hop/3", 302, kedge.Internal, 4},
		{"4 hops", "GET", "/hop/4", 302, kedge.Invalid, 4},
		{"permanent", "GET", "/hop/1", 301, kedge.Internal, 2},
		{"temporary", "GET", "/hop/1", 307, kedge.Internal, 2},
		{"other origin", "GET", other.URL + "/?secret=1", 302, kedge.Forbidden, 1},
		{"other port, no scheme", "GET", strings.TrimPrefix(other.URL, "http:"), 302, kedge.Forbidden, 1},
		{"other scheme", "GET", "https://127.0.0.1/", 302, kedge.Forbidden, 1},
		{"user in location", "GET", "http://me@127.0.0.1/", 302, kedge.Forbidden, 1},
		{"POST 302", "POST", "/hop/1", 302, kedge.Invalid, 1},
		{"POST 303", "POST", "/hop/1", 303, kedge.Invalid, 1},
		{"POST 307", "POST", "/hop/1", 307, kedge.Invalid, 1},
		{"DELETE 308", "DELETE", "/hop/1", 308, kedge.Invalid, 1},
		{"HEAD", "HEAD", "/hop/1", 302, kedge.Invalid, 1},
		{"no location", "GET", "", 302, kedge.Invalid, 1},
		{"malformed location", "GET", "http://[::1/?secret=1", 302, kedge.Invalid, 1},
		{"choices", "GET", "", 300, kedge.Invalid, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				n++
				if r.Header.Get("Referer") != "" || r.Header.Get("Authorization") == "" {
					t.Errorf("request %d: header %v", n, r.Header)
				}
				var left int
				if fmt.Sscanf(r.URL.Path, "/hop/%d", &left); left > 1 {
					http.Redirect(w, r, fmt.Sprintf("/hop/%d", left-1), tt.status)
				} else if r.URL.Path == "/start" {
					if tt.to != "" {
						w.Header().Set("Location", tt.to)
					}
					w.WriteHeader(tt.status)
				}
			}, func(o *httpclient.Options) { o.Auth = httpclient.Bearer("t") })
			u.Path, u.RawQuery = "/start", "secret=2"
			var last *url.URL
			err := c.Do(t.Context(), httpclient.Request{Op: "x", Method: tt.method, URL: u}, func(r *httpclient.Response) error { last = r.URL; return nil })
			if n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
			if tt.kind == kedge.Internal {
				if err != nil || last == nil || last.Path != "/hop/1" {
					t.Errorf("%v at %v", err, last)
				}
				return
			}
			if kedge.KindOf(err) != tt.kind || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %v", err, tt.kind)
			}
		})
	}
}
