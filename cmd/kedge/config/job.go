package config

import (
	"fmt"
	"time"

	"github.com/kedge-sync/kedge/cmd/kedge/schedule"
)

// A Job runs an integration, or another command of kedge, by a schedule.
type Job struct {
	Name        string `yaml:"name" json:"name"`
	Integration string `yaml:"integration" json:"integration,omitempty"`
	// Command is a command line of kedge without the word kedge, split into
	// words as a shell does it, but never given to one.
	Command   string     `yaml:"command" json:"command,omitempty"`
	Schedule  string     `yaml:"schedule" json:"schedule,omitempty"` // five cron fields
	Every     Duration   `yaml:"every" json:"every,omitzero"`        // at least 1s
	Timezone  string     `yaml:"timezone" json:"timezone,omitempty"` // of Schedule; defaults to UTC
	Enabled   *bool      `yaml:"enabled" json:"enabled,omitempty"`   // until a command says otherwise; defaults to true
	Jitter    Duration   `yaml:"jitter" json:"jitter,omitzero"`      // each run begins up to this much later
	Timeout   Duration   `yaml:"timeout" json:"timeout,omitzero"`    // a run that takes longer is stopped; 0 means never
	CatchUp   bool       `yaml:"catchUp" json:"catchUp,omitempty"`
	AtStart   bool       `yaml:"runAtStart" json:"runAtStart,omitempty"`
	Confirm   string     `yaml:"confirmReset" json:"confirmReset,omitempty"` // the integration's name: a first sync may delete local rows
	OnFailure *OnFailure `yaml:"onFailure" json:"onFailure,omitempty"`

	from *file
	at   string // path in from
}

// OnFailure says what is done when a job did not succeed.
type OnFailure struct {
	Command string `yaml:"command" json:"command"` // as Job.Command
}

// maxJitter is the most by which a run may be put off.
const maxJitter = Duration(24 * time.Hour)

// When returns the job's schedule.
func (j Job) When() (schedule.Schedule, error) {
	if j.Schedule != "" {
		return schedule.Cron(j.Schedule, j.Timezone)
	}
	return schedule.Every(time.Duration(j.Every))
}

// Check returns the key of the job that is wrong and what is wrong with it, or
// empty texts.
func (j Job) Check() (key, problem string) {
	switch {
	case !connectionName.MatchString(j.Name):
		return "name", "use a lower-case letter, then up to 62 lower-case letters, digits or hyphens"
	case j.Integration == "" && j.Command == "":
		return "integration", "missing; name an integration, or give a command"
	case j.Integration != "" && j.Command != "":
		return "command", "give integration or command, not both"
	case j.Schedule == "" && j.Every == 0:
		return "schedule", "missing; give schedule: \"0 2 * * *\" or every: 15m"
	case j.Schedule != "" && j.Every != 0:
		return "every", "give schedule or every, not both"
	case j.Schedule == "" && j.Timezone != "":
		return "timezone", "an interval has none; it goes with schedule"
	case j.Jitter > maxJitter:
		return "jitter", "must be at most 1d"
	case j.Every != 0 && j.Jitter >= j.Every:
		return "jitter", fmt.Sprintf("must be less than the interval, %v", j.Every)
	case j.Timeout != 0 && j.Timeout < Duration(time.Second):
		return "timeout", "must be at least 1s"
	case j.Confirm != "" && j.Confirm != j.Integration:
		return "confirmReset", "must be the name of the job's integration: it confirms that local rows may be deleted"
	}
	if key, problem = j.checkWhen(); problem == "" && j.Command != "" {
		if _, err := Words(j.Command); err != nil {
			return "command", err.Error()
		}
	}
	if problem == "" && j.OnFailure != nil {
		if _, err := Words(j.OnFailure.Command); err != nil {
			return "onFailure.command", err.Error()
		}
	}
	return key, problem
}

func (j Job) checkWhen() (key, problem string) {
	if _, err := schedule.Zone(j.Timezone); err != nil {
		return "timezone", err.Error()
	}
	if _, err := j.When(); err != nil {
		if j.Schedule != "" {
			return "schedule", err.Error()
		}
		return "every", err.Error()
	}
	return "", ""
}

// JobError is an error about a key of a job, with its place in the file.
func (j Job) JobError(key, problem string) error {
	text := fmt.Sprintf("%s.%s: %s", j.at, key, problem)
	if j.from == nil {
		return invalid("%s: %s", key, problem)
	}
	return j.from.errorAt("$."+j.at+"."+key, text)
}

// placeJobs notes where in f the jobs are.
func (f *file) placeJobs(jobs []Job) {
	for i := range jobs {
		jobs[i].from, jobs[i].at = f, fmt.Sprintf("jobs[%d]", i)
	}
}

func (c *Config) checkJobs() error {
	seen := map[string]bool{}
	for _, j := range c.Jobs {
		if key, problem := j.Check(); problem != "" {
			return j.JobError(key, problem)
		}
		if seen[j.Name] {
			return j.JobError("name", fmt.Sprintf("there is another job %q", j.Name))
		}
		seen[j.Name] = true
	}
	return nil
}
