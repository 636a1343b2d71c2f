package httpclient

import (
	"fmt"
	"net/http"

	"github.com/kedge-sync/kedge"
)

// A StatusError is the cause of an error about an answer's status.
type StatusError struct {
	Method string
	Origin string // scheme and host; never a path or a query
	Status int
}

// Error returns, for example, "GET https://example.com: 404 Not Found".
func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s: %d", e.Method, e.Origin, e.Status)
	if t := http.StatusText(e.Status); t != "" {
		s += " " + t
	}
	return s
}

// KindOfStatus is the table of kinds for statuses of 400 and above. An anchor
// that is gone (410) is for the driver to tell.
func KindOfStatus(status int, hasRetryAfter bool) kedge.Kind {
	switch status {
	case http.StatusUnauthorized:
		return kedge.Unauthorized
	case http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return kedge.Forbidden
	case http.StatusNotFound, http.StatusGone:
		return kedge.NotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return kedge.Conflict
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong:
		return kedge.TooLarge
	case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return kedge.Unsupported
	case http.StatusTooManyRequests:
		return kedge.Throttled
	case http.StatusServiceUnavailable:
		if hasRetryAfter {
			return kedge.Throttled
		}
		return kedge.Transient
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusFailedDependency:
		return kedge.Transient
	}
	if status >= 500 {
		return kedge.Transient
	}
	return kedge.Invalid
}

// notExecuted reports whether the status says that the request did nothing.
func notExecuted(status int, hasRetryAfter bool) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable && hasRetryAfter
}
