package jobs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/syncer"
)

// TestOneRun: sync.md 10.26, a second trigger is skipped and logged, whether it
// is the same job, by hand, or another one of the same integration.
func TestOneRun(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		other := often(time.Hour)
		other.Name = "other"
		a, b := p.server(often(time.Second), other), p.server(often(time.Second), other)
		held, release := p.hold()
		p.at("00:00:01")
		p.check(a.tick(t.Context()))
		p.await(held)
		p.at("00:00:02")
		b.look()
		p.at("00:00:03")
		b.look()
		p.check(a.tick(t.Context()))
		p.story("often", "runs 0 skipped 2 missed 0 running next 00:00:04")
		if _, err := b.RunNow(t.Context(), "often"); kedge.KindOf(err) != kedge.Conflict || err.Error() != "skipped: job often is running" {
			t.Errorf("by hand: %v", err)
		}
		if o, err := b.RunNow(t.Context(), "other"); err != nil || o.State != Skipped || !strings.HasPrefix(o.Message, "skipped: run ") {
			t.Errorf("another job: %+v, %v", o, err)
		}
		release()
		a.all.Wait()
		p.story("often", "runs 1 skipped 2 missed 0 succeeded next 00:00:04")
		p.story("other", "runs 0 skipped 1 missed 0 skipped next 01:00:00")
		if got := p.codes(); got != "skipped skipped" {
			t.Errorf("log %q, want a skip of each job", got)
		}
	})
}

// TestTimeout: a run that takes too long is stopped, keeps its anchor, and the
// log says so.
func TestTimeout(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		j := nightly()
		j.Timeout = config.Duration(time.Second)
		s := p.server(j)
		_, release := p.hold()
		defer release()
		p.at("02:00")
		s.look()
		p.story("nightly", "runs 1 skipped 0 missed 0 timed_out next 02 02:00:00")
		const want = "stopped by the job's timeout of 1s; the next run goes on from there"
		if got := p.job("nightly").LastRun.Message; got != want {
			t.Errorf("message %q, want %q", got, want)
		}
		rows, err := p.syncer.Log(t.Context(), syncer.LogQuery{Run: p.runs()[0].ID})
		p.check(err)
		if last := len(rows) - 1; last < 0 || rows[last].Code != "cancelled" || rows[last].Message != want {
			t.Errorf("log %+v, want %q", rows, want)
		}
	})
}

// TestHandBack: what a server is at when it stops is taken over by another one
// at once, as the same run of the schedule.
func TestHandBack(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		a, b := p.server(nightly()), p.server(nightly())
		held, release := p.hold()
		p.at("02:00")
		ctx, stop := context.WithCancel(t.Context())
		p.check(a.tick(ctx))
		p.await(held)
		b.look() // a lives
		p.story("nightly", "runs 0 skipped 0 missed 0 running next 02 02:00:00")
		stop()
		a.all.Wait()
		release()
		p.story("nightly", "runs 0 skipped 0 missed 0 running next 02 02:00:00")
		b.look()
		p.story("nightly", "runs 1 skipped 0 missed 0 succeeded next 02 02:00:00")
		if runs := p.runs(); len(runs) != 2 || runs[0].State != syncer.Succeeded || runs[1].State != syncer.Cancelled {
			t.Errorf("runs %+v, want one that was stopped and one that went on", runs)
		}
	})
}

// TestDeadly: a run that processes die of is given up.
func TestDeadly(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		j := nightly()
		j.OnFailure = &config.OnFailure{Command: "note " + filepath.Join(t.TempDir(), "note")}
		s := p.server(j)
		_, err := p.store.DB().ExecContext(t.Context(), "UPDATE kedge_schedule SET claim = 'x', claim_due = 1, last_due = 1, last_started = 1, tries = 3")
		p.check(err)
		s.look()
		p.story("nightly", "runs 1 skipped 0 missed 0 failed next 02:00:00")
		if got := p.job("nightly").LastRun.Message; got != "given up: 3 processes ended in the middle of it" {
			t.Errorf("message %q", got)
		}
	})
}

// TestLateHold: a claim whose server was so slow that another one took it over
// and ended the run is not worked on again.
func TestLateHold(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		s := p.server(nightly())
		p.at("02:00")
		f, err := s.claimNow(t.Context(), "nightly")
		p.check(err)
		stale := f.row
		if _, err := f.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.release(t.Context())
		if _, err := s.hold(t.Context(), stale); kedge.KindOf(err) != kedge.Conflict {
			t.Errorf("holding it again: %v, want a conflict", err)
		}
		p.check(s.store.Release(t.Context(), f.lease))
		if lease, err := p.store.Acquire(t.Context(), "job:nightly", "test"); err != nil {
			t.Errorf("the lease was not given back: %v", err)
		} else {
			p.check(p.store.Release(t.Context(), lease))
		}
	})
}

