package httpclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
)

const (
	maxTries    = 6
	maxUnknown  = 3 // tries if the host does not exist: a typing error should not take minutes to tell
	minWait     = 500 * time.Millisecond
	maxWait     = time.Minute
	waitFactor  = 4
	maxTotal    = 10 * time.Minute
	maxPause    = 15 * time.Minute
	maxAskedFor = 24 * time.Hour // bound on Error.RetryAfter
)

// check decides, for retryablehttp, whether there is another try. It runs
// before the body is read, when only a lost request is settled, and after.
func (k *call) check(_ context.Context, _ *http.Response, err error) (bool, error) {
	if err == nil && !k.answered {
		return false, nil
	}
	if err != nil {
		e, ok := errors.AsType[*kedge.Error](err)
		if !ok { // the jar or a malformed Location
			e = k.fail(kedge.Invalid, errors.New("the answer is not valid HTTP"))
		}
		k.err = e
	}
	return k.again(), nil
}

// again reports whether the last try may be repeated, and sets when.
func (k *call) again() bool {
	opts := &k.client.opts
	switch {
	case k.err == nil || k.final || k.ctx.Err() != nil:
		return false
	case k.replay:
		k.replayed, k.wait = true, 0
		return true
	case k.err.Kind != kedge.Transient && k.err.Kind != kedge.Throttled:
		return false
	case k.req.Effect == Once && k.reached && !k.unharmed:
		return false
	case opts.SingleTry && k.req.Effect != Read:
		return false
	case k.tries >= k.triesAllowed():
		return false
	}
	k.wait = k.backoff()
	if opts.Now().Add(k.wait).Sub(k.start) > maxTotal {
		return false
	}
	opts.Logger.WarnContext(k.ctx, "request will be repeated", "connection", opts.Name, "op", k.req.Op,
		"attempt", k.tries, "wait", k.wait, "err", k.err)
	return true
}

func (k *call) triesAllowed() int {
	if e, ok := errors.AsType[*NetError](k.err); ok && k.client.opts.FailFast && e.unreachable() {
		return 1
	}
	if dns, ok := errors.AsType[*net.DNSError](k.err); ok && dns.IsNotFound {
		return maxUnknown
	}
	return maxTries
}

// backoff returns the wait before the next try. If the other system asked for
// a delay, the gate of the connection is shut, so the call itself need not
// wait; without a connection to pause, the call waits alone.
func (k *call) backoff() time.Duration {
	if asked := k.err.RetryAfter; asked > 0 && k.err.Kind == kedge.Throttled {
		if k.client.opts.Origin == nil {
			return asked
		}
		k.client.gate.pause(min(asked, maxPause))
		return 0
	}
	return jitter(k.tries, k.client.opts.Rand)
}

// jitter returns the wait after the n-th try: random between 0.5 s and 2, 8,
// 32, 60, 60 s. Full jitter keeps many clients from coming back together.
func jitter(n int, rnd func() float64) time.Duration {
	top := minWait
	for range n {
		top = min(maxWait, top*waitFactor)
	}
	return minWait + time.Duration(rnd()*float64(top-minWait))
}

// prepare waits before the next try.
func (k *call) prepare(*http.Request) error {
	k.waiting = true
	return k.client.opts.Sleep(k.ctx, k.wait)
}

// admit waits for the rate, for the end of a pause, and for a place. What the
// other system asked for does not count as time of the call.
func (k *call) admit() error {
	c := k.client
	if c.rate != nil {
		now := c.opts.Now()
		turn := c.rate.ReserveN(now, 1)
		if d := turn.DelayFrom(now); d > 0 {
			if err := c.opts.Sleep(k.ctx, d); err != nil {
				turn.CancelAt(c.opts.Now())
				return k.ended(err)
			}
		}
	}
	paused, err := c.gate.enter(k.ctx, c.opts.Sleep)
	k.start = k.start.Add(paused)
	if err != nil {
		return k.ended(err)
	}
	return nil
}

// ended returns the error of a call whose context ended before it was sent.
func (k *call) ended(err error) *kedge.Error {
	return k.fail(kedge.Transient, &NetError{Method: k.req.Method, Origin: originText(k.req.URL), Phase: PhaseRequest, Err: err})
}

// RetryAfter returns the delay that an answer asks for, like
// [ParseRetryAfter]. A date is compared with the Date header if there is one.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) { return retryAfter(h, now) }

// retryAfter returns the delay that the header asks for. A date is compared
// with the Date header if there is one, so that clocks may differ.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if v == "" {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return ParseRetryAfter(v, now)
}

// ParseRetryAfter reads the value of a Retry-After header: seconds or an HTTP
// date (RFC 9110, 10.2.3). Dates in the past and negative numbers give 0, and
// nothing gives more than a day. It reports false for anything else.
func ParseRetryAfter(v string, now time.Time) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	if t, err := http.ParseTime(v); err == nil {
		return clamp(t.Sub(now)), true
	}
	if v == "" || strings.Trim(v, "+-.0123456789") != "" {
		return 0, false
	}
	s, err := strconv.ParseFloat(v, 64) // some servers send fractions
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	if s > maxAskedFor.Seconds() {
		return maxAskedFor, true
	}
	return clamp(time.Duration(s * float64(time.Second))), true
}

func clamp(d time.Duration) time.Duration { return min(max(d, 0), maxAskedFor) }
