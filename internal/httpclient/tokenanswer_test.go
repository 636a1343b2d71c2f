package httpclient

import (
	"strings"
	"testing"
	"time"
)

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{ // 0: unknown
		`3600`: 59 * time.Minute, `"3600"`: 59 * time.Minute, `300`: 4 * time.Minute, `299`: 299 * time.Second * 4 / 5, `10`: 8 * time.Second, `1.5`: 1200 * time.Millisecond,
		`0`: 0, `-1`: 0, `null`: 0, `"soon"`: 0, `{}`: 0, `true`: 0, `1e999`: maxLife - time.Minute, `99999999999999999999`: maxLife - time.Minute, `"NaN"`: 0,
	} {
		tok, err := parseToken([]byte(`{"access_token":"a","expires_in":`+in+`}`), now)
		if err != nil {
			t.Errorf("expires_in %s: %v", in, err)
			continue
		}
		if want == 0 && !tok.Expiry.IsZero() || want != 0 && tok.Expiry.Sub(now) != want {
			t.Errorf("expires_in %s: good until %v, want %v from %v", in, tok.Expiry, want, now)
		}
	}
}

func FuzzTokenAnswer(f *testing.F) {
	for _, s := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r"}`, `{"access_token":"a","expires_in":"1e400"}`,
		`{"error":"invalid_grant","error_description":"AADSTS70000: x"}`, `{"access_token":"a b"}`, `[]`, `null`, `{"expires_in":{}}`,
		`{"device_code":"d","user_code":"A-B","verification_uri":"https://x","expires_in":900,"interval":5}`,
		`{"device_code":"d","user_code":"A\u001b[2J","verification_url":"https://x"}`,
	} {
		f.Add([]byte(s))
	}
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	odd := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f })
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if tok, err := parseToken(body, now); err == nil {
			if tok.AccessToken == "" || odd(tok.AccessToken) || strings.Contains(tok.AccessToken, " ") {
				t.Errorf("access token %q", tok.AccessToken)
			}
			if !tok.Expiry.IsZero() && (tok.Expiry.Before(now) || tok.Expiry.After(now.Add(maxLife))) {
				t.Errorf("good until %v", tok.Expiry)
			}
		}
		if g, err := parseDevice(body); err == nil {
			if odd(g.shown.String()) || g.interval <= 0 || g.interval > time.Minute || g.shown.ExpiresIn <= 0 || g.shown.ExpiresIn > maxDeviceLife || g.code == "" {
				t.Errorf("device answer %+v", g)
			}
		}
		if text := parseTokenError(400, body).Error(); odd(text) || len(text) > 200 {
			t.Errorf("text %q", text)
		}
	})
}
