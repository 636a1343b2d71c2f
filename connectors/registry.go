package connectors

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Kind is one kind of system that kedge can connect to.
type Kind struct {
	Name   string          // as in "kind: odata"
	Title  string          // one line for people
	Schema json.RawMessage // JSON Schema of the connection's block, without kind
	// New makes a driver from the block, with secrets already in place. It does no I/O.
	New func(cfg json.RawMessage, env Env) (Driver, error)
}

// An Env is what a driver gets from kedge.
type Env struct {
	Name     string // of the connection
	Consumer string // integration that uses it, or ""
	// HTTP makes the connection's one client. The caller has filled in what the
	// config says for all connections; the driver gives the rest.
	HTTP   func(httpclient.Options) (*httpclient.Client, error)
	Store  *store.Store // kedge's own database, or nil
	State  *store.State // sealed values of this connection, or nil
	Prompt httpclient.DevicePrompt
	Logger *slog.Logger // for httpclient; drivers do not log
	Now    func() time.Time
}

// A Registry is the list of kinds that a program knows. It is a value built by
// the program; packages do not register themselves.
type Registry struct {
	kinds []Kind
}

// NewRegistry returns a registry of kinds.
func NewRegistry(kinds ...Kind) *Registry { return &Registry{kinds: kinds} }

// Kinds returns the kinds, sorted by name.
func (r *Registry) Kinds() []Kind { panic("not written yet") }

// Open makes a connection of the named kind. Unknown keys in cfg are refused.
// It does no I/O.
func (r *Registry) Open(ctx context.Context, kind string, cfg json.RawMessage, env Env, opts *Options) (*Conn, error) {
	panic("not written yet")
}

// A Secret is a value from the config that must not be shown. It prints and
// marshals as "***".
type Secret string
