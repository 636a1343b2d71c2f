package httpclient

import (
	"context"
	"encoding/base64"
	"net/http"
)

// Auth adds credentials to a request. Refresh drops a refused credential, the
// one in the header of the refused request; it reports whether a new one can
// be had. Both may be called from several goroutines at once.
type Auth interface {
	Apply(ctx context.Context, h http.Header) error
	Refresh(ctx context.Context, refused http.Header) (bool, error)
}

// A static sets a header that never changes. It is a func so that printing it
// shows nothing.
type static func(http.Header)

func header(name, value string) Auth {
	return static(func(h http.Header) { h.Set(name, value) })
}

// Basic returns HTTP basic authentication (RFC 7617).
func Basic(username string, password Secret) Auth {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(username+":"+string(password))))
}

// Bearer returns a fixed bearer token (RFC 6750).
func Bearer(token Secret) Auth { return header("Authorization", "Bearer "+string(token)) }

// APIKey returns a key in a header of its own. Keys are never sent in a query,
// where they would reach logs.
func APIKey(name string, value Secret) Auth { return header(name, string(value)) }

// Apply sets the header.
func (s static) Apply(_ context.Context, h http.Header) error {
	s(h)
	return nil
}

// Refresh reports false: there is no other credential.
func (s static) Refresh(context.Context, http.Header) (bool, error) { return false, nil }
