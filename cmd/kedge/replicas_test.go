package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// watchSchedule notes each change of kedge_schedule: which time was taken by
// which claim, and which claim was begun or ended.
const watchSchedule = `
CREATE TABLE watched (seq serial, name text, due bigint, next bigint, claim_before text, claim text, claim_due bigint, begun bigint, skipped bigint);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO watched (name, due, next, claim_before, claim, claim_due, begun, skipped)
  VALUES (NEW.name, OLD.due, NEW.due, OLD.claim, NEW.claim, NEW.claim_due, NEW.tries - OLD.tries, NEW.skipped - OLD.skipped);
  RETURN NEW;
END $$;
CREATE TRIGGER watch AFTER UPDATE ON kedge_schedule FOR EACH ROW EXECUTE FUNCTION watch();`

// replicas are servers on one database, with jobs every second and jobs that
// are run by hand, each for an integration of its own.
type replicas struct {
	*site
	db      *store.Store
	service *odatatest.Service
	alive   []*process
	put     int
	sender  *eventSender
}

const replicaJobs = 3

func newReplicas(t *testing.T) *replicas {
	s := newSite(t, storetest.PostgresDSN(t))
	var entities, integrations, jobs strings.Builder
	for i := range replicaJobs {
		for _, name := range []string{"often", "slow"} {
			name := fmt.Sprintf("%s%d", name, i)
			fmt.Fprintf(&entities, "    %s: {create: true}\n", name)
			fmt.Fprintf(&integrations, "  - {name: %s, external: crm, mapping: %s.yaml}\n", name, name)
			s.write(name+".yaml", strings.Replace(siteMapping, "local: customer\n", "local: "+name+"\n", 1))
		}
		fmt.Fprintf(&jobs, "  - {name: often%d, integration: often%d, every: 1s}\n  - {name: slow%d, integration: slow%d, schedule: 0 0 29 2 *}\n", i, i, i, i)
	}
	jobs.WriteString("  - {name: command, command: version, every: 3s}\n")
	s.write("kedge.yaml", fmt.Sprintf("version: 1\nstore: {dsn: %q}\nsync: {commitRows: 10}\nconnections:\n  crm: {kind: odata, url: %q, pageSize: 10}\n"+
		"  local:\n   kind: sqltable\n   dsn: kedge\n   entities:\n%sintegrations:\n%sjobs:\n%s", s.dsn, s.url, &entities, &integrations, &jobs))
	s.kedge(0, "migrate")
	r := &replicas{site: s, db: s.open(), service: s.service, sender: newEventSender(s)}
	if _, err := r.db.DB().ExecContext(t.Context(), watchSchedule); err != nil {
		t.Fatal(err)
	}
	return r
}

// serve starts one more server and returns it with its address.
func (r *replicas) serve() (*process, string) {
	r.t.Helper()
	p := r.start("serve", "--listen", "127.0.0.1:0")
	r.alive = append(r.alive, p)
	url := p.served()
	r.sender.add(url)
	return p, url
}

