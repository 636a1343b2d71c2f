package httpclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/kedge-sync/kedge"
)

const (
	deviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"
	defaultInterval = 5 * time.Second // RFC 8628, 3.2
	slowDown        = 5 * time.Second // RFC 8628, 3.5
	maxDeviceLife   = 15 * time.Minute
	tokenName       = "device_code" // in the TokenStore
	rereads         = 3             // after invalid_grant, a second apart
)

// A DeviceCode is what a person needs to sign in (RFC 8628, 3.2).
type DeviceCode struct {
	UserCode        string
	VerificationURI string
	ExpiresIn       time.Duration
}

// String returns the sentence to show.
func (d DeviceCode) String() string {
	return fmt.Sprintf("To sign in, open %s and enter the code %s (valid for %s).", d.VerificationURI, d.UserCode, minutes(d.ExpiresIn))
}

func minutes(d time.Duration) string {
	switch n := int(d / time.Minute); n {
	case 0:
		return fmt.Sprintf("%d seconds", int(d/time.Second))
	case 1:
		return "1 minute"
	default:
		return fmt.Sprintf("%d minutes", n)
	}
}

// A DevicePrompt shows a device code to a person. It returns at once; the
// client waits for the sign-in.
type DevicePrompt func(context.Context, DeviceCode) error

// A TokenStore keeps tokens over a restart, sealed. store.State is one.
type TokenStore interface {
	// Get returns the value and the revision to swap it with, or nil and 0.
	Get(ctx context.Context, name string) (value []byte, rev int64, err error)
	// Put stores value if the revision is still rev (0: none yet), and returns
	// an error of kind Conflict otherwise.
	Put(ctx context.Context, name string, value []byte, rev int64) error
}

// A session is a sign-in as it is stored. It counts only for the client,
// endpoint and scope it was made for.
type session struct {
	Client string       `json:"client"`
	Server string       `json:"server"`
	Scope  string       `json:"scope"`
	Token  oauth2.Token `json:"token"` // Expiry is when to fetch the next one
}

// A device gets tokens from a stored sign-in, or from a new one.
type device struct {
	env     AuthEnv
	tokens  *tokenEndpoint
	codeURL *url.URL
	scope   string
	unsaved *oauth2.Token // could not be stored; the one before it may be void already
	rev     int64         // that unsaved follows
}

type deviceGrant struct {
	code     string
	interval time.Duration
	shown    DeviceCode
}

func (c AuthConfig) newDevice(env AuthEnv) (Auth, error) {
	if env.Tokens == nil {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("auth.type: device_code needs the store and keys, to keep its tokens sealed")}
	}
	e, err := c.newTokenEndpoint(&env)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(c.endpoints().DeviceAuthURL)
	if err != nil {
		return nil, err
	}
	d := &device{env: env, tokens: e, codeURL: u, scope: c.Scope}
	return newTokenAuth(env, d.fetch), nil
}

// fetch returns a usable token other than the refused one: the stored one, one
// for the stored refresh token, or one of a new sign-in. tokenAuth calls it
// from one goroutine at a time, but other replicas may do the same.
func (d *device) fetch(ctx context.Context, refused string) (*oauth2.Token, error) {
	if t, err := d.saveLate(ctx); t != nil || err != nil {
		return t, err
	}
	for range rereads {
		stored, rev, err := d.load(ctx)
		if err != nil {
			return nil, err
		}
		if usable(stored, d.env.Now()) && stored.AccessToken != refused {
			return stored, nil
		}
		if stored == nil || stored.RefreshToken == "" {
			return d.signIn(ctx)
		}
		next, err := d.rotate(ctx, stored, rev)
		switch {
		case err == nil:
			return next, nil
		case kedge.KindOf(err) == kedge.Conflict: // another replica was first
		case isRefused(err, "invalid_grant"):
			changed, err := d.changed(ctx, rev)
			if err != nil {
				return nil, err
			}
			if !changed {
				return d.signIn(ctx)
			}
		default:
			return nil, err
		}
	}
	return nil, &kedge.Error{Op: "auth.Token", Kind: kedge.Transient, Err: errors.New("the stored sign-in changes all the time")}
}

// saveLate stores a token that could not be stored when it came.
func (d *device) saveLate(ctx context.Context) (*oauth2.Token, error) {
	if d.unsaved == nil {
		return nil, nil
	}
	t := d.unsaved
	err := d.save(ctx, t, d.rev)
	switch {
	case err == nil && usable(t, d.env.Now()):
		return t, nil
	case err == nil || kedge.KindOf(err) == kedge.Conflict:
		d.unsaved = nil
		return nil, nil
	}
	return nil, err
}

