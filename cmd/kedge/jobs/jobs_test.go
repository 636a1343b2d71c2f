package jobs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/schedule"
	"github.com/kedge-sync/kedge/syncer"
)

// TestDue: a job runs when its time comes, once, whichever of two servers looks
// first, and not before.
func TestDue(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		a, b := p.server(nightly()), p.server(nightly())
		p.put("C1")
		p.at("01:59:59.999")
		a.look()
		p.story("nightly", "runs 0 skipped 0 missed 0 never next 02:00:00")
		p.at("02:00")
		b.look()
		a.look()
		p.story("nightly", "runs 1 skipped 0 missed 0 succeeded next 02 02:00:00")
		if runs := p.runs(); len(runs) != 1 || runs[0].Trigger != "job" || runs[0].State != syncer.Succeeded || runs[0].ID != p.job("nightly").LastRun.Run {
			t.Errorf("runs %+v", runs)
		}
		if codes := p.codes(); codes != "" {
			t.Errorf("log of the job: %s, want nothing beside the run's", codes)
		}
	})
}

// TestLogRows: sync.md 10.26, a run by a job leaves log rows of the same shape
// as one by hand.
func TestLogRows(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		rows := func() []syncer.LogRow {
			runs := p.runs()
			rows, err := p.syncer.Log(t.Context(), syncer.LogQuery{Run: runs[0].ID})
			p.check(err)
			for i := range rows {
				rows[i].ID, rows[i].RunID, rows[i].At = "", "", time.Time{}
			}
			return rows
		}
		p.put("C1")
		s := p.server(nightly())
		if _, err := p.syncer.Run(t.Context(), syncer.Request{Integration: "crm", Trigger: "cli"}); err != nil {
			t.Fatal(err)
		}
		p.put("C2")
		_, err := p.syncer.Run(t.Context(), syncer.Request{Integration: "crm", Trigger: "cli"})
		p.check(err)
		byHand := rows()
		p.put("C3")
		p.at("02:00")
		s.look()
		if diff := cmp.Diff(byHand, rows()); diff != "" || len(byHand) != 1 {
			t.Errorf("by hand and by job:\n%s", diff)
		}
	})
}

// TestIntervals: the first run comes after one interval, and each time is taken
// for itself while servers are at most a little late.
func TestIntervals(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		s := p.server(often(time.Second))
		s.look()
		p.story("often", "runs 0 skipped 0 missed 0 never next 00:00:01")
		p.at("00:00:03.5")
		for range 4 {
			s.look()
		}
		p.story("often", "runs 3 skipped 0 missed 0 succeeded next 00:00:04")
	})
}

// TestRunAtStart: a job may run when a server starts; servers that start
// together make one run of it.
func TestRunAtStart(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		j := often(time.Hour)
		j.AtStart = true
		a := p.server(j)
		b := p.server(j)
		a.look()
		b.look()
		p.story("often", "runs 1 skipped 0 missed 0 succeeded next 01:00:00")
		p.at("00:00:30")
		p.server(j).look()
		p.story("often", "runs 1 skipped 0 missed 0 succeeded next 01:00:00")
		p.at("00:10")
		p.server(j).look()
		p.story("often", "runs 2 skipped 0 missed 0 succeeded next 01:10:00")
	})
}

