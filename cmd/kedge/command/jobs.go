package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/jobs"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/syncer"
)

// jobs returns the jobs, with those of the config up to date.
func (a *app) jobs(ctx context.Context) (*jobs.Service, error) {
	s, err := a.jobService(ctx)
	if err != nil {
		return nil, err
	}
	return s, jobError(s.Load(ctx, a.cfg.Jobs, false))
}

// jobService returns the jobs without looking into the config. What becomes of
// them is for the command to show.
func (a *app) jobService(ctx context.Context) (*jobs.Service, error) {
	s, err := a.sync(ctx)
	if err != nil {
		return nil, err
	}
	return a.newJobs(func() *app { return a }, func() *syncer.Syncer { return s }, nil), nil
}

// newJobs returns the jobs for a config and a syncer that may be replaced.
func (a *app) newJobs(current func() *app, sync func() *syncer.Syncer, log *slog.Logger) *jobs.Service {
	return jobs.New(jobs.Options{
		Store: a.store, Syncer: sync, Config: a.configPath, Logger: log, CheckCommand: checkJobCommand,
		CheckIntegration: func(ctx context.Context, name string) error {
			if slices.ContainsFunc(current().cfg.Integrations, func(i config.Integration) bool { return i.Name == name }) {
				return nil // if its mapping is wrong, the run says so
			}
			_, err := sync().Mapping(ctx, name)
			return err
		},
	})
}

// jobError makes what is wrong with a job the user's to mend.
func jobError(err error) error {
	switch kedge.KindOf(err) {
	case kedge.Invalid, kedge.NotFound, kedge.Conflict:
		return usage(err)
	}
	return err
}

// checkJobCommand refuses command lines that are none, or that do not end.
func checkJobCommand(words []string) error {
	root := New()
	c, rest, err := root.Find(words)
	if err != nil || c == root || c.HasSubCommands() {
		return fmt.Errorf("%q is no command of kedge; see \"kedge help\"", words[0])
	}
	if slices.Contains([]string{"kedge serve", "kedge demo", "kedge demo odata", "kedge init"}, c.CommandPath()) {
		return fmt.Errorf("a job cannot run %q", c.CommandPath())
	}
	if err = c.ParseFlags(rest); err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	if err != nil {
		return fmt.Errorf("%w; see %q", err, c.CommandPath()+" --help")
	}
	return nil
}

// jobsModule is the part of the server that runs jobs.
func (l *live) jobsModule(ctx context.Context) (server.Module, error) {
	a, sync := l.app.Load(), func() *syncer.Syncer { return l.app.Load().syncer }
	s := a.newJobs(l.app.Load, sync, l.log)
	if err := s.Load(ctx, a.cfg.Jobs, true); err != nil {
		return server.Module{}, jobError(err)
	}
	l.onReload(func(ctx context.Context, next *app) (func(), error) {
		checker := next.newJobs(func() *app { return next }, sync, nil)
		return func() {
			if err := s.Load(ctx, next.cfg.Jobs, false); err != nil {
				l.log.ErrorContext(ctx, "jobs of the config not loaded; reload it again", "err", err)
			}
		}, checker.Check(ctx, next.cfg.Jobs)
	})
	return server.Module{Name: "jobs", AdminRoutes: s.AdminRoutes, Run: s.Run, Ready: s.Ready}, nil
}

func (a *app) jobsCommand() *cobra.Command {
	return group("jobs", "List, create, switch and run jobs, which \"kedge serve\" runs by a schedule",
		a.jobsList(), a.jobsCreate(), a.jobsDelete(), a.jobsSwitch("enable", true), a.jobsSwitch("disable", false), a.jobsRun())
}

