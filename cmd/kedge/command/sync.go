package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) syncCommand() *cobra.Command {
	var req syncer.Request
	var all, dryRun bool
	c := &cobra.Command{
		Use: "sync NAME...", Short: "Bring integrations up to date",
		Long: `Reads what changed since the last run, or everything in the first run, and
stores it. A run that is killed costs nothing: the next one goes on where it
was. Tables and columns that are missing are made if the local connection says
so (create, onMissingColumn). More deletes than the mapping's limit stop the run until they are
confirmed with --force-deletes or taken back with "kedge deletes discard".

Exit codes: 0 done, 1 failed or another run is active, 3 some records are in
quarantine, 4 a person must decide.`,
		Example: examples("kedge sync crm", "kedge sync --all", "kedge sync crm --entity customers --full", "kedge sync crm --dry-run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := a.names(cmd.Context(), args, all)
			if err != nil {
				return err
			}
			req.Op, req.Trigger = syncer.Sync, "cli"
			if dryRun {
				if len(names) != 1 {
					return usagef("--dry-run takes one integration")
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

// names returns the integrations that a command line asks for.
func (a *app) names(ctx context.Context, args []string, all bool) ([]string, error) {
	switch {
	case all && len(args) > 0:
		return nil, usagef("give names or --all, not both")
	case !all && len(args) == 0:
		return nil, usagef("name an integration, or give --all")
	case !all:
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
	var names []string
	for _, i := range integrations {
		names = append(names, i.Name)
	}
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
		if err := a.known(cmd.Context(), name); err != nil {
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
		res, err := s.Run(cmd.Context(), req)
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
	case r.State == syncer.Failed && len(r.Entities) == 0: // it did not begin
		return
	case r.State == syncer.Cancelled:
		fmt.Fprintf(errOut, "kedge: %s: stopped; run it again to go on\n", r.Integration)
	case r.Message != "":
		fmt.Fprintf(errOut, "kedge: %s: %s\n", r.Integration, r.Message)
	}
	if r.Op == syncer.Sync {
		fmt.Fprintln(out, "download: "+r.Counts(syncer.Download).Line())
		fmt.Fprintln(out, "upload: "+r.Counts(syncer.Upload).Line())
	} else {
		fmt.Fprintln(out, r.Counts(syncer.Download).Line())
	}
	if n := r.Counts(syncer.Download); n.Quarantined+n.Duplicates+n.Refused > 0 {
		s := "s"
		if n.Failed() == 1 {
			s = ""
		}
		fmt.Fprintf(errOut, "kedge: %s: %d record%s could not be stored; see \"kedge quarantine list %s\"\n", r.Integration, n.Failed(), s, r.Integration)
	}
}

// newProgress reports on a terminal by a bar per entity, else by a line every
// five seconds.
func newProgress(w *os.File) func(syncer.Progress) {
	if !term.IsTerminal(int(w.Fd())) {
		return progressLines(w)
	}
	bars := map[string]*progressbar.ProgressBar{}
	return func(p syncer.Progress) {
		bar := bars[p.Integration+" "+p.Entity]
		if bar == nil {
			total := p.Total
			if total == 0 {
				total = -1
			}
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(p.Integration+" "+p.Entity),
				progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"), progressbar.OptionClearOnFinish())
			bars[p.Integration+" "+p.Entity] = bar
		}
		// A bar that cannot be drawn must not stop the work.
		_ = bar.Set64(p.Rows)
	}
}

// progressEvery is how often progress is told in lines.
const progressEvery = 5 * time.Second

func progressLines(w io.Writer) func(syncer.Progress) {
	start, last := time.Now(), map[string]time.Time{}
	return func(p syncer.Progress) {
		name := p.Integration + " " + p.Entity
		before, reported := last[name]
		if !reported {
			before = start // short work says nothing
		}
		now := time.Now()
		if now.Sub(before) < progressEvery {
			return
		}
		last[name] = now
		line := fmt.Sprintf("%s: %d rows, %.0f rows/s", name, p.Rows, p.Rate)
		if p.ETA > 0 {
			line += fmt.Sprintf(", %v left", p.ETA.Round(time.Second))
		}
		fmt.Fprintln(w, line)
	}
}

func (a *app) planCommand() *cobra.Command {
	var req syncer.Request
	var limit int
	var download, upload, sync bool
	c := &cobra.Command{
		Use: "plan NAME", Aliases: []string{"preview"}, Short: "Show what an import or a sync would do, and change nothing", Args: cobra.ExactArgs(1),
		Long: `Reads and decides with the code that runs use and prints what would be done
with each record, with the old and new values of each changed field. Tables
and columns that a run would make first are printed as statements, entities
that it would leave out with the reason.`,
		Example: examples("kedge plan crm", "kedge plan crm --sync --entity customers", "kedge plan crm --json", "kedge plan crm --ignore-key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if upload {
				return usagef("--upload: this version of kedge only downloads")
			}
			if download && sync {
				return usagef("give one of --download and --sync")
			}
			req.Integration, req.PlanOf = args[0], syncer.Import
			if sync {
				req.PlanOf = syncer.Sync
			}
			return a.plan(cmd, req, limit)
		},
	}
	c.Flags().BoolVar(&download, "download", false, "plan an import (the default)")
	c.Flags().BoolVar(&upload, "upload", false, "plan an export")
	c.Flags().BoolVar(&sync, "sync", false, "plan a sync")
	c.Flags().StringArrayVar(&req.Entities, "entity", nil, "only this entity of the mapping; may be repeated")
	c.Flags().IntVar(&limit, "limit", 100, "show at most so many records; 0 means all")
	c.Flags().BoolVar(&req.IgnoreKey, "ignore-key", false, "match records by their links only")
	return c
}

const planNote = "note: this preview honours the key, unlike the reference product; --ignore-key shows that view"

// plan prints the decisions of a preview: all of them are counted; of those
// about records, limit are shown.
func (a *app) plan(cmd *cobra.Command, req syncer.Request, limit int) error {
	s, err := a.sync(cmd.Context())
	if err != nil {
		return err
	}
	if err := a.known(cmd.Context(), req.Integration); err != nil {
		return err
	}
	req.Trigger = "cli"
	shown := []syncer.Decision{}
	counts := map[string]int{}
	records, left := 0, 0
	for d, err := range s.Preview(cmd.Context(), req) {
		if err != nil {
			return err
		}
		counts[d.Action]++
		if d.ExtKey != "" {
			records++
		}
		if limit != 0 && records > limit && d.ExtKey != "" {
			left++
			continue
		}
		shown = append(shown, d)
	}
	if !req.IgnoreKey {
		defer fmt.Fprintln(cmd.ErrOrStderr(), planNote)
	}
	return a.print(cmd.OutOrStdout(), shown, func(w io.Writer) {
		g := newGrid(w, "ENTITY", "ACTION", "EXTERNAL", "LOCAL", "CHANGES")
		for _, d := range shown {
			switch d.Action {
			case "schema":
				fmt.Fprintln(w, "would be made first: "+d.Reason+";")
			case "held":
				fmt.Fprintln(w, d.Entity+" would be held: "+d.Reason)
			default:
				g.row(d.Entity, d.Action, d.ExtKey, d.LocalKey, changesText(d))
			}
		}
		g.end()
		if left > 0 {
			fmt.Fprintf(w, "… and %d more; --limit 0 shows all\n", left)
		}
		for _, action := range []string{"create", "update", "delete", "unchanged", "filtered", "duplicate", "quarantine", "held"} {
			if counts[action] > 0 {
				fmt.Fprintf(w, "%s: %d\n", action, counts[action])
			}
		}
	})
}

func changesText(d syncer.Decision) string {
	if d.Reason != "" {
		return d.Reason
	}
	text := ""
	for i, c := range d.Changes {
		if i > 0 {
			text += ", "
		}
		if d.Action == "create" {
			text += fmt.Sprintf("%s=%v", c.Field, orNull(c.To))
		} else {
			text += fmt.Sprintf("%s: %v → %v", c.Field, orNull(c.From), orNull(c.To))
		}
	}
	return text
}

func orNull(v any) any {
	if v == nil {
		return "null"
	}
	return v
}
