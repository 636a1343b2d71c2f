// Package jobs runs integrations and other commands of kedge by schedules.
//
// A job is declared in the config, or made by a command or the API and then
// kept in the table kedge_schedule. That table also holds what every job's
// state is: whether it is enabled, when it is due next, and how it ended last.
// Any number of servers look into it once a second, by the ticks of gocron.
// What is due is decided by the database's clock, and claimed by changing the
// row, so that each time a schedule names is taken by one server, once, also if
// the clocks of the servers differ. A claim lasts until the run has ended: if
// its server dies, or stops, another one takes the run over.
package jobs

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

// tickEvery is how often a server looks what is due and what has changed.
const tickEvery = time.Second

// Options configure a [Service].
type Options struct {
	Store  *store.Store          // required; with the tables of [Migrations]
	Syncer func() *syncer.Syncer // required; asked for each run
	Config string                // path of the config file, for the commands that jobs run; required

	// CheckIntegration and CheckCommand refuse what kedge does not know; nil
	// allows all.
	CheckIntegration func(ctx context.Context, name string) error
	CheckCommand     func(words []string) error
	// Patience bounds how long a command may take to end by itself when it is
	// stopped; 0 means 20s.
	Patience time.Duration

	Logger *slog.Logger                                 // nil discards
	Now    func(ctx context.Context) (time.Time, error) // nil means the database's clock
	Rand   func(n int64) int64                          // for jitter: 0 to n-1; nil means math/rand/v2
}

// A Service knows the jobs and runs them. It is safe for concurrent use.
type Service struct {
	store  *store.Store
	opts   Options
	log    *slog.Logger
	now    func(ctx context.Context) (time.Time, error)
	rand   func(n int64) int64
	id     string // of this process, as the holder of leases
	config string // absolute path, if it could be found

	mu      sync.Mutex
	file    map[string]bool // names of the config's jobs
	mine    map[string]bool // claims that this process works on
	ticked  time.Time       // when the last tick ended well
	running context.Context // of Run; nil before and after
	all     sync.WaitGroup  // runs under way
}

// New returns a Service that knows only the jobs that were not declared in a
// config; see [Service.Load].
func New(opts Options) *Service {
	s := &Service{store: opts.Store, opts: opts, log: opts.Logger, now: opts.Now, rand: opts.Rand,
		id: uuid.NewString(), file: map[string]bool{}, mine: map[string]bool{}}
	var err error
	if s.config, err = filepath.Abs(opts.Config); err != nil {
		s.config = opts.Config
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = func(ctx context.Context) (time.Time, error) { return s.store.Now(ctx, s.store.DB()) }
	}
	if s.rand == nil {
		s.rand = rand.Int64N
	}
	if s.opts.Patience == 0 {
		s.opts.Patience = 20 * time.Second
	}
	return s
}

// Run runs jobs until ctx ends. Runs under way are then stopped after the page
// they are at and handed to another server, or to the next one that starts.
func (s *Service) Run(ctx context.Context) error {
	clock, err := gocron.NewScheduler(gocron.WithLogger(gocronLog{s.log}))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.running = ctx
	s.mu.Unlock()
	failing := false
	tick := func() {
		err := s.tick(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.log.WarnContext(ctx, "jobs not looked at; it is tried again every second", "err", err)
		}
		failing = err != nil
	}
	_, err = clock.NewJob(gocron.DurationJob(tickEvery), gocron.NewTask(tick),
		gocron.WithSingletonMode(gocron.LimitModeReschedule), gocron.WithStartAt(gocron.WithStartImmediately()))
	if err != nil {
		return err
	}
	clock.Start()
	<-ctx.Done()
	err = clock.Shutdown()
	s.mu.Lock()
	s.running = nil
	s.mu.Unlock()
	s.all.Wait()
	return err
}

// tick starts what is due, and takes over what dead servers were at.
func (s *Service) tick(ctx context.Context) error {
	now, err := s.now(ctx)
	if err != nil {
		return err
	}
	rows, err := s.rows(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.Claim != "" && !s.worksOn(r.Claim) {
			s.begin(ctx, r)
		}
		if r.Enabled && r.NextAt != 0 && r.NextAt <= now.UnixMilli() {
			if err := s.take(ctx, r, now); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticked = time.Now()
	return nil
}

// Ready returns an error if the service has not looked for due jobs in the
// last ten seconds.
func (s *Service) Ready(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ago := time.Since(s.ticked); ago > 10*time.Second {
		return errors.New("no job was looked at in the last ten seconds")
	}
	return nil
}

func (s *Service) worksOn(claim string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mine[claim]
}

// gocronLog passes on what gocron finds wrong.
type gocronLog struct{ log *slog.Logger }

// Debug, Info, Warn and Error are what gocron calls.
func (l gocronLog) Debug(string, ...any)         {}
func (l gocronLog) Info(string, ...any)          {}
func (l gocronLog) Warn(msg string, args ...any) { l.log.Warn("gocron: "+msg, args...) }

// Error is called for errors of gocron itself.
func (l gocronLog) Error(msg string, args ...any) { l.log.Error("gocron: "+msg, args...) }

// Know makes the jobs of a config known without storing what it says of them,
// for a process that only looks.
func (s *Service) Know(jobs []config.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file = map[string]bool{}
	for _, j := range jobs {
		s.file[j.Name] = true
	}
}
