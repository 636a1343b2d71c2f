package httpclient_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// A tokenServer is an authorization server and the API it protects.
type tokenServer struct {
	t   *testing.T
	srv *httptest.Server
	clk *clock

	mu     sync.Mutex
	style  string          // "header", "body" or "": what it accepts
	life   int             // expires_in; 0 sends none
	valid  map[string]bool // access tokens
	asked  int             // token requests
	served int             // API requests that passed
	forms  []url.Values
	answer func(form url.Values) (status int, body string) // instead of the default
}

func newTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{t: t, clk: newClock(), life: 3600, valid: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("/api", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.valid[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
			w.WriteHeader(401)
			return
		}
		s.served++
	})
	s.srv = httptest.NewServer(mux)
	t.Cleanup(s.srv.Close)
	return s
}

func (s *tokenServer) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	r.ParseForm()
	s.forms = append(s.forms, r.PostForm)
	id, secret, inHeader := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if !inHeader {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if s.style == "header" && !inHeader || s.style == "body" && inHeader || id != "client:1" || secret != "s/cret" {
		w.WriteHeader(401)
		io.WriteString(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret for jane@example.com"}`)
		return
	}
	if s.answer != nil {
		status, body := s.answer(r.PostForm)
		w.WriteHeader(status)
		io.WriteString(w, body)
		return
	}
	tok := fmt.Sprint("token-", s.asked)
	s.valid[tok] = true
	if s.life == 0 {
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer"}`, tok)
		return
	}
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, tok, s.life)
}

func (s *tokenServer) config() authConfig {
	return authConfig{Type: "oauth2_client", TokenURL: s.srv.URL + "/token", ClientID: "client:1", ClientSecret: "s/cret", Scope: "a b", Audience: "aud"}
}

func (s *tokenServer) client(cfg authConfig) *httpclient.Client {
	s.t.Helper()
	a, err := cfg.New(httpclient.AuthEnv{Name: "test", Now: s.clk.Now, Sleep: s.clk.Sleep})
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := httpclient.New(httpclient.Options{Origin: parse(s.t, s.srv.URL), Auth: a, Now: s.clk.Now, Sleep: s.clk.Sleep})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func (s *tokenServer) call(c *httpclient.Client, effect httpclient.Effect) error {
	return c.Do(s.t.Context(), httpclient.Request{Op: "test.Call", Method: "POST", URL: parse(s.t, s.srv.URL+"/api"), Effect: effect}, nil)
}

func (s *tokenServer) revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.valid)
}

func (s *tokenServer) counts(asked, served int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != asked || s.served != served {
		s.t.Errorf("%d token requests and %d calls, want %d and %d", s.asked, s.served, asked, served)
	}
}

// TestClientCredentials is the story of a token: fetched once, kept, fetched
// again a minute before its end, replaced once when refused.
func TestClientCredentials(t *testing.T) {
	s := newTokenServer(t)
	c := s.client(s.config())
	must := func(effect httpclient.Effect) {
		t.Helper()
		if err := s.call(c, effect); err != nil {
			t.Error(err)
		}
	}
	must(once)
	must(once)
	s.counts(1, 2)
	if f := s.forms[0]; f.Get("grant_type") != "client_credentials" || f.Get("scope") != "a b" || f.Get("audience") != "aud" {
		t.Errorf("form %v", f)
	}
	s.clk.Sleep(t.Context(), 59*time.Minute-time.Second)
	must(once)
	s.counts(1, 3)
	s.clk.Sleep(t.Context(), time.Second)
	must(once)
	s.counts(2, 4)
	s.revoke()
	must(once) // a 401 is replayed for every effect: it did nothing
	s.counts(3, 5)
}

func TestShortLife(t *testing.T) {
	s := newTokenServer(t)
	s.life = 100 // a fifth of it is kept as a margin
	c := s.client(s.config())
	for i, want := range []int{1, 1, 2} {
		if err := s.call(c, read); err != nil {
			t.Error(err)
		}
		if s.asked != want {
			t.Errorf("call %d: %d token requests, want %d", i, s.asked, want)
		}
		s.clk.Sleep(t.Context(), 40*time.Second)
	}
}

