package httpclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// tokenRows is a TokenStore in memory, shared by "replicas".
type tokenRows struct {
	mu     sync.Mutex
	values map[string][]byte
	revs   map[string]int64
	onPut  func() error // before a Put; its error is the Put's
}

func newTokenRows() *tokenRows {
	return &tokenRows{values: map[string][]byte{}, revs: map[string]int64{}}
}

func (r *tokenRows) Get(_ context.Context, name string) ([]byte, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.values[name], r.revs[name], nil
}

func (r *tokenRows) Put(_ context.Context, name string, v []byte, rev int64) error {
	if r.onPut != nil {
		if err := r.onPut(); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revs[name] != rev {
		return &kedge.Error{Kind: kedge.Conflict}
	}
	r.values[name] = v
	r.revs[name]++
	return nil
}

// A deviceServer speaks RFC 8628 and rotates refresh tokens: each works once.
type deviceServer struct {
	t    *testing.T
	srv  *httptest.Server
	mux  *http.ServeMux
	clk  *clock
	rows *tokenRows

	mu        sync.Mutex
	polls     []string // errors to answer polls with, then a token
	polled    []time.Time
	expiresIn int
	n         int // tokens given
	refresh   string
	access    map[string]bool
	prompts   []httpclient.DeviceCode
}

func newDeviceServer(t *testing.T) *deviceServer {
	s := &deviceServer{t: t, clk: newClock(), rows: newTokenRows(), expiresIn: 900, access: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != "c" || r.FormValue("scope") != "a offline_access" {
			t.Errorf("device request %v", r.Form)
		}
		fmt.Fprintf(w, `{"device_code":"dc","user_code":"ABCD-EFGH","verification_uri":"https://microsoft.com/devicelogin","expires_in":%d,"interval":5}`, s.expiresIn)
	})
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("/api", func(w http.ResponseWriter, r *http.Request) {
		if !s.accepts(r.Header) {
			w.WriteHeader(401)
		}
	})
	s.mux = mux
	s.srv = httptest.NewServer(mux)
	t.Cleanup(s.srv.Close)
	return s
}

func (s *deviceServer) accepts(h http.Header) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access[strings.TrimPrefix(h.Get("Authorization"), "Bearer ")]
}

