package httpclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/microsoft"

	"github.com/kedge-sync/kedge"
)

// An AuthConfig is the "auth" block of a connection.
type AuthConfig struct {
	// Type is none (also ""), basic, bearer, api_key, oauth2_client (RFC 6749,
	// 4.4) or device_code (RFC 8628).
	Type         string `json:"type,omitempty" yaml:"type,omitempty"`
	Username     string `json:"username,omitempty" yaml:"username,omitempty"`
	Password     Secret `json:"password,omitempty" yaml:"password,omitempty"`
	Token        Secret `json:"token,omitempty" yaml:"token,omitempty"`
	Header       string `json:"header,omitempty" yaml:"header,omitempty"` // of api_key; "" means X-API-Key
	Value        Secret `json:"value,omitempty" yaml:"value,omitempty"`
	TokenURL     string `json:"tokenURL,omitempty" yaml:"tokenURL,omitempty"`
	DeviceURL    string `json:"deviceURL,omitempty" yaml:"deviceURL,omitempty"`
	Tenant       string `json:"tenant,omitempty" yaml:"tenant,omitempty"` // Microsoft Entra tenant, instead of the URLs
	ClientID     string `json:"clientId,omitempty" yaml:"clientId,omitempty"`
	ClientSecret Secret `json:"clientSecret,omitempty" yaml:"clientSecret,omitempty"`
	Scope        string `json:"scope,omitempty" yaml:"scope,omitempty"` // separated by spaces
	Audience     string `json:"audience,omitempty" yaml:"audience,omitempty"`
	Style        string `json:"style,omitempty" yaml:"style,omitempty"` // auto (also ""), header or body: where the client secret goes
}

// An AuthEnv is what credentials that must be fetched need.
type AuthEnv struct {
	Name string // the connection's name
	// HTTP makes the client for the token endpoint; nil means [New]. It must
	// return a new client for each call, and gets Origin and AllowHosts of the
	// token endpoint, which the config makes trusted.
	HTTP      func(Options) (*Client, error)
	Tokens    TokenStore   // device_code only; where tokens survive a restart
	Prompt    DevicePrompt // nil: nobody is there who could sign in
	AllowHTTP bool         // plain http to token endpoints that are not loopback
	Logger    *slog.Logger
	Now       func() time.Time                           // nil means time.Now
	Sleep     func(context.Context, time.Duration) error // as in Options
}

// keysOf lists, for each type, the keys that it needs and those that it knows.
var keysOf = map[string]struct{ needs, knows []string }{
	"none":          {},
	"basic":         {needs: []string{"username"}, knows: []string{"password"}},
	"bearer":        {needs: []string{"token"}},
	"api_key":       {needs: []string{"value"}, knows: []string{"header"}},
	"oauth2_client": {needs: []string{"clientId", "clientSecret"}, knows: []string{"tokenURL", "tenant", "scope", "audience", "style"}},
	"device_code":   {needs: []string{"clientId"}, knows: []string{"deviceURL", "tokenURL", "tenant", "scope", "clientSecret", "style"}},
}

// Validate returns an error of kind Invalid that names the first wrong key.
func (c AuthConfig) Validate() error {
	if err := c.check(); err != nil {
		return &kedge.Error{Kind: kedge.Invalid, Err: err}
	}
	return nil
}

func (c AuthConfig) kind() string {
	if c.Type == "" {
		return "none"
	}
	return c.Type
}

// A setting is one key of the block with its value.
type setting struct{ key, value string }

func (c AuthConfig) settings() []setting {
	return []setting{{"username", c.Username}, {"password", string(c.Password)}, {"token", string(c.Token)}, {"header", c.Header},
		{"value", string(c.Value)}, {"tokenURL", c.TokenURL}, {"deviceURL", c.DeviceURL}, {"tenant", c.Tenant},
		{"clientId", c.ClientID}, {"clientSecret", string(c.ClientSecret)}, {"scope", c.Scope}, {"audience", c.Audience}, {"style", c.Style}}
}