func TestNoLifeGiven(t *testing.T) {
	s := newTokenServer(t)
	s.life = 0
	c := s.client(s.config())
	for range 3 {
		if err := s.call(c, read); err != nil {
			t.Error(err)
		}
		s.clk.Sleep(t.Context(), 1000*time.Hour)
	}
	s.counts(1, 3)
}

// TestSecondRefusal: a new token that is refused too is the end.
func TestSecondRefusal(t *testing.T) {
	s := newTokenServer(t)
	s.answer = func(url.Values) (int, string) { return 200, fmt.Sprintf(`{"access_token":"bad%d"}`, s.asked) }
	if err := s.call(s.client(s.config()), read); kedge.KindOf(err) != kedge.Unauthorized {
		t.Errorf("got %v, want Unauthorized", err)
	}
	s.counts(2, 0)
}

// TestSingleFlight: many calls that are refused together cause one fetch.
func TestSingleFlight(t *testing.T) {
	s := newTokenServer(t)
	c := s.client(s.config())
	all := func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := s.call(c, once); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	all()
	s.counts(1, 20)
	s.revoke()
	all()
	s.counts(2, 40)
}

func TestStyles(t *testing.T) {
	for _, tt := range []struct {
		server, client string
		asked          int // 0: refused
	}{
		{"header", "", 1}, {"header", "auto", 1}, {"header", "header", 1}, {"header", "body", 0},
		{"body", "auto", 2}, {"body", "body", 1}, {"body", "header", 0},
	} {
		s := newTokenServer(t)
		s.style = tt.server
		cfg := s.config()
		cfg.Style = tt.client
		c := s.client(cfg)
		err := s.call(c, read)
		if tt.asked == 0 {
			if kedge.KindOf(err) != kedge.Unauthorized || s.asked != 1 {
				t.Errorf("%+v: %v after %d token requests", tt, err, s.asked)
			}
			continue
		}
		if err != nil || s.asked != tt.asked {
			t.Errorf("%+v: %v after %d token requests", tt, err, s.asked)
		}
		s.revoke()
		if err := s.call(c, read); err != nil || s.asked != tt.asked+1 {
			t.Errorf("%+v: what was learned is not kept: %v after %d token requests", tt, err, s.asked)
		}
	}
}

func TestTokenRefusals(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		kind   kedge.Kind
		asked  int
		text   string
	}{
		{400, `{"error":"invalid_scope","error_description":"jane@example.com"}`, kedge.Invalid, 1, "400 invalid_scope"},
		{400, `{"error":"unauthorized_client"}`, kedge.Unauthorized, 1, "400 unauthorized_client"},
		{400, `{"error":"x","error_description":"AADSTS50034: jane@example.com is unknown"}`, kedge.Invalid, 1, "400 x AADSTS50034"},
		{400, `{"error":"jane@example.com"}`, kedge.Unauthorized, 2, "answered 400"},
		{400, `not JSON`, kedge.Unauthorized, 2, "answered 400"},
		{200, `{"error":"unauthorized_client"}`, kedge.Unauthorized, 1, "200 unauthorized_client"},
		{503, `{"error":"temporarily_unavailable"}`, kedge.Transient, 6, "503"},
		{404, `<html>`, kedge.NotFound, 1, "404"},
		{200, `<html>`, kedge.Invalid, 1, "JSON"},
		{200, `{}`, kedge.Invalid, 1, "no access_token"},
		{200, `{"access_token":"a\nb"}`, kedge.Invalid, 1, "header"},
		{200, `{"access_token":"secret1","token_type":"mac"}`, kedge.Invalid, 1, "bearer"},
	} {
		s := newTokenServer(t)
		s.answer = func(url.Values) (int, string) { return tt.status, tt.body }
		err := s.call(s.client(s.config()), once)
		if kedge.KindOf(err) != tt.kind || s.asked != tt.asked || s.served != 0 {
			t.Errorf("%d %s: %v after %d token requests, want %v after %d", tt.status, tt.body, err, s.asked, tt.kind, tt.asked)
		}
		if text := err.Error(); !strings.Contains(text, tt.text) || strings.Contains(text, "jane") || strings.Contains(text, "cret") {
			t.Errorf("%d %s: text %q", tt.status, tt.body, text)
		}
	}
}
