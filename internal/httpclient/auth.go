package httpclient

import (
	"context"
	"net/http"
)

// Auth adds credentials to a request. Refresh drops a refused credential, the
// one in the header of the refused request; it reports whether a new one can
// be had. Both may be called from several goroutines at once.
type Auth interface {
	Apply(ctx context.Context, h http.Header) error
	Refresh(ctx context.Context, refused http.Header) (bool, error)
}
