package syncer

import (
	"context"
	"log/slog"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// Options configure a [Syncer].
type Options struct {
	Store *store.Store // required; with the tables of [Migrations]

	// Connect opens the named connection for an integration. Required.
	Connect func(ctx context.Context, connection, integration string) (*connectors.Conn, error)
	// OwnDatabase tells whether a connection's tables lie in Store's database,
	// so that rows and state commit together. Required.
	OwnDatabase func(connection string) bool

	Limits   Limits
	Now      func() time.Time // nil means time.Now
	Logger   *slog.Logger     // nil discards
	Progress func(Progress)   // nil: not reported; called from one goroutine per entity
	Ended    func(Result)     // nil: not told; called once for each run that began, at its end

	// Publisher is told what happens to local records of tables in Store's
	// database; nil: nobody is.
	Publisher Publisher

	// LostReplyWait is how long after a lost answer the request can hardly
	// arrive any more; 0 means 5 s. Sleep waits so long; nil means by the clock.
	LostReplyWait time.Duration
	Sleep         func(context.Context, time.Duration) error

	// Hook, if not nil, is called at the named points p1 to p13 of a run, and in
	// a reset at r1 (some pages wait) and r2 (inside the transaction that stores
	// them), for tests that kill the process there.
	Hook func(point string)
}

// Limits bound the work of a run. The zero value of each means its default.
type Limits struct {
	CommitRows       int // most rows in one page transaction; default 20,000
	ParallelEntities int // entities of one layer read at once; default 2
	HashSkipMaxRows  int // above it, hashes live in a table instead of memory; default 2,000,000

	KeepLog        time.Duration // log rows, runs, ended transactions and conflicts; default 90 days
	KeepWriteLog   time.Duration // what was sent, to know it again when it comes back; default 3 days
	KeepQuarantine time.Duration // closed quarantine rows; default 30 days
	KeepTombstones time.Duration // default 90 days
}

// The bounds of one page transaction beside its rows.
const (
	commitBytes = 8 << 20
	commitAfter = time.Second
)

func (l *Limits) fill() {
	setDefault(&l.CommitRows, 20_000)
	setDefault(&l.ParallelEntities, 2)
	setDefault(&l.HashSkipMaxRows, 2_000_000)
	const day = 24 * time.Hour
	setDefault(&l.KeepLog, 90*day)
	setDefault(&l.KeepWriteLog, 3*day)
	setDefault(&l.KeepQuarantine, 30*day)
	setDefault(&l.KeepTombstones, 90*day)
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// A Syncer runs integrations. It is safe for concurrent use.
type Syncer struct {
	store  *store.Store
	opts   Options
	limits Limits
	now    func() time.Time
	log    *slog.Logger
}

// New returns a Syncer.
func New(opts Options) *Syncer {
	s := &Syncer{store: opts.Store, opts: opts, limits: opts.Limits, now: opts.Now, log: opts.Logger}
	s.limits.fill()
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

func (s *Syncer) hook(point string) {
	if s.opts.Hook != nil {
		s.opts.Hook(point)
	}
}

func (s *Syncer) postgres() bool { return s.store.Engine() == store.Postgres }

// An Op is what a run does.
type Op string

// The operations.
const (
	Sync   Op = "sync"
	Import Op = "import"
	Export Op = "export"
	Plan   Op = "plan"
	Retry  Op = "retry" // of quarantined records
)

// A Request asks for a run.
type Request struct {
	Integration string
	Op          Op
	Entities    []string // mapping entities; empty means all that are enabled
	Trigger     string   // "cli", "job", "hook": for the log

	Full         bool     // read everything, whatever the anchors say
	ForceDeletes bool     // apply deletes that the breaker holds back
	IgnoreKey    bool     // plan: match by link only
	PlanOf       Op       // plan: Sync or Import; default Import
	Quarantine   []string // retry: ids; empty means all that are open

	// ResetLocal makes a sync replace the local rows of its downloaded entities
	// by what the other side has. Local changes that were not sent are lost.
	ResetLocal bool
	// Confirm is asked before local rows are deleted by a reset. If it returns
	// an error, or is nil, nothing is changed and the run is [Stopped].
	Confirm func(Reset) error
	By      string // who asked, for the log

	// Began, if not nil, is called once the run holds its lease and is on
	// record. It is not called for a run that is skipped or not confirmed.
	Began func(run string)
}

// invalid returns an error of kind Invalid.
func invalid(entity string, err error) error {
	return &kedge.Error{Kind: kedge.Invalid, Entity: entity, Err: err}
}
