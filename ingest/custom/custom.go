package custom

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Publisher is told what changed, in the transaction that changes it.
type Publisher interface {
	// Interest says which fields the subscribers of an entity need. It is
	// called once per transaction and table.
	Interest(ctx context.Context, tx bun.IDB, entity string) (kedge.Interest, error)
	// Publish takes events in the order in which they happened.
	Publish(ctx context.Context, tx bun.IDB, events ...kedge.Event) error
}

// A Suppressor knows who must not be stored.
type Suppressor interface {
	// Suppressed answers for each subject, in the same order.
	Suppressed(ctx context.Context, tx bun.IDB, subjects []kedge.Subject) ([]bool, error)
}

// Identify returns the paths of a table's resources that identify a person, by
// the kind of identifier.
type Identify func(table string) map[string]string

// Options configure a [Custom].
type Options struct {
	Store      *store.Store
	Now        func() time.Time
	Logger     *slog.Logger
	Publisher  Publisher
	Suppressor Suppressor
	Identify   Identify
	Local      func(ctx context.Context) (*connectors.Conn, error)

	// Tables returns a table as it is now, or nil if it is gone.
	Tables func(ctx context.Context, no int64) (*Table, error)
	// Hook is called at the steps a to k of a commit and around COMMIT.
	Hook func(point string)
	// Committed is called after a transaction, Queued when the number of
	// waiting requests changed by n.
	Committed func(took time.Duration)
	Queued    func(n int)
}

// A Custom stores and reads the resources of all tables.
type Custom struct {
	opts  Options
	store *store.Store
	now   func() time.Time
	lanes []*lane
	bulks chan struct{} // one token for each bulk in flight
	load  load

	mapping sync.Mutex
	plans   map[planKey]*localPlan // compiled mappings
	local   *connectors.Conn

	mu    sync.Mutex
	keyed map[[2]string]bool // requests with an idempotency key that run now
}

// Limits of what waits to be stored.
const (
	maxQueued      = 1024     // requests
	maxQueuedBytes = 64 << 20 // of their data
	maxBulks       = 4        // in flight, from their first byte to their answer
	maxBatch       = 100      // requests in one transaction
	maxBatchBytes  = 4 << 20
	postgresLanes  = 8
)

// New returns a Custom.
func New(opts Options) *Custom {
	if opts.Hook == nil {
		opts.Hook = func(string) {}
	}
	if opts.Committed == nil {
		opts.Committed = func(time.Duration) {}
	}
	if opts.Queued == nil {
		opts.Queued = func(int) {}
	}
	c := &Custom{opts: opts, store: opts.Store, now: opts.Now, bulks: make(chan struct{}, maxBulks), plans: map[planKey]*localPlan{}, keyed: map[[2]string]bool{}}
	lanes := 1 // SQLite has one writer
	if c.store.Engine() == store.Postgres {
		lanes = postgresLanes
	}
	for range lanes {
		c.lanes = append(c.lanes, &lane{c: c})
	}
	return c
}

// StartBulk takes one of the places for bulks in flight; done gives it back.
// It fails with kind Transient if there is none.
func (c *Custom) StartBulk() (done func(), err error) {
	select {
	case c.bulks <- struct{}{}:
		return func() { <-c.bulks }, nil
	default:
		return nil, busy("%d bulks are being stored, the most at a time; send it again", maxBulks)
	}
}