func (a *app) jobsList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List jobs with their last and next runs", Args: cobra.NoArgs, Example: examples("kedge jobs list", "kedge jobs list --json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.jobs(cmd.Context())
			if err != nil {
				return err
			}
			all, err := s.List(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), all, func(w io.Writer) {
				g := newGrid(w, "JOB", "RUNS", "SCHEDULE", "ENABLED", "LAST RUN", "RESULT", "NEXT RUN", "FROM")
				for _, j := range all {
					last, result := "", "never run"
					if l := j.LastRun; l != nil {
						last, result = l.Started.Local().Format(time.DateTime), string(l.State)
					}
					if j.Running {
						result = "running"
					}
					g.row(j.Name, jobDoes(j.Job), jobWhen(j.Job), yesNo(j.Enabled), last, result, localTime(j.NextRun), j.From)
				}
				g.end()
			})
		},
	}
}

func jobDoes(j config.Job) string {
	if j.Integration != "" {
		return "sync " + j.Integration
	}
	return j.Command
}

func jobWhen(j config.Job) string {
	if j.Schedule == "" {
		return "every " + j.Every.String()
	}
	zone := j.Timezone
	if zone == "" {
		zone = "UTC"
	}
	return j.Schedule + " " + zone
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func localTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func (a *app) jobsCreate() *cobra.Command {
	var j config.Job
	var every, jitter, timeout, onFailure string
	var disabled bool
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a job that is kept in the database", Args: cobra.ExactArgs(1),
		Long: `Makes a job that runs an integration, or a command of kedge, by a schedule. It
does what an entry under jobs: in the config does; servers see it within seconds.`,
		Example: examples(`kedge jobs create nightly --integration crm --schedule "0 2 * * *" --timezone Europe/Berlin`,
			"kedge jobs create often --integration crm --every 15m --jitter 1m --timeout 10m",
			`kedge jobs create whole --command "sync crm --full" --schedule "0 4 * * SUN"`),
		RunE: func(cmd *cobra.Command, args []string) error {
			j.Name = args[0]
			for _, d := range []struct {
				flag, text string
				to         *config.Duration
			}{{"every", every, &j.Every}, {"jitter", jitter, &j.Jitter}, {"timeout", timeout, &j.Timeout}} {
				if d.text == "" {
					continue
				}
				v, err := config.ParseDuration(d.text)
				if err != nil {
					return usagef("--%s: %v", d.flag, err)
				}
				*d.to = config.Duration(v)
			}
			if disabled {
				j.Enabled = new(bool)
			}
			if onFailure != "" {
				j.OnFailure = &config.OnFailure{Command: onFailure}
			}
			s, err := a.jobs(cmd.Context())
			if err != nil {
				return err
			}
			job, err := s.Create(cmd.Context(), j, user())
			if err != nil {
				return jobError(err)
			}
			return a.print(cmd.OutOrStdout(), job, func(w io.Writer) { fmt.Fprintln(w, nextRun(job)) })
		},
	}
	f := c.Flags()
	f.StringVar(&j.Integration, "integration", "", "the integration to sync")
	f.StringVar(&j.Command, "command", "", "a command line of kedge to run instead; it is not given to a shell")
	f.StringVar(&j.Schedule, "schedule", "", "five cron fields: minute, hour, day of month, month, day of week")
	f.StringVar(&every, "every", "", "interval instead, such as 15m; at least 1s")
	f.StringVar(&j.Timezone, "timezone", "", "time zone of --schedule, such as Europe/Berlin (default UTC)")
	f.StringVar(&jitter, "jitter", "", "let each run begin up to this much later")
	f.StringVar(&timeout, "timeout", "", "stop a run that takes longer, after the page it is at")
	f.BoolVar(&j.CatchUp, "catch-up", false, "run once for the times that came while no server ran")
	f.BoolVar(&j.AtStart, "run-at-start", false, "also run when a server starts")
	f.StringVar(&j.Confirm, "confirm-reset", "", "name of the integration: its first sync may delete local rows")
	f.StringVar(&onFailure, "on-failure", "", "a command line of kedge to run when a run did not succeed")
	f.BoolVar(&disabled, "disabled", false, "do not run it before \"kedge jobs enable\"")
	return c
}

