// Package server is the frame of "kedge serve": it listens, knows who may call
// what, answers for health, counts and logs requests, and stops in good order.
// What it serves are the routes of modules.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/store"
)

// The time-outs of connections. Handlers that stream or wait move their own
// deadlines by an [http.ResponseController].
const (
	headerTimeout = 10 * time.Second
	readTimeout   = time.Minute
	writeTimeout  = 2 * time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 1 << 20 // bytes; queries of ids may be long
)

// DefaultGrace is how long requests and workers have to finish when the
// server stops.
const DefaultGrace = 30 * time.Second

// A Module is a part of kedge that the server runs. All funcs but Name are
// optional.
type Module struct {
	Name string
	// Routes adds public routes at the root; the module checks who calls.
	Routes func(*mux.Router)
	// AdminRoutes adds routes below /api/v1. The server checks the caller's
	// token: GET and HEAD need the scope read, all else needs admin.
	AdminRoutes func(*mux.Router)
	// Run does the module's work until ctx ends, and hands back what it holds.
	// An error stops the server.
	Run func(ctx context.Context) error
	// Ready tells why the module cannot work now, for /readyz.
	Ready func(ctx context.Context) error
}

// Options configure a [Server].
type Options struct {
	Store      *store.Store
	Migrations []store.Migration // that the database must have, for /readyz
	Tokens     *Tokens
	Log        *slog.Logger
	Metrics    *prometheus.Registry
	Modules    []Module
	Grace      time.Duration // 0 means DefaultGrace
	// Certificate returns the server's certificate; nil means plain HTTP. It is
	// asked at every handshake, so that a new one needs no restart.
	Certificate func() (*tls.Certificate, error)
}

// A Server serves modules.
type Server struct {
	opts     Options
	router   *mux.Router
	handler  http.Handler
	requests *prometheus.CounterVec
	stopping chan struct{}
}

// New returns a Server that has the routes of its modules.
func New(o Options) *Server {
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	s := &Server{opts: o, router: httpapi.NewRouter(o.Log), stopping: make(chan struct{})}
	s.router.Use(noteRoute)
	s.healthRoutes()
	s.metricRoutes()
	for _, m := range o.Modules {
		if m.Routes != nil {
			m.Routes(s.router)
		}
	}
	admin := s.router.PathPrefix("/api/v1").Subrouter()
	admin.Use(s.authorize)
	for _, m := range o.Modules {
		if m.AdminRoutes != nil {
			m.AdminRoutes(admin)
		}
	}
	s.handler = httpapi.WithRequestID(s.observe(secure(s.recovered(s.guard(s.router)))))
	return s
}

// Handler returns all that the server answers.
func (s *Server) Handler() http.Handler { return s.handler }

// Router returns the router, for tests that walk its routes.
func (s *Server) Router() *mux.Router { return s.router }

// Serve answers on l and runs the modules until ctx ends or a module fails.
// Then it accepts no more, lets requests finish, ends the modules, and returns
// when all is done or the grace is over. Call [Server.CheckReach] first.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base := httpapi.WithStopping(context.WithoutCancel(ctx), s.stopping)
	hs := &http.Server{
		Handler: s.handler, BaseContext: func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
	}
	hs.RegisterOnShutdown(sync.OnceFunc(func() { close(s.stopping) }))
	if s.opts.Certificate != nil {
		l = tls.NewListener(l, &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.opts.Certificate() },
		})
	}
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	defer endWork()
	failed := make(chan error, len(s.opts.Modules)+1)
	done := s.runModules(work, failed)
	go func() {
		if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("listen: %w", err)
		}
	}()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		s.opts.Log.ErrorContext(ctx, "server fails", "err", err)
	}
	return errors.Join(err, s.stop(hs, endWork, done))
}

// runModules starts the modules; the channel it returns is closed when all
// have ended.
func (s *Server) runModules(ctx context.Context, failed chan<- error) <-chan struct{} {
	var wg sync.WaitGroup
	for _, m := range s.opts.Modules {
		if m.Run == nil {
			continue
		}
		wg.Go(func() {
			if err := m.Run(ctx); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", m.Name, err)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	return done
}

// stop ends requests first: they may need the modules' workers.
func (s *Server) stop(hs *http.Server, endWork func(), done <-chan struct{}) error {
	s.opts.Log.Info("server stops", "grace", s.opts.Grace)
	grace, cancel := context.WithTimeout(context.Background(), s.opts.Grace)
	defer cancel()
	var err error
	if hs.Shutdown(grace) != nil {
		err = fmt.Errorf("some requests did not finish within %v", s.opts.Grace)
		_ = hs.Close() // it is over for them
	}
	endWork()
	select {
	case <-done:
	case <-grace.Done():
		err = errors.Join(err, fmt.Errorf("some work did not end within %v; its leases end by themselves", s.opts.Grace))
	}
	return err
}
