package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/mux"
)

// NewRouter returns the kind of router that all routes of kedge are added to.
// Parts of a path may hold any characters, percent-encoded; [mux.Vars] has
// them decoded. Unknown paths and methods are answered as [Problem]s.
func NewRouter(log *slog.Logger) *mux.Router {
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	// mux forgets now and then that a route below a prefix failed by its method
	// only, so both handlers look.
	r.NotFoundHandler = Handle(log, func(w http.ResponseWriter, req *http.Request) error {
		allow := strings.Join(allowed(r, req), ", ")
		if allow == "" {
			return &Problem{Status: http.StatusNotFound, Detail: "there is nothing at this address; /api/v1/openapi.yaml lists what there is"}
		}
		w.Header().Set("Allow", allow)
		return &Problem{Status: http.StatusMethodNotAllowed, Detail: fmt.Sprintf("the method is not allowed here; allowed: %s", allow)}
	})
	r.MethodNotAllowedHandler = r.NotFoundHandler
	r.Use(decodeVars(log))
	return r
}

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// allowed returns the methods that r has a route for at the address of req.
func allowed(r *mux.Router, req *http.Request) []string {
	var out []string
	for _, m := range methods {
		probe := *req
		probe.Method = m
		var match mux.RouteMatch
		if r.Match(&probe, &match) && match.MatchErr == nil {
			out = append(out, m)
		}
	}
	return out
}

// decodeVars decodes what mux took from an encoded path.
func decodeVars(log *slog.Logger) mux.MiddlewareFunc {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			vars := mux.Vars(r)
			decoded := make(map[string]string, len(vars))
			for name, v := range vars {
				text, err := url.PathUnescape(v)
				if err != nil {
					Fail(log, w, r, &Problem{Status: http.StatusBadRequest, Detail: "the path of the URL is not valid; percent-encode its parts"})
					return
				}
				decoded[name] = text
			}
			next.ServeHTTP(w, mux.SetURLVars(r, decoded))
		})
	}
}

type stoppingKey struct{}

// WithStopping returns a context for requests of a server that says by a
// closed channel that it stops.
func WithStopping(ctx context.Context, stopping <-chan struct{}) context.Context {
	return context.WithValue(ctx, stoppingKey{}, stopping)
}

// Stopping returns a channel that is closed when the server stops. Handlers
// that stream or wait end then; all others just finish.
func Stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}
