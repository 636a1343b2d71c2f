package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/internal/store"
)

// Migrations returns the steps that make the table of this package.
func Migrations() []store.Migration {
	// All times are milliseconds since 1970 by the database's clock, 0 means none.
	return []store.Migration{{Name: "20261127_20_schedule", SQLite: `CREATE TABLE kedge_schedule (
  name text NOT NULL PRIMARY KEY,
  spec text NOT NULL,           -- the job as JSON
  source text NOT NULL,         -- file or database
  author text NOT NULL,
  enabled boolean NOT NULL,
  due bigint NOT NULL,          -- the time that the schedule names next
  next_at bigint NOT NULL,      -- the same and the jitter
  claim text NOT NULL,          -- id of the run under way, '' if there is none
  claim_due bigint NOT NULL,
  claim_by_hand boolean NOT NULL,
  claim_skips bigint NOT NULL,  -- times that came while it ran
  tries bigint NOT NULL,        -- processes that have begun it
  last_due bigint NOT NULL,
  last_started bigint NOT NULL,
  last_finished bigint NOT NULL,
  last_state text NOT NULL,
  last_run text NOT NULL,       -- id in integration_run
  last_message text NOT NULL,
  runs bigint NOT NULL,
  skipped bigint NOT NULL,
  missed bigint NOT NULL
);`}}
}

// A row is a job with its state.
type row struct {
	bun.BaseModel `bun:"table:kedge_schedule,alias:j"`

	Name    string `bun:",pk"`
	Spec    string
	Source  string
	Author  string
	Enabled bool
	Due     int64
	NextAt  int64

	Claim       string
	ClaimDue    int64
	ClaimByHand bool
	ClaimSkips  int64
	Tries       int64

	LastDue      int64
	LastStarted  int64
	LastFinished int64
	LastState    State
	LastRun      string
	LastMessage  string

	Runs    int64
	Skipped int64
	Missed  int64
}

const (
	fromFile     = "file"
	fromDatabase = "database"
)

// job returns the job itself.
func (r *row) job() (config.Job, error) {
	var j config.Job
	err := json.Unmarshal([]byte(r.Spec), &j)
	if key, problem := j.Check(); err == nil && problem != "" {
		err = fmt.Errorf("%s: %s", key, problem) // made by a version of kedge that allowed it
	}
	return j, err
}

