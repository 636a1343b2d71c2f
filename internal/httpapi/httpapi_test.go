package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// serve answers r by h, behind the request ids, and returns what was logged.
func serve(h httpapi.HandlerFunc, r *http.Request) (*httptest.ResponseRecorder, string) {
	var log bytes.Buffer
	w := httptest.NewRecorder()
	httpapi.WithRequestID(httpapi.Handle(slog.New(slog.NewTextHandler(&log, nil)), h)).ServeHTTP(w, r)
	return w, log.String()
}

func fails(err error) httpapi.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

func TestProblemShape(t *testing.T) {
	w, log := serve(fails(&httpapi.Problem{
		Status: 422, Type: "not_valid", Detail: "two fields are wrong", RetryAfter: 1500 * time.Millisecond,
		Errors: []httpapi.FieldError{{Pointer: "/a/0", Detail: "must be a string"}, {Pointer: "", Detail: "must have b"}},
	}), httptest.NewRequest("POST", "/x?token=secret", nil))
	if w.Code != 422 || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Retry-After") != "2" {
		t.Errorf("got status %d, headers %v", w.Code, w.Header())
	}
	id := w.Header().Get("X-Request-Id")
	if u, err := uuid.Parse(id); err != nil || u.Version() != 7 {
		t.Errorf("X-Request-Id %q is no UUIDv7", id)
	}
	var got any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "urn:kedge:problem:not_valid", "title": "Unprocessable Entity", "status": 422.0, "detail": "two fields are wrong", "instance": id,
		"errors": []any{map[string]any{"pointer": "/a/0", "detail": "must be a string"}, map[string]any{"pointer": "", "detail": "must have b"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problem (-want +got):\n%s", diff)
	}
	if log != "" {
		t.Errorf("logged what the client can see: %s", log)
	}
}

func TestInternalHidesItsText(t *testing.T) {
	w, log := serve(fails(fmt.Errorf("run 7: %w", errors.New("pq: password of kedge is wrong"))), httptest.NewRequest("GET", "/x?token=secret", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "password") || strings.Contains(w.Body.String(), "run 7") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log, "pq: password of kedge is wrong") || !strings.Contains(log, "route=none") || strings.Contains(log, "secret") {
		t.Errorf("log %q", log)
	}
}

func TestClientThatLeftIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, log := serve(fails(context.Canceled), httptest.NewRequest("GET", "/x", nil).WithContext(ctx)); log != "" {
		t.Errorf("logged %q", log)
	}
}

func TestStatusOf(t *testing.T) {
	for kind, want := range map[kedge.Kind]int{
		kedge.Internal: 500, kedge.Invalid: 400, kedge.NotFound: 404, kedge.Conflict: 409, kedge.Unauthorized: 401, kedge.Forbidden: 403,
		kedge.Unsupported: 422, kedge.TooLarge: 413, kedge.Throttled: 429, kedge.Transient: 503, kedge.AnchorExpired: 410, kedge.OutcomeUnknown: 502,
	} {
		err := fmt.Errorf("outer: %w", &kedge.Error{Op: "a.B", Kind: kind, RetryAfter: 3 * time.Second, Err: errors.New("why")})
		w, _ := serve(fails(err), httptest.NewRequest("GET", "/", nil))
		if w.Code != want || w.Header().Get("Retry-After") != "3" {
			t.Errorf("%v: status %d, Retry-After %q, want %d and 3", kind, w.Code, w.Header().Get("Retry-After"), want)
		}
		if kind != kedge.Internal && !strings.Contains(w.Body.String(), "why") {
			t.Errorf("%v: %s does not say why", kind, w.Body)
		}
	}
	if w, _ := serve(fails(&kedge.Error{Op: "syncer.Run", Kind: kedge.Unauthorized}), httptest.NewRequest("GET", "/", nil)); w.Header().Get("WWW-Authenticate") == "" || strings.Contains(w.Body.String(), "syncer.Run") {
		t.Errorf("401: headers %v, body %s", w.Header(), w.Body)
	}
}

func TestWriteJSONWritesNothingThatFails(t *testing.T) {
	w, log := serve(func(w http.ResponseWriter, _ *http.Request) error {
		return httpapi.WriteJSON(w, 200, map[string]any{"a": 1, "f": func() {}})
	}, httptest.NewRequest("GET", "/", nil))
	if w.Code != 500 || !strings.Contains(log, "unsupported type") {
		t.Errorf("got %d %s, log %q", w.Code, w.Body, log)
	}
	w, _ = serve(func(w http.ResponseWriter, _ *http.Request) error {
		return httpapi.WriteJSON(w, 201, httpapi.List[int]{})
	}, httptest.NewRequest("GET", "/", nil))
	if body := w.Body.String(); w.Code != 201 || body != "{\"items\":[]}\n" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d %q", w.Code, body)
	}
}

// TestOverNetwork checks what a recorder cannot show: that a refused body
// does not have to be read, and chunked bodies.
func TestOverNetwork(t *testing.T) {
	srv := httptest.NewServer(httpapi.Handle(slog.New(slog.DiscardHandler), func(w http.ResponseWriter, r *http.Request) error {
		body, err := httpapi.ReadBody(w, r, 1000)
		if err != nil {
			return err
		}
		return httpapi.WriteJSON(w, 200, len(body))
	}))
	defer srv.Close()
	for _, tt := range []struct {
		name string
		body io.Reader
		want int
	}{
		{"chunked at the limit", io.MultiReader(strings.NewReader(strings.Repeat("a", 1000))), 200},
		{"chunked over the limit", io.MultiReader(strings.NewReader(strings.Repeat("a", 1001))), 413},
		{"known length over the limit", strings.NewReader(strings.Repeat("a", 1001)), 413},
		{"chunked and far over the limit", io.MultiReader(strings.NewReader(strings.Repeat("a", 64<<20))), 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := http.Post(srv.URL, "text/plain", tt.body)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.want)
			}
		})
	}
}
