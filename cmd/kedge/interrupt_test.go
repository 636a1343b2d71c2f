package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

const stored = "SELECT count(*) FROM customer"

// eachSite runs a test with both databases.
func eachSite(t *testing.T, test func(t *testing.T, s *site, db *store.Store)) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := newSite(t, dsn)
		s.kedge(0, "migrate")
		test(t, s, s.open())
	})
}

// syncHeld starts a sync that has stored two of three pages and waits for the
// third.
func syncHeld(s *site, db *store.Store) *process {
	s.gate.hold(1)
	run := s.start("sync", "crm")
	s.gate.await(s.t)
	s.reaches(db, stored, 20)
	return run
}

// goesOn runs a sync and checks that it reads the third page only.
func goesOn(s *site, db *store.Store) {
	s.t.Helper()
	s.gate.release()
	out, _ := s.kedge(0, "sync", "crm")
	if want := "download: RESULTS: ALL (10) : IMPORTED (10); UPDATED (0); FAILED (0)"; !strings.Contains(out, want) {
		s.t.Errorf("the next run: got %q, want %q", out, want)
	}
	s.count(db, stored, 30)
	if out, _ = s.kedge(0, "sync", "crm"); !strings.Contains(out, "download: RESULTS: ALL (0)") {
		s.t.Errorf("the run after: got %q, want nothing to do", out)
	}
}

// TestInterrupt: Ctrl-C stops a sync after the page it is at, keeps the anchor
// and says how to go on.
func TestInterrupt(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site, db *store.Store) {
		run := syncHeld(s, db)
		run.interrupt()
		run.ends(1)
		for _, want := range []string{"kedge: stopping after the current page; the next run goes on from there.", "kedge: crm: stopped; run it again to go on\n"} {
			if !strings.Contains(run.err.String(), want) {
				t.Errorf("stderr %q lacks %q", run.err.String(), want)
			}
		}
		if want := "download: RESULTS: ALL (20) : IMPORTED (20); UPDATED (0); FAILED (0)"; !strings.Contains(run.out.String(), want) {
			t.Errorf("stdout %q lacks %q", run.out.String(), want)
		}
		s.count(db, stored, 20)
		if out, _ := s.kedge(0, "status", "--json"); !strings.Contains(out, `"state": "cancelled"`) {
			t.Errorf("status %s, want it cancelled", out)
		}
		goesOn(s, db)
	})
}

// TestInterruptedPlan: what stores nothing just stops.
func TestInterruptedPlan(t *testing.T) {
	s := newSite(t, storetest.SQLiteDSN(t))
	s.gate.hold(0)
	plan := s.start("plan", "crm", "--sync")
	s.gate.await(t)
	plan.interrupt()
	plan.ends(1)
	if got, want := plan.out.String()+plan.err.String(), "kedge: stopped\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSecondInterrupt: where the first Ctrl-C cannot stop the sync, because
// the database does not answer, the second ends the process at once, and
// nothing is lost.
func TestSecondInterrupt(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site, db *store.Store) {
		run := syncHeld(s, db)
		unlock := block(s, db)
		run.interrupt()
		run.err.await(t, "Press Ctrl-C again to stop at once; nothing is lost by that either.")
		run.interrupt()
		run.ends(1)
		if strings.Contains(run.err.String(), "stopped; run it again") {
			t.Errorf("stderr %q: it stopped by itself", run.err.String())
		}
		unlock()
		s.count(db, stored, 20)
		goesOn(s, db)
	})
}

// TestKill: the run after one that was killed starts at once and goes on where
// that one was, and the log tells of it.
func TestKill(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site, db *store.Store) {
		run := syncHeld(s, db)
		killed := activeRun(s)
		if err := run.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		run.ends(-1)
		s.count(db, stored, 20)
		goesOn(s, db)
		if out, _ := s.kedge(0, "log", killed); !strings.Contains(out, "error crm sync: killed: the process ended in the middle of the run") {
			t.Errorf("log of the killed run: %q", out)
		}
	})
}

