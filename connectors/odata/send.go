package odata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// The media types of bodies; see acceptExact.
const (
	bodyExact = "application/json;IEEE754Compatible=true"
	bodyPlain = "application/json"
)

// A request is one request of a change, sent alone or in a batch.
type request struct {
	method  string
	path    string // relative to the service root, encoded, with its query
	effect  httpclient.Effect
	ifMatch string // "" for none
	prefer  string // "" for none
	repeat  repeatability
	body    func(plain bool) []byte // nil if there is none
}

// header returns the header of r; plain is without IEEE754Compatible.
func (d *Driver) headerOf(r *request, plain bool) http.Header {
	h := http.Header{}
	accept, content := acceptExact, bodyExact
	if plain {
		accept, content = acceptPlain, bodyPlain
	}
	h.Set("Accept", accept)
	h.Set("OData-MaxVersion", d.cfg.MaxVersion)
	if r.body != nil {
		h.Set("Content-Type", content)
		h.Set("OData-Version", "4.0")
	}
	if r.ifMatch != "" {
		h.Set("If-Match", r.ifMatch)
	}
	if r.prefer != "" {
		h.Set("Prefer", r.prefer)
	}
	r.repeat.set(h)
	return h
}

func (r *request) content(plain bool) []byte {
	if r.body == nil {
		return nil
	}
	return r.body(plain)
}

// A reply is what came of a request: an answer with a status, or an error.
type reply struct {
	status int // 0: no answer, see err
	header http.Header
	body   string
	err    error
	part   bool // of a batch: other requests may have fared better
}

func (a *reply) ok() bool { return a.status >= 200 && a.status < 300 }

func (a *reply) gone() bool { return a.status == http.StatusNotFound || a.status == http.StatusGone }

func (a *reply) refusesFormat() bool {
	return a.status == http.StatusNotAcceptable || a.status == http.StatusUnsupportedMediaType
}

// send sends r alone.
func (d *Driver) send(ctx context.Context, op string, r *request, plain bool) *reply {
	text := d.root.String() + r.path
	if len(text) > d.cfg.MaxURL {
		return &reply{err: &kedge.Error{Kind: kedge.TooLarge, Err: fmt.Errorf("the URL would have %d bytes, more than %d (maxURL)", len(text), d.cfg.MaxURL)}}
	}
	u, err := url.Parse(text)
	if err != nil {
		return &reply{err: &kedge.Error{Kind: kedge.Internal, Err: errors.New("the URL of the request cannot be parsed")}}
	}
	h := d.header.Clone()
	for name, values := range d.headerOf(r, plain) {
		h[name] = values
	}
	return d.exchange(ctx, httpclient.Request{
		Op: op, Method: r.method, URL: u, Header: h, Body: r.content(plain), Effect: r.effect, MaxBytes: int64(d.cfg.MaxPageBytes),
	}, nil)
}

// exchange sends r. Where the service asks for a CSRF token, one is fetched and
// r is sent again, once: it did nothing.
func (d *Driver) exchange(ctx context.Context, r httpclient.Request, read func(*httpclient.Response) error) *reply {
	token := d.csrf.get()
	a := d.exchangeOnce(ctx, r, token, read)
	if d.cfg.CSRF == off || a.status != http.StatusForbidden || !strings.EqualFold(a.header.Get("X-CSRF-Token"), "required") {
		return a
	}
	fresh, err := d.csrf.renew(token, func() (string, error) { return d.fetchToken(ctx, r.Op) })
	if err != nil {
		return &reply{err: err}
	}
	return d.exchangeOnce(ctx, r, fresh, read)
}

func (d *Driver) exchangeOnce(ctx context.Context, r httpclient.Request, token string, read func(*httpclient.Response) error) *reply {
	if token != "" {
		r.Header = r.Header.Clone()
		r.Header.Set("X-CSRF-Token", token)
		r.Cookies = true
	}
	var a reply
	take := func(resp *httpclient.Response) {
		a = reply{status: resp.Status, header: resp.Header, body: string(resp.Body)}
	}
	r.Classify = func(resp *httpclient.Response) error { take(resp); return nil }
	err := d.client.Do(ctx, r, func(resp *httpclient.Response) error {
		take(resp)
		if read != nil {
			return read(resp)
		}
		return nil
	})
	if err != nil && (a.status < 400 || statusOf(err) != a.status) {
		return &reply{err: err}
	}
	return &a
}

// A csrf keeps the token that a service wants with each request that writes.
type csrf struct {
	fetching sync.Mutex
	mu       sync.Mutex
	token    string
}

func (c *csrf) get() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// renew replaces the token that was refused, unless another call did already.
func (c *csrf) renew(refused string, fetch func() (string, error)) (string, error) {
	c.fetching.Lock()
	defer c.fetching.Unlock()
	if have := c.get(); have != refused {
		return have, nil
	}
	token, err := fetch()
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	c.token = token
	c.mu.Unlock()
	return token, nil
}

// fetchToken asks the service root for a CSRF token. The cookie that belongs to
// it is kept by the client.
func (d *Driver) fetchToken(ctx context.Context, op string) (string, error) {
	h := d.header.Clone()
	h.Set("Accept", acceptPlain)
	h.Set("X-CSRF-Token", "Fetch")
	token := ""
	err := d.client.Do(ctx, httpclient.Request{Op: op, URL: d.root, Header: h, MaxBytes: int64(d.cfg.MaxPageBytes), Cookies: true}, func(resp *httpclient.Response) error {
		token = resp.Header.Get("X-CSRF-Token")
		return nil
	})
	if err == nil && token == "" {
		err = &kedge.Error{Op: op, Kind: kedge.Forbidden, Err: errors.New("the service wants a CSRF token and gives none; sign in with another user, or set csrf: off")}
	}
	return token, err
}

// remoteText is what the service says to people about an error. It may hold
// personal data.
func remoteText(said wire.ErrorBody) string {
	parts := []string{said.Message}
	for _, detail := range said.Details {
		parts = append(parts, detail.Message)
	}
	text := strings.Join(parts, "\n")
	if len(text) > wire.MaxRemote {
		text = strings.ToValidUTF8(text[:wire.MaxRemote], "")
	}
	return strings.TrimSpace(text)
}
