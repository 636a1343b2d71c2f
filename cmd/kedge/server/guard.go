package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// CheckReach refuses to listen for other machines while nobody has a token.
func (s *Server) CheckReach(ctx context.Context, addr net.Addr) error {
	active, err := s.opts.Tokens.active(ctx)
	if err != nil || active {
		return err
	}
	if tcp, ok := addr.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("server.listen: %s is reachable from other machines, and there is no operator token; make one with \"kedge tokens create NAME --scope admin\", or listen on 127.0.0.1", addr)}
	}
	s.opts.Log.WarnContext(ctx, "no operator token exists: only this machine is served, and it needs none; make one with \"kedge tokens create NAME --scope admin\"")
	return nil
}

// guard serves only this machine until the first token was made. A page of
// another site that a browser here has open is not this machine: it is
// recognized by its Host, when its name was made to lead here, or its Origin.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.opts.Tokens.locked.Load() {
			exists, err := s.opts.Tokens.exists(r.Context())
			if err == nil && !exists {
				err = localOnly(r)
			}
			if err != nil {
				httpapi.Fail(s.opts.Log, w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func localOnly(r *http.Request) error {
	const fix = "until an operator token exists, only this machine is served; make one with \"kedge tokens create NAME --scope admin\""
	if !loopbackAddr(r.RemoteAddr) {
		return forbidden("the request comes from another machine; %s", fix)
	}
	if !loopbackHost(r.Host) {
		return forbidden("the Host of the request is not this machine; %s", fix)
	}
	for _, origin := range r.Header.Values("Origin") {
		if u, err := url.Parse(origin); err != nil || !loopbackHost(u.Host) {
			return forbidden("the Origin of the request is not this machine; %s", fix)
		}
	}
	return nil
}

// direct tells whether a request comes from this machine and not through a
// proxy on it.
func direct(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	return localOnly(r) == nil
}

func loopbackAddr(hostport string) bool {
	ap, err := netip.ParseAddrPort(hostport)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// loopbackHost tells whether a Host header names this machine.
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// authorize lets holders of a token to the routes below /api/v1.
func (s *Server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		need := ScopeAdmin
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			need = ScopeRead
		}
		t, err := s.token(r, need)
		if err != nil {
			httpapi.Fail(s.opts.Log, w, r, err)
			return
		}
		if t != nil {
			r = r.WithContext(context.WithValue(r.Context(), operatorKey{}, t.Name))
		}
		next.ServeHTTP(w, r)
	})
}

type operatorKey struct{}

// Operator names who makes the request that ctx belongs to: the name of the
// token, or "api" if none is needed.
func Operator(ctx context.Context) string {
	if name, ok := ctx.Value(operatorKey{}).(string); ok {
		return name
	}
	return "api"
}

// token checks and returns the bearer token of r. Until the first token was made none is
// needed: guard let only this machine through.
func (s *Server) token(r *http.Request, need Scope) (*Token, error) {
	exists, err := s.opts.Tokens.exists(r.Context())
	if err != nil || !exists {
		return nil, err
	}
	unauthorized := func(text string) (*Token, error) {
		return nil, &kedge.Error{Kind: kedge.Unauthorized, Err: errors.New(text)}
	}
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return unauthorized("send an operator token: \"Authorization: Bearer TOKEN\"; \"kedge tokens create\" makes one")
	}
	t, err := s.opts.Tokens.verify(r.Context(), strings.TrimSpace(secret))
	if err != nil {
		return nil, err
	}
	if t == nil {
		return unauthorized("the operator token is unknown or revoked")
	}
	if need == ScopeAdmin && t.Scope != ScopeAdmin {
		return nil, forbidden("the operator token has the scope read; this call needs admin")
	}
	return t, nil
}
