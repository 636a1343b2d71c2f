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

// A static is a header that never changes.
type static struct {
	header string
	value  Secret
}

// Basic returns HTTP basic authentication (RFC 7617).
func Basic(username string, password Secret) Auth {
	pair := base64.StdEncoding.EncodeToString([]byte(username + ":" + string(password)))
	return static{"Authorization", Secret("Basic " + pair)}
}

// Bearer returns a fixed bearer token (RFC 6750).
func Bearer(token Secret) Auth { return static{"Authorization", "Bearer " + token} }

// APIKey returns a key in a header of its own. Keys are never sent in a query,
// where they would reach logs.
func APIKey(header string, value Secret) Auth { return static{header, value} }

// Apply sets the header.
func (s static) Apply(_ context.Context, h http.Header) error {
	h.Set(s.header, string(s.value))
	return nil
}

// Refresh reports false: there is no other credential.
func (s static) Refresh(context.Context, http.Header) (bool, error) { return false, nil }