// block keeps a run from storing how it ended until its result is called.
func block(s *site, db *store.Store) func() {
	s.t.Helper()
	conn, err := db.DB().Conn(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	statements := []string{"BEGIN IMMEDIATE"}
	if db.Engine() == store.Postgres {
		statements = []string{"BEGIN", "LOCK TABLE integration_run IN EXCLUSIVE MODE"}
	}
	exec := func(statement string) {
		if _, err := conn.ExecContext(s.t.Context(), statement); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, statement := range statements {
		exec(statement)
	}
	return func() {
		exec("ROLLBACK")
		if err := conn.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

// activeRun returns the id of the run under way.
func activeRun(s *site) string {
	s.t.Helper()
	out, _ := s.kedge(0, "runs", "list", "--json")
	var runs []struct{ ID, State string }
	if err := json.Unmarshal([]byte(out), &runs); err != nil || len(runs) != 1 || runs[0].State != "running" {
		s.t.Fatalf("runs %s, want one that is running (%v)", out, err)
	}
	return runs[0].ID
}

// TestSecondSync: a sync while one is active is skipped, and harms neither.
func TestSecondSync(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site, db *store.Store) {
		run := syncHeld(s, db)
		out, errOut := s.kedge(1, "sync", "crm")
		if want := "kedge: crm: skipped: run " + activeRun(s) + " is active\n"; errOut != want || out != "" {
			t.Errorf("got %q and %q, want %q", out, errOut, want)
		}
		s.gate.release()
		run.ends(0)
		s.count(db, stored, 30)
		s.count(db, "SELECT count(*) FROM integration_run", 1)
	})
}

// TestCancel: a run in another process stops after the page it is at.
func TestCancel(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site, db *store.Store) {
		s.gate.hold(0)
		run := s.start("sync", "crm")
		s.gate.await(s.t)
		s.reaches(db, stored, 10)
		id := activeRun(s)
		if out, _ := s.kedge(0, "runs", "cancel", id); !strings.HasPrefix(out, "asked; the run stops ") {
			t.Errorf("cancel said %q", out)
		}
		s.gate.release()
		run.ends(1)
		if !strings.HasSuffix(run.err.String(), "kedge: crm: stopped; run it again to go on\n") {
			t.Errorf("stderr %q, want how to go on", run.err.String())
		}
		s.count(db, stored, 20)
		s.count(db, "SELECT count(*) FROM integration_run WHERE state = 'cancelled'", 1)
		if _, errOut := s.kedge(1, "runs", "cancel", id); !strings.Contains(errOut, "no run "+id+" is active") {
			t.Errorf("cancelling it again: %q", errOut)
		}
		goesOn(s, db)
	})
}

// TestFollow: the log is shown while runs of other processes write it, until
// Ctrl-C.
func TestFollow(t *testing.T) {
	eachSite(t, func(t *testing.T, s *site, db *store.Store) {
		follow := s.start("log", "--follow")
		asJSON := s.start("log", "--follow", "--json", "--integration", "crm")
		s.kedge(0, "sync", "crm")
		follow.out.await(t, "info crm sync customers full: succeeded: RESULTS: ALL (30) : IMPORTED (30); UPDATED (0); FAILED (0): first read\n")
		asJSON.out.await(t, `"total":30,"imported":30`)
		s.kedge(0, "sync", "crm")
		follow.out.await(t, "info crm sync customers incremental: succeeded: RESULTS: ALL (0)")
		for _, p := range []*process{follow, asJSON} {
			p.interrupt()
			p.ends(0)
			if p.err.String() != "" {
				t.Errorf("stderr %q, want nothing", p.err.String())
			}
		}
		for line := range strings.Lines(asJSON.out.String()) {
			var row struct{ Integration string }
			if err := json.Unmarshal([]byte(line), &row); err != nil || row.Integration != "crm" {
				t.Errorf("line %q: %v, want an object of crm", line, err)
			}
		}
	})
}