// TestDecide: what is done about a time that is found late.
func TestDecide(t *testing.T) {
	clock := func(s string) time.Time {
		v, err := time.Parse(time.DateTime, "2026-05-01 "+s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	hourly, err := schedule.Cron("0 * * * *", "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := schedule.Every(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name         string
		when         schedule.Schedule
		catchUp      bool
		due, at, now string
		run          bool
		runDue, next string
		past         bool
	}{
		{"at once", hourly, false, "02:00:00", "02:00:00", "02:00:00", true, "02:00:00", "03:00:00", false},
		{"at most a minute late, after a restart", hourly, false, "02:00:00", "02:00:00", "02:01:00", true, "02:00:00", "03:00:00", false},
		{"a second more", hourly, false, "02:00:00", "02:00:00", "02:01:01", false, "02:00:00", "03:00:00", true},
		{"the same, caught up", hourly, true, "02:00:00", "02:00:00", "02:01:01", true, "02:00:00", "03:00:00", true},
		{"hours later, caught up once", hourly, true, "02:00:00", "02:00:00", "05:30:00", true, "02:00:00", "06:00:00", true},
		{"hours later, at the next time", hourly, false, "02:00:00", "02:00:00", "05:00:30", true, "05:00:00", "06:00:00", true},
		{"with jitter", hourly, false, "02:00:00", "02:20:00", "02:20:01", true, "02:00:00", "03:00:00", false},
		{"with jitter, late", hourly, false, "02:00:00", "02:20:00", "02:20:40", true, "02:00:00", "03:00:00", false},
		{"every second, ten late: each counts", second, false, "02:00:00", "02:00:00", "02:00:10", true, "02:00:00", "02:00:01", false},
		{"every second, eleven late: one counts", second, false, "02:00:00", "02:00:00", "02:00:11", true, "02:00:11", "02:00:12", true},
		{"every second, an hour late", second, false, "02:00:00", "02:00:00", "03:00:00", true, "03:00:00", "03:00:01", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := decide(tt.when, tt.catchUp, clock(tt.due), clock(tt.at), clock(tt.now))
			want := decision{run: tt.run, due: clock(tt.runDue), next: clock(tt.next), past: tt.past}
			if got.run != want.run || !got.due.Equal(want.due) || !got.next.Equal(want.next) || got.past != want.past {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// TestJitter: a run begins later by less than the jitter, and the times of the
// schedule do not move by it.
func TestJitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := often(time.Minute)
		j.Jitter = config.Duration(rapid.Int64Range(1, int64(time.Minute-1)).Draw(t, "jitter"))
		share := rapid.Float64Range(0, 0.999).Draw(t, "share")
		s := New(Options{Rand: func(n int64) int64 { return int64(share * float64(n)) }})
		due := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		var r row
		s.setDue(&r, j, due)
		if late := r.NextAt - r.Due; r.Due != due.UnixMilli() || late < 0 || late >= max(1, time.Duration(j.Jitter).Milliseconds()) {
			t.Errorf("due %d, at %d", r.Due, r.NextAt)
		}
	})
	each(t, func(t *testing.T, p *place) {
		j := nightly()
		j.Jitter = config.Duration(time.Minute)
		s := p.server(j)
		p.story("nightly", "runs 0 skipped 0 missed 0 never next 02:00:59")
		p.at("02:00:59")
		s.look()
		p.at("02:01")
		s.look()
		p.story("nightly", "runs 1 skipped 0 missed 0 succeeded next 02 02:00:59")
	})
}

// TestCatchUp: times that came while no server ran are made up for by one run,
// if the job says so.
func TestCatchUp(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		plain, again := often(time.Hour), nightly()
		again.CatchUp = true
		p.server(plain, again)
		p.at("05:30")
		s := p.server(plain, again)
		s.look()
		s.look()
		p.story("often", "runs 0 skipped 0 missed 1 never next 06:30:00")
		p.story("nightly", "runs 1 skipped 0 missed 0 succeeded next 02 02:00:00")
		if got := p.codes(); got != "late missed" {
			t.Errorf("log %q, want the one caught up and the other missed", got)
		}
	})
}

// TestSwitch: a job that is disabled does not run; switching needs no restart,
// and neither does creating and deleting.
func TestSwitch(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		ctx := t.Context()
		server, other := p.server(nightly()), p.server(nightly())
		_, err := other.SetEnabled(ctx, "nightly", false)
		p.check(err)
		p.at("02:00")
		server.look()
		p.story("nightly", "runs 0 skipped 0 missed 0 never next none")
		p.at("03:00")
		_, err = other.SetEnabled(ctx, "nightly", true)
		p.check(err)
		server.look()
		p.story("nightly", "runs 0 skipped 0 missed 0 never next 02 02:00:00")

		_, err = other.Create(ctx, often(time.Minute), "test")
		p.check(err)
		p.at("03:01")
		server.look()
		p.story("often", "runs 1 skipped 0 missed 0 succeeded next 03:02:00")
		p.check(other.Delete(ctx, "often"))
		p.at("03:02")
		server.look()
		if n := len(p.runs()); n != 1 {
			t.Errorf("%d runs, want 1", n)
		}
		// A restart does not enable what somebody disabled; an edit of the config does.
		_, err = other.SetEnabled(ctx, "nightly", false)
		p.check(err)
		p.server(nightly())
		p.story("nightly", "runs 0 skipped 0 missed 0 never next none")
		off, on := false, true
		j := nightly()
		j.Enabled = &off
		p.server(j)
		j.Enabled = &on
		p.server(j)
		p.story("nightly", "runs 0 skipped 0 missed 0 never next 02 02:00:00")
	})
}

