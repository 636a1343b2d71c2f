package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

var migrations = append(store.Migrations(), server.TokenMigrations()...)

// A frame is a server with its log.
type frame struct {
	*server.Server
	tokens *server.Tokens
	log    *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newFrame(s *store.Store, change func(*server.Options), modules ...server.Module) *frame {
	f := &frame{tokens: server.NewTokens(s, nil), log: new(syncBuffer)}
	o := server.Options{
		Store: s, Migrations: migrations, Tokens: f.tokens, Metrics: prometheus.NewRegistry(), Modules: modules,
		Log: slog.New(httpapi.LogRequestID(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	}
	if change != nil {
		change(&o)
	}
	f.Server = server.New(o)
	return f
}

// api is a module with a route of each kind.
func api(log *slog.Logger) server.Module {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ok := func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.WriteJSON(w, 200, httpapi.RequestID(r.Context()))
	}
	return server.Module{
		Name: "api",
		Routes: func(r *mux.Router) {
			r.Handle("/public/{name}", httpapi.Handle(slog.New(slog.DiscardHandler), ok)).Methods("GET")
			r.Handle("/broken/{name}", httpapi.Handle(log, func(http.ResponseWriter, *http.Request) error { return errors.New("broken") })).Methods("GET")
			r.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("secret of panic") }).Methods("GET")
			r.HandleFunc("/index", func(http.ResponseWriter, *http.Request) { _ = []int{}[len(r.GetRoute("x").GetName())] }).Methods("GET")
			r.HandleFunc("/half", func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "half")
				panic("later")
			}).Methods("GET")
		},
		AdminRoutes: func(r *mux.Router) {
			r.Handle("/things", httpapi.Handle(slog.New(slog.DiscardHandler), ok)).Methods("GET", "POST", "DELETE")
		},
	}
}

// A call is a request, by default from this machine, without a token.
type call struct{ method, path, host, origin, remote, token, forwarded string }

func (f *frame) do(c call) *httptest.ResponseRecorder {
	r := httptest.NewRequest(c.method, c.path, nil)
	r.Host, r.RemoteAddr = "127.0.0.1:8080", "127.0.0.1:50000"
	if c.host != "" {
		r.Host = c.host
	}
	if c.remote != "" {
		r.RemoteAddr = c.remote
	}
	for name, v := range map[string]string{"Origin": c.origin, "Authorization": c.token, "X-Forwarded-For": c.forwarded} {
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

func (f *frame) check(t *testing.T, want int, c call) {
	t.Helper()
	w := f.do(c)
	if w.Code != want {
		t.Errorf("%+v: %d %s, want %d", c, w.Code, w.Body, want)
	}
	h := w.Header()
	if h.Get("X-Request-Id") == "" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" ||
		!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("%+v: headers %v", c, h)
	}
	if w.Code < 400 {
		return
	}
	var p struct {
		Status   int
		Instance string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || h.Get("Content-Type") != "application/problem+json" || p.Status != w.Code || p.Instance != h.Get("X-Request-Id") {
		t.Errorf("%+v: no problem: %v %s %s", c, err, h.Get("Content-Type"), w.Body)
	}
}

func TestWithoutTokenOnlyThisMachineIsServed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		f := newFrame(s, nil, api(nil))
		for _, path := range []string{"/api/v1/things", "/public/x", "/healthz", "/readyz", "/metrics"} {
			f.check(t, 200, call{method: "GET", path: path})
			f.check(t, 200, call{method: "GET", path: path, host: "localhost:1", remote: "[::1]:2", origin: "http://[::1]:8080"})
			f.check(t, 403, call{method: "GET", path: path, host: "evil.example"})
			f.check(t, 403, call{method: "GET", path: path, host: "127.0.0.1.evil.example:8080"})
			f.check(t, 403, call{method: "GET", path: path, host: "localhost.evil.example"})
			f.check(t, 403, call{method: "GET", path: path, origin: "https://evil.example"})
			f.check(t, 403, call{method: "GET", path: path, origin: "null"})
			f.check(t, 403, call{method: "GET", path: path, remote: "192.0.2.1:80"})
		}
		f.check(t, 200, call{method: "POST", path: "/api/v1/things"})
		f.check(t, 404, call{method: "GET", path: "/other"})
		f.check(t, 404, call{method: "GET", path: "/api/v1/other"})
		f.check(t, 405, call{method: "PUT", path: "/api/v1/things"})
	}, migrations[1:]...)
}