// rows returns the jobs that this process knows, by name. A row of another
// config is the state of a job that may come back.
func (s *Service) rows(ctx context.Context) ([]row, error) {
	var all, known []row
	if err := s.store.DB().NewSelect().Model(&all).Order("name").Scan(ctx); err != nil {
		return nil, store.Error("jobs.rows", "", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range all {
		if r.Source == fromDatabase || s.file[r.Name] {
			known = append(known, r)
		}
	}
	return known, nil
}

// row returns a job that this process knows.
func (s *Service) row(ctx context.Context, db bun.IDB, name string) (*row, error) {
	return s.find(ctx, db, name, false)
}

// locked returns the row and keeps others from changing it until tx ends.
func (s *Service) locked(ctx context.Context, tx *store.Tx, name string) (*row, error) {
	return s.find(ctx, tx, name, s.store.Engine() == store.Postgres) // SQLite has one writer
}

func (s *Service) find(ctx context.Context, db bun.IDB, name string, lock bool) (*row, error) {
	r := new(row)
	q := db.NewSelect().Model(r).Where("name = ?", name)
	if lock {
		q.For("UPDATE")
	}
	err := q.Scan(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, sql.ErrNoRows) || err == nil && r.Source == fromFile && !s.file[name] {
		return nil, &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("there is no job %q; see \"kedge jobs list\"", name)}
	}
	return r, store.Error("jobs.row", name, err)
}

func (s *Service) update(ctx context.Context, db bun.IDB, r *row) error {
	_, err := db.NewUpdate().Model(r).WherePK().Exec(ctx)
	return store.Error("jobs.update", r.Name, err)
}

// Load makes the jobs of a config known. What it says of a job that was known
// before is taken over, but for whether it is enabled: that counts only when
// it has changed. If start, jobs that run at the start of a server are due,
// unless a server started them in the last minute.
func (s *Service) Load(ctx context.Context, jobs []config.Job, start bool) error {
	if err := s.Check(ctx, jobs); err != nil {
		return err
	}
	now, err := s.now(ctx)
	if err != nil {
		return err
	}
	err = s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for _, j := range jobs {
			if err := s.adopt(ctx, tx, j, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.Know(jobs)
	if !start {
		return nil
	}
	return s.dueAtStart(ctx, now)
}

// Check returns an error if the jobs of a config cannot be loaded. It changes
// nothing.
func (s *Service) Check(ctx context.Context, jobs []config.Job) error {
	var made []string
	err := s.store.DB().NewSelect().Model((*row)(nil)).Column("name").Where("source = ?", fromDatabase).Scan(ctx, &made)
	if err != nil {
		return store.Error("jobs.Check", "", err)
	}
	for _, j := range jobs {
		if key, problem := s.problem(ctx, j); problem != "" {
			return j.JobError(key, problem)
		}
		if slices.Contains(made, j.Name) {
			return taken(j)
		}
	}
	return nil
}

func taken(j config.Job) error {
	return j.JobError("name", fmt.Sprintf("a job %q was made by \"kedge jobs create\" or the API; delete that one, or name this one otherwise", j.Name))
}

// adopt stores a job of the config.
func (s *Service) adopt(ctx context.Context, tx *store.Tx, j config.Job, now time.Time) error {
	next, err := s.newRow(j, fromFile, "", now)
	if err != nil {
		return err
	}
	res, err := tx.NewInsert().Model(next).On("CONFLICT (name) DO NOTHING").Exec(ctx)
	if err != nil {
		return store.Error("jobs.Load", j.Name, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	r := new(row)
	q := tx.NewSelect().Model(r).Where("name = ?", j.Name)
	if s.store.Engine() == store.Postgres {
		q.For("UPDATE")
	}
	if err := q.Scan(ctx); err != nil {
		return store.Error("jobs.Load", j.Name, err)
	}
	if r.Source != fromFile {
		return taken(j)
	}
	if r.Spec == next.Spec {
		return nil
	}
	before, err := r.job()
	if err != nil || enabled(before) != enabled(j) {
		r.Enabled = enabled(j)
	}
	if err != nil || before.Schedule != j.Schedule || before.Every != j.Every || before.Timezone != j.Timezone || before.Jitter != j.Jitter || r.NextAt == 0 {
		r.Due, r.NextAt = next.Due, next.NextAt
	}
	r.Spec = next.Spec
	return s.update(ctx, tx, r)
}

// newRow is the row of a job that is first due after now.
func (s *Service) newRow(j config.Job, source, author string, now time.Time) (*row, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	r := &row{Name: j.Name, Spec: string(text), Source: source, Author: author, Enabled: enabled(j)}
	when, err := j.When()
	if err != nil {
		return nil, err
	}
	s.setDue(r, j, when.Next(now))
	return r, nil
}

func enabled(j config.Job) bool { return j.Enabled == nil || *j.Enabled }

// setDue notes when the job is due next; the zero time means never.
func (s *Service) setDue(r *row, j config.Job, due time.Time) {
	if r.Due, r.NextAt = 0, 0; due.IsZero() {
		return
	}
	r.Due = due.UnixMilli()
	r.NextAt = r.Due
	if jitter := time.Duration(j.Jitter).Milliseconds(); jitter > 0 {
		r.NextAt += s.rand(jitter)
	}
}

// dueAtStart makes jobs due that run at the start of a server.
func (s *Service) dueAtStart(ctx context.Context, now time.Time) error {
	rows, err := s.rows(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		j, err := r.job()
		if err != nil || !j.AtStart || !r.Enabled || r.Claim != "" || now.UnixMilli()-r.LastStarted < late.Milliseconds() {
			continue
		}
		// Only if nobody has changed the row: of several servers one is enough.
		_, err = s.store.DB().NewUpdate().Model(&r).Set("due = ?, next_at = ?", now.UnixMilli(), now.UnixMilli()).
			WherePK().Where("next_at = ? AND claim = '' AND last_started = ?", r.NextAt, r.LastStarted).Exec(ctx)
		if err != nil {
			return store.Error("jobs.Load", r.Name, err)
		}
	}
	return nil
}