// TestLostLease: a server that was paused for so long that its lease was taken
// notes nothing.
func TestLostLease(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		s := p.server(nightly())
		f, err := s.claimNow(t.Context(), "nightly")
		p.check(err)
		p.check(p.store.Release(t.Context(), f.lease))
		lease, err := p.store.Acquire(t.Context(), "job:nightly", "another")
		p.check(err)
		if _, err := f.run(t.Context()); kedge.KindOf(err) != kedge.Conflict {
			t.Errorf("got %v, want a conflict", err)
		}
		p.story("nightly", "runs 0 skipped 0 missed 0 running next 02:00:00")
		p.check(p.store.Release(t.Context(), lease))
	})
}

// TestReset: sync.md 10.17, a first sync that deletes local rows needs the
// job's confirmation, and else changes nothing.
func TestReset(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		p.save(strings.Replace(crmMapping, "v1\n", "v1\nfirstSync: reset\n", 1))
		p.put("C1")
		_, err := p.store.DB().ExecContext(t.Context(), "INSERT INTO customer (no, name) VALUES ('X1', 'Old'), ('X2', 'Old')")
		p.check(err)
		count := func(want int) {
			t.Helper()
			if n, err := p.store.DB().NewSelect().Table("customer").Where("name = 'Old'").Count(t.Context()); err != nil || int(n) != want {
				t.Errorf("%d old rows, %v, want %d", n, err, want)
			}
		}
		j := nightly()
		s := p.server(j)
		p.at("02:00")
		s.look()
		const refused = "refused: reset-local deletes 2 local rows of 1 entity; confirm with --yes"
		if last := p.job("nightly").LastRun; last.State != Stopped || last.Message != refused || last.Run != "" {
			t.Errorf("last run %+v, want %q", last, refused)
		}
		if p.codes() != "stopped" || len(p.runs()) != 0 {
			t.Errorf("log %q, runs %v", p.codes(), p.runs())
		}
		count(2)
		j.Confirm = "crm"
		s = p.server(j)
		o, err := s.RunNow(t.Context(), "nightly")
		if err != nil || o.State != Succeeded {
			t.Errorf("got %+v, %v", o, err)
		}
		count(0)
	})
}

// TestCommands: a command is a child process of the same program; its exit code
// and last words are the result, and onFailure is told of it.
func TestCommands(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		note := filepath.Join(t.TempDir(), "it's a note")
		job := func(name, command string) config.Job {
			return config.Job{Name: name, Command: command, Every: config.Duration(time.Hour), OnFailure: &config.OnFailure{Command: `note "` + note + `"`}}
		}
		s := p.server(job("fine", "exit 0"), job("partly", "exit 3"), job("person", "exit 4"), job("broken", "kedge exit 1"), job("alert", "note /nowhere/to/write"))
		p.at("01:00")
		s.look()
		for name, want := range map[string]LastRun{
			"fine":   {State: Succeeded},
			"partly": {State: Partial, Message: "exit code 3: ended with 3"},
			"person": {State: Stopped, Message: "exit code 4: ended with 4"},
			"broken": {State: Failed, Message: "exit code 1: ended with 1"},
			"alert":  {State: Failed, Message: "exit code 99"},
		} {
			if got := p.job(name).LastRun; got.State != want.State || got.Message != want.Message {
				t.Errorf("%s: got %+v, want %+v", name, got, want)
			}
		}
		text, err := os.ReadFile(note)
		p.check(err)
		for _, want := range []string{"partly partial false /etc/kedge.yaml\n", "person stopped", "broken failed", "alert failed"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("notes %q lack %q", text, want)
			}
		}
		if strings.Contains(string(text), "fine") {
			t.Errorf("notes %q tell of a job that succeeded", text)
		}
	})
}

// TestStoppedCommand: a command is stopped by a timeout, and with its server.
func TestStoppedCommand(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		j := config.Job{Name: "slow", Command: "wait", Every: config.Duration(time.Hour), Timeout: config.Duration(time.Second)}
		s := p.server(j)
		o, err := s.RunNow(t.Context(), "slow")
		if err != nil || o.State != TimedOut {
			t.Errorf("got %+v, %v, want timed_out", o, err)
		}
		if got := p.codes(); got != "timed_out" {
			t.Errorf("log %q", got)
		}
		ctx, stop := context.WithCancelCause(t.Context())
		stop(errors.New("enough"))
		if o := s.command(ctx, "wait", nil); o.State == Succeeded {
			t.Errorf("got %+v", o)
		}
	})
}
