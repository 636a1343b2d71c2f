package httpclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/kedge-sync/kedge"
)

const (
	maxRedirects  = 3
	maxErrorBytes = 1 << 20 // of the body of an answer with status 400 and above
)

// A call is one Do: what its tries share, and what the last one ended with.
// retryablehttp runs the tries, one after the other: begin, [call.RoundTrip]
// for each hop, check, answer, check, backoff, prepare.
type call struct {
	client *Client
	ctx    context.Context
	req    Request
	read   func(*Response) error
	start  time.Time // moved by the pauses that the other system asked for

	tries    int           // without those of a refused credential
	replayed bool          // a refused credential was replaced
	wait     time.Duration // before the next try
	waiting  bool          // for the next try

	// The last try.
	sent      http.Header // header of the last request, with credentials
	reached   bool        // a connection was there, so the request may have been executed
	answered  bool        // an answer came and was read, well or not
	unharmed  bool        // the answer tells that the request was not executed
	replay    bool        // refused, but there is another credential
	final     bool        // there is no use in another try
	redirects error       // why a redirect was not followed
	err       *kedge.Error
}

func (k *call) run() error {
	httpc := &http.Client{Transport: k, CheckRedirect: k.checkRedirect}
	if k.req.Cookies {
		httpc.Jar = k.client.jar
	}
	rc := retryablehttp.Client{
		HTTPClient:     httpc,
		RetryMax:       2 * maxTries, // check counts better
		RequestLogHook: func(retryablehttp.Logger, *http.Request, int) { k.begin() },
		CheckRetry:     k.check,
		Backoff:        func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 }, // prepare waits
		PrepareRetry:   k.prepare,
		ErrorHandler:   retryablehttp.PassthroughErrorHandler,
	}
	r, err := k.newRequest()
	if err != nil {
		return k.fail(kedge.Invalid, err)
	}
	r.SetResponseHandler(k.answer)
	if _, err := rc.Do(r); err != nil && (k.err == nil || k.waiting) {
		k.err = k.ended(err)
	}
	if k.err != nil {
		return k.err
	}
	return nil
}

func (k *call) newRequest() (*retryablehttp.Request, error) {
	h := k.req.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", k.client.opts.UserAgent)
	}
	if k.req.Effect == Once || k.client.opts.SingleTry {
		hideReplayable(h)
	}
	u := *k.req.URL
	u.Fragment, u.RawFragment = "", ""
	hr := &http.Request{Method: k.req.Method, URL: &u, Header: h, Host: u.Host}
	r, err := retryablehttp.FromRequest(hr.WithContext(k.ctx))
	if err == nil && len(k.req.Body) > 0 {
		err = r.SetBody(k.req.Body)
	}
	return r, err
}

// hideReplayable keeps net/http from repeating a request by itself: it does so
// after a lost answer if it finds one of these headers. Header names do not
// depend on case (RFC 9110, 5.1), but net/http looks for this one only.
func hideReplayable(h http.Header) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
}

func (k *call) begin() {
	if !k.replay {
		k.tries++
	}
	k.reached, k.answered, k.unharmed, k.replay = false, false, false, false
	k.waiting, k.final = false, false
	k.redirects, k.err = nil, nil
}

// checkRedirect follows at most 3 redirects of a GET to its own origin.
func (k *call) checkRedirect(r *http.Request, via []*http.Request) error {
	r.Header.Del("Referer")
	switch {
	case via[0].Method != http.MethodGet:
		k.redirects = errors.New("redirects are followed for GET only")
	case originOf(r.URL) != originOf(via[0].URL):
		k.redirects = &kedge.Error{Kind: kedge.Forbidden, Err: fmt.Errorf("redirect to %s, another host, refused", originText(r.URL))}
	case len(via) > maxRedirects:
		k.redirects = fmt.Errorf("more than %d redirects", maxRedirects)
	default:
		return nil
	}
	return http.ErrUseLastResponse
}

