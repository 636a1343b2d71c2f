package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/store"
)

// Options configure a [Service]. Store is required; the zero value of every
// other field works.
type Options struct {
	Store  *store.Store
	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil means slog.Default

	Publisher  custom.Publisher  // is told what changed; nil: nobody
	Suppressor custom.Suppressor // knows who must not be stored; nil: nobody
	Identify   custom.Identify   // says which paths of a table identify a person; nil: none

	// Local opens the connection to the tables of kedge's own database that
	// mappings write to. nil: schemas with a mapping are refused.
	Local func(ctx context.Context) (*connectors.Conn, error)

	Registerer prometheus.Registerer // nil: no metrics
	Hook       func(point string)    // called at the steps of a commit, by tests
}

// A Service takes pushed data, and manages what may be pushed. Its methods may
// run concurrently.
type Service struct {
	opts    Options
	store   *store.Store
	now     func() time.Time
	log     *slog.Logger
	catalog *catalog
	custom  *custom.Custom
	metrics *metrics

	buckets  buckets
	failures failures
	used     usage
}

// New returns a Service. The tables of [Migrations] must exist.
func New(opts Options) (*Service, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	s := &Service{opts: opts, store: opts.Store, now: opts.Now, log: opts.Logger}
	s.catalog = &catalog{db: opts.Store.DB(), now: opts.Now}
	var err error
	if s.metrics, err = newMetrics(opts.Registerer); err != nil {
		return nil, err
	}
	s.custom = custom.New(custom.Options{
		Store: opts.Store, Now: opts.Now, Publisher: opts.Publisher, Suppressor: opts.Suppressor, Identify: opts.Identify,
		Local: opts.Local, Tables: s.tableByNo, Hook: opts.Hook, Logger: opts.Logger,
		Committed: s.metrics.committed, Queued: s.metrics.queued,
	})
	return s, nil
}

// tableByNo returns a table as it is now, for requests that were checked
// against another version.
func (s *Service) tableByNo(ctx context.Context, no int64) (*custom.Table, error) {
	snap, err := s.catalog.snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	for _, t := range snap.tables {
		if t.No == no {
			return t, nil
		}
	}
	return nil, nil
}

// Run keeps house until ctx ends: it notes when keys were used and removes
// what is too old. Requests are taken without it, too.
func (s *Service) Run(ctx context.Context) error {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for {
		if err := s.housekeep(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "ingest housekeeping failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return s.flushUse(context.WithoutCancel(ctx))
		case <-minute.C:
		}
	}
}

func (s *Service) housekeep(ctx context.Context) error {
	if err := s.flushUse(ctx); err != nil {
		return err
	}
	snap, err := s.catalog.snapshot(ctx, false)
	if err != nil {
		return err
	}
	for _, t := range snap.tables {
		if err := s.custom.Expire(ctx, t); err != nil {
			return err
		}
	}
	return s.custom.ExpireRequests(ctx)
}

// define runs fn, which changes definitions, in a transaction. Definitions
// change one after the other.
func (s *Service) define(ctx context.Context, fn func(ctx context.Context, tx *store.Tx) error) error {
	err := s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.NewRaw("UPDATE ingest_catalog SET rev = rev + 1").Exec(ctx); err != nil {
			return store.Error("ingest", "", err)
		}
		return fn(ctx, tx)
	})
	s.catalog.forget()
	return store.Error("ingest", "", err)
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// refuse is a 422 about one value of a definition.
func refuse(pointer, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: text, Errors: []httpapi.FieldError{{Pointer: pointer, Detail: text}}}
}

// conflict is a 409.
func conflict(format string, args ...any) error {
	return &httpapi.Problem{Status: http.StatusConflict, Detail: fmt.Sprintf(format, args...)}
}

// unknown is a 404.
func unknown(format string, args ...any) error {
	return &httpapi.Problem{Status: http.StatusNotFound, Detail: fmt.Sprintf(format, args...)}
}

// fromFile refuses to change what the config declares.
func fromFile(origin, what string) error {
	if origin == OriginFile {
		return conflict("%s is declared in the config file; change it there", what)
	}
	return nil
}

// first returns one row of a model, or false.
func first[T any](ctx context.Context, db bun.IDB, where string, args ...any) (*T, error) {
	var rows []T
	if err := db.NewSelect().Model(&rows).Where(where, args...).Limit(1).Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return &rows[0], nil
}
