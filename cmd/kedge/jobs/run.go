package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/syncer"
)

// A State says how a run of a job ended.
type State string

// The states of a job's run.
const (
	Succeeded State = "succeeded"
	Partial   State = "partial"   // some records failed
	Stopped   State = "stopped"   // a person must decide
	Failed    State = "failed"    // nothing could be done
	Cancelled State = "cancelled" // by a person; the next run goes on
	TimedOut  State = "timed_out" // the next run goes on
	Skipped   State = "skipped"   // another run of the integration was active
)

// maxTries is how many processes may die of a run.
const maxTries = 3

// An Outcome says how a run of a job ended.
type Outcome struct {
	State   State          `json:"state"`
	Run     string         `json:"run,omitempty"` // id, of an integration
	Message string         `json:"message,omitempty"`
	Result  *syncer.Result `json:"-"` // of an integration
	Exit    int            `json:"-"` // of a command
}

// A firing is a run under way.
type firing struct {
	s     *Service
	row   row
	job   config.Job
	lease *store.Lease
	stays bool // it is not handed to another server when its context ends
}

// begin works on a claim in the background, unless somebody does already.
func (s *Service) begin(ctx context.Context, r row) {
	f, err := s.hold(ctx, r)
	if err != nil {
		if kedge.KindOf(err) != kedge.Conflict {
			s.log.WarnContext(ctx, "job not begun", "job", r.Name, "err", err) // the next tick tries again
		}
		return
	}
	s.all.Go(func() {
		defer f.release(ctx)
		if _, err := f.run(ctx); err != nil {
			s.log.ErrorContext(ctx, "job not finished", "job", r.Name, "err", err)
		}
	})
}

// hold takes the lease of a claim. An error of kind Conflict says that somebody
// else has it, or has ended the run.
func (s *Service) hold(ctx context.Context, r row) (*firing, error) {
	lease, err := s.store.Acquire(ctx, "job:"+r.Name, s.id)
	if err != nil {
		return nil, err
	}
	f := &firing{s: s, row: r, lease: lease}
	err = s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now, err := s.locked(ctx, tx, r.Name)
		if err != nil {
			return err
		}
		if now.Claim != r.Claim {
			return &kedge.Error{Op: "jobs.hold", Entity: r.Name, Kind: kedge.Conflict, Err: errors.New("the run has ended")}
		}
		if f.job, err = now.job(); err != nil {
			return err
		}
		now.Tries++
		f.row = *now
		return s.update(ctx, tx, now)
	})
	if err != nil {
		return nil, errors.Join(err, s.store.Release(context.WithoutCancel(ctx), lease))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mine[r.Claim] = true
	return f, nil
}

func (f *firing) release(ctx context.Context) {
	f.s.mu.Lock()
	delete(f.s.mine, f.row.Claim)
	f.s.mu.Unlock()
	if err := f.s.store.Release(context.WithoutCancel(ctx), f.lease); err != nil {
		f.s.log.WarnContext(ctx, "lease not released", "job", f.row.Name, "err", err) // it runs out
	}
}

// A timeout is the cause of a run that was stopped because it took too long.
type timeout struct{ after config.Duration }

func (t timeout) Error() string {
	return fmt.Sprintf("stopped by the job's timeout of %v; the next run goes on from there", t.after)
}

