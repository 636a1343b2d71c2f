package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge/internal/httpapi"
)

// A visit is what is noted about a request for log and metrics: never its
// path or query, which may hold personal data or secrets.
type visit struct {
	http.ResponseWriter
	route  string // pattern of the path; empty: there is none
	status int
	bytes  int64
}

// Unwrap is for [http.ResponseController].
func (v *visit) Unwrap() http.ResponseWriter { return v.ResponseWriter }

func (v *visit) WriteHeader(status int) {
	if v.status == 0 && status >= 200 {
		v.status = status
	}
	v.ResponseWriter.WriteHeader(status)
}

func (v *visit) Write(p []byte) (int, error) {
	if v.status == 0 {
		v.status = http.StatusOK
	}
	n, err := v.ResponseWriter.Write(p)
	v.bytes += int64(n)
	return n, err
}

type visitKey struct{}

// observe logs and counts requests.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		v := &visit{ResponseWriter: w}
		next.ServeHTTP(v, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
		if v.status == 0 {
			v.status = http.StatusOK
		}
		method := r.Method
		if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, method) {
			method = "other"
		}
		route := v.route
		if route == "" {
			route = "none"
		}
		s.requests.WithLabelValues(method, route, strconv.Itoa(v.status)).Inc()
		log := s.opts.Log.InfoContext
		if slices.Contains(machineRoutes, route) && v.status < 400 {
			log = s.opts.Log.DebugContext
		}
		log(r.Context(), "request answered", "method", method, "route", route, "status", v.status, "bytes", v.bytes, "took", time.Since(began).Round(time.Microsecond))
	})
}

// noteRoute tells observe which route a request took.
func noteRoute(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
			v.route = httpapi.Route(r)
		}
		next.ServeHTTP(w, r)
	})
}

// secure sets the headers that all answers have. The console replaces the
// policy of contents.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// recovered answers panics of handlers as internal errors. Their text is not
// logged unless it is the runtime's: it may hold anything.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			what := fmt.Sprintf("%T", p)
			if e, ok := p.(runtime.Error); ok {
				what = e.Error()
			}
			s.opts.Log.ErrorContext(r.Context(), "handler panics", "panic", what, "stack", frames(debug.Stack()))
			if v, ok := r.Context().Value(visitKey{}).(*visit); ok && v.status != 0 {
				panic(http.ErrAbortHandler) // a part was sent: the client must see that it is no whole answer
			}
			httpapi.Fail(s.opts.Log, w, r, fmt.Errorf("panic: %s", what))
		}()
		next.ServeHTTP(w, r)
	})
}

// frames leaves the places of a stack, without arguments.
func frames(stack []byte) string {
	var out []string
	for line := range strings.Lines(string(stack)) {
		if place, ok := strings.CutPrefix(line, "\t"); ok {
			place, _, _ = strings.Cut(place, " ")
			out = append(out, strings.TrimSpace(place))
		}
	}
	return strings.Join(out, " ")
}