// nextRun says when a job runs next.
func nextRun(j jobs.Job) string {
	if j.NextRun == nil {
		return j.Name + " is disabled"
	}
	return fmt.Sprintf("%s runs next at %s, if a server runs", j.Name, localTime(j.NextRun))
}

func (a *app) jobsDelete() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete NAME", Short: "Delete a job that is kept in the database", Args: cobra.ExactArgs(1), Example: examples("kedge jobs delete often --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.jobService(cmd.Context())
			if err != nil {
				return err
			}
			s.Know(a.cfg.Jobs)
			if _, err := s.Get(cmd.Context(), args[0]); err != nil {
				return jobError(err)
			}
			if err := confirm(yes, fmt.Sprintf("job %s and its history are deleted", args[0])); err != nil {
				return err
			}
			if err := s.Delete(cmd.Context(), args[0]); err != nil {
				return jobError(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "deleted "+args[0])
			return err
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) jobsSwitch(verb string, on bool) *cobra.Command {
	short := map[bool]string{true: "Let a job run by its schedule", false: "Keep a job from running by its schedule; by hand it still can"}[on]
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1), Example: examples("kedge jobs " + verb + " nightly"),
		Long: short + ". Servers see it within seconds. What the config says of it (enabled) counts again only when that changes.",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.jobs(cmd.Context())
			if err != nil {
				return err
			}
			job, err := s.SetEnabled(cmd.Context(), args[0], on)
			if err != nil {
				return jobError(err)
			}
			return a.print(cmd.OutOrStdout(), job, func(w io.Writer) { fmt.Fprintln(w, nextRun(job)) })
		},
	}
}

func (a *app) jobsRun() *cobra.Command {
	return &cobra.Command{
		Use: "run NAME", Short: "Run a job now, in this process", Args: cobra.ExactArgs(1), Example: examples("kedge jobs run nightly"),
		Long: `Runs a job as its schedule would, whether it is enabled or not, and waits for the
end. The schedule stays as it is. Exit codes are those of "kedge sync", or of the job's command.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.progress, a.patient = newProgress(os.Stderr), true
			s, err := a.jobs(cmd.Context())
			if err != nil {
				return err
			}
			defer tellStop(cmd)()
			o, err := s.RunNow(cmd.Context(), args[0])
			if kedge.KindOf(err) == kedge.NotFound {
				return jobError(err)
			}
			if err != nil {
				return err
			}
			if a.output != "table" {
				if err := a.print(cmd.OutOrStdout(), o, nil); err != nil {
					return err
				}
			} else {
				showOutcome(cmd, args[0], o)
			}
			return exitOfJob(o)
		},
	}
}

// showOutcome prints how a run ended as "kedge sync" does, and why.
func showOutcome(cmd *cobra.Command, name string, o jobs.Outcome) {
	began := o.Result != nil && len(o.Result.Entities) > 0
	if began {
		showResult(cmd.OutOrStdout(), cmd.ErrOrStderr(), *o.Result)
	}
	switch {
	case o.Message != "" && !(began && o.Message == o.Result.Message):
		fmt.Fprintf(cmd.ErrOrStderr(), "kedge: job %s: %s: %s\n", name, o.State, o.Message)
	case !began:
		fmt.Fprintf(cmd.OutOrStdout(), "job %s: %s\n", name, o.State)
	}
}

// exitOfJob returns the error that makes the process end as the job's run did.
func exitOfJob(o jobs.Outcome) error {
	switch {
	case o.State == jobs.Succeeded && o.Result == nil:
		return nil
	case o.Exit > 0:
		return &exitError{o.Exit, ErrShown}
	case o.Result != nil:
		return exitOf(*o.Result)
	}
	return &exitError{exitFailed, ErrShown}
}
