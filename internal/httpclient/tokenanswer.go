package httpclient

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

const maxLife = 10 * 365 * 24 * time.Hour

// A tokenError is a refusal by a token endpoint (RFC 6749, 5.2; RFC 8628, 3.5).
type tokenError struct {
	Status int
	Code   string // "invalid_grant"; "" if it sent none
	Hint   string // Microsoft's number of the case: "AADSTS7000215"
}

// Error shows codes only: descriptions name people and tenants.
func (e *tokenError) Error() string {
	s := "the token endpoint answered " + strconv.Itoa(e.Status)
	for _, part := range []string{e.Code, e.Hint} {
		if part != "" {
			s += " " + part
		}
	}
	return s
}

var (
	codeForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	hintForm = regexp.MustCompile(`\bAADSTS[0-9]{1,12}\b`)
)

func parseTokenError(status int, body []byte) *tokenError {
	e := &tokenError{Status: status}
	var a struct{ Error, Error_description any }
	if json.Unmarshal(body, &a) != nil {
		return e
	}
	if code, ok := a.Error.(string); ok && codeForm.MatchString(code) {
		e.Code = code
	}
	if text, ok := a.Error_description.(string); ok {
		e.Hint = hintForm.FindString(text)
	}
	return e
}

// seconds accepts a number, also as a string; anything else is 0.
type seconds time.Duration

// UnmarshalJSON never fails: a life-time that cannot be read is unknown.
func (s *seconds) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(b), `" `), 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange) || !(f > 0):
		*s = 0
	case f >= maxLife.Seconds():
		*s = seconds(maxLife)
	default:
		*s = seconds(f * float64(time.Second))
	}
	return nil
}

// parseToken reads a good answer of a token endpoint (RFC 6749, 5.1). Expiry
// is set a minute, or a fifth of a short life, before the end, and is zero if
// the answer does not tell.
func parseToken(body []byte, now time.Time) (*oauth2.Token, error) {
	var a struct {
		AccessToken  string  `json:"access_token"`
		TokenType    string  `json:"token_type"`
		RefreshToken string  `json:"refresh_token"`
		ExpiresIn    seconds `json:"expires_in"`
	}
	if json.Unmarshal(body, &a) != nil {
		return nil, errors.New("the token endpoint's answer is not a JSON object of the expected form")
	}
	switch {
	case a.AccessToken == "":
		return nil, errors.New("the token endpoint's answer has no access_token")
	case strings.ContainsFunc(a.AccessToken, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return nil, errors.New("the access token cannot be sent in a header")
	case a.TokenType != "" && !strings.EqualFold(a.TokenType, "bearer"):
		return nil, errors.New("the token is not a bearer token")
	}
	t := &oauth2.Token{AccessToken: a.AccessToken, RefreshToken: a.RefreshToken}
	if life := time.Duration(a.ExpiresIn); life > 0 {
		t.Expiry = now.Add(life - min(time.Minute, life/5)).UTC()
	}
	return t, nil
}

// usable reports whether t can be sent at the given time.
func usable(t *oauth2.Token, now time.Time) bool {
	return t != nil && t.AccessToken != "" && (t.Expiry.IsZero() || now.Before(t.Expiry))
}

// parseDevice reads the answer of a device authorization endpoint (RFC 8628,
// 3.2). Code and address are shown to a person, so nothing in them may steer a
// terminal.
func parseDevice(body []byte) (*deviceGrant, error) {
	var a struct {
		DeviceCode string  `json:"device_code"`
		UserCode   string  `json:"user_code"`
		URI        string  `json:"verification_uri"`
		URL        string  `json:"verification_url"` // drafts, and still Google
		ExpiresIn  seconds `json:"expires_in"`
		Interval   seconds `json:"interval"`
	}
	if json.Unmarshal(body, &a) != nil || a.DeviceCode == "" || a.UserCode == "" {
		return nil, errors.New("the device endpoint's answer has not the expected form")
	}
	if a.URI == "" {
		a.URI = a.URL
	}
	if !strings.HasPrefix(a.URI, "https://") && !strings.HasPrefix(a.URI, "http://") {
		return nil, errors.New("the device endpoint sent no address to sign in at")
	}
	if odd := func(r rune) bool { return r < ' ' || r >= 0x7f }; strings.ContainsFunc(a.URI+a.UserCode, odd) || len(a.URI) > 500 || len(a.UserCode) > 50 {
		return nil, errors.New("the device endpoint sent an address or a code that cannot be shown")
	}
	g := &deviceGrant{code: a.DeviceCode, interval: time.Duration(a.Interval), shown: DeviceCode{UserCode: a.UserCode, VerificationURI: a.URI}}
	if g.interval <= 0 {
		g.interval = defaultInterval
	}
	g.interval = min(g.interval, time.Minute)
	if g.shown.ExpiresIn = time.Duration(a.ExpiresIn); g.shown.ExpiresIn <= 0 {
		g.shown.ExpiresIn = maxDeviceLife
	}
	g.shown.ExpiresIn = min(g.shown.ExpiresIn, maxDeviceLife)
	return g, nil
}
