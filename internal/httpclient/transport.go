package httpclient

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-sync/kedge"
)

const (
	handshakeTimeout = 15 * time.Second // TCP and TLS, each
	idleConnTimeout  = 90 * time.Second
	maxHeaderBytes   = 256 << 10
)

func newTransport(c *Client) *http.Transport {
	return &http.Transport{
		DialContext:            c.dial,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxIdleConnsPerHost:    c.opts.Concurrency,
		MaxIdleConns:           4 * c.opts.Concurrency,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// RoundTrip sends one hop of the call: the request or one of its redirects.
func (k *call) RoundTrip(r *http.Request) (*http.Response, error) {
	c := k.client
	r = r.Clone(r.Context())
	if c.opts.Auth != nil {
		if err := c.opts.Auth.Apply(k.ctx, r.Header); err != nil {
			k.final = true // the token endpoint has its own repeats
			return nil, k.wrap(err)
		}
	}
	k.sent = r.Header
	if err := k.admit(); err != nil {
		return nil, err
	}
	began := c.opts.Now()

	ctx, cancel := context.WithCancelCause(k.ctx)
	done := sync.OnceFunc(func() { cancel(nil); c.gate.leave() })
	var dialed, reached atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { dialed.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { reached.Store(true) },
	})
	timer := time.AfterFunc(c.opts.Timeout, func() { cancel(errFirstByte) })
	resp, err := c.roundTrip(r.WithContext(ctx))
	timer.Stop()
	k.reached = reached.Load()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		phase := phaseOf(err, dialed.Load(), k.reached)
		done()
		c.observe(0, began)
		return nil, k.lost(phase, err)
	}
	c.observe(resp.StatusCode, began)
	c.heed(k, resp, began)
	resp.Body = &body{ReadCloser: resp.Body, ctx: ctx, idle: c.opts.IdleTimeout, done: done,
		timer: stopped(func() { cancel(errIdle) })}
	return resp, nil
}

// stopped returns a timer that runs f once it is reset.
func stopped(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// lost returns the error of a request that got no answer.
func (k *call) lost(phase Phase, err error) *kedge.Error {
	kind := kindOfPhase(phase, err)
	if kind == kedge.Transient && k.req.Effect == Once && k.reached {
		kind = kedge.OutcomeUnknown
	}
	return k.fail(kind, k.net(phase, err))
}

func (c *Client) observe(status int, began time.Time) {
	if c.opts.Observe != nil {
		c.opts.Observe(status, c.opts.Now().Sub(began))
	}
}

// heed slows the connection down as an answer asks. Systems that share only a
// client, not a connection, are left alone.
func (c *Client) heed(k *call, resp *http.Response, began time.Time) {
	if c.opts.Origin == nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return
	}
	c.gate.throttled(began)
	d, _ := retryAfter(resp.Header, c.opts.Now())
	if d = min(d, maxPause); d > 0 && c.gate.pause(d) {
		c.opts.Logger.WarnContext(k.ctx, "connection paused", "connection", c.opts.Name, "op", k.req.Op,
			"status", resp.StatusCode, "wait", d)
	}
}
