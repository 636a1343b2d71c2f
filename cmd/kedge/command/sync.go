package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) syncCommand() *cobra.Command {
	var req syncer.Request
	var all, dryRun, yes bool
	c := &cobra.Command{
		Use: "sync NAME...", Short: "Bring integrations up to date",
		Long: `Reads what changed since the last run, or everything in the first run, and
stores it; sends what changed here, if the mapping's direction says so. A run
that is killed costs nothing: the next one goes on where it was. Tables and columns that are missing are made if the local connection says
so (create, onMissingColumn). More deletes than the mapping's limit stop the run until they are
confirmed with --force-deletes or taken back with "kedge deletes discard".

With --reset-local, or in the first sync of a mapping with "firstSync: reset",
the local rows of the entities that are downloaded are replaced by what the
other side has, after a confirmation: rows that match by key keep their local
id, all others are deleted, and local changes that were not sent are lost.
Everything is read before anything is deleted, and all of it happens at once
or not at all.

Exit codes: 0 done, 1 failed or another run is active, 3 some records are in
quarantine, 4 a person must decide.`,
		Example: examples("kedge sync crm", "kedge sync --all", "kedge sync crm --entity customers --full", "kedge sync crm --dry-run", "kedge sync crm --reset-local --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := a.names(cmd.Context(), args, all)
			if err != nil {
				return err
			}
			req.Op, req.Trigger, req.By = syncer.Sync, "cli", user()
			req.Confirm = confirmReset(yes)
			if dryRun {
				if len(names) != 1 {
					return usagef("--dry-run takes one integration")
				}
				if req.ResetLocal {
					return usagef("--reset-local has no --dry-run; without --yes it says what it deletes")
				}
				req.Integration, req.PlanOf = names[0], syncer.Sync
				return a.plan(cmd, req, 100)
			}
			return a.runAll(cmd, names, req)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all integrations")
	c.Flags().StringArrayVar(&req.Entities, "entity", nil, "only this entity of the mapping; may be repeated")
	c.Flags().BoolVar(&req.Full, "full", false, "read everything, whatever the anchors say; nothing is wiped")
	c.Flags().BoolVar(&req.ForceDeletes, "force-deletes", false, "apply deletes that are over the limit")
	c.Flags().BoolVar(&req.ResetLocal, "reset-local", false, "delete the local rows and take over what the other side has")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask before local rows are deleted")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be done and change nothing; same as plan --sync")
	return c
}

func (a *app) importCommand() *cobra.Command {
	req := syncer.Request{Op: syncer.Import, Trigger: "cli"}
	c := &cobra.Command{
		Use: "import NAME", Short: "Bring all external records over once", Args: cobra.ExactArgs(1),
		Long:    "Reads everything and stores it, whatever the directions in the mapping say. Anchors stay as they are and nothing is deleted.",
		Example: examples("kedge import crm", "kedge import crm --entity customers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runAll(cmd, args, req)
		},
	}
	c.Flags().StringArrayVar(&req.Entities, "entity", nil, "only this entity of the mapping; may be repeated")
	return c
}

func (a *app) exportCommand() *cobra.Command {
	req := syncer.Request{Op: syncer.Export, Trigger: "cli"}
	c := &cobra.Command{
		Use: "export NAME", Short: "Send all local records over once", Args: cobra.ExactArgs(1),
		Long: `Reads all local records that pass the upload filter and sends what the other
side lacks, whatever the directions in the mapping say. Where nothing is known
of what both sides agreed on, the local values win. Anchors stay as they are and
nothing is deleted.`,
		Example: examples("kedge export crm", "kedge export crm --entity customers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runAll(cmd, args, req)
		},
	}
	c.Flags().StringArrayVar(&req.Entities, "entity", nil, "only this entity of the mapping; may be repeated")
	return c
}

// names returns the integrations that a command line asks for.
func (a *app) names(ctx context.Context, args []string, all bool) ([]string, error) {
	switch {
	case all && len(args) > 0:
		return nil, usagef("give names or --all, not both")
	case !all && len(args) == 0:
		return nil, usagef("name an integration, or give --all")
	case !all:
		names := slices.Sorted(slices.Values(args))
		if len(slices.Compact(names)) < len(args) {
			return nil, usagef("name an integration once")
		}
		return args, nil
	}
	s, err := a.sync(ctx)
	if err != nil {
		return nil, err
	}
	integrations, err := s.Integrations(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Collect(maps.Keys(a.unread))
	for _, i := range integrations {
		if a.unread[i.Name] == nil {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		return nil, usagef("there is no integration yet; see \"kedge integrations create --help\"")
	}
	return names, nil
}

// runAll runs integrations one after the other and shows how they ended.
func (a *app) runAll(cmd *cobra.Command, names []string, req syncer.Request) error {
	a.progress, a.patient = newProgress(os.Stderr), true
	s, err := a.sync(cmd.Context())
	if err != nil {
		return err
	}
	var results []syncer.Result
	for _, name := range names {
		if len(names) > 1 && a.unread[name] != nil {
			continue // the others run
		}
		if err := a.knownEntities(cmd.Context(), name, req.Entities); err != nil {
			return err
		}
	}
	defer tellStop(cmd)()
	for _, name := range names {
		if len(results) > 0 && cmd.Context().Err() != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "kedge: %s: not begun\n", name)
			results = append(results, syncer.Result{Integration: name, Op: req.Op, State: syncer.Cancelled})
			continue
		}
		req.Integration = name
		res, err := syncer.Result{}, a.unread[name]
		if err == nil {
			res, err = s.Run(cmd.Context(), req)
		}
		if err != nil && len(res.Entities) == 0 {
			if len(names) == 1 {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "kedge: %s: %v\n", name, err)
			res = syncer.Result{Integration: name, Op: req.Op, State: syncer.Failed}
		}
		results = append(results, res)
		if a.output == "table" {
			showResult(cmd.OutOrStdout(), cmd.ErrOrStderr(), res)
		}
	}
	if a.output != "table" {
		if err := a.print(cmd.OutOrStdout(), resultsJSON(results), nil); err != nil {
			return err
		}
	}
	return exitOf(results...)
}

// tellStop tells a person who presses Ctrl-C what happens now. It returns what
// ends that.
func tellStop(cmd *cobra.Command) func() {
	stop := context.AfterFunc(cmd.Context(), func() {
		fmt.Fprintln(cmd.ErrOrStderr(), "kedge: stopping after the current page; the next run goes on from there. Press Ctrl-C again to stop at once; nothing is lost by that either.")
	})
	return func() { stop() }
}

// resultsJSON is the documented form of results: one object per integration,
// with the result lines.
func resultsJSON(results []syncer.Result) []map[string]any {
	out := []map[string]any{}
	for _, r := range results {
		text, err := json.Marshal(r)
		if err != nil {
			panic(err) // plain data
		}
		m := map[string]any{}
		if err := json.Unmarshal(text, &m); err != nil {
			panic(err)
		}
		m["took"] = r.Took.Round(time.Millisecond).String()
		m["lines"] = map[string]string{"download": r.Counts(syncer.Download).Line(), "upload": r.Counts(syncer.Upload).Line()}
		out = append(out, m)
	}
	return out
}

// showResult prints how a run ended: the result lines on standard output, what
// needs attention on standard error.
func showResult(out, errOut io.Writer, r syncer.Result) {
	for _, e := range r.Entities {
		for _, w := range e.Warnings {
			fmt.Fprintf(errOut, "kedge: %s %s: warning: %s\n", r.Integration, e.Entity, w)
		}
		if e.Error != "" {
			fmt.Fprintf(errOut, "kedge: %s %s: %s: %s\n", r.Integration, e.Entity, e.State, e.Error)
		}
	}
	switch {
	case r.State == syncer.Skipped:
		fmt.Fprintf(errOut, "kedge: %s: %s\n", r.Integration, r.Message)
		return
	case r.State == syncer.Stopped && len(r.Entities) == 0: // nobody has confirmed
		fmt.Fprintf(errOut, "kedge: %s: %s\n", r.Integration, r.Message)
		return
	case r.State == syncer.Failed && len(r.Entities) == 0: // it did not begin
		return
	case r.State == syncer.Cancelled:
		fmt.Fprintf(errOut, "kedge: %s: stopped; run it again to go on\n", r.Integration)
	case r.Message != "":
		fmt.Fprintf(errOut, "kedge: %s: %s\n", r.Integration, r.Message)
	}
	switch r.Op {
	case syncer.Sync:
		fmt.Fprintln(out, "download: "+r.Counts(syncer.Download).Line())
		fmt.Fprintln(out, "upload: "+r.Counts(syncer.Upload).Line())
	case syncer.Export:
		fmt.Fprintln(out, r.Counts(syncer.Upload).Line())
	default:
		fmt.Fprintln(out, r.Counts(syncer.Download).Line())
	}
	showFailed(errOut, r)
}

// showFailed tells where to look for records that did not end well.
func showFailed(w io.Writer, r syncer.Result) {
	down, up := r.Counts(syncer.Download), r.Counts(syncer.Upload)
	for _, problem := range []struct {
		n        int64
		text, at string
	}{
		{down.Failed() - down.Conflicts, "could not be stored", "quarantine list " + r.Integration},
		{up.Failed() - up.Conflicts, "could not be sent", "transactions list --integration " + r.Integration + "\" and \"kedge quarantine list " + r.Integration},
		{down.Conflicts + up.Conflicts, "changed on both sides", "conflicts list " + r.Integration},
	} {
		if problem.n == 0 {
			continue
		}
		s := "s"
		if problem.n == 1 {
			s = ""
		}
		fmt.Fprintf(w, "kedge: %s: %d record%s %s; see \"kedge %s\"\n", r.Integration, problem.n, s, problem.text, problem.at)
	}
}
