// Package httpclient is the only code that sends HTTP requests to other
// systems, and the only code that repeats them: by kind of error, within the
// limits of the connection, and never when a repeat could do harm.
package httpclient

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// An Effect says what a repeat of a request may do.
type Effect int

// The effects.
const (
	Read       Effect = iota // changes nothing; repeated
	Idempotent               // a repeat changes nothing more; repeated
	Once                     // repeated only if the first try was surely not executed
)

// A Request is one request, with all that is needed to send it again.
type Request struct {
	Op       string // for errors: "odata.ReadPage"
	Method   string
	URL      *url.URL
	Header   http.Header
	Body     []byte
	Effect   Effect
	MaxBytes int64 // most bytes of the answer, after decompression; 0 means 64 MiB
	// Trusted tells that the URL's origin is the connection's own; other URLs
	// pass the egress guard.
	//
	// Classify, if not nil, is asked about answers with a status of 400 and
	// above before the default rules; nil as an answer means "use the default".
	Classify func(*Response) error
}

// A Response is the answer to a request. Body is the whole decompressed body.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	URL    *url.URL // after redirects
}

// Options configure a [Client]. The zero value is ready to use.
type Options struct {
	Name        string        // the connection's name, for logs and errors
	Origin      *url.URL      // trusted origin: passes the egress guard by itself
	AllowHosts  []string      // other hosts that requests may go to
	AllowHTTP   bool          // plain http to hosts that are not loopback
	Egress      []netip.Prefix // networks allowed to hosts other than Origin
	Proxy       *url.URL
	Auth        Auth          // nil means none
	Concurrency int           // calls in flight; 0 means 4
	Rate        float64       // requests per second; 0 means no limit
	Burst       int           // 0 means 1
	Timeout     time.Duration // until the first byte of the answer; 0 means 2 min
	IdleTimeout time.Duration // between bytes of the answer; 0 means 60 s
	SingleTry   bool          // for queues that count attempts themselves
	Cookies     bool          // keep cookies
	UserAgent   string        // "kedge/VERSION"
	Logger      *slog.Logger  // nil discards
	Now         func() time.Time
}

// Auth adds credentials to a request. Refresh drops a refused credential; it
// reports whether a new one can be had.
type Auth interface {
	Apply(ctx context.Context, h http.Header) error
	Refresh(ctx context.Context, refused http.Header) (bool, error)
}

// A Client sends the requests of one connection. It is safe for concurrent use.
type Client struct{}

// New returns a client. It does no I/O.
func New(opts Options) (*Client, error) { panic("not written yet") }

// Do sends r, reads the whole answer, and calls read with it if its status is
// below 400. What read returns of kind Transient is retried like a cut
// connection: read runs again from scratch. All errors are *kedge.Error.
func (c *Client) Do(ctx context.Context, r Request, read func(*Response) error) error {
	panic("not written yet")
}

// A DeviceCode is what a person needs to sign in (RFC 8628, 3.2).
type DeviceCode struct {
	UserCode        string
	VerificationURI string
	ExpiresIn       time.Duration
}

// A DevicePrompt shows a device code to a person.
type DevicePrompt func(context.Context, DeviceCode) error
