package httpclient

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/kedge-sync/kedge"
)

const (
	tokenTimeout  = 30 * time.Second
	maxTokenBytes = 1 << 20
	failureKept   = time.Second // callers that waited for a fetch that failed share its error
)

// A tokenAuth sends a bearer token that fetch gets. One caller fetches, the
// others wait for it.
type tokenAuth struct {
	now   func() time.Time
	fetch func(ctx context.Context, refused string) (*oauth2.Token, error)

	lock    chan struct{} // guards what follows; a channel, so that waiting ends with the context
	token   *oauth2.Token
	refused string // the access token that was refused last
	err     error  // of the last fetch, if it failed
	failed  time.Time
}

func newTokenAuth(env AuthEnv, fetch func(context.Context, string) (*oauth2.Token, error)) *tokenAuth {
	return &tokenAuth{now: env.Now, fetch: fetch, lock: make(chan struct{}, 1)}
}

// Apply sets the Authorization header, and fetches a token if there is none
// that lives long enough.
func (a *tokenAuth) Apply(ctx context.Context, h http.Header) error {
	if err := a.acquire(ctx); err != nil {
		return err
	}
	defer a.release()
	if !usable(a.token, a.now()) {
		if err := a.renew(ctx); err != nil {
			return err
		}
	}
	h.Set("Authorization", "Bearer "+a.token.AccessToken)
	return nil
}

func (a *tokenAuth) renew(ctx context.Context) error {
	if a.err != nil && a.now().Sub(a.failed) < failureKept {
		return a.err
	}
	t, err := a.fetch(ctx, a.refused)
	if err != nil {
		if ctx.Err() == nil {
			a.err, a.failed = err, a.now()
		}
		return err
	}
	a.token, a.err = t, nil
	return nil
}

// Refresh drops the token if it is still the refused one; if not, another call
// has replaced it already.
func (a *tokenAuth) Refresh(ctx context.Context, refused http.Header) (bool, error) {
	if err := a.acquire(ctx); err != nil {
		return false, err
	}
	defer a.release()
	if a.token != nil && refused.Get("Authorization") == "Bearer "+a.token.AccessToken {
		a.refused, a.token = a.token.AccessToken, nil
	}
	return true, nil
}

func (a *tokenAuth) acquire(ctx context.Context) error {
	select {
	case a.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &kedge.Error{Op: "auth.Token", Kind: kedge.Transient, Err: ctx.Err()}
	}
}

func (a *tokenAuth) release() { <-a.lock }

// A tokenEndpoint asks for tokens in the name of a client.
type tokenEndpoint struct {
	client *Client
	url    *url.URL
	id     string
	secret Secret
	auto   bool        // the server decides where the secret goes
	inBody atomic.Bool // where it goes
	now    func() time.Time
}

func (c AuthConfig) newTokenEndpoint(env *AuthEnv) (*tokenEndpoint, error) {
	if env.Now == nil {
		env.Now = time.Now
	}
	if env.Sleep == nil {
		env.Sleep = sleep
	}
	if env.HTTP == nil {
		env.HTTP = New
	}
	urls := c.endpoints()
	u, err := url.Parse(urls.TokenURL)
	if err != nil {
		return nil, err
	}
	opts := Options{Name: env.Name, Origin: &url.URL{Scheme: u.Scheme, Host: u.Host}, AllowHTTP: env.AllowHTTP, Timeout: tokenTimeout,
		Logger: env.Logger, Now: env.Now, Sleep: env.Sleep}
	if d, err := url.Parse(urls.DeviceAuthURL); err == nil && d.Host != "" {
		opts.AllowHosts = []string{d.Host}
	}
	client, err := env.HTTP(opts)
	if err != nil {
		return nil, err
	}
	e := &tokenEndpoint{client: client, url: u, id: c.ClientID, secret: c.ClientSecret, now: env.Now}
	// Microsoft documents the body for its endpoints; the standard prefers the
	// header (RFC 6749, 2.3.1).
	e.auto = (c.Style == "" || c.Style == "auto") && c.Tenant == ""
	e.inBody.Store(c.Style == "body" || c.Tenant != "" && c.Style != "header")
	return e, nil
}

