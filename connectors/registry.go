package connectors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
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
func NewRegistry(kinds ...Kind) *Registry {
	sorted := slices.Clone(kinds)
	slices.SortFunc(sorted, func(a, b Kind) int { return strings.Compare(a.Name, b.Name) })
	return &Registry{kinds: sorted}
}

// Kinds returns the kinds, sorted by name.
func (r *Registry) Kinds() []Kind { return slices.Clone(r.kinds) }

// Open makes a connection of the named kind. cfg is the connection's block
// without "kind"; what does not fit the kind's schema is refused, each finding
// on a line of its own that begins with its path:
// "connections.NAME.KEY: missing; KIND needs it". It does no I/O.
func (r *Registry) Open(ctx context.Context, kind string, cfg json.RawMessage, env Env, opts *Options) (*Conn, error) {
	path := "connections." + env.Name
	i := slices.IndexFunc(r.kinds, func(k Kind) bool { return k.Name == kind })
	if i < 0 {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New(path + ".kind: " + r.unknownKind(kind))}
	}
	if err := checkBlock(path, &r.kinds[i], cfg); err != nil {
		return nil, err
	}
	driver, err := r.kinds[i].New(cfg, env)
	if err != nil {
		return nil, err
	}
	return New(driver, opts), nil
}

func (r *Registry) unknownKind(kind string) string {
	names := make([]string, len(r.kinds))
	for i, k := range r.kinds {
		names[i] = k.Name
	}
	if kind == "" {
		return "missing; known kinds: " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("unknown kind %q; known kinds: %s", kind, strings.Join(names, ", "))
}