// number returns a query's number.
func (r *replicas) number(query string, args ...any) (n int) {
	r.t.Helper()
	if err := r.db.DB().QueryRowContext(r.t.Context(), query, args...).Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// more waits until each frequent job has run n times more, while records come.
func (r *replicas) more(n int) {
	r.t.Helper()
	var have [replicaJobs]int
	for i := range have {
		have[i] = r.number("SELECT runs FROM kedge_schedule WHERE name = ?", fmt.Sprintf("often%d", i))
	}
	for k := 1; k <= n; k++ {
		r.put++
		no := kedge.String(fmt.Sprintf("R%05d", r.put))
		if err := r.service.Put("customers", odatatest.Row("No", no, "Name", no)); err != nil {
			r.t.Fatal(err)
		}
		for i := range have {
			r.await(r.db, have[i]+k, "SELECT runs FROM kedge_schedule WHERE name = ?", fmt.Sprintf("often%d", i))
		}
	}
}

// TestReplicas: operations.md 5 and ingest's "a 200 is stored". Of three servers on one database one after the
// other is killed in the middle of a run, under load. Each time of a schedule
// is taken once, by one server; each run that was begun ends once; and what a
// dead server was at is taken over at once. No event that a server accepted
// is lost or stored twice.
func TestReplicas(t *testing.T) {
	t.Parallel()
	r := newReplicas(t)
	victims := map[*process]string{}
	for range 3 {
		p, url := r.serve()
		victims[p] = url
	}
	r.await(r.db, replicaJobs, "SELECT count(*) FROM kedge_schedule WHERE name LIKE 'often%' AND runs > 0")
	round := 0
	for p, url := range victims {
		r.more(3)
		name := fmt.Sprintf("slow%d", round)
		r.gate.hold(0)
		resp, err := http.Post(url+"/api/v1/jobs/"+name+"/run", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("run: status %d", resp.StatusCode)
		}
		r.gate.await(t)
		began := time.Now()
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.ends(-1)
		r.sender.remove(url)
		r.await(r.db, 1, "SELECT count(*) FROM watched WHERE name = ? AND begun > 0 HAVING count(*) > 1", name) // taken over
		if took := time.Since(began); took > store.DefaultLeaseTTL {
			t.Errorf("%s was taken over after %v", name, took)
		} else {
			t.Logf("%s was taken over after %v", name, took.Round(time.Millisecond))
		}
		r.gate.release()
		r.await(r.db, 1, "SELECT count(*) FROM kedge_schedule WHERE name = ? AND last_state = 'succeeded'", name)
		if round++; round < 3 {
			r.serve()
		}
	}
	r.more(1)
	accepted := r.sender.end()
	for _, p := range r.alive {
		if p.cmd.ProcessState == nil {
			p.interrupt()
			p.ends(0)
		}
	}
	r.checkSchedule()
	r.checkRuns()
	r.checkEvents(accepted)
}

// checkEvents: what was answered with 200 is stored, once.
func (r *replicas) checkEvents(accepted int) {
	r.t.Helper()
	r.count(r.db, "SELECT count(*) FROM ingest_resource", accepted)
	r.count(r.db, "SELECT count(*) FROM ingest_change", accepted)
	if accepted < 20 {
		r.t.Errorf("only %d events were sent", accepted)
	}
	r.t.Logf("%d events", accepted)
}

// checkSchedule compares what was claimed with the times of the schedules.
func (r *replicas) checkSchedule() {
	r.t.Helper()
	for i := range replicaJobs {
		r.checkJob(fmt.Sprintf("often%d", i), 1000)
	}
	r.checkJob("command", 3000)
	for _, c := range []struct{ what, query string }{
		{"claims that ended twice", "SELECT count(*) FROM (SELECT claim_before FROM watched WHERE claim_before <> '' AND claim = '' GROUP BY 1 HAVING count(*) > 1) x"},
		{"claims that replaced another", "SELECT count(*) FROM watched WHERE claim_before <> '' AND claim <> '' AND claim <> claim_before"},
		{"claims without an end that nobody can take over", "SELECT count(*) FROM kedge_schedule j JOIN kedge_lease l ON l.name = 'job:' || j.name WHERE claim <> '' AND holder <> ''"},
		{"leases that were not given back", "SELECT count(*) FROM kedge_lease WHERE holder <> '' AND name LIKE 'job:%'"},
		{"times that were missed", "SELECT sum(missed) FROM kedge_schedule"},
		{"jobs that did not succeed", "SELECT count(*) FROM kedge_schedule WHERE last_state NOT IN ('succeeded')"},
	} {
		if n := r.number(c.query); n != 0 {
			r.t.Errorf("%s: %d", c.what, n)
		}
	}
}

// checkJob: the times of a schedule follow each other without a gap, each was
// taken once, and brought a run or was skipped because of one.
func (r *replicas) checkJob(name string, every int) {
	r.t.Helper()
	taken := r.number("SELECT count(*) FROM watched WHERE name = ? AND next <> due", name)
	distinct := r.number("SELECT count(DISTINCT due) FROM watched WHERE name = ? AND next <> due", name)
	gaps := r.number("SELECT count(*) FROM watched WHERE name = ? AND next <> due AND next - due <> ?", name, every)
	claimed := r.number("SELECT count(*) FROM watched WHERE name = ? AND next <> due AND claim_before = '' AND claim <> '' AND claim_due = due", name)
	skipped := r.number("SELECT count(*) FROM watched WHERE name = ? AND next <> due AND skipped = 1", name)
	if taken < 4 && every == 1000 || taken != distinct || gaps != 0 || claimed+skipped != taken {
		r.t.Errorf("%s: %d times were taken, %d different ones, with %d gaps; %d runs and %d skips", name, taken, distinct, gaps, claimed, skipped)
	}
	r.t.Logf("%s: %d times, %d runs, %d skipped", name, taken, claimed, skipped)
}

// checkRuns: each claim brought one run, or one more for each server that
// died of it or handed it back; no two overlap; and no record is missing.
func (r *replicas) checkRuns() {
	r.t.Helper()
	for i := range replicaJobs {
		for _, name := range []string{fmt.Sprintf("often%d", i), fmt.Sprintf("slow%d", i)} {
			runs := r.number("SELECT count(*) FROM integration_run WHERE integration = ? AND trigger = 'job'", name)
			claims := r.number("SELECT count(DISTINCT claim) FROM watched WHERE name = ? AND claim <> ''", name)
			begun := r.number("SELECT count(*) FROM watched WHERE name = ? AND begun > 0", name)
			unbegun := r.number("SELECT count(*) FROM kedge_schedule WHERE name = ? AND claim <> ''", name) // at the very end
			if runs < claims-unbegun || runs > begun {
				r.t.Errorf("%s: %d runs of %d claims, which were begun %d times", name, runs, claims, begun)
			}
			if n := r.number(`SELECT count(*) FROM integration_run a JOIN integration_run b ON a.integration = b.integration AND a.id < b.id
				WHERE a.integration = ? AND a.finished_at > b.started_at`, name); n > 0 {
				r.t.Errorf("%s: %d runs overlap", name, n)
			}
		}
		r.kedge(0, "sync", fmt.Sprintf("often%d", i))
		r.count(r.db, fmt.Sprintf("SELECT count(*) FROM often%d", i), 30+r.put)
	}
}