// token posts form to the token endpoint.
func (e *tokenEndpoint) token(ctx context.Context, form url.Values) (*oauth2.Token, error) {
	inBody := e.inBody.Load()
	t, err := e.try(ctx, form, inBody)
	if refused, ok := errors.AsType[*tokenError](err); ok && e.auto && e.secret != "" && wrongStyle(refused) {
		if t, err = e.try(ctx, form, !inBody); err == nil {
			e.inBody.Store(!inBody)
		}
	}
	return t, err
}

// wrongStyle reports whether e may come from a server that did not see the
// client's secret.
func wrongStyle(e *tokenError) bool {
	return e.Code == "invalid_client" || e.Code == "invalid_request" || e.Code == "" && (e.Status == 401 || e.Status == 400)
}

func (e *tokenEndpoint) try(ctx context.Context, form url.Values, inBody bool) (*oauth2.Token, error) {
	var t *oauth2.Token
	err := e.post(ctx, "auth.Token", e.url, form, inBody, func(r *Response) (err error) {
		t, err = parseToken([]byte(r.Body), e.now())
		return err
	})
	return t, err
}

// post sends form with the client's id and secret. Refusals wrap a *tokenError.
func (e *tokenEndpoint) post(ctx context.Context, op string, u *url.URL, form url.Values, inBody bool, read func(*Response) error) error {
	h := http.Header{"Accept": {"application/json"}, "Content-Type": {"application/x-www-form-urlencoded"}}
	if e.secret != "" && !inBody {
		pair := Basic(url.QueryEscape(e.id), Secret(url.QueryEscape(string(e.secret))))
		if err := pair.Apply(ctx, h); err != nil {
			return err
		}
	} else {
		form.Set("client_id", e.id)
		if e.secret != "" {
			form.Set("client_secret", string(e.secret))
		}
	}
	r := Request{Op: op, Method: http.MethodPost, URL: u, Header: h, Body: []byte(form.Encode()), Effect: Idempotent, MaxBytes: maxTokenBytes,
		Classify: func(r *Response) error { return refusal(op, r) }}
	form.Del("client_id")
	form.Del("client_secret")
	return e.client.Do(ctx, r, func(r *Response) error {
		// Some servers refuse with status 200.
		if te := parseTokenError(r.Status, []byte(r.Body)); te.Code != "" {
			return refusal(op, r)
		}
		if err := read(r); err != nil {
			return &kedge.Error{Op: op, Kind: kedge.Invalid, Err: err}
		}
		return nil
	})
}

// refusal returns the error of a refused token request, or nil if the default
// rules say it better.
func refusal(op string, r *Response) error {
	e := parseTokenError(r.Status, []byte(r.Body))
	kind := kedge.Invalid
	switch e.Code {
	case "":
		if r.Status != http.StatusBadRequest && r.Status != http.StatusUnauthorized {
			return nil
		}
		kind = kedge.Unauthorized
	case "invalid_client", "invalid_grant", "unauthorized_client", "access_denied", "expired_token", "interaction_required", "consent_required", "login_required":
		kind = kedge.Unauthorized
	case "temporarily_unavailable", "server_error":
		kind = kedge.Transient
	}
	if r.Status == http.StatusTooManyRequests || r.Status >= 500 {
		return nil
	}
	return &kedge.Error{Op: op, Kind: kind, Err: e}
}

func (c AuthConfig) newClientCredentials(env AuthEnv) (Auth, error) {
	e, err := c.newTokenEndpoint(&env)
	if err != nil {
		return nil, err
	}
	return newTokenAuth(env, func(ctx context.Context, _ string) (*oauth2.Token, error) {
		form := url.Values{"grant_type": {"client_credentials"}}
		if c.Scope != "" {
			form.Set("scope", c.Scope)
		}
		if c.Audience != "" {
			form.Set("audience", c.Audience)
		}
		return e.token(ctx, form)
	}), nil
}
