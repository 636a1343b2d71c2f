package odatatest

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

// post sends a form to an OAuth endpoint and returns the answer's members.
func post(t *testing.T, to string, pairs ...string) (int, map[string]any) {
	t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := do(t, "POST", to, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	var body map[string]any
	if err := json.Unmarshal([]byte(r.raw), &body); err != nil {
		t.Fatalf("POST %s: %v in %s", to, err, r.raw)
	}
	return r.status, body
}

// signIn returns an access token for client credentials.
func signIn(t *testing.T, s *Service, root string) string {
	t.Helper()
	code, body := post(t, root+"oauth/token", "grant_type", "client_credentials", "client_id", "me", "client_secret", s.opts.Auth.ClientSecret)
	if code != 200 {
		t.Fatalf("client credentials: status %d: %v", code, body)
	}
	return body["access_token"].(string)
}

func TestAuth(t *testing.T) {
	for _, tt := range []struct {
		auth       Auth
		good, bad  [2]string
		challenges string
	}{
		{Auth{Kind: "basic", Username: "u", Password: "p"}, [2]string{"Authorization", "Basic dTpw"}, [2]string{"Authorization", "Basic dTp4"}, "Basic"},
		{Auth{Kind: "bearer", Token: "t"}, [2]string{"Authorization", "bearer t"}, [2]string{"Authorization", "Bearer x"}, "Bearer"},
		{Auth{Kind: "api_key", Value: "k"}, [2]string{"X-API-Key", "k"}, [2]string{"X-API-Key", "x"}, ""},
		{Auth{Kind: "api_key", Header: "Key", Value: "k"}, [2]string{"Key", "k"}, [2]string{"X-API-Key", "k"}, ""},
	} {
		_, root := newThings(t, 1, Options{Auth: tt.auth})
		if r := get(t, root+"things", tt.good[0], tt.good[1]); r.status != 200 {
			t.Errorf("%s: status %d, want 200", tt.auth.Kind, r.status)
		}
		if r := get(t, root+"things", tt.bad[0], tt.bad[1]); r.status != 401 || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), tt.challenges) {
			t.Errorf("%s: status %d and challenge %q, want 401 and %q", tt.auth.Kind, r.status, r.header.Get("WWW-Authenticate"), tt.challenges)
		}
		if r := get(t, root+"$metadata"); r.status != 401 {
			t.Errorf("%s, no credentials: status %d, want 401", tt.auth.Kind, r.status)
		}
	}
	if err := (&Options{Auth: Auth{Kind: "magic"}}).Check(); err == nil {
		t.Error("an unknown kind of auth is not refused")
	}
}

// RFC 6749, 4.4 and 5.2.
func TestClientCredentials(t *testing.T) {
	c := newClock()
	s, root := newThings(t, 1, Options{Now: c.Now, Auth: Auth{Kind: "oauth2", ClientID: "me", ClientSecret: "s%", TokenLife: time.Minute}})
	token := signIn(t, s, root)
	read := func() int { return get(t, root+"things", "Authorization", "Bearer "+token).status }
	if got := read(); got != 200 {
		t.Errorf("with the token: status %d, want 200", got)
	}
	c.Add(time.Minute - 1)
	if got := read(); got != 200 {
		t.Errorf("at the end of its life: status %d, want 200", got)
	}
	c.Add(1)
	if got := read(); got != 401 {
		t.Errorf("after its life: status %d, want 401", got)
	}
	token = signIn(t, s, root)
	s.ExpireTokens()
	if got := read(); got != 401 {
		t.Errorf("after ExpireTokens: status %d, want 401", got)
	}
	r := do(t, "POST", root+"oauth/token", "grant_type=client_credentials", "Content-Type", "application/x-www-form-urlencoded", "Authorization", "Basic bWU6cyUyNQ==")
	if r.status != 200 {
		t.Errorf("secret in the header, form-encoded: status %d, want 200", r.status)
	}
	for _, tt := range []struct {
		want int
		text string
		form []string
	}{
		{401, "invalid_client", []string{"grant_type", "client_credentials", "client_id", "me", "client_secret", "x"}},
		{401, "invalid_client", []string{"grant_type", "client_credentials", "client_id", "me"}},
		{401, "invalid_client", []string{"grant_type", "client_credentials", "client_id", "you", "client_secret", "s%"}},
		{400, "unsupported_grant_type", []string{"grant_type", "password", "client_id", "me", "client_secret", "s%"}},
		{400, "invalid_grant", []string{"grant_type", "refresh_token", "refresh_token", "x", "client_id", "me"}},
		{400, "invalid_grant", []string{"grant_type", deviceGrant, "device_code", "x", "client_id", "me"}},
	} {
		if got, body := post(t, root+"oauth/token", tt.form...); got != tt.want || body["error"] != tt.text {
			t.Errorf("%v: status %d and %v, want %d and %s", tt.form[:2], got, body, tt.want, tt.text)
		}
	}
}