func (s *deviceServer) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(code string) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":%q}`, code)
	}
	if r.FormValue("client_id") != "c" {
		s.t.Errorf("token request %v", r.Form)
	}
	switch r.FormValue("grant_type") {
	case "urn:ietf:params:oauth:grant-type:device_code":
		s.mu.Lock()
		defer s.mu.Unlock()
		s.polled = append(s.polled, s.clk.Now())
		if len(s.polls) > 0 {
			code := s.polls[0]
			s.polls = s.polls[1:]
			refuse(code)
			return
		}
	case "refresh_token":
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.FormValue("refresh_token") != s.refresh {
			refuse("invalid_grant")
			return
		}
	default:
		refuse("unsupported_grant_type")
		return
	}
	s.n++
	s.refresh = fmt.Sprint("refresh-", s.n)
	tok := fmt.Sprint("access-", s.n)
	s.access[tok] = true
	fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600,"refresh_token":%q}`, tok, s.refresh)
}

func (s *deviceServer) config() authConfig {
	return authConfig{Type: "device_code", ClientID: "c", TokenURL: s.srv.URL + "/token", DeviceURL: s.srv.URL + "/device", Scope: "a offline_access"}
}

// replica returns a caller of the API with its own memory.
func (s *deviceServer) replica(interactive bool) func() error {
	s.t.Helper()
	env := httpclient.AuthEnv{Name: "bc", Tokens: s.rows, Now: s.clk.Now, Sleep: s.clk.Sleep}
	if interactive {
		env.Prompt = func(_ context.Context, c httpclient.DeviceCode) error { s.prompts = append(s.prompts, c); return nil }
	}
	a, err := s.config().New(env)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := httpclient.New(httpclient.Options{Origin: parse(s.t, s.srv.URL), Auth: a, Now: s.clk.Now, Sleep: s.clk.Sleep})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	u := parse(s.t, s.srv.URL+"/api")
	return func() error { return c.Do(s.t.Context(), httpclient.Request{Op: "test.Call", URL: u}, nil) }
}

const signInNeeded = `sign-in needed: run "kedge connections login bc"`

// TestSignIn is the story of a connection: nobody is signed in, somebody signs
// in, a restart finds the token, its refresh token is traded and kept.
func TestSignIn(t *testing.T) {
	s := newDeviceServer(t)
	s.polls = []string{"authorization_pending", "slow_down", "authorization_pending"}
	err := s.replica(false)()
	if kedge.KindOf(err) != kedge.Unauthorized || err.Error() != signInNeeded {
		t.Errorf("got %v, want Unauthorized: %s", err, signInNeeded)
	}
	start := s.clk.Now()
	if err := s.replica(true)(); err != nil {
		t.Fatal(err)
	}
	if len(s.prompts) != 1 || s.prompts[0].String() != "To sign in, open https://microsoft.com/devicelogin and enter the code ABCD-EFGH (valid for 15 minutes)." {
		t.Errorf("prompts %v", s.prompts)
	}
	var at []time.Duration
	for _, p := range s.polled {
		at = append(at, p.Sub(start))
	}
	if got := fmt.Sprint(at); got != "[5s 10s 20s 30s]" { // slow_down adds 5 s for good
		t.Errorf("polled at %v", got)
	}
	after := s.replica(false)
	if err := after(); err != nil || s.n != 1 {
		t.Errorf("after a restart: %v, %d tokens", err, s.n)
	}
	s.clk.Sleep(t.Context(), time.Hour)
	if err := after(); err != nil || s.n != 2 {
		t.Errorf("after expiry: %v, %d tokens", err, s.n)
	}
	clear(s.access)
	if err := after(); err != nil || s.n != 3 {
		t.Errorf("after a refusal: %v, %d tokens", err, s.n)
	}
	if raw, rev, _ := s.rows.Get(t.Context(), "device_code"); rev != 3 || !strings.Contains(string(raw), "refresh-3") {
		t.Errorf("row %d does not hold the last refresh token", rev)
	}
	s.refresh = "revoked"
	s.clk.Sleep(t.Context(), time.Hour)
	if err := after(); err == nil || err.Error() != signInNeeded {
		t.Errorf("after revocation: %v, want %s", err, signInNeeded)
	}
	if err := s.replica(true)(); err != nil || len(s.prompts) != 2 {
		t.Errorf("signing in again: %v, %d prompts", err, len(s.prompts))
	}
	if err := after(); err != nil {
		t.Errorf("after signing in elsewhere: %v", err)
	}
}

func TestSignInFails(t *testing.T) {
	for _, tt := range []struct {
		polls     []string
		expiresIn int
		kind      kedge.Kind
		text      string
	}{
		{[]string{"expired_token"}, 900, kedge.Unauthorized, "expired"},
		{[]string{"authorization_pending", "access_denied"}, 900, kedge.Unauthorized, "refused"},
		{[]string{"authorization_pending", "authorization_pending", "authorization_pending"}, 12, kedge.Unauthorized, "expired"},
		{[]string{"invalid_request"}, 900, kedge.Invalid, "invalid_request"},
	} {
		s := newDeviceServer(t)
		s.polls, s.expiresIn = tt.polls, tt.expiresIn
		err := s.replica(true)()
		if kedge.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.text) {
			t.Errorf("%v: %v, want %v %q", tt.polls, err, tt.kind, tt.text)
		}
		if raw, _, _ := s.rows.Get(t.Context(), "device_code"); raw != nil {
			t.Errorf("%v: a token was stored", tt.polls)
		}
	}
}

func signedIn(t *testing.T) *deviceServer {
	s := newDeviceServer(t)
	if err := s.replica(true)(); err != nil {
		t.Fatal(err)
	}
	s.clk.Sleep(t.Context(), 2*time.Hour)
	return s
}

// TestTwoReplicasRotate: both find the token expired; each refresh token works
// once; nobody is signed out.
func TestTwoReplicasRotate(t *testing.T) {
	s := signedIn(t)
	synctest.Test(t, func(t *testing.T) {
		p := pipeNet{make(chan net.Conn)}
		srv := &http.Server{Handler: s.mux}
		go srv.Serve(p)
		var clients []*httpclient.Client
		replica := func() httpclient.Auth {
			a, err := s.config().New(httpclient.AuthEnv{Name: "bc", Tokens: s.rows, HTTP: func(o httpclient.Options) (*httpclient.Client, error) {
				o.Dial = p.Dial
				c, err := httpclient.New(o)
				clients = append(clients, c)
				return c, err
			}})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		replicas := []httpclient.Auth{replica(), replica(), replica()}
		time.Sleep(time.Until(s.clk.Now()) + 2*time.Hour)
		for round := range 50 {
			var wg sync.WaitGroup
			for _, a := range replicas {
				wg.Go(func() {
					h := http.Header{}
					if err := a.Apply(t.Context(), h); err != nil || !s.accepts(h) {
						t.Errorf("round %d: %v", round, err)
					}
				})
			}
			wg.Wait()
			time.Sleep(2 * time.Hour)
		}
		for _, c := range clients {
			c.Close()
		}
		srv.Shutdown(t.Context())
	})
	if s.n < 51 {
		t.Errorf("%d tokens, want one or more per round", s.n)
	}
}

// TestOtherReplicaWasFaster: the refresh token is void because another replica
// used it, and that one stores its token only a moment later.
func TestOtherReplicaWasFaster(t *testing.T) {
	s := signedIn(t)
	raw, rev, _ := s.rows.Get(t.Context(), "device_code")
	var row map[string]any
	if err := json.Unmarshal(raw, &row); err != nil {
		t.Fatal(err)
	}
	s.refresh, s.access["access-b"] = "refresh-b", true
	row["token"] = map[string]any{"access_token": "access-b", "refresh_token": "refresh-b", "expiry": s.clk.Now().Add(time.Hour)}
	raw, _ = json.Marshal(row)

	env := httpclient.AuthEnv{Name: "bc", Tokens: s.rows, Now: s.clk.Now, Sleep: func(ctx context.Context, d time.Duration) error {
		if err := s.rows.Put(ctx, "device_code", raw, rev); err != nil && kedge.KindOf(err) != kedge.Conflict {
			return err
		}
		return s.clk.Sleep(ctx, d)
	}}
	auth, err := s.config().New(env)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	if err := auth.Apply(t.Context(), h); err != nil || h.Get("Authorization") != "Bearer access-b" {
		t.Errorf("%v with %v, want the other's token", err, h)
	}
}

// TestStoredBeforeUse: a token that cannot be stored is not used, and not lost.
func TestStoredBeforeUse(t *testing.T) {
	s := signedIn(t)
	call := s.replica(false)
	full := &kedge.Error{Op: "store.State", Kind: kedge.Transient, Err: errors.New("disk full")}
	s.rows.onPut = func() error { return full }
	if err := call(); !errors.Is(err, full) || s.n != 2 {
		t.Errorf("got %v after %d tokens, want the store's error", err, s.n)
	}
	s.rows.onPut = nil
	s.clk.Sleep(t.Context(), time.Minute)
	if err := call(); err != nil || s.n != 2 {
		t.Errorf("got %v after %d tokens, want the second token stored and used", err, s.n)
	}
	if raw, _, _ := s.rows.Get(t.Context(), "device_code"); !strings.Contains(string(raw), "refresh-2") {
		t.Error("the second token is not stored")
	}
}

// TestChangedConfig: a sign-in counts for the client and endpoint it was made for.
func TestChangedConfig(t *testing.T) {
	s := signedIn(t)
	for name, change := range map[string]func(*authConfig){
		"client": func(c *authConfig) { c.ClientID = "other" },
		"scope":  func(c *authConfig) { c.Scope = "other" },
		"server": func(c *authConfig) { c.TokenURL += "2" },
	} {
		cfg := s.config()
		change(&cfg)
		a, err := cfg.New(httpclient.AuthEnv{Name: "bc", Tokens: s.rows, Now: s.clk.Now, Sleep: s.clk.Sleep})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Apply(t.Context(), http.Header{}); err == nil || err.Error() != signInNeeded {
			t.Errorf("%s: %v, want %s", name, err, signInNeeded)
		}
	}
}

func TestDeviceCodeNeedsAStore(t *testing.T) {
	_, err := newDeviceServer(t).config().New(httpclient.AuthEnv{})
	if kedge.KindOf(err) != kedge.Invalid {
		t.Errorf("got %v, want Invalid", err)
	}
}

func TestDeviceCodeText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		15 * time.Minute: "15 minutes", 15*time.Minute - 1: "14 minutes", 119 * time.Second: "1 minute", time.Minute: "1 minute", 59 * time.Second: "59 seconds",
	} {
		c := httpclient.DeviceCode{UserCode: "A", VerificationURI: "https://x", ExpiresIn: d}
		if got := c.String(); got != "To sign in, open https://x and enter the code A (valid for "+want+")." {
			t.Errorf("%v: %q", d, got)
		}
	}
}
