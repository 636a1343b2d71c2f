package jobs

import (
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
