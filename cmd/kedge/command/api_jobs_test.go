package command

import (
	"os"
	"strings"
	"testing"
)

// TestAPIOfJobs: the answers are as openapi.yaml says, which the server of the
// test compares; a new config is taken over whole or not at all.
func TestAPIOfJobs(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		s.do(201, "POST", "/jobs", `{"name": "often", "integration": "filed", "every": "15m", "jitter": "1m", "timeout": "10m"}`)
		s.do(201, "POST", "/jobs", `{"name": "nightly", "integration": "filed", "schedule": "0 2 * * *", "timezone": "Europe/Berlin", "catchUp": true, "runAtStart": true, "confirmReset": "filed", "enabled": false}`)
		s.do(409, "POST", "/jobs", `{"name": "often", "integration": "filed", "every": "15m"}`)
		s.do(422, "POST", "/jobs", `{"name": "other", "integration": "nobody", "every": "15m"}`)
		s.do(422, "POST", "/jobs", `{"name": "other", "command": "sync filed", "every": "15m"}`)
		if got := s.do(200, "POST", "/jobs/nightly/enable", ""); got["enabled"] != true || got["author"] != "api" {
			t.Errorf("enabled %v", got)
		}
		s.do(200, "POST", "/jobs/nightly/disable", "")
		if got := s.items("/jobs?filter=enabled%20eq%20true"); len(got) != 1 || got[0]["name"] != "often" || got[0]["every"] != "15m0s" {
			t.Errorf("enabled jobs %v", got)
		}
		s.do(503, "POST", "/jobs/often/run", "") // this server runs no jobs
		s.do(404, "GET", "/jobs/nobody", "")
		s.do(204, "DELETE", "/jobs/nightly", "")

		config := s.live.app.Load().configPath
		before, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		reload := func(want int, jobs, text string) {
			t.Helper()
			if err := os.WriteFile(config, append(before, "jobs: ["+jobs+"]\n"...), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := s.do(want, "POST", "/config/reload", ""); text != "" && !strings.Contains(got["detail"].(string), text) {
				t.Errorf("reload with %s: %v, want %s", jobs, got, text)
			}
		}
		reload(422, "{name: a, integration: nobody, every: 1h}", `jobs[0].integration: there is no integration "nobody"`)
		reload(422, "{name: a, command: snyc filed, every: 1h}", `jobs[0].command: "snyc" is no command of kedge`)
		reload(422, "{name: a, integration: filed, every: 1h}, {name: often, integration: filed, every: 1h}", `jobs[1].name: a job "often" was made by`)
		s.do(404, "GET", "/jobs/a", "")
		reload(200, "{name: a, integration: filed, every: 1h, onFailure: {command: status}}", "")
		if got := s.do(200, "GET", "/jobs/a", ""); got["from"] != "file" || got["nextRun"] == nil {
			t.Errorf("job of the config %v", got)
		}
		s.do(409, "DELETE", "/jobs/a", "")
		reload(200, "", "")
		s.do(404, "GET", "/jobs/a", "")
	})
}