// Is makes it a deadline.
func (t timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// run does the work and notes how it ended. When ctx ends before, the claim
// stays and another server goes on.
func (f *firing) run(ctx context.Context) (Outcome, error) {
	working, lost := context.WithCancelCause(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { f.keep(working, lost) })
	defer func() { lost(nil); keeping.Wait() }()
	if f.row.Tries > 1 {
		f.s.tell(ctx, f.job, "warn", "taken_over", "the process that ran it stopped or died; this one goes on")
	}
	o := Outcome{State: Failed, Message: fmt.Sprintf("given up: %d processes ended in the middle of it", maxTries)}
	if f.row.Tries <= maxTries {
		o = f.work(working)
	}
	switch {
	case ctx.Err() == nil && working.Err() != nil:
		return o, context.Cause(working) // the lease was lost, and somebody else goes on
	case ctx.Err() != nil && o.State == Cancelled && !f.stays:
		return o, f.handBack(context.WithoutCancel(ctx))
	}
	if o.failed() && f.job.OnFailure != nil {
		f.onFailure(context.WithoutCancel(ctx), o)
	}
	return o, f.finish(context.WithoutCancel(ctx), o)
}

// handBack leaves the claim to another server. That is no try that failed.
func (f *firing) handBack(ctx context.Context) error {
	_, err := f.s.store.DB().NewUpdate().Model(&f.row).Set("tries = 0").WherePK().Where("claim = ?", f.row.Claim).Exec(ctx)
	return store.Error("jobs.handBack", f.row.Name, err)
}

// keep extends the lease until ctx ends, and ends the run if it was lost.
func (f *firing) keep(ctx context.Context, lost context.CancelCauseFunc) {
	tick := time.NewTicker(f.s.store.LeaseTTL() / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := f.s.store.Renew(ctx, f.lease); kedge.KindOf(err) == kedge.Conflict {
			lost(err)
			return
		}
	}
}

// work runs the integration or the command, no longer than the job's time-out.
func (f *firing) work(ctx context.Context) Outcome {
	if t := f.job.Timeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(t), timeout{t})
		defer cancel()
	}
	var o Outcome
	logged := false
	if f.job.Integration != "" {
		o, logged = f.sync(ctx)
	} else {
		o = f.s.command(ctx, f.job.Command, f.environment(Outcome{}))
	}
	if t, ok := errors.AsType[timeout](context.Cause(ctx)); ok && o.State != Succeeded {
		o.State, o.Message = TimedOut, t.Error()
	}
	if !logged && o.State != Succeeded && o.State != Cancelled {
		f.s.tell(ctx, f.job, o.level(), string(o.State), o.Message)
	}
	return o
}

// sync runs the integration, and reports whether the log tells of the run.
func (f *firing) sync(ctx context.Context) (o Outcome, logged bool) {
	res, err := f.s.opts.Syncer().Run(ctx, syncer.Request{
		Integration: f.job.Integration, Op: syncer.Sync, Trigger: "job", By: "job " + f.job.Name, Confirm: f.confirm,
	})
	o = Outcome{State: State(res.State), Run: res.Run, Message: res.Message, Result: &res}
	if err != nil {
		o.State, o.Message = Failed, err.Error()
	}
	rows, err := f.s.opts.Syncer().Log(context.WithoutCancel(ctx), syncer.LogQuery{Run: res.Run, Limit: 1})
	if logged = err == nil && len(rows) > 0; !logged {
		o.Run = "" // there is nothing to see
	}
	return o, logged
}

// confirm lets a reset happen if the job says so.
func (f *firing) confirm(r syncer.Reset) error {
	if f.job.Confirm == r.Integration {
		return nil
	}
	return errors.New(r.Refusal())
}

func (o Outcome) failed() bool {
	return o.State != Succeeded && o.State != Skipped && o.State != Cancelled
}

func (o Outcome) level() string {
	if o.State == Failed || o.State == Stopped {
		return "error"
	}
	return "warn"
}

// finish notes how the run ended and gives up the claim.
func (f *firing) finish(ctx context.Context, o Outcome) error {
	now, err := f.s.now(ctx)
	if err != nil {
		return err
	}
	err = f.s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := f.s.store.CheckFence(ctx, tx, f.lease); err != nil {
			return err
		}
		r, err := f.s.locked(ctx, tx, f.row.Name)
		if err != nil || r.Claim != f.row.Claim {
			return err
		}
		r.Claim, r.LastFinished, r.LastState, r.LastRun, r.LastMessage = "", now.UnixMilli(), o.State, o.Run, o.Message
		if o.State == Skipped {
			r.Skipped++
		} else {
			r.Runs++
		}
		return f.s.update(ctx, tx, r)
	})
	if kedge.KindOf(err) == kedge.NotFound && err != nil {
		err = nil // the job was deleted while it ran
	}
	f.s.log.InfoContext(ctx, "job finished", "job", f.row.Name, "integration", f.job.Integration, "run", o.Run, "state", o.State,
		"took", time.Duration(now.UnixMilli()-f.row.LastStarted)*time.Millisecond)
	return err
}