// load returns the stored token, or nil, and the revision of the row.
func (d *device) load(ctx context.Context) (*oauth2.Token, int64, error) {
	raw, rev, err := d.env.Tokens.Get(ctx, tokenName)
	if err != nil {
		return nil, 0, err
	}
	var s session
	if raw == nil || json.Unmarshal(raw, &s) != nil || s.Client != d.tokens.id || s.Server != d.tokens.url.String() || s.Scope != d.scope {
		return nil, rev, nil
	}
	return &s.Token, rev, nil
}

// save stores t, so that a restart or another replica can go on from it. No
// token is used before that.
func (d *device) save(ctx context.Context, t *oauth2.Token, rev int64) error {
	raw, err := json.Marshal(session{Client: d.tokens.id, Server: d.tokens.url.String(), Scope: d.scope, Token: *t})
	if err != nil {
		return err
	}
	if err = d.env.Tokens.Put(ctx, tokenName, raw, rev); err == nil {
		d.unsaved = nil
	} else if kedge.KindOf(err) != kedge.Conflict {
		d.unsaved, d.rev = t, rev
	}
	return err
}

// rotate trades the refresh token for a new token and stores that.
func (d *device) rotate(ctx context.Context, old *oauth2.Token, rev int64) (*oauth2.Token, error) {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.RefreshToken}}
	if d.scope != "" {
		form.Set("scope", d.scope)
	}
	t, err := d.tokens.token(ctx, form)
	if err != nil {
		return nil, err
	}
	if t.RefreshToken == "" {
		t.RefreshToken = old.RefreshToken // not rotated
	}
	// From here the old token may be void: a caller that gives up must not
	// keep the new one from being stored.
	return t, d.save(context.WithoutCancel(ctx), t, rev)
}

// changed reports whether another replica has replaced the row. It looks a few
// times, since the other may have its token but not stored it yet.
func (d *device) changed(ctx context.Context, rev int64) (bool, error) {
	for i := range rereads {
		if i > 0 {
			if err := d.env.Sleep(ctx, time.Second); err != nil {
				return false, err
			}
		}
		_, now, err := d.env.Tokens.Get(ctx, tokenName)
		if err != nil || now != rev {
			return err == nil, err
		}
	}
	return false, nil
}

func isRefused(err error, code string) bool {
	e, ok := errors.AsType[*tokenError](err)
	return ok && e.Code == code
}

// signIn lets a person sign in, if there is one.
func (d *device) signIn(ctx context.Context) (*oauth2.Token, error) {
	if d.env.Prompt == nil {
		return nil, &kedge.Error{Kind: kedge.Unauthorized, Err: fmt.Errorf("sign-in needed: run %q", "kedge connections login "+d.env.Name)}
	}
	form := url.Values{}
	if d.scope != "" {
		form.Set("scope", d.scope)
	}
	var g *deviceGrant
	err := d.tokens.post(ctx, "auth.SignIn", d.codeURL, form, true, func(r *Response) (err error) {
		g, err = parseDevice([]byte(r.Body))
		return err
	})
	if err != nil {
		return nil, err
	}
	end := d.env.Now().Add(g.shown.ExpiresIn)
	if err := d.env.Prompt(ctx, g.shown); err != nil {
		return nil, err
	}
	t, err := d.poll(ctx, g, end)
	if err != nil {
		return nil, err
	}
	return t, d.store(context.WithoutCancel(ctx), t)
}

// poll waits until the person has signed in (RFC 8628, 3.4 and 3.5).
func (d *device) poll(ctx context.Context, g *deviceGrant, end time.Time) (*oauth2.Token, error) {
	fail := func(text string) error {
		return &kedge.Error{Op: "auth.SignIn", Kind: kedge.Unauthorized, Err: errors.New(text)}
	}
	wait := g.interval
	for {
		if d.env.Now().Add(wait).After(end) {
			return nil, fail("the code expired before anybody signed in; start again")
		}
		if err := d.env.Sleep(ctx, wait); err != nil {
			return nil, &kedge.Error{Op: "auth.SignIn", Kind: kedge.Transient, Err: err}
		}
		t, err := d.tokens.token(ctx, url.Values{"grant_type": {deviceGrantType}, "device_code": {g.code}})
		switch {
		case isRefused(err, "authorization_pending"):
		case isRefused(err, "slow_down"):
			wait += slowDown
		case isRefused(err, "expired_token"):
			return nil, fail("the code expired before anybody signed in; start again")
		case isRefused(err, "access_denied"):
			return nil, fail("the sign-in was refused")
		default:
			return t, err
		}
	}
}

// store saves the token of a new sign-in over whatever is there.
func (d *device) store(ctx context.Context, t *oauth2.Token) error {
	for i := 0; ; i++ {
		_, rev, err := d.env.Tokens.Get(ctx, tokenName)
		if err == nil {
			err = d.save(ctx, t, rev)
		}
		if err == nil || kedge.KindOf(err) != kedge.Conflict || i == rereads {
			return err
		}
	}
}
