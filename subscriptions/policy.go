package subscriptions

import (
	"errors"
	"net/http"
	"time"

	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/subscriptions/lanes"
)

// A Class says how an attempt ended.
type Class string

// The classes of attempts.
const (
	ClassOK        Class = "ok"
	ClassDNS       Class = "dns"
	ClassConnect   Class = "connect"
	ClassTLS       Class = "tls"
	ClassTimeout   Class = "timeout"
	ClassServer    Class = "server"    // 5xx, or what came was no HTTP
	ClassRejected  Class = "rejected"  // 400, 413, 415, 422: the payload is refused
	ClassRedirect  Class = "redirect"  // never followed
	ClassDenied    Class = "denied"    // other 4xx
	ClassThrottled Class = "throttled" // 429, or 503 with Retry-After
	ClassGone      Class = "gone"      // 410
	ClassBlocked   Class = "blocked"   // the egress guard refused the address
	ClassInternal  Class = "internal"  // kedge itself could not make the request
)

// breaks reports whether failures of the class open the breaker: the target
// does not work, whatever is sent.
func (c Class) breaks() bool {
	switch c {
	case ClassDNS, ClassConnect, ClassTLS, ClassTimeout, ClassServer:
		return true
	}
	return false
}

const (
	rejectedAttempts = 4
	blockedInRow     = 3
	minRetryAfter    = time.Second
	maxRetryAfter    = time.Hour
	noRetryAfter     = time.Minute // of a throttling answer without the header
)

// classify returns the class of an answer, and what Retry-After asked for (0:
// nothing), within 1 s to 1 h.
func classify(reply httpclient.Reply, err error, now time.Time) (Class, time.Duration) {
	if err != nil {
		return classOfError(err), 0
	}
	after, asked := httpclient.RetryAfter(reply.Header, now)
	if asked {
		after = min(max(after, minRetryAfter), maxRetryAfter)
	}
	switch s := reply.Status; {
	case s >= 200 && s < 300:
		return ClassOK, 0
	case s == http.StatusTooManyRequests || s == http.StatusServiceUnavailable && asked:
		if !asked {
			after = noRetryAfter
		}
		return ClassThrottled, after
	case s == http.StatusGone:
		return ClassGone, 0
	case s == http.StatusBadRequest || s == http.StatusRequestEntityTooLarge || s == http.StatusUnsupportedMediaType || s == http.StatusUnprocessableEntity:
		return ClassRejected, after
	case s >= 300 && s < 400:
		return ClassRedirect, after
	case s >= 400 && s < 500:
		return ClassDenied, after
	}
	return ClassServer, after
}

func classOfError(err error) Class {
	e, ok := errors.AsType[*httpclient.NetError](err)
	if !ok {
		return ClassInternal
	}
	switch e.Phase {
	case httpclient.PhaseBlocked:
		return ClassBlocked
	case httpclient.PhaseDNS:
		return ClassDNS
	case httpclient.PhaseConnect:
		return ClassConnect
	case httpclient.PhaseTLS:
		return ClassTLS
	case httpclient.PhaseTimeout:
		return ClassTimeout
	case httpclient.PhaseRequest:
		return ClassInternal
	}
	return ClassServer
}

// next sets attempt, step and due time of a row after a failure, and reports
// whether there is another attempt. resting: the breaker is open, so the
// failure uses no step; until is when the queue may send again.
func (c *Config) next(r *lanes.Row, class Class, after time.Duration, resting bool, until, now int64, rnd float64) bool {
	r.Attempt++
	wait := time.Duration(0)
	switch {
	case class == ClassThrottled:
		r.Due = now + after.Milliseconds()
	case resting:
		r.Due = max(until, now+after.Milliseconds())
	case r.Step >= len(c.Retry.Schedule) || class == ClassRejected && r.Step >= rejectedAttempts-1:
		return false
	default:
		wait = c.Retry.Schedule[r.Step]
		wait += time.Duration((2*rnd - 1) * c.Retry.Jitter * float64(wait))
		r.Step++
		r.Due = now + max(wait, after).Milliseconds()
	}
	return now-r.QueuedAt < c.Limits.MaxAge.Milliseconds()
}
