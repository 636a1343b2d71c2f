package httpclient

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/kedge-sync/kedge"
)

// A Reply is what [Client.Send] learned of an answer.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte // what came of it within the bounds
}

// Send sends r exactly once and returns as soon as the answer's header is
// there and its body was read, up to r.MaxBytes and for bodyTime at most: what
// is cut off is no error. It is for queues of their own: it knows no repeats,
// no credentials, no pause, no rate and no limit of calls in flight, and
// follows no redirect. What it shares with [Client.Do] is the way to the other
// side: egress guard, proxy, bind address, idle connections and time-out.
//
// An error is a *kedge.Error that wraps a *[NetError]: there was no answer.
func (c *Client) Send(ctx context.Context, r Request, bodyTime time.Duration) (Reply, error) {
	k := &call{client: c, ctx: ctx, req: r}
	if err := c.checkURL(r.URL); err != nil {
		return Reply{}, k.fail(kedge.Forbidden, k.net(PhaseBlocked, err))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(c.opts.Timeout, func() { cancel(errFirstByte) })
	defer timer.Stop()
	var dialed, reached atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { dialed.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { reached.Store(true) },
	})
	hr, err := r.once(traced, c.opts.UserAgent)
	if err != nil {
		return Reply{}, k.fail(kedge.Invalid, k.net(PhaseRequest, fmt.Errorf("the request is malformed")))
	}
	began := c.opts.Now()
	resp, err := c.roundTrip(hr)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		c.observe(0, began)
		return Reply{}, k.lost(phaseOf(err, dialed.Load(), reached.Load()), err)
	}
	defer resp.Body.Close()
	c.observe(resp.StatusCode, began)
	out := Reply{Status: resp.StatusCode, Header: resp.Header}
	if resp.ContentLength != 0 {
		timer.Reset(bodyTime)
		limit := r.MaxBytes
		if limit == 0 {
			limit = maxErrorBytes
		}
		out.Body, _ = io.ReadAll(io.LimitReader(resp.Body, limit))
		if int64(len(out.Body)) == limit {
			return out, nil
		}
	}
	// Reading the end lets the connection be used again.
	var one [1]byte
	_, _ = resp.Body.Read(one[:])
	return out, nil
}

// once returns the request as net/http sends it, without what makes net/http
// repeat or decompress by itself.
func (r *Request) once(ctx context.Context, agent string) (*http.Request, error) {
	h := r.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if len(h["User-Agent"]) == 0 {
		h["User-Agent"] = []string{agent}
	}
	h["Accept-Encoding"] = []string{"identity"}
	hideReplayable(h)
	var body io.Reader
	if len(r.Body) > 0 {
		body = &sent{rest: r.Body}
	}
	hr, err := http.NewRequestWithContext(ctx, r.Method, r.URL.String(), body)
	if err != nil {
		return nil, err
	}
	hr.Header = h
	hr.ContentLength = int64(len(r.Body))
	return hr, nil
}

// sent is a body that net/http cannot rewind, so that it never sends it again
// over another connection.
type sent struct{ rest []byte }

// Read reads what is left.
func (s *sent) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
