package httpclient_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

type authConfig = httpclient.AuthConfig

func TestStaticCredentials(t *testing.T) {
	for _, tt := range []struct {
		cfg         authConfig
		header, val string
	}{
		{authConfig{Type: "basic", Username: "Aladdin", Password: "open sesame"}, "Authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, // RFC 7617, 2
		{authConfig{Type: "basic", Username: "key"}, "Authorization", "Basic a2V5Og=="},
		{authConfig{Type: "bearer", Token: "abc"}, "Authorization", "Bearer abc"},
		{authConfig{Type: "api_key", Value: "k"}, "X-Api-Key", "k"},
		{authConfig{Type: "api_key", Header: "x-custom", Value: "k"}, "X-Custom", "k"},
	} {
		a, err := tt.cfg.New(httpclient.AuthEnv{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		c, u, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if n++; r.Header.Get(tt.header) != tt.val {
				t.Errorf("%s is %q, want %q", tt.header, r.Header.Get(tt.header), tt.val)
			}
			w.WriteHeader(401)
		}, func(o *httpclient.Options) { o.Auth = a })
		if err := c.Do(t.Context(), httpclient.Request{URL: u}, nil); kedge.KindOf(err) != kedge.Unauthorized || n != 1 {
			t.Errorf("%s: %v after %d requests, want Unauthorized after 1", tt.cfg.Type, err, n)
		}
	}
	for _, none := range []string{"", "none"} {
		if a, err := (authConfig{Type: none}).New(httpclient.AuthEnv{}); a != nil || err != nil {
			t.Errorf("type %q: %v, %v", none, a, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		cfg  authConfig
		want string // "" means valid
	}{
		{authConfig{}, ""},
		{authConfig{Type: "none", Token: "x"}, "auth.token: type none does not use it"},
		{authConfig{Type: "ntlm"}, `auth.type: "ntlm" is not one of`},
		{authConfig{Type: "basic"}, "auth.username: missing; type basic needs it"},
		{authConfig{Type: "basic", Username: "a:b"}, "auth.username: must not hold a colon"},
		{authConfig{Type: "basic", Username: "a", Password: "x\n"}, "auth.password: holds a control character"},
		{authConfig{Type: "bearer"}, "auth.token: missing"},
		{authConfig{Type: "bearer", Token: "x", Style: "body"}, "auth.style: type bearer does not use it"},
		{authConfig{Type: "api_key"}, "auth.value: missing"},
		{authConfig{Type: "api_key", Value: "x", Header: "X Key"}, "auth.header: not a header name"},
		{authConfig{Type: "api_key", Value: "x", Header: "host"}, "auth.header: this header is not free"},
		{authConfig{Type: "oauth2_client", ClientID: "c"}, "auth.clientSecret: missing"},
		{authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s"}, "auth.tokenURL: missing"},
		{authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s", Tenant: "contoso.com"}, ""},
		{authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s", Tenant: "a/b"}, "auth.tenant: neither"},
		{authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s", Tenant: ".."}, "auth.tenant: neither"},
		{authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s", Tenant: "t", TokenURL: "https://x/t"}, "auth.tenant: give either"},
		{authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s", TokenURL: "ftp://x/t"}, "auth.tokenURL: not an https URL"},
		{authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s", TokenURL: "https://u:p@x/t"}, "auth.tokenURL: not an https URL"},
		{authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s", TokenURL: "https://x/t", Style: "both"}, "auth.style: "},
		{authConfig{Type: "device_code", ClientID: "c", TokenURL: "https://x/t"}, "auth.deviceURL: missing"},
		{authConfig{Type: "device_code", ClientID: "c", TokenURL: "https://x/t", DeviceURL: "https://x/d", Scope: "a b"}, ""},
	} {
		err := tt.cfg.Validate()
		if tt.want == "" && err == nil {
			continue
		}
		if err == nil || tt.want == "" || !strings.HasPrefix(err.Error(), tt.want) || kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("%s: %v, want %q", tt.cfg.Type, err, tt.want)
		}
		if _, err := tt.cfg.New(httpclient.AuthEnv{}); kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("%s: New gave %v", tt.cfg.Type, err)
		}
	}
	plain := authConfig{Type: "oauth2_client", ClientID: "c", ClientSecret: "s", TokenURL: "http://example.com/t"}
	if _, err := plain.New(httpclient.AuthEnv{}); kedge.KindOf(err) != kedge.Invalid {
		t.Errorf("plain http to a token endpoint: %v, want Invalid", err)
	}
}

// TestSecretsDoNotPrint: whatever is done with a config, its secrets stay in it.
func TestSecretsDoNotPrint(t *testing.T) {
	var cfg authConfig
	err := json.Unmarshal([]byte(`{"type":"basic","username":"u","password":"hush1","token":"hush2","value":"hush3","clientId":"c","clientSecret":"hush4"}`), &cfg)
	if err != nil || cfg.Password != "hush1" || cfg.ClientID != "c" {
		t.Fatalf("decoded %v, %v", cfg, err)
	}
	var again authConfig
	if err := yaml.Unmarshal([]byte("password: hush1\nclientId: c\n"), &again); err != nil || again.Password != "hush1" || again.ClientID != "c" {
		t.Errorf("decoded %v, %v from YAML", again, err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "cfg", cfg, "secret", cfg.Password)
	asJSON, err1 := json.Marshal(cfg)
	asYAML, err2 := yaml.Marshal(cfg)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	basic := httpclient.Basic("u", "hush5")
	for name, s := range map[string]string{
		"json": string(asJSON), "yaml": string(asYAML), "log": log.String(),
		"print": fmt.Sprint(cfg, cfg.Password, basic), "verbs": fmt.Sprintf("%v %+v %#v %s %q %x %d", cfg, cfg, cfg, cfg.Password, cfg.Token, cfg.Value, cfg.Token),
		"pointer": fmt.Sprintf("%+v %+v", &cfg, basic), "error": fmt.Errorf("%w %v", errors.New("x"), cfg.ClientSecret).Error(),
	} {
		if strings.Contains(s, "hush") || strings.Contains(s, "68757368") || strings.Contains(s, "dTpodXNo") || !strings.Contains(s, "***") {
			t.Errorf("%s: %s", name, s)
		}
	}
}

// TestTenant: a Microsoft tenant stands for its endpoints.
func TestTenant(t *testing.T) {
	for _, cfg := range []authConfig{
		{Type: "oauth2_client", Tenant: "contoso.com", ClientID: "c", ClientSecret: "s"},
		{Type: "device_code", Tenant: "contoso.com", ClientID: "c"},
	} {
		var got httpclient.Options
		_, err := cfg.New(httpclient.AuthEnv{Tokens: newTokenRows(), HTTP: func(o httpclient.Options) (*httpclient.Client, error) {
			got = o
			return httpclient.New(o)
		}})
		if err != nil || got.Origin == nil || got.Origin.String() != "https://login.microsoftonline.com" {
			t.Errorf("%s: origin %v, %v", cfg.Type, got.Origin, err)
		}
	}
}
