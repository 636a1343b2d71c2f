// Package subscriptions tells outside systems what happened to records: it
// calls the URL of each subscription that wants an event, signed, in order per
// record, again after failures, until it arrives or is visibly given up.
//
// Producers call [Service.Interest] once per page and [Service.Publish] after
// the rows, in their own transaction. [Service.Run] does the rest: fan-out
// turns an event into a delivery for each subscription that wants it, and a
// worker claims the queues of subscriptions by lease and empties them, one
// request at a time per record.
//
// The parts without I/O have packages of their own: spec (documents), match
// (who wants an event), lanes (which delivery is next) and payload (bodies).
package subscriptions

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/match"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// A Suppressor knows persons that nothing may be told of any more.
type Suppressor interface {
	Suppressed(ctx context.Context, tx bun.IDB, subjects []kedge.Subject) ([]bool, error)
}

// Options configure a [Service]. The zero value is ready to use.
type Options struct {
	Logger     *slog.Logger          // nil discards
	Now        func() time.Time      // nil means time.Now, corrected by the database's clock
	Rand       func() float64        // for jitter, in [0, 1); nil means math/rand/v2
	Metrics    prometheus.Registerer // nil: none
	Suppressor Suppressor            // nil: nobody is suppressed
	// Pushed reports whether an entity of the local schema is a table of pushed
	// data. nil: none is. It is asked after the schema was read.
	Pushed   func(entity string) bool
	Operator *httpclient.Client // way to Config.Notices.URL; nil: as to targets
	// Allowed reports whether a request to the URL would pass the egress guard
	// as far as that can be told without connecting. nil: all do.
	Allowed func(ctx context.Context, url string) error
}

// A Service is the push subscriptions of a database. Several processes may
// have one each. It is safe for concurrent use.
type Service struct {
	db      *store.Store
	http    *httpclient.Client
	cfg     Config
	opts    Options
	log     *slog.Logger
	local   connectors.Driver
	catalog *spec.Catalog
	metrics *metrics

	loading    sync.Mutex // held while subscriptions are read into memory
	mu         sync.RWMutex
	generation int64
	subs       map[string]*sub
	stored     *match.Index // of those that events are kept for: active, paused, lately disabled or expired

	offset atomic.Int64 // ns that the database's clock is ahead

	worker *worker
	// transport sends a request and barrier waits for the workers; the model
	// test, which has one thread, replaces them.
	transport func(context.Context, httpclient.Request) (httpclient.Reply, error)
	barrier   func(ctx context.Context, generation int64) error
	hook      func(point string) // called at fanout, sent and results, for tests that kill the process there
	wake      chan struct{}      // something may be there to do
	seen      chan struct{}      // a generation was seen

	unproven chan string // ids of subscriptions whose handshake is due
}

// New returns a service on the tables of [Migrations]. local is the connection
// that has the records, hc the way to the targets. It reads the subscriptions
// but starts no work.
func New(ctx context.Context, db *store.Store, local connectors.Driver, hc *httpclient.Client, cfg Config, opts *Options) (*Service, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if opts == nil {
		opts = &Options{}
	}
	s := &Service{db: db, http: hc, cfg: cfg, opts: *opts, log: opts.Logger, local: local, subs: map[string]*sub{},
		stored: match.NewIndex(), wake: make(chan struct{}, 1), seen: make(chan struct{}, 1), unproven: make(chan string, 1024)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.opts.Rand == nil {
		s.opts.Rand = rand.Float64
	}
	schema, err := local.Schema(ctx)
	if err != nil {
		return nil, err
	}
	if s.catalog, err = spec.NewCatalog(cfg.Entities, schema, s.opts.Pushed); err != nil {
		return nil, err
	}
	if s.metrics, err = newMetrics(s, opts.Metrics); err != nil {
		return nil, err
	}
	s.transport = func(ctx context.Context, r httpclient.Request) (httpclient.Reply, error) {
		return hc.Send(ctx, r, answerTime)
	}
	s.barrier = s.awaitSeen
	s.hook = func(string) {}
	s.worker = newWorker(s)
	return s, s.refresh(ctx, db.DB())
}

// Refresh takes tables over as they are now: those that were made or changed
// since the service was.
func (s *Service) Refresh(ctx context.Context) error {
	schema, err := s.local.Schema(ctx)
	if err != nil {
		return err
	}
	changed, err := s.catalog.Load(schema, s.opts.Pushed)
	if err != nil || !changed {
		return err
	}
	s.loading.Lock()
	s.mu.Lock()
	s.generation = 1 // all subscriptions are read anew, also the deleted ones
	s.mu.Unlock()
	s.loading.Unlock()
	return s.refresh(ctx, s.db.DB())
}

// Catalog returns what can be subscribed.
func (s *Service) Catalog() *spec.Catalog { return s.catalog }

// now returns milliseconds since 1970 by the database's clock.
func (s *Service) now() int64 { return s.time().UnixMilli() }

func (s *Service) time() time.Time {
	if s.opts.Now != nil {
		return s.opts.Now()
	}
	return time.Now().Add(time.Duration(s.offset.Load()))
}

// signal wakes the worker of this process.
func (s *Service) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
