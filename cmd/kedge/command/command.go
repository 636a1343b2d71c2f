// Package command is kedge's command line: one file per group of commands.
package command

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
	"github.com/kedge-sync/kedge/syncer"
)

// Version is the version of kedge, set by the linker in releases.
var Version = "0.1.0-dev"

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2 // the command line, the config or a mapping is wrong
	exitPartly = 3 // some records are in quarantine or were refused
	exitPerson = 4 // a person must decide: a conflict, a confirmation or the breaker
)

// ErrShown marks errors that the user has been told about already.
var ErrShown = errors.New("shown")

// An exitError carries the exit code of an error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// usage marks err as the user's to mend.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitUsage, err}
}

// usageIfInvalid marks errors of kind Invalid as the user's to mend.
func usageIfInvalid(err error) error {
	if kedge.KindOf(err) == kedge.Invalid {
		return usage(err)
	}
	return err
}

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// ExitCode returns the exit code for an error of the command line.
func ExitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}

// exitOf returns the error that makes the process end as runs ended: what a
// person must do comes before records that failed.
func exitOf(results ...syncer.Result) error {
	code := 0
	for _, r := range results {
		c := 0
		switch r.State {
		case syncer.Stopped:
			c = exitPerson
		case syncer.Failed, syncer.Skipped, syncer.Cancelled:
			c = exitFailed
		case syncer.Partial:
			c = exitPartly
			for _, e := range r.Entities {
				if e.State == syncer.Failed {
					c = exitFailed
				}
			}
		}
		if r.Counts(syncer.Download).Conflicts+r.Counts(syncer.Upload).Conflicts > 0 {
			c = exitPerson
		}
		if rank(c) > rank(code) {
			code = c
		}
	}
	if code == 0 {
		return nil
	}
	return &exitError{code, ErrShown}
}

// rank orders exit codes: 4 beats 1 beats 3 beats 0.
func rank(code int) int { return [...]int{0, 2, 0, 1, 3}[code] }

// New returns the root command.
func New() *cobra.Command {
	a := new(app)
	root := &cobra.Command{
		Use:   "kedge",
		Short: "Keep systems in step that were never built to share records",
		Long: `kedge moves records between systems by mapping files, and remembers exactly
how far it got: full and incremental, in one direction or both, resumable, with
nothing lost when it is killed. It reads its configuration from kedge.yaml.

New here? "kedge demo" shows a sync in a minute, "kedge init" writes a config.`,
		Example:       examples("kedge demo", "kedge init", "kedge check", "kedge sync --all", "kedge status"),
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       Version,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", envOr("KEDGE_CONFIG", "kedge.yaml"), "config file; also by $KEDGE_CONFIG")
	flags.StringVarP(&a.output, "output", "o", "table", "table, json or yaml")
	flags.BoolVar(&a.json, "json", false, "short for --output json")
	flags.BoolVar(&a.noMigrate, "no-migrate", false, "refuse to run on a database whose tables are not up to date")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usagef("%v; see %q", err, c.CommandPath()+" --help") })
	root.AddCommand(
		a.demoCommand(), a.initCommand(), a.checkCommand(), a.configCommand(), a.connectionsCommand(), a.discoverCommand(),
		a.integrationsCommand(), a.mapCommand(), a.planCommand(), a.importCommand(), a.exportCommand(), a.syncCommand(), a.statusCommand(), a.logCommand(),
		a.runsCommand(), a.anchorsCommand(), a.deletesCommand(), a.quarantineCommand(), a.transactionsCommand(), a.conflictsCommand(), a.filterCommand(),
		a.ingestCommand(),
		a.jobsCommand(),
		a.subscriptionsCommand(), a.listenCommand(),
		a.serveCommand(), a.tokensCommand(), a.backupCommand(), a.migrateCommand(), a.versionCommand(),
	)
	closeAfter(root, a)
	return root
}

// closeAfter makes every command check its common flags first and close what
// it opened at its end, also when it fails.
func closeAfter(c *cobra.Command, a *app) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			defer a.close()
			if err := a.checkOutput(); err != nil {
				return err
			}
			if limit := cmd.Flags().Lookup("limit"); limit != nil && strings.HasPrefix(limit.Value.String(), "-") {
				return usagef("--limit %s: give a number that is not negative", limit.Value)
			}
			return run(cmd, args)
		}
	} else if c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs // cobra's own error for unknown commands has no exit code
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		}
	}
	if args := c.Args; args != nil {
		c.Args = func(cmd *cobra.Command, in []string) error {
			if err := args(cmd, in); err != nil {
				return usagef("%v; usage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		closeAfter(sub, a)
	}
}

// unknownCommand is the error for a name that is no command of c.
func unknownCommand(c *cobra.Command, name string) error {
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	if near := nearest.Name(name, names); near != "" {
		return usagef("unknown command %q for %q; did you mean %q?", name, c.CommandPath(), near)
	}
	return usagef("unknown command %q for %q; see %q", name, c.CommandPath(), c.CommandPath()+" --help")
}

func envOr(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

// group returns a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(subs...)
	var lines []string
	for _, sub := range subs {
		first, _, _ := strings.Cut(strings.TrimSpace(sub.Example), "\n")
		lines = append(lines, first)
	}
	c.Example = examples(lines...)
	return c
}

// examples formats the examples of a command.
func examples(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: examples("kedge version"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "kedge "+Version)
			return err
		},
	}
}
