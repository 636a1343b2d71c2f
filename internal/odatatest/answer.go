package odatatest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// An answer is a whole response, so that it can be cut, kept and sent again.
type answer struct {
	status int
	header http.Header
	body   []byte
	wrote  bool // rows were written, or written and taken back
}

// newAnswer returns a 200 with the content type.
func newAnswer(contentType string, body []byte) *answer {
	return &answer{status: http.StatusOK, header: http.Header{"Content-Type": {contentType}}, body: body}
}

// send writes a. With cut >= 0, only so many bytes of the body are sent before
// the connection breaks.
func (a *answer) send(w http.ResponseWriter, cut int) {
	h := w.Header()
	for k, v := range a.header {
		h[k] = v
	}
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if cut < 0 || cut >= len(a.body) {
		w.Write(a.body) // the client may be gone, and then nobody is there to tell
		return
	}
	w.Write(a.body[:cut])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// A failure is an answer of status 400 and up.
type failure struct {
	status     int
	code       string
	message    string
	target     string
	details    []problem
	retryAfter string
	header     http.Header
}

func (f *failure) Error() string { return f.message }

// with adds a header.
func (f *failure) with(name, value string) *failure {
	if f.header == nil {
		f.header = http.Header{}
	}
	f.header.Set(name, value)
	return f
}

func fail(status int, code, format string, args ...any) *failure {
	return &failure{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *failure {
	return fail(http.StatusBadRequest, "BadRequest", format, args...)
}

func notImplemented(format string, args ...any) *failure {
	return fail(http.StatusNotImplemented, "NotImplemented", format, args...)
}

func notFound() *failure {
	return fail(http.StatusNotFound, "NotFound", "The resource does not exist.")
}

// statusOf returns the status of the answer to an error.
func statusOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.status
	}
	return http.StatusInternalServerError
}

// failed turns an error into an answer (JSON Format 4.01, 21.1).
func (s *Service) failed(err error) *answer {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = fail(http.StatusInternalServerError, "InternalServerError", "%v", err)
	}
	a := s.errorBody(f)
	a.status = f.status
	for k, v := range f.header {
		a.header[k] = v
	}
	if f.retryAfter != "" {
		a.header.Set("Retry-After", f.retryAfter)
	}
	return a
}

func (s *Service) errorBody(f *failure) *answer {
	if s.quirk(OddErrors) {
		return oddError(f)
	}
	body := map[string]any{"code": f.code, "message": f.message}
	if f.target != "" {
		body["target"] = f.target
	}
	if len(f.details) > 0 {
		var details []map[string]string
		for _, p := range f.details {
			details = append(details, map[string]string{"code": f.code, "message": p.message, "target": p.target})
		}
		body["details"] = details
	}
	return newAnswer("application/json;odata.metadata=minimal", jsonText(map[string]any{"error": body}))
}

// oddError returns one of the bodies that services send instead of an OData
// error; which one depends on the status.
func oddError(f *failure) *answer {
	switch f.status % 5 {
	case 0: // 400, 410, 500
		return newAnswer("application/json", jsonText(map[string]any{"error": map[string]any{"code": f.status, "message": map[string]string{"lang": "en", "value": f.message}}}))
	case 1: // 401, 501
		return newAnswer("text/plain", []byte(f.message))
	case 3: // 403, 413, 428
		return newAnswer("application/json", jsonText(map[string]string{"Message": f.message}))
	case 4: // 404, 409, 429
		return newAnswer("text/html; charset=utf-8", []byte("<!DOCTYPE html><html><body><h1>Error "+strconv.Itoa(f.status)+"</h1></body></html>"))
	}
	return &answer{header: http.Header{}}
}

func jsonText(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only maps, slices and scalars come here
	}
	return b
}
