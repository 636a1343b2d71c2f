package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// machineRoutes are asked so often that their answers are not worth a line.
var machineRoutes = []string{"/healthz", "/readyz", "/metrics"}

func (s *Server) healthRoutes() {
	s.router.Handle("/healthz", httpapi.Handle(s.opts.Log, func(w http.ResponseWriter, _ *http.Request) error {
		return httpapi.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})).Methods(http.MethodGet, http.MethodHead)
	s.router.Handle("/readyz", httpapi.Handle(s.opts.Log, s.ready)).Methods(http.MethodGet, http.MethodHead)
}

// ready answers whether the database answers and has all migrations, and
// whether the modules can work.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	no := func(what string, err error) error {
		if err != nil {
			s.opts.Log.WarnContext(ctx, "server is not ready", "part", what, "err", err)
		}
		return &httpapi.Problem{Status: http.StatusServiceUnavailable, Type: "not_ready", Detail: what + " is not ready; the log says why", RetryAfter: time.Second}
	}
	select {
	case <-s.stopping:
		return &httpapi.Problem{Status: http.StatusServiceUnavailable, Type: "not_ready", Detail: "the server stops"}
	default:
	}
	pending, err := s.opts.Store.Pending(ctx, s.opts.Migrations)
	if err != nil {
		return no("the store", err)
	}
	if len(pending) > 0 {
		return no("the store", fmt.Errorf("migrations are missing: %s", strings.Join(pending, ", ")))
	}
	for _, m := range s.opts.Modules {
		if m.Ready == nil {
			continue
		}
		if err := m.Ready(ctx); err != nil {
			return no(m.Name, err)
		}
	}
	return httpapi.WriteJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// metricRoutes serves what the registry holds, to this machine and to holders
// of a token.
func (s *Server) metricRoutes() {
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kedge_http_requests_total", Help: "Requests that were answered, by the pattern of their path.",
	}, []string{"method", "route", "status"})
	s.opts.Metrics.MustRegister(s.requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := promhttp.HandlerFor(s.opts.Metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, ErrorLog: metricLog{s.opts.Log}})
	s.router.Handle("/metrics", httpapi.Handle(s.opts.Log, func(w http.ResponseWriter, r *http.Request) error {
		if !direct(r) {
			if _, err := s.token(r, ScopeRead); err != nil {
				return err
			}
		}
		metrics.ServeHTTP(w, r)
		return nil
	})).Methods(http.MethodGet)
}

// metricLog takes what the library of Prometheus complains about.
type metricLog struct{ *slog.Logger }

// Println is for promhttp.
func (l metricLog) Println(v ...any) { l.Warn("metrics not read", "err", fmt.Sprint(v...)) }

func forbidden(format string, args ...any) error {
	return &kedge.Error{Kind: kedge.Forbidden, Err: fmt.Errorf(format, args...)}
}
