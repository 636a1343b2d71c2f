package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/internal/store"
)

// await waits until a query's number is at least want.
func (s *site) await(db *store.Store, want int, query string, args ...any) {
	s.t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(time.Minute)
	for got := 0; got < want; {
		err := db.DB().QueryRowContext(s.t.Context(), query, args...).Scan(&got)
		select {
		case <-deadline:
			s.t.Fatalf("%s: got %d, want %d (%v)", query, got, want, err)
		case <-poll.C:
		}
	}
}

const runsOf = "SELECT runs FROM kedge_schedule WHERE name = ?"

// withJobs writes the config anew with jobs.
func (s *site) withJobs(jobs string) {
	s.write("kedge.yaml", fmt.Sprintf(`version: 1
store: {dsn: %q}
sync: {commitRows: 10}
connections:
  crm: {kind: odata, url: %q, pageSize: 10}
  local: {kind: sqltable, dsn: kedge, entities: {customer: {create: true}}}
integrations:
  - {name: crm, external: crm, mapping: crm.yaml}
jobs:
%s`, s.dsn, s.url, jobs))
}

// TestJobsOfServer: a server runs the jobs of the config; what commands of
// other processes and a new config say of jobs needs no restart; and a command
// of a job ends with its server, and is run again by the next one.
func TestJobsOfServer(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site, db *store.Store) {
		s.withJobs("  - {name: often, integration: crm, every: 1s}\n")
		server := s.start("serve", "--listen", "127.0.0.1:0")
		server.served()
		s.await(db, 1, runsOf, "often")
		s.kedge(0, "jobs", "disable", "often")
		s.await(db, 1, "SELECT count(*) FROM kedge_schedule WHERE name = 'often' AND claim = ''")
		var before, after int
		count := func(n *int) {
			if err := db.DB().QueryRowContext(t.Context(), runsOf, "often").Scan(n); err != nil {
				t.Fatal(err)
			}
		}
		count(&before)
		s.kedge(0, "jobs", "create", "made", "--integration", "crm", "--every", "1s")
		s.await(db, 2, runsOf, "made")
		if count(&after); after != before {
			t.Errorf("a disabled job ran: %d runs, then %d", before, after)
		}
		s.kedge(0, "jobs", "delete", "made", "--yes")

		s.withJobs("  - {name: third, integration: crm, every: 1s}\n  - {name: whole, command: sync crm --full, schedule: 0 0 29 2 *}\n")
		if err := server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.await(db, 1, runsOf, "third")
		s.kedge(0, "jobs", "disable", "third")
		s.await(db, 1, "SELECT count(*) FROM kedge_schedule WHERE name = 'third' AND claim = ''")

		s.gate.hold(0)
		if _, err := db.DB().ExecContext(t.Context(), "UPDATE kedge_schedule SET due = 1, next_at = (SELECT last_started FROM kedge_schedule WHERE name = 'third') WHERE name = 'whole'"); err != nil {
			t.Fatal(err)
		}
		s.gate.await(t)
		if err := server.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		server.ends(-1)
		s.await(db, 1, "SELECT count(*) FROM integration_run WHERE state = 'cancelled'") // the child noticed
		s.gate.release()
		next := s.start("serve", "--listen", "127.0.0.1:0")
		s.await(db, 1, "SELECT count(*) FROM kedge_schedule WHERE name = 'whole' AND last_state = 'succeeded'")
		next.interrupt()
		next.ends(0)
		s.count(db, stored, 30)
	})
}