func TestReachOfListener(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		f := newFrame(s, nil)
		everywhere, here := &net.TCPAddr{IP: net.IPv4zero, Port: 8080}, &net.TCPAddr{IP: net.IPv6loopback}
		err := f.CheckReach(t.Context(), everywhere)
		if kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), "kedge tokens create") {
			t.Errorf("got %v", err)
		}
		if err := f.CheckReach(t.Context(), here); err != nil || !strings.Contains(f.log.String(), "no operator token exists: only this machine is served") {
			t.Errorf("got %v, log %s", err, f.log)
		}
		if _, _, err := f.tokens.Create(t.Context(), "ops", server.ScopeAdmin, "me"); err != nil {
			t.Fatal(err)
		}
		if err := f.CheckReach(t.Context(), everywhere); err != nil {
			t.Errorf("with a token: %v", err)
		}
		if _, err := f.tokens.Revoke(t.Context(), "ops"); err != nil {
			t.Fatal(err)
		}
		if err := f.CheckReach(t.Context(), everywhere); err == nil {
			t.Error("a revoked token opens the server")
		}
	}, migrations[1:]...)
}

func TestTokens(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		f, replica := newFrame(s, nil, api(nil)), newFrame(s, nil, api(nil))
		f.check(t, 200, call{method: "GET", path: "/api/v1/things"})
		admin, adminSecret, err := f.tokens.Create(t.Context(), "ops", server.ScopeAdmin, "me")
		if err != nil {
			t.Fatal(err)
		}
		_, readSecret, err := f.tokens.Create(t.Context(), "grafana", server.ScopeRead, "me")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.tokens.Create(t.Context(), "ops", server.ScopeRead, "me"); kedge.KindOf(err) != kedge.Conflict {
			t.Errorf("a name twice: %v", err)
		}
		for _, bad := range []struct {
			name  string
			scope server.Scope
		}{{"", "read"}, {"-x", "read"}, {strings.Repeat("x", 64), "read"}, {"a b", "read"}, {"x", "write"}, {"x", ""}} {
			if _, _, err := f.tokens.Create(t.Context(), bad.name, bad.scope, "me"); kedge.KindOf(err) != kedge.Invalid {
				t.Errorf("%v: %v", bad, err)
			}
		}
		if _, _, err := f.tokens.Create(t.Context(), strings.Repeat("x", 63), "read", "me"); err != nil {
			t.Error(err)
		}
		var hash string
		if err := s.DB().NewSelect().Table("kedge_token").Column("hash").Where("id = ?", admin.ID).Scan(t.Context(), &hash); err != nil || len(hash) != 64 || strings.Contains(adminSecret, hash) {
			t.Errorf("stored %q, %v", hash, err)
		}
		for _, f := range []*frame{f, replica} {
			for _, token := range []string{"", "Bearer", "Bearer x", "Basic " + adminSecret, "Bearer " + adminSecret + "A", "Bearer " + adminSecret[:len(adminSecret)-1], "Bearer kedge_" + strings.Repeat("0", 32) + "_x"} {
				f.check(t, 401, call{method: "GET", path: "/api/v1/things", token: token})
			}
			f.check(t, 200, call{method: "GET", path: "/api/v1/things", token: "Bearer " + readSecret, host: "kedge.example", remote: "192.0.2.1:80"})
			f.check(t, 403, call{method: "POST", path: "/api/v1/things", token: "Bearer " + readSecret})
			f.check(t, 403, call{method: "DELETE", path: "/api/v1/things", token: "Bearer " + readSecret})
			f.check(t, 200, call{method: "POST", path: "/api/v1/things", token: "bearer " + adminSecret})
			f.check(t, 200, call{method: "GET", path: "/public/x", host: "kedge.example"})

			f.check(t, 200, call{method: "GET", path: "/metrics"})
			f.check(t, 401, call{method: "GET", path: "/metrics", forwarded: "192.0.2.1"})
			f.check(t, 401, call{method: "GET", path: "/metrics", host: "kedge.example"})
			f.check(t, 401, call{method: "GET", path: "/metrics", remote: "192.0.2.1:80"})
			f.check(t, 200, call{method: "GET", path: "/metrics", remote: "192.0.2.1:80", token: "Bearer " + readSecret})
		}
		for _, name := range []string{"ops", "grafana"} {
			if _, err := f.tokens.Revoke(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.tokens.Revoke(t.Context(), "ops"); kedge.KindOf(err) != kedge.NotFound {
			t.Errorf("revoked twice: %v", err)
		}
		for _, f := range []*frame{f, replica, newFrame(s, nil, api(nil))} { // at once, and the API does not open again
			f.check(t, 401, call{method: "GET", path: "/api/v1/things", token: "Bearer " + adminSecret})
			f.check(t, 401, call{method: "GET", path: "/api/v1/things"})
		}
		if _, _, err := f.tokens.Create(t.Context(), "ops", server.ScopeRead, "me"); err != nil {
			t.Errorf("a name that is free again: %v", err)
		}
	}, migrations[1:]...)
}

func TestPanics(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		f := newFrame(s, nil, api(nil))
		f.check(t, 500, call{method: "GET", path: "/panic"})
		f.check(t, 500, call{method: "GET", path: "/index"})
		if log := f.log.String(); strings.Contains(log, "secret of panic") || !strings.Contains(log, "server_test.go:") || !strings.Contains(log, "nil pointer") {
			t.Errorf("log %s", log)
		}
		srv := httptest.NewServer(f.Handler())
		defer srv.Close()
		resp, err := http.Get(srv.URL + "/half")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Error("half an answer looks like a whole one")
		}
	}, migrations[1:]...)
}

