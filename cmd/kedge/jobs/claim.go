package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/schedule"
	"github.com/kedge-sync/kedge/internal/store"
)

const (
	// Up to soon after it, each time of a schedule is taken for itself. Later,
	// the times that have passed count as one.
	soon = 10 * time.Second
	// A time that is found later than this was missed, as no server ran.
	late = time.Minute
)

// A decision says what is done about a job that is due.
type decision struct {
	run  bool      // else the time was missed
	due  time.Time // the time that the run is for
	next time.Time // the time that comes then; zero if none does
	past bool      // earlier times were passed over, or missed
}

// decide says what is done about a job that was due at due, or with its jitter
// at nextAt, now that it is found.
func decide(when schedule.Schedule, catchUp bool, due, nextAt, now time.Time) decision {
	if now.Sub(nextAt) <= soon {
		return decision{run: true, due: due, next: when.Next(due)}
	}
	d := decision{run: catchUp, due: due, next: when.Next(now), past: true}
	if latest := when.Latest(now.Add(-late), now); latest.After(due) {
		d.run, d.due = true, latest
	} else if now.Sub(nextAt) <= late {
		d.run, d.past = true, false
	}
	return d
}

// take claims a time that has come, if no other server was quicker, and begins
// the run. A time that comes while the job runs is skipped.
func (s *Service) take(ctx context.Context, seen row, now time.Time) error {
	var r *row
	var d decision
	var j config.Job
	taken, skipped := false, false
	err := s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		r, err = s.locked(ctx, tx, seen.Name)
		if kedge.KindOf(err) == kedge.NotFound && err != nil {
			return nil // deleted meanwhile
		}
		if err != nil || r.NextAt != seen.NextAt || r.Spec != seen.Spec || !r.Enabled {
			return err
		}
		if j, err = r.job(); err != nil {
			return s.unusable(ctx, tx, r, now, err)
		}
		when, err := j.When()
		if err != nil {
			return err
		}
		d = decide(when, j.CatchUp, time.UnixMilli(r.Due), time.UnixMilli(r.NextAt), now)
		s.setDue(r, j, d.next)
		taken = true
		switch {
		case !d.run:
			r.Missed++
		case r.Claim != "":
			skipped = true
			r.Skipped, r.ClaimSkips = r.Skipped+1, r.ClaimSkips+1
		default:
			s.claim(r, d.due, now, false)
		}
		return s.update(ctx, tx, r)
	})
	if err != nil || !taken {
		return err
	}
	s.tellPassed(ctx, j, r, d, skipped)
	if d.run && !skipped {
		s.begin(ctx, *r)
	}
	return nil
}

// unusable takes a job out of the schedule that this version of kedge cannot
// read.
func (s *Service) unusable(ctx context.Context, tx *store.Tx, r *row, now time.Time, err error) error {
	s.log.ErrorContext(ctx, "job not usable", "job", r.Name, "err", err)
	r.LastDue, r.LastStarted, r.LastFinished, r.LastState, r.LastMessage = r.Due, now.UnixMilli(), now.UnixMilli(), Failed, err.Error()
	r.Due, r.NextAt = 0, 0
	return s.update(ctx, tx, r)
}

// claim notes that a run is under way.
func (s *Service) claim(r *row, due, now time.Time, byHand bool) {
	r.Claim, r.ClaimDue, r.ClaimByHand, r.ClaimSkips, r.Tries = uuid.NewString(), due.UnixMilli(), byHand, 0, 0
	r.LastDue, r.LastStarted = r.ClaimDue, now.UnixMilli()
}

// tellPassed logs times that brought no run of their own.
func (s *Service) tellPassed(ctx context.Context, j config.Job, r *row, d decision, skipped bool) {
	code, text := "", ""
	switch {
	case skipped && r.ClaimSkips > 1:
		return // told; the counter in kedge_schedule has the rest
	case skipped:
		code, text = "skipped", "the run before is still active"
	case !d.run:
		code, text = "missed", fmt.Sprintf("was due at %s, when no server ran; catchUp: true makes up for it", d.due.UTC().Format(time.RFC3339))
	case d.past:
		code, text = "late", "earlier times were passed over, when no server ran; this run makes up for them"
	default:
		return
	}
	s.tell(ctx, j, "warn", code, text)
}

// tell writes to both logs what became of a job.
func (s *Service) tell(ctx context.Context, j config.Job, level, code, message string) {
	s.log.WarnContext(ctx, "job "+code, "job", j.Name, "integration", j.Integration, "why", message)
	if err := s.opts.Syncer().LogJob(context.WithoutCancel(ctx), j.Name, j.Integration, level, code, message); err != nil {
		s.log.ErrorContext(ctx, "log not written", "job", j.Name, "err", err)
	}
}
