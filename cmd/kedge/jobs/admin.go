package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Job is a job with its state.
type Job struct {
	config.Job
	From    string     `json:"from"` // file or database
	Author  string     `json:"author,omitempty"`
	Enabled bool       `json:"enabled"`
	Running bool       `json:"running"`
	NextRun *time.Time `json:"nextRun,omitempty"`
	LastRun *LastRun   `json:"lastRun,omitempty"`
	Runs    int64      `json:"runs"`
	Skipped int64      `json:"skipped"` // times that came while a run was active
	Missed  int64      `json:"missed"`  // times that came while no server ran
}

// LastRun is the last run that began.
type LastRun struct {
	Due      time.Time  `json:"due"`
	Started  time.Time  `json:"started"`
	Finished *time.Time `json:"finished,omitempty"`
	State    State      `json:"state,omitempty"`
	Run      string     `json:"run,omitempty"`
	Message  string     `json:"message,omitempty"`
}

func (r *row) info() Job {
	spec, err := r.job()
	if err != nil {
		spec = config.Job{Name: r.Name} // lastRun says what is wrong with it
	}
	j := Job{Job: spec, From: r.Source, Author: r.Author, Enabled: r.Enabled, Running: r.Claim != "", Runs: r.Runs, Skipped: r.Skipped, Missed: r.Missed}
	if r.Enabled {
		j.NextRun = timeOf(r.NextAt)
	}
	if r.LastStarted == 0 {
		return j
	}
	j.LastRun = &LastRun{Due: *timeOf(r.LastDue), Started: *timeOf(r.LastStarted)}
	if r.Claim == "" {
		j.LastRun.Finished, j.LastRun.State, j.LastRun.Run, j.LastRun.Message = timeOf(r.LastFinished), r.LastState, r.LastRun, r.LastMessage
	}
	return j
}

func timeOf(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}

// List returns all jobs, by name.
func (s *Service) List(ctx context.Context) ([]Job, error) {
	rows, err := s.rows(ctx)
	if err != nil {
		return nil, err
	}
	jobs := make([]Job, len(rows))
	for i := range rows {
		jobs[i] = rows[i].info()
	}
	return jobs, nil
}

// Get returns one job.
func (s *Service) Get(ctx context.Context, name string) (Job, error) {
	r, err := s.row(ctx, s.store.DB(), name)
	if err != nil {
		return Job{}, err
	}
	return r.info(), nil
}

// Create adds a job, which servers see within seconds.
func (s *Service) Create(ctx context.Context, j config.Job, author string) (Job, error) {
	if key, problem := s.problem(ctx, j); problem != "" {
		return Job{}, j.JobError(key, problem)
	}
	now, err := s.now(ctx)
	if err != nil {
		return Job{}, err
	}
	r, err := s.newRow(j, fromDatabase, author, now)
	if err != nil {
		return Job{}, err
	}
	err = s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		res, err := tx.NewInsert().Model(r).On("CONFLICT (name) DO NOTHING").Exec(ctx)
		if err != nil {
			return store.Error("jobs.Create", j.Name, err)
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return conflict("there is a job %q already", j.Name)
	})
	if err != nil {
		return Job{}, err
	}
	return r.info(), nil
}

// Delete forgets a job that was not declared in the config. A run under way
// ends as it would.
func (s *Service) Delete(ctx context.Context, name string) error {
	return s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		r, err := s.locked(ctx, tx, name)
		if err != nil {
			return err
		}
		if r.Source == fromFile {
			return conflict("job %q comes from the config; remove it there, or disable it", name)
		}
		_, err = tx.NewDelete().Model(r).WherePK().Exec(ctx)
		return store.Error("jobs.Delete", name, err)
	})
}

// SetEnabled lets a job run by its schedule, or not any more. A run under way
// ends as it would.
func (s *Service) SetEnabled(ctx context.Context, name string, on bool) (Job, error) {
	now, err := s.now(ctx)
	if err != nil {
		return Job{}, err
	}
	var r *row
	err = s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if r, err = s.locked(ctx, tx, name); err != nil || r.Enabled == on {
			return err
		}
		j, err := r.job()
		if err != nil {
			return err
		}
		when, err := j.When()
		if err != nil {
			return err
		}
		r.Enabled = on
		s.setDue(r, j, when.Next(now)) // what came while it was disabled does not count
		return s.update(ctx, tx, r)
	})
	if err != nil {
		return Job{}, err
	}
	return r.info(), nil
}

// RunNow runs a job in this process and returns how that ended, whether it is
// enabled or not. The schedule stays as it is. It returns an error of kind
// Conflict if the job is running.
func (s *Service) RunNow(ctx context.Context, name string) (Outcome, error) {
	f, err := s.claimNow(ctx, name)
	if err != nil {
		return Outcome{}, err
	}
	defer f.release(ctx)
	f.stays = true
	return f.run(ctx)
}

// StartNow is like [Service.RunNow], but does not wait for the end. It needs a
// [Service.Run] that goes on.
func (s *Service) StartNow(ctx context.Context, name string) error {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	unable := &kedge.Error{Kind: kedge.Transient, Err: errors.New("the server is starting or stopping")}
	if running == nil || running.Err() != nil {
		return unable
	}
	f, err := s.claimNow(ctx, name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.running == nil {
		s.mu.Unlock()
		f.release(ctx) // another server takes the claim
		return unable
	}
	defer s.mu.Unlock()
	s.all.Go(func() {
		defer f.release(running)
		if _, err := f.run(running); err != nil {
			s.log.ErrorContext(running, "job not finished", "job", name, "err", err)
		}
	})
	return nil
}

// claimNow claims a run by hand, or takes over one whose process has died.
func (s *Service) claimNow(ctx context.Context, name string) (*firing, error) {
	now, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	var r *row
	err = s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if r, err = s.locked(ctx, tx, name); err != nil || r.Claim != "" {
			return err
		}
		s.claim(r, now, now, true)
		return s.update(ctx, tx, r)
	})
	if err != nil {
		return nil, err
	}
	f, err := s.hold(ctx, *r)
	if kedge.KindOf(err) == kedge.Conflict {
		return nil, conflict("skipped: job %s is running", name)
	}
	return f, err
}

// conflict is an error about a job that is not as it would have to be.
func conflict(format string, args ...any) error {
	return &kedge.Error{Kind: kedge.Conflict, Err: fmt.Errorf(format, args...)}
}
