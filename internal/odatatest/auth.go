package odatatest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Auth says how clients must sign in. The zero value lets everybody in.
type Auth struct {
	Kind string // "", basic, bearer, api_key or oauth2

	Username, Password string // basic
	Token              string // bearer
	Header, Value      string // api_key; Header defaults to X-API-Key

	// oauth2: the token endpoint is /oauth/token (client credentials, device
	// code, refresh), the device endpoint is /oauth/devicecode.
	ClientID, ClientSecret string
	TokenLife              time.Duration // Defaults to an hour
	DeviceLife             time.Duration // of a device code. Defaults to 15 minutes
	Interval               time.Duration // between polls of a device code. Defaults to 5 s
	// Polls is how many times a device code is pending before the sign-in
	// counts as done. 0 means that [Service.Approve] is needed.
	Polls int
}

func (a *Auth) check() error {
	if kinds := []string{"", "none", "basic", "bearer", "api_key", "oauth2"}; !slices.Contains(kinds, a.Kind) {
		return fmt.Errorf("unknown kind of auth %q; there are: none, basic, bearer, api_key, oauth2", a.Kind)
	}
	return nil
}

// check refuses a request that is not signed in.
func (s *signIns) check(r *http.Request, f *faults) error {
	ok, challenge := true, ""
	switch s.conf.Kind {
	case "basic":
		user, password, _ := r.BasicAuth()
		ok, challenge = user == s.conf.Username && password == s.conf.Password, `Basic realm="odatatest"`
	case "bearer":
		ok, challenge = bearer(r) == s.conf.Token && bearer(r) != "", "Bearer"
	case "api_key":
		ok = r.Header.Get(s.conf.Header) == s.conf.Value
	case "oauth2":
		ok, challenge = s.use(bearer(r), f.get("auth-expiry").N), `Bearer error="invalid_token"`
	}
	if ok {
		return nil
	}
	e := fail(http.StatusUnauthorized, "Unauthorized", "The credentials are missing or wrong.")
	if challenge != "" {
		e.header = http.Header{"Www-Authenticate": {challenge}}
	}
	return e
}

// bearer returns the token of the Authorization header (RFC 6750, 2.1).
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
