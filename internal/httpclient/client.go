// Package httpclient is the only code that sends HTTP requests to other
// systems, and the only code that repeats them: by kind of error, within the
// limits of the connection, and never when a repeat could do harm.
//
// A [Client] is made for one connection. All its calls share one pause (asked
// for by Retry-After), one token bucket and one adaptive number of calls in
// flight. Repeats wait between 0.5 s and a bound that grows to 60 s, up to 6
// tries and 10 minutes; pauses that the other system asked for do not count.
//
// A client without an Origin talks to systems that know nothing of each other
// (webhook receivers): what one of them asks does not slow down the others,
// and every address passes the egress guard.
package httpclient

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"github.com/kedge-sync/kedge"
)

// An Effect says what a repeat of a request may do.
type Effect int

// The effects.
const (
	Read       Effect = iota // changes nothing; repeated
	Idempotent               // a repeat changes nothing more; repeated
	Once                     // repeated only if the first try was surely not executed
)

// DefaultMaxBytes is the bound on answers of requests that set none.
const DefaultMaxBytes = 64 << 20

// A Request is one request, with all that is needed to send it again.
type Request struct {
	Op       string // for errors: "odata.ReadPage"
	Method   string // "" means GET
	URL      *url.URL
	Header   http.Header
	Body     []byte
	Effect   Effect
	MaxBytes int64 // most bytes of the answer, after decompression; 0 means DefaultMaxBytes
	Cookies  bool  // send and keep the client's cookies; all others go without
	// Classify, if not nil, is asked about answers with a status of 400 and
	// above before the default rules; nil as an answer means "use the default".
	// The body of such an answer is cut at 1 MiB. An error of kind Transient or
	// Throttled is repeated if the effect allows it; RetryAfter of the latter
	// pauses the connection.
	Classify func(*Response) error
}

// A Response is the answer to a request. Body is the whole decompressed body.
type Response struct {
	Status int
	Header http.Header
	Body   string
	URL    *url.URL // after redirects
}

// Options configure a [Client]. The zero value is ready to use.
type Options struct {
	Name        string         // the connection's name, for logs and errors
	Origin      *url.URL       // trusted origin: passes the egress guard by itself; nil means any, all guarded
	AllowHosts  []string       // other hosts ("host" or "host:port") that requests may go to
	AllowHTTP   bool           // plain http to hosts that are not loopback
	Egress      []netip.Prefix // networks allowed to hosts other than Origin
	Proxy       *url.URL       // http or https; targets are reached by CONNECT
	Bind        netip.Addr     // local address to connect from; zero means any
	Auth        Auth           // nil means none
	Concurrency int            // calls in flight; 0 means 4
	Rate        float64        // requests per second; 0 means no limit
	Burst       int            // 0 means 1
	Timeout     time.Duration  // until the first byte of the answer; 0 means 2 min
	IdleTimeout time.Duration  // between bytes of the answer; 0 means 60 s
	// SingleTry is for queues that count attempts themselves: Idempotent and
	// Once requests are sent at most once. Reads are repeated as ever, and a
	// refused credential is still replaced once, for such a request did nothing.
	SingleTry bool
	// FailFast is for commands that a person waits for: a system that cannot
	// be reached is not tried again. Bad answers are, as ever.
	FailFast  bool
	UserAgent string       // "kedge/VERSION"; "" means "kedge"
	Logger    *slog.Logger // nil discards

	Now func() time.Time // nil means time.Now
	// Sleep waits before repeats, for pauses, for the rate and between polls
	// of a sign-in. nil means a timer. Tests pass a func that moves their
	// clock and returns at once; with testing/synctest none is needed.
	Sleep func(context.Context, time.Duration) error
	Rand  func() float64 // for jitter, in [0, 1); nil means math/rand/v2
	// Dial replaces the network in tests. The egress guard does not see it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Observe, if not nil, is called for every request that was sent, with
	// the status of its answer, or 0 if there was none.
	Observe func(status int, took time.Duration)
}

// A Client sends the requests of one connection. It is safe for concurrent use.
type Client struct {
	opts   Options
	origin origin // zero if opts.Origin is nil
	base   *http.Transport
	jar    http.CookieJar
	rate   *rate.Limiter // nil means no limit
	gate   *gate
}

// New returns a client. It does no I/O.
func New(opts Options) (*Client, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, &kedge.Error{Op: "httpclient.New", Kind: kedge.Invalid, Err: err}
	}
	c := &Client{opts: opts, gate: newGate(opts.Concurrency, opts.Now)}
	if opts.Origin != nil {
		c.origin = originOf(opts.Origin)
		if err := c.checkURL(opts.Origin); err != nil {
			return nil, &kedge.Error{Op: "httpclient.New", Kind: kedge.Invalid, Err: err}
		}
	}
	if opts.Rate > 0 {
		c.rate = rate.NewLimiter(rate.Limit(opts.Rate), opts.Burst)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, &kedge.Error{Op: "httpclient.New", Err: err}
	}
	c.jar = jar
	c.base = newTransport(c)
	return c, nil
}

func (o *Options) setDefaults() error {
	switch {
	case o.Concurrency < 0:
		return fmt.Errorf("concurrency %d is negative", o.Concurrency)
	case o.Rate < 0:
		return fmt.Errorf("rate %v is negative", o.Rate)
	case o.Burst < 0:
		return fmt.Errorf("burst %d is negative", o.Burst)
	case o.Timeout < 0 || o.IdleTimeout < 0:
		return fmt.Errorf("a time-out is negative")
	case o.Proxy != nil && (o.Proxy.Scheme != "http" && o.Proxy.Scheme != "https" || o.Proxy.Host == ""):
		return fmt.Errorf("the proxy must be an http or https URL")
	}
	setDefault(&o.Concurrency, 4)
	setDefault(&o.Burst, 1)
	setDefault(&o.Timeout, 2*time.Minute)
	setDefault(&o.IdleTimeout, time.Minute)
	setDefault(&o.UserAgent, "kedge")
	setDefault(&o.Logger, slog.New(slog.DiscardHandler))
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return nil
}

func setDefault[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Do sends r, reads the whole answer, and calls read with it if its status is
// 2xx or 304. What read returns of kind Transient is retried like a cut
// connection: read runs again from scratch. A nil read ignores the answer.
// All errors are *kedge.Error; those about an answer wrap a *[StatusError],
// those about the way to it a *[NetError].
//
// If a request of effect Once may have been executed, but its answer is lost,
// unreadable or says nothing about that, the kind is OutcomeUnknown.
func (c *Client) Do(ctx context.Context, r Request, read func(*Response) error) error {
	setDefault(&r.Method, http.MethodGet)
	setDefault(&r.MaxBytes, DefaultMaxBytes)
	if r.URL == nil {
		return &kedge.Error{Op: r.Op, Kind: kedge.Invalid, Err: fmt.Errorf("no URL")}
	}
	if err := c.checkURL(r.URL); err != nil {
		return &kedge.Error{Op: r.Op, Kind: kedge.Forbidden, Err: err}
	}
	k := &call{client: c, ctx: ctx, req: r, read: read, start: c.opts.Now()}
	return k.run()
}

// Close closes the idle connections.
func (c *Client) Close() { c.base.CloseIdleConnections() }