// TestChangedConfig: a new schedule counts from when a server has loaded it; a
// job that is no longer in the config does not run, and its state is kept.
func TestChangedConfig(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		p.server(nightly())
		j := nightly()
		j.Schedule = "0 3 * * *"
		p.server(j)
		p.story("nightly", "runs 0 skipped 0 missed 0 never next 03:00:00")
		gone := p.server()
		p.at("03:00")
		gone.look()
		p.story("nightly", "runs 0 skipped 0 missed 0 never next 03:00:00")
		if all, err := gone.List(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("jobs %v, %v, want none", all, err)
		}
	})
}

// TestRefused: names that are taken, jobs of the config that nobody may delete,
// and jobs that are not there.
func TestRefused(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		ctx := t.Context()
		s := p.server(nightly())
		_, taken := s.Create(ctx, nightly(), "test")
		_, invalid := s.Create(ctx, config.Job{Name: "x"}, "test")
		_, unknown := s.SetEnabled(ctx, "nigtly", true)
		_, notRun := s.RunNow(ctx, "nigtly")
		_, err := s.Create(ctx, often(time.Hour), "test")
		p.check(err)
		for _, tt := range []struct {
			name string
			err  error
			kind kedge.Kind
			text string
		}{
			{"create one that is there", taken, kedge.Conflict, `there is a job "nightly" already`},
			{"create one that does nothing", invalid, kedge.Invalid, "integration: missing"},
			{"delete one of the config", s.Delete(ctx, "nightly"), kedge.Conflict, `job "nightly" comes from the config`},
			{"delete one that is not there", s.Delete(ctx, "nigtly"), kedge.NotFound, `there is no job "nigtly"`},
			{"switch one that is not there", unknown, kedge.NotFound, `there is no job "nigtly"`},
			{"run one that is not there", notRun, kedge.NotFound, `there is no job "nigtly"`},
			{"declare one that was created", s.Load(ctx, []config.Job{often(time.Hour)}, false), kedge.Invalid, "name: a job \"often\" was made by"},
		} {
			if tt.err == nil || kedge.KindOf(tt.err) != tt.kind || !strings.Contains(tt.err.Error(), tt.text) {
				t.Errorf("%s: %v (%v), want %q", tt.name, tt.err, kedge.KindOf(tt.err), tt.text)
			}
		}
	})
}

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

// TestUnusable: a job that a later version of kedge may have stored harms no
// other.
func TestUnusable(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		s := p.server(nightly())
		_, err := s.Create(t.Context(), often(time.Hour), "test")
		p.check(err)
		_, err = p.store.DB().ExecContext(t.Context(), "UPDATE kedge_schedule SET spec = '{}', next_at = 1 WHERE name = 'often'")
		p.check(err)
		p.at("02:00")
		s.look()
		p.story("nightly", "runs 1 skipped 0 missed 0 succeeded next 02 02:00:00")
		p.story("often", "runs 0 skipped 0 missed 0 failed next none")
	})
}

// TestManyServers: of servers that look at the same moment one takes the time.
func TestManyServers(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		const rounds = 15
		var servers []*replica
		for range 4 {
			servers = append(servers, p.server(often(time.Second)))
		}
		for range rounds {
			p.mu.Lock()
			p.time = p.time.Add(time.Second)
			p.mu.Unlock()
			var all sync.WaitGroup
			for _, s := range servers {
				all.Go(func() {
					if err := s.tick(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for _, s := range servers {
				s.all.Wait()
			}
		}
		p.story("often", "runs 15 skipped 0 missed 0 succeeded next 00:00:16")
		if n := len(p.runs()); n != rounds {
			t.Errorf("%d runs, want %d", n, rounds)
		}
	})
}
