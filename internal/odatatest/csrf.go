package odatatest

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
)

const (
	csrfHeader = "X-CSRF-Token"
	csrfCookie = "odatatest_session"
)

// csrfSessions are the sessions of the quirk csrf, as SAP Gateway has them: a
// token is good together with the cookie that came with it.
type csrfSessions struct {
	mu     sync.Mutex
	issued int
	tokens map[string]string // by session
}

// check refuses a write without a good token.
func (c *csrfSessions) check(r *http.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cookie, err := r.Cookie(csrfCookie); err == nil && c.tokens[cookie.Value] != "" && c.tokens[cookie.Value] == r.Header.Get(csrfHeader) {
		return nil
	}
	f := fail(http.StatusForbidden, "Forbidden", "CSRF token validation failed.")
	f.header = http.Header{http.CanonicalHeaderKey(csrfHeader): {"Required"}}
	return f
}

// fetch adds a token to the answer of the root if the request asks for one.
func (c *csrfSessions) fetch(r *http.Request, a *answer, root string) {
	if !strings.EqualFold(r.Header.Get(csrfHeader), "fetch") || r.URL.Path != root || writes(r.Method) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cookie, err := r.Cookie(csrfCookie); err == nil && c.tokens[cookie.Value] != "" {
		a.header.Set(csrfHeader, c.tokens[cookie.Value])
		return
	}
	c.issued++
	n := strconv.Itoa(c.issued)
	if c.tokens == nil {
		c.tokens = make(map[string]string)
	}
	c.tokens["session-"+n] = "csrf-" + n
	a.header.Set(csrfHeader, "csrf-"+n)
	a.header.Set("Set-Cookie", csrfCookie+"=session-"+n+"; Path="+root+"; HttpOnly")
}

// ExpireCSRF ends the sessions of the quirk csrf.
func (s *Service) ExpireCSRF() {
	s.csrf.mu.Lock()
	defer s.csrf.mu.Unlock()
	clear(s.csrf.tokens)
}
