package odatatest

import (
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// signIns holds what was given out at the token and device endpoints.
type signIns struct {
	conf Auth
	now  func() time.Time

	mu      sync.Mutex
	issued  int
	tokens  map[string]*accessToken
	refresh map[string]bool // good refresh tokens; each is good once
	devices map[string]*deviceCode
}

type accessToken struct {
	expires time.Time
	used    int
}

type deviceCode struct {
	userCode string
	expires  time.Time
	interval time.Duration
	polled   time.Time
	polls    int
	approved bool
	denied   bool
}

func newSignIns(c Auth, now func() time.Time) *signIns {
	if c.Header == "" {
		c.Header = "X-API-Key"
	}
	for d, fallback := range map[*time.Duration]time.Duration{&c.TokenLife: time.Hour, &c.DeviceLife: 15 * time.Minute, &c.Interval: 5 * time.Second} {
		if *d == 0 {
			*d = fallback
		}
	}
	return &signIns{conf: c, now: now, tokens: map[string]*accessToken{}, refresh: map[string]bool{}, devices: map[string]*deviceCode{}}
}

// use reports whether an access token is good, and counts its use. most is the
// number of uses that the fault auth-expiry allows, or 0.
func (s *signIns) use(token string, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[token]
	if t == nil || !s.now().Before(t.expires) || most > 0 && t.used >= most {
		return false
	}
	t.used++
	return true
}

// ExpireTokens makes all access tokens invalid; refresh tokens stay good.
func (s *Service) ExpireTokens() {
	s.auth.mu.Lock()
	defer s.auth.mu.Unlock()
	clear(s.auth.tokens)
}

// Approve completes the sign-in with a user code, and reports whether it was known.
func (s *Service) Approve(userCode string) bool { return s.auth.decide(userCode, true) }

// Deny refuses the sign-in with a user code, and reports whether it was known.
func (s *Service) Deny(userCode string) bool { return s.auth.decide(userCode, false) }

func (s *signIns) decide(userCode string, yes bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.userCode == userCode {
			d.approved, d.denied = yes, !yes
			return true
		}
	}
	return false
}

// answer answers /oauth/token (RFC 6749, 3.2) and /oauth/devicecode (RFC 8628, 3.1).
func (s *signIns) answer(r *http.Request) *answer {
	var a *answer
	if r.Method != http.MethodPost || r.ParseForm() != nil {
		a = grantError("invalid_request")
	} else if !s.client(r) {
		a = grantError("invalid_client")
		a.status = http.StatusUnauthorized
	} else if r.URL.Path == "/oauth/devicecode" {
		a = s.startDevice(r)
	} else {
		a = s.grant(r.PostForm)
	}
	a.header.Set("Cache-Control", "no-store")
	return a
}

// client reports whether the client's credentials are right: in the
// Authorization header or in the form. Device clients have no secret.
func (s *signIns) client(r *http.Request) bool {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok { // form-encoded, RFC 6749, 2.3.1
		id, _ = url.QueryUnescape(user)
		secret, _ = url.QueryUnescape(password)
	}
	if id != s.conf.ClientID {
		return false
	}
	public := r.URL.Path == "/oauth/devicecode" || r.PostForm.Get("grant_type") != "client_credentials"
	return secret == s.conf.ClientSecret || public && secret == ""
}

func grantError(code string) *answer {
	a := newAnswer("application/json", jsonText(map[string]string{"error": code}))
	a.status = http.StatusBadRequest
	return a
}

func (s *signIns) grant(form url.Values) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch form.Get("grant_type") {
	case "client_credentials":
		return s.issue(false)
	case "refresh_token":
		if !s.refresh[form.Get("refresh_token")] {
			return grantError("invalid_grant")
		}
		delete(s.refresh, form.Get("refresh_token"))
		return s.issue(true)
	case deviceGrant:
		return s.poll(form.Get("device_code"))
	}
	return grantError("unsupported_grant_type")
}

// issue answers with a new access token.
func (s *signIns) issue(refresh bool) *answer {
	s.issued++
	n := strconv.Itoa(s.issued)
	s.tokens["access-"+n] = &accessToken{expires: s.now().Add(s.conf.TokenLife)}
	body := map[string]any{"access_token": "access-" + n, "token_type": "Bearer", "expires_in": int(s.conf.TokenLife / time.Second)}
	if refresh {
		s.refresh["refresh-"+n] = true
		body["refresh_token"] = "refresh-" + n
	}
	return newAnswer("application/json", jsonText(body))
}

func (s *signIns) startDevice(r *http.Request) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued++
	n := strconv.Itoa(s.issued)
	d := &deviceCode{userCode: "CODE-" + n, expires: s.now().Add(s.conf.DeviceLife), interval: s.conf.Interval}
	s.devices["device-"+n] = d
	return newAnswer("application/json", jsonText(map[string]any{
		"device_code": "device-" + n, "user_code": d.userCode, "verification_uri": "http://" + r.Host + "/oauth/device",
		"expires_in": int(s.conf.DeviceLife / time.Second), "interval": int(s.conf.Interval / time.Second),
	}))
}

// poll answers a request for the token of a device code (RFC 8628, 3.5).
func (s *signIns) poll(code string) *answer {
	d := s.devices[code]
	now := s.now()
	switch {
	case d == nil:
		return grantError("invalid_grant")
	case !now.Before(d.expires):
		return grantError("expired_token")
	case d.denied:
		return grantError("access_denied")
	case !d.polled.IsZero() && now.Sub(d.polled) < d.interval:
		d.polled = now
		d.interval += 5 * time.Second
		return grantError("slow_down")
	}
	d.polled = now
	if d.polls++; !d.approved && (s.conf.Polls == 0 || d.polls <= s.conf.Polls) {
		return grantError("authorization_pending")
	}
	delete(s.devices, code)
	return s.issue(true)
}