// answer reads the body and settles what the answer means. It closes the body,
// which frees the place of the call, before it decodes.
func (k *call) answer(hr *http.Response) error {
	k.answered = true
	max := k.req.MaxBytes
	if hr.StatusCode >= 400 {
		max = min(max, maxErrorBytes)
	}
	body, err := readBody(hr, max)
	hr.Body.Close()
	resp := &Response{Status: hr.StatusCode, Header: hr.Header, Body: body, URL: hr.Request.URL}
	switch {
	case resp.Status >= 400:
		k.err = k.refused(resp)
	case resp.Status >= 300 && resp.Status != http.StatusNotModified:
		k.err = k.redirected(resp)
	case err != nil:
		k.err = k.badBody(err)
	case k.read != nil:
		k.err = k.decoded(k.read(resp))
	}
	return nil
}

// refused returns the error of an answer with a status of 400 and above.
func (k *call) refused(resp *Response) *kedge.Error {
	c := k.client
	asked, hasAfter := retryAfter(resp.Header, c.opts.Now())
	k.unharmed = notExecuted(resp.Status, hasAfter)
	if resp.Status == http.StatusUnauthorized && c.opts.Auth != nil && !k.replayed {
		again, err := c.opts.Auth.Refresh(k.ctx, k.sent)
		if err != nil {
			return k.wrap(err)
		}
		k.replay = again
	}
	if k.req.Classify != nil {
		if err := k.req.Classify(resp); err != nil {
			return k.wrap(err)
		}
	}
	kind := KindOfStatus(resp.Status, hasAfter)
	if kind == kedge.Transient && k.req.Effect == Once {
		kind = kedge.OutcomeUnknown
	}
	e := k.fail(kind, k.status(resp.Status))
	if kind == kedge.Throttled {
		e.RetryAfter = asked
	}
	return e
}

func (k *call) status(code int) *StatusError {
	return &StatusError{Method: k.req.Method, Origin: originText(k.req.URL), Status: code}
}

func (k *call) redirected(resp *Response) *kedge.Error {
	kind := kedge.Invalid
	var e *kedge.Error
	if errors.As(k.redirects, &e) {
		kind = e.Kind
	}
	if k.redirects == nil {
		return k.fail(kind, k.status(resp.Status))
	}
	return k.fail(kind, fmt.Errorf("%w: %w", k.status(resp.Status), k.redirects))
}

// badBody returns the error of a good answer whose body cannot be read.
func (k *call) badBody(err error) *kedge.Error {
	kind := kedge.Transient
	var e *kedge.Error
	switch {
	case k.req.Effect == Once:
		kind = kedge.OutcomeUnknown // it was executed; only the answer is lost
	case errors.As(err, &e):
		return k.fail(e.Kind, fmt.Errorf("%s %s: %w", k.req.Method, originText(k.req.URL), e.Err))
	}
	phase := PhaseAnswer
	if errors.Is(err, errIdle) {
		phase = PhaseTimeout
	}
	return k.fail(kind, k.net(phase, err))
}

func (k *call) decoded(err error) *kedge.Error {
	if err == nil {
		return nil
	}
	e := k.wrap(err)
	if e.Kind == kedge.Transient && k.req.Effect == Once {
		return k.fail(kedge.OutcomeUnknown, e)
	}
	return e
}

// fail returns an error of the request's operation.
func (k *call) fail(kind kedge.Kind, cause error) *kedge.Error {
	return &kedge.Error{Op: k.req.Op, Kind: kind, Err: cause}
}

// wrap returns err itself if it is a *kedge.Error.
func (k *call) wrap(err error) *kedge.Error {
	if e, ok := err.(*kedge.Error); ok {
		return e
	}
	return k.fail(kedge.KindOf(err), err)
}

func (k *call) net(phase Phase, cause error) *NetError {
	return &NetError{Method: k.req.Method, Origin: originText(k.req.URL), Phase: phase, Err: cause}
}