// RFC 8628, 3.2 to 3.5, and rotation of refresh tokens.
func TestDeviceCode(t *testing.T) {
	c := newClock()
	s, root := newThings(t, 1, Options{Now: c.Now, Auth: Auth{Kind: "oauth2", ClientID: "me"}})
	_, grant := post(t, root+"oauth/devicecode", "client_id", "me", "scope", "x")
	if grant["interval"] != 5.0 || grant["expires_in"] != 900.0 || grant["verification_uri"] == "" {
		t.Errorf("got %v, want an interval of 5, a life of 900 and an address", grant)
	}
	poll := func() any {
		_, body := post(t, root+"oauth/token", "grant_type", deviceGrant, "client_id", "me", "device_code", grant["device_code"].(string))
		if e := body["error"]; e != nil {
			return e
		}
		return body
	}
	for _, step := range []struct {
		wait time.Duration
		want any
	}{
		{0, "authorization_pending"}, {4 * time.Second, "slow_down"}, {9 * time.Second, "slow_down"}, {15 * time.Second, "authorization_pending"},
	} {
		c.Add(step.wait)
		if got := poll(); got != step.want {
			t.Errorf("poll after %v: %v, want %v", step.wait, got, step.want)
		}
	}
	if !s.Approve(grant["user_code"].(string)) {
		t.Error("the user code is not known")
	}
	c.Add(15 * time.Second)
	token := poll().(map[string]any)
	if r := get(t, root+"things", "Authorization", "Bearer "+token["access_token"].(string)); r.status != 200 {
		t.Errorf("with the token: status %d, want 200", r.status)
	}
	if got := poll(); got != "invalid_grant" {
		t.Errorf("the device code again: %v, want invalid_grant", got)
	}
	refresh := func(token any) (int, map[string]any) {
		return post(t, root+"oauth/token", "grant_type", "refresh_token", "client_id", "me", "refresh_token", token.(string))
	}
	code, next := refresh(token["refresh_token"])
	if code != 200 || next["refresh_token"] == token["refresh_token"] {
		t.Errorf("refresh: status %d and %v, want 200 and another refresh token", code, next)
	}
	if code, _ := refresh(token["refresh_token"]); code != 400 {
		t.Errorf("the old refresh token: status %d, want 400", code)
	}
	if code, _ := refresh(next["refresh_token"]); code != 200 {
		t.Errorf("the new refresh token: status %d, want 200", code)
	}
}

func TestDeviceCodeEnds(t *testing.T) {
	c := newClock()
	s, root := newThings(t, 1, Options{Now: c.Now, Auth: Auth{Kind: "oauth2", ClientID: "me", Polls: 1, DeviceLife: time.Minute}})
	begin := func() (code, user string) {
		_, grant := post(t, root+"oauth/devicecode", "client_id", "me")
		return grant["device_code"].(string), grant["user_code"].(string)
	}
	poll := func(code string) any {
		_, body := post(t, root+"oauth/token", "grant_type", deviceGrant, "client_id", "me", "device_code", code)
		return body["error"]
	}
	code, _ := begin()
	first := poll(code)
	c.Add(5 * time.Second)
	if second := poll(code); first != "authorization_pending" || second != nil {
		t.Errorf("one poll pending: got %v and %v, want authorization_pending and a token", first, second)
	}
	code, user := begin()
	if !s.Deny(user) || poll(code) != "access_denied" {
		t.Error("a denied sign-in does not end with access_denied")
	}
	code, _ = begin()
	c.Add(time.Minute)
	if got := poll(code); got != "expired_token" {
		t.Errorf("after its life: %v, want expired_token", got)
	}
	if s.Approve("nope") {
		t.Error("an unknown user code is approved")
	}
}