func TestLogAndMetricsHoldNoPathsOrQueries(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var failures bytes.Buffer
		f := newFrame(s, nil, api(slog.New(slog.NewTextHandler(&failures, nil))))
		f.do(call{method: "GET", path: "/broken/anna@example.com?mail=anna@example.com"})
		id := strings.Trim(f.do(call{method: "GET", path: "/public/anna@example.com?mail=anna@example.com"}).Body.String(), "\"\n")
		f.do(call{method: "GET", path: "/nowhere/anna@example.com"})
		f.do(call{method: "ANNA", path: "/nowhere"})
		if !strings.Contains(failures.String(), "route=/broken/{name} err=broken") {
			t.Errorf("log %s", failures.String())
		}
		log, metrics := f.log.String()+failures.String(), f.do(call{method: "GET", path: "/metrics"}).Body.String()
		if strings.Contains(strings.ToLower(log+metrics), "anna") {
			t.Errorf("personal data in %s\n%s", log, metrics)
		}
		if !strings.Contains(log, `msg="request answered" method=GET route=/public/{name} status=200`) || !strings.Contains(log, "request="+id) {
			t.Errorf("log %s", log)
		}
		for _, want := range []string{`kedge_http_requests_total{method="GET",route="/public/{name}",status="200"} 1`, `kedge_http_requests_total{method="other",route="none",status="404"} 1`, "go_goroutines"} {
			if !strings.Contains(metrics, want) {
				t.Errorf("metrics lack %s", want)
			}
		}
	}, migrations[1:]...)
}

func TestReady(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var sick error
		module := server.Module{Name: "jobs", Ready: func(context.Context) error { return sick }}
		f := newFrame(s, nil, module)
		f.check(t, 200, call{method: "GET", path: "/readyz"})
		sick = errors.New("the clock stands")
		f.check(t, 503, call{method: "GET", path: "/readyz"})
		if log := f.log.String(); !strings.Contains(log, "the clock stands") {
			t.Errorf("log %s", log)
		}
		f = newFrame(s, func(o *server.Options) {
			o.Migrations = append(o.Migrations, store.Migration{Name: "9", SQLite: "SELECT 1"})
		})
		f.check(t, 503, call{method: "GET", path: "/readyz"})
		f.check(t, 200, call{method: "GET", path: "/healthz"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}, migrations[1:]...)
}

// start serves f until the returned func is called, which returns what Serve
// does.
func (f *frame) start(t *testing.T) (url string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
}

func TestGracefulStop(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		entered, release := make(chan struct{}), make(chan struct{})
		var worked []string
		var mu sync.Mutex
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			worked = append(worked, what)
		}
		module := server.Module{
			Name: "slow",
			Routes: func(r *mux.Router) {
				r.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
					close(entered)
					<-release
					note("request")
				})
				r.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
					w.WriteHeader(200)
					_ = http.NewResponseController(w).Flush()
					<-httpapi.Stopping(r.Context())
					close(release)
				})
			},
			Run: func(ctx context.Context) error {
				<-ctx.Done()
				note("worker")
				return ctx.Err()
			},
		}
		f := newFrame(s, nil, module)
		url, stop := f.start(t)
		answers := make(chan error, 2)
		get := func(path string) {
			resp, err := http.Get(url + path)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			answers <- err
		}
		go get("/slow")
		<-entered
		resp, err := http.Get(url + "/stream")
		if err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
		if err := <-answers; err != nil {
			t.Errorf("the request that ran: %v", err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Errorf("the stream: %v", err)
		}
		if got := strings.Join(worked, " "); got != "request worker" {
			t.Errorf("order %q, want request worker", got)
		}
		if _, err := http.Get(url + "/healthz"); err == nil {
			t.Error("a stopped server answers")
		}
	}, migrations[1:]...)
}

func TestStopGivesUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		never := make(chan struct{})
		defer close(never)
		f := newFrame(s, func(o *server.Options) { o.Grace = time.Millisecond }, server.Module{Name: "stuck", Run: func(context.Context) error {
			<-never
			return nil
		}})
		_, stop := f.start(t)
		if err := stop(); err == nil || !strings.Contains(err.Error(), "some work did not end within 1ms") {
			t.Errorf("got %v", err)
		}
	}, migrations[1:]...)
}

func TestFailedModuleStopsTheServer(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		f := newFrame(s, nil, server.Module{Name: "jobs", Run: func(context.Context) error { return errors.New("no clock") }})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Serve(t.Context(), l); err == nil || err.Error() != "jobs: no clock" {
			t.Errorf("got %v", err)
		}
	}, migrations[1:]...)
}
