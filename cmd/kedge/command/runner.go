package command

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"sync"

	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/syncer"
)

// A runner runs integrations that the API was asked for, beside the requests
// that ask, and knows how far all runs of this process are.
type runner struct {
	log  *slog.Logger
	ctx  context.Context // of the runs
	end  context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	begun   map[string]*begunRun                  // by id, of those that run began
	states  map[string]map[string]syncer.Progress // by run and entity
	changed chan struct{}                         // closed when states change
}

type begunRun struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it is over
}

func newRunner(log *slog.Logger) *runner {
	ctx, end := context.WithCancel(context.Background())
	return &runner{log: log, ctx: ctx, end: end, begun: map[string]*begunRun{}, states: map[string]map[string]syncer.Progress{}, changed: make(chan struct{})}
}

// run keeps the runs until ctx ends; then they stop after the pages they are
// at, and give their leases back.
func (n *runner) run(ctx context.Context) error {
	<-ctx.Done()
	n.mu.Lock()
	n.stopped = true
	n.mu.Unlock()
	n.end()
	n.work.Wait()
	return nil
}

// An outcome is how a run ended.
type outcome struct {
	res syncer.Result
	err error
}

// start begins a run and returns its id, or how it ended before it began.
func (n *runner) start(ctx context.Context, s *syncer.Syncer, req syncer.Request) (id string, early *outcome, err error) {
	n.mu.Lock()
	if n.stopped {
		n.mu.Unlock()
		return "", nil, &httpapi.Problem{Status: http.StatusServiceUnavailable, Detail: "the server stops"}
	}
	n.work.Add(1)
	n.mu.Unlock()
	began, ended := make(chan string, 1), make(chan outcome, 1)
	done := make(chan struct{})
	runCtx, cancel := context.WithCancel(n.ctx)
	req.Began = func(id string) {
		n.mu.Lock()
		n.begun[id] = &begunRun{cancel, done}
		n.mu.Unlock()
		began <- id
	}
	go func() {
		defer n.work.Done()
		defer cancel()
		res, err := s.Run(runCtx, req)
		n.mu.Lock()
		delete(n.begun, res.Run)
		n.mu.Unlock()
		close(done)
		if err != nil {
			n.log.ErrorContext(runCtx, "run fails", "run", res.Run, "integration", req.Integration, "err", err)
		}
		ended <- outcome{res, err}
	}()
	select {
	case id := <-began:
		return id, nil, nil
	case out := <-ended:
		select {
		case id := <-began: // it was quick
			return id, nil, nil
		default:
			return "", &out, nil
		}
	case <-ctx.Done():
		return "", nil, ctx.Err() // the run goes on
	}
}

// cancel ends a run of this process at once, after the page it is at.
func (n *runner) cancel(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if run := n.begun[id]; run != nil {
		run.cancel()
	}
}

// settle returns when a run that has ended has also given back its lease, so
// that who hears of the end can begin the next one.
func (n *runner) settle(ctx context.Context, id string) {
	n.mu.Lock()
	run := n.begun[id]
	n.mu.Unlock()
	if run == nil {
		return
	}
	select {
	case <-run.done:
	case <-ctx.Done():
	}
}

// note takes how far an entity of a run is.
func (n *runner) note(p syncer.Progress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.states[p.Run] == nil {
		n.states[p.Run] = map[string]syncer.Progress{}
	}
	n.states[p.Run][p.Entity] = p
	n.wake()
}

// ended forgets a run.
func (n *runner) ended(res syncer.Result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.states, res.Run)
	n.wake()
}

func (n *runner) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// look returns how far the entities of a run are, and what is closed when that
// changes.
func (n *runner) look(id string) (map[string]syncer.Progress, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.states[id]), n.changed
}
