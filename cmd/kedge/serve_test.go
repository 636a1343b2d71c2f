package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kedge-sync/kedge/internal/httpapi/apitest"
	"github.com/kedge-sync/kedge/internal/store"
)

// A serving is a site whose server runs.
type serving struct {
	*site
	p   *process
	url string
}

func (s *site) serve() *serving {
	s.t.Helper()
	p := s.start("serve", "--listen", "127.0.0.1:0")
	p.out.await(s.t, "\n")
	return &serving{s, p, strings.TrimSpace(strings.TrimPrefix(p.out.String(), "kedge listens on "))}
}

// do sends a request below /api/v1 and returns the answer, which must have the
// status and be as openapi.yaml says.
func (s *serving) do(want int, method, path, body string) map[string]any {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != want {
		s.t.Fatalf("%s %s: %d %s, want %d", method, path, resp.StatusCode, text, want)
	}
	if err := apitest.Check(method, r.URL.String(), resp.StatusCode, resp.Header.Get("Content-Type"), text); err != nil {
		s.t.Errorf("%s %s: %v", method, path, err)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

// begin starts a run and returns when its second page waits.
func (s *serving) begin() (id string) {
	s.t.Helper()
	s.gate.hold(0)
	id = s.do(202, "POST", "/integrations/crm/runs", "")["id"].(string)
	s.gate.await(s.t)
	return id
}

// A server that is told to stop lets its runs end at a page and gives their
// leases back: the next run begins at once and goes on.
func TestServerStopsRunsAndGivesLeasesBack(t *testing.T) {
	eachSite(t, func(t *testing.T, site *site, db *store.Store) {
		s := site.serve()
		id := s.begin()
		s.p.interrupt()
		s.p.ends(0)
		s.gate.release()
		out, _ := s.kedge(0, "runs", "list", "--json")
		if !strings.Contains(out, id) || !strings.Contains(out, `"state": "cancelled"`) {
			t.Errorf("runs %s", out)
		}
		s.kedge(0, "sync", "crm")
		s.count(db, stored, 30)
	})
}

// A server that is killed holds nobody up.
func TestKilledServerHoldsNothing(t *testing.T) {
	eachSite(t, func(t *testing.T, site *site, db *store.Store) {
		s := site.serve()
		s.begin()
		if err := s.p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		s.p.ends(-1)
		s.gate.release()
		next := site.serve()
		id := next.do(202, "POST", "/integrations/crm/runs", "")["id"].(string)
		s.reaches(db, "SELECT count(*) FROM integration_run WHERE state = 'succeeded' AND id = '"+id+"'", 1)
		s.count(db, stored, 30)
		next.p.interrupt()
		next.p.ends(0)
	})
}

// A run that is active while the config is reloaded ends with the old one.
func TestReloadLeavesRunsAlone(t *testing.T) {
	eachSite(t, func(t *testing.T, site *site, db *store.Store) {
		s := site.serve()
		id := s.begin()
		config, err := os.ReadFile(filepath.Join(s.dir, "kedge.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		s.write("kedge.yaml", strings.Replace(string(config), `url: "http://127.0.0.1:`, `url: "http://127.0.0.1:1/x`, 1))
		if err := s.p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.p.err.await(t, "config reloaded")
		s.do(502, "POST", "/connections/crm/test", "")
		s.gate.release()
		s.reaches(db, "SELECT count(*) FROM integration_run WHERE state = 'succeeded' AND id = '"+id+"'", 1)
		s.count(db, stored, 30)
		s.p.interrupt()
		s.p.ends(0)
	})
}
