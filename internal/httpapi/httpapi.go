// Package httpapi is what all HTTP handlers of kedge share: handlers that
// return errors, answers in application/problem+json (RFC 9457), bounded
// bodies, strict JSON, request ids, list parameters and entity tags.
//
// It knows no routes: those are with their modules.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge"
)

// A HandlerFunc answers a request or returns an error, never both.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// Handle adapts h: errors are answered as [Problem]s. Those of status 500 are
// logged and answered without their text; all others are the client's to see
// and are not logged.
func Handle(log *slog.Logger, h HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			Fail(log, w, r, err)
		}
	})
}

// Fail answers r with err. [Handle] calls it; middlewares may.
func Fail(log *slog.Logger, w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	switch {
	case r.Context().Err() != nil:
		// Nobody waits for the answer, and the error says mostly that.
		log.DebugContext(r.Context(), "request left", "method", r.Method, "route", Route(r))
	case p.Status == http.StatusInternalServerError:
		log.ErrorContext(r.Context(), "request failed", "method", r.Method, "route", Route(r), "err", err)
		p.Detail = "internal error; the log tells more under this request id"
	}
	body := problemBody{
		Type: "about:blank", Title: http.StatusText(p.Status), Status: p.Status, Detail: p.Detail,
		Instance: RequestID(r.Context()), Errors: p.Errors,
	}
	if p.Type != "" {
		body.Type = "urn:kedge:problem:" + p.Type
	}
	h := w.Header()
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(p.RetryAfter.Seconds())), 10))
	}
	if p.Status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", `Bearer realm="kedge"`)
	}
	if err := write(w, p.Status, "application/problem+json", body); err != nil {
		log.DebugContext(r.Context(), "answer not sent", "err", err)
	}
}

// Route returns the pattern of the path that r took, or "none". It is for logs
// and metrics: the path itself may hold keys, which are personal data, or
// secrets.
func Route(r *http.Request) string {
	if route := mux.CurrentRoute(r); route != nil {
		if pattern, err := route.GetPathTemplate(); err == nil {
			return pattern
		}
	}
	return "none"
}

// A FieldError tells what is wrong with one value of a body.
type FieldError struct {
	Pointer string `json:"pointer"` // JSON Pointer (RFC 6901) into the body
	Detail  string `json:"detail"`  // never holds the value
}

// A Problem is an error that fixes its own status, such as 412 or 415. All
// other errors get theirs by [StatusOf].
type Problem struct {
	Status     int
	Type       string // a word for programs, such as "run_active"; empty: the status says it all
	Detail     string // for people; says what to do
	Errors     []FieldError
	RetryAfter time.Duration // rounded up to seconds
}

// Error returns the text for people.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return http.StatusText(p.Status)
	}
	return p.Detail
}

type problemBody struct {
	Type     string       `json:"type"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail,omitempty"`
	Instance string       `json:"instance,omitempty"`
	Errors   []FieldError `json:"errors,omitempty"`
}

// problemOf says how err is answered.
func problemOf(err error) Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return *p
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return *tooLarge(e.Limit)
	}
	p := Problem{Status: StatusOf(kedge.KindOf(err)), Detail: err.Error()}
	if e, ok := errors.AsType[*kedge.Error](err); ok {
		p.RetryAfter = e.RetryAfter
		if error(e) == err {
			// The name of the Go function is of no use to clients.
			p.Detail = (&kedge.Error{Kind: e.Kind, Entity: e.Entity, Err: e.Err}).Error()
		}
	}
	return p
}

// StatusOf returns the HTTP status for errors of kind k.
func StatusOf(k kedge.Kind) int {
	switch k {
	case kedge.Invalid:
		return http.StatusBadRequest
	case kedge.Unauthorized:
		return http.StatusUnauthorized
	case kedge.Forbidden:
		return http.StatusForbidden
	case kedge.NotFound:
		return http.StatusNotFound
	case kedge.Conflict:
		return http.StatusConflict
	case kedge.AnchorExpired:
		return http.StatusGone
	case kedge.TooLarge:
		return http.StatusRequestEntityTooLarge
	case kedge.Unsupported:
		return http.StatusUnprocessableEntity
	case kedge.Throttled:
		return http.StatusTooManyRequests
	case kedge.OutcomeUnknown:
		return http.StatusBadGateway
	case kedge.Transient:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// WriteJSON answers with v. Nothing was written if v cannot be encoded.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	return write(w, status, "application/json", v)
}

func write(w http.ResponseWriter, status int, contentType string, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	// A client that went away is no error of the handler, and nothing could
	// be answered any more.
	_, _ = w.Write(buf.Bytes())
	return nil
}

type requestIDKey struct{}

// RequestID returns the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// WithRequestID gives every request an id, a UUIDv7, and names it in the
// answer's X-Request-Id. What the client sent as one is not used.
func WithRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := uuid.Must(uuid.NewV7()).String()
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

// LogRequestID returns a handler that adds the id of the request, as
// "request", to what is logged with its context.
func LogRequestID(h slog.Handler) slog.Handler { return requestLog{h} }

type requestLog struct{ slog.Handler }

func (l requestLog) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("request", id))
	}
	return l.Handler.Handle(ctx, r)
}

func (l requestLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestLog{l.Handler.WithAttrs(attrs)}
}

func (l requestLog) WithGroup(name string) slog.Handler { return requestLog{l.Handler.WithGroup(name)} }

// Extend gives the handler of a request d from now on to read and to answer,
// instead of what the server gives to all. 0 means for ever.
func Extend(w http.ResponseWriter, d time.Duration) {
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	c := http.NewResponseController(w)
	// A writer of tests that has no deadlines needs none.
	_ = c.SetReadDeadline(until)
	_ = c.SetWriteDeadline(until)
}
