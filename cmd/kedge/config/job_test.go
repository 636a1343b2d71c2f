package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

func TestWrongJobs(t *testing.T) {
	const good = "name: nightly, integration: crm, schedule: \"0 2 * * *\""
	for _, tt := range []struct{ name, job, want string }{
		{"no name", "integration: crm, every: 1m", `kedge.yaml:7:5: jobs[0].name: use a lower-case letter`},
		{"bad name", "name: Nightly, integration: crm, every: 1m", `kedge.yaml:7:12: jobs[0].name: use a lower-case letter`},
		{"nothing to do", "name: a, every: 1m", `jobs[0].integration: missing; name an integration, or give a command`},
		{"two things to do", good + ", command: sync crm", `jobs[0].command: give integration or command, not both`},
		{"no schedule", "name: a, integration: crm", `jobs[0].schedule: missing; give schedule: "0 2 * * *" or every: 15m`},
		{"two schedules", good + ", every: 1m", `jobs[0].every: give schedule or every, not both`},
		{"too often", "name: a, integration: crm, every: 999ms", `jobs[0].every: must be between 1s and 10y`},
		{"too seldom", "name: a, integration: crm, every: 3651d", `jobs[0].every: must be between 1s and 10y`},
		{"not a cron expression", "name: a, integration: crm, schedule: daily", `kedge.yaml:7:43: jobs[0].schedule: "daily" has not five fields`},
		{"an unquoted star", "name: a, integration: crm, schedule: * * * * *", `kedge.yaml:7:`},
		{"time zone", good + ", timezone: Europe/Berln", `jobs[0].timezone: there is no time zone "Europe/Berln"`},
		{"time zone of an interval", "name: a, integration: crm, every: 1m, timezone: UTC", `jobs[0].timezone: an interval has none`},
		{"jitter over a day", good + ", jitter: 86401s", `jobs[0].jitter: must be at most 1d`},
		{"jitter over the interval", "name: a, integration: crm, every: 1m, jitter: 60s", `jobs[0].jitter: must be less than the interval, 1m0s`},
		{"timeout", good + ", timeout: 999ms", `jobs[0].timeout: must be at least 1s`},
		{"confirmReset", good + ", confirmReset: erp", `jobs[0].confirmReset: must be the name of the job's integration`},
		{"confirmReset of a command", "name: a, command: sync crm, every: 1m, confirmReset: crm", `jobs[0].confirmReset: must be the name of the job's integration`},
		{"command", "name: a, command: \"sync 'crm\", every: 1m", `jobs[0].command: a quote is not closed`},
		{"failure without command", good + ", onFailure: {}", `jobs[0].onFailure.command: is empty`},
		{"failure by subscription", good + ", onFailure: {subscription: ops}", `kedge.yaml:7:74: unknown key subscription`},
		{"unknown key", good + ", catchup: true", `unknown key catchup; did you mean "catchUp"?`},
		{"not yes or no", good + ", catchUp: sometimes", `kedge.yaml:7:`},
		{"twice", good + "}\n  - {" + good, `kedge.yaml:8:12: jobs[1].name: there is another job "nightly"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, map[string]string{"kedge.yaml": crm + "jobs:\n  - {" + tt.job + "}\n"})
			if err == nil || !strings.Contains(err.Error(), tt.want) || kedge.KindOf(err) != kedge.Invalid {
				t.Errorf("error %v (kind %v), want %q", err, kedge.KindOf(err), tt.want)
			}
		})
	}
}

// TestJobsOfIncludes: a job may stand in the file of its integration, and an
// error names that file.
func TestJobsOfIncludes(t *testing.T) {
	main := crm + "include: [\"int-*.yaml\"]\njobs: [{name: a, integration: crm, every: 1s}]\n"
	c, err := load(t, map[string]string{"kedge.yaml": main, "int-b.yaml": "jobs: [{name: b, command: sync crm --full, schedule: 0 2 * * *, enabled: false, onFailure: {command: status}}]\n"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Jobs) != 2 || c.Jobs[1].Name != "b" || *c.Jobs[1].Enabled {
		t.Errorf("jobs %+v", c.Jobs)
	}
	_, err = load(t, map[string]string{"kedge.yaml": main, "int-b.yaml": "jobs:\n  - {name: b, integration: crm, every: 1ms}\n"})
	if want := "int-b.yaml:2:40: jobs[0].every: must be"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"sync crm", []string{"sync", "crm"}},
		{"  kedge\tsync   crm\n", []string{"sync", "crm"}},
		{`filter explain 'a eq "b c"' $HOME *`, []string{"filter", "explain", `a eq "b c"`, "$HOME", "*"}},
		{`x a\ b "c \" \d \\" '' d''e`, []string{"x", "a b", `c " \d \`, "", "de"}},
		{"x; rm -rf / | y > z &", []string{"x;", "rm", "-rf", "/", "|", "y", ">", "z", "&"}},
		{"", nil}, {" ", nil}, {"kedge", nil}, {`a "b`, nil}, {"a 'b", nil}, {`a \`, nil},
	} {
		got, err := Words(tt.line)
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("Words(%q) = %q, %v, want %q", tt.line, got, err, tt.want)
		}
	}
}