func (c AuthConfig) check() error {
	keys, ok := keysOf[c.kind()]
	if !ok {
		return fmt.Errorf("auth.type: %q is not one of none, basic, bearer, api_key, oauth2_client, device_code", c.Type)
	}
	for _, s := range c.settings() {
		needed := slices.Contains(keys.needs, s.key)
		switch {
		case s.value == "" && needed:
			return fmt.Errorf("auth.%s: missing; type %s needs it", s.key, c.kind())
		case s.value != "" && !needed && !slices.Contains(keys.knows, s.key):
			return fmt.Errorf("auth.%s: type %s does not use it", s.key, c.kind())
		case s.key != "scope" && strings.ContainsFunc(s.value, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return fmt.Errorf("auth.%s: holds a control character (a line end at the end of a file?)", s.key)
		}
	}
	switch c.kind() {
	case "basic":
		if strings.Contains(c.Username, ":") {
			return errors.New("auth.username: must not hold a colon (RFC 7617)")
		}
	case "api_key":
		return c.checkHeader()
	case "oauth2_client", "device_code":
		return c.checkEndpoints()
	}
	return nil
}

func (c AuthConfig) checkHeader() error {
	const tokenChars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" // RFC 9110, 5.6.2
	if strings.Trim(c.Header, tokenChars) != "" {
		return errors.New("auth.header: not a header name")
	}
	switch http.CanonicalHeaderKey(c.Header) {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Content-Type", "Accept", "Accept-Encoding":
		return errors.New("auth.header: this header is not free for a key")
	}
	return nil
}

func (c AuthConfig) checkEndpoints() error {
	if !slices.Contains([]string{"", "auto", "header", "body"}, c.Style) {
		return fmt.Errorf("auth.style: %q is not one of auto, header, body", c.Style)
	}
	own := c.TokenURL != "" || c.DeviceURL != ""
	switch {
	case own && c.Tenant != "":
		return errors.New("auth.tenant: give either tenant or the URLs")
	case c.Tenant != "":
		if strings.Trim(c.Tenant, "-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || strings.Trim(c.Tenant, ".") == "" {
			return errors.New("auth.tenant: neither an id nor a domain")
		}
		return nil
	case c.TokenURL == "":
		return fmt.Errorf("auth.tokenURL: missing; type %s needs it, or tenant", c.kind())
	case c.DeviceURL == "" && c.kind() == "device_code":
		return errors.New("auth.deviceURL: missing; type device_code needs it, or tenant")
	}
	for _, s := range []setting{{"tokenURL", c.TokenURL}, {"deviceURL", c.DeviceURL}} {
		if u, err := url.Parse(s.value); s.value != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http") {
			return fmt.Errorf("auth.%s: not an https URL", s.key)
		}
	}
	return nil
}

// New returns the credentials that c describes, or nil for type none. It does
// no I/O: tokens are fetched when the first request needs one.
func (c AuthConfig) New(env AuthEnv) (Auth, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	switch c.kind() {
	case "basic":
		return Basic(c.Username, c.Password), nil
	case "bearer":
		return Bearer(c.Token), nil
	case "api_key":
		if c.Header == "" {
			return APIKey("X-API-Key", c.Value), nil
		}
		return APIKey(c.Header, c.Value), nil
	case "oauth2_client":
		return c.newClientCredentials(env)
	case "device_code":
		return c.newDevice(env)
	}
	return nil, nil
}

// endpoints returns the URLs for tokens and device codes.
func (c AuthConfig) endpoints() oauth2.Endpoint {
	if c.Tenant != "" {
		return microsoft.AzureADEndpoint(c.Tenant)
	}
	return oauth2.Endpoint{TokenURL: c.TokenURL, DeviceAuthURL: c.DeviceURL}
}
