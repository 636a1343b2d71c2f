package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) planCommand() *cobra.Command {
	var req syncer.Request
	var limit int
	var download, upload, sync bool
	c := &cobra.Command{
		Use: "plan NAME", Aliases: []string{"preview"}, Short: "Show what an import, an export or a sync would do, and change nothing", Args: cobra.ExactArgs(1),
		Long: `Reads and decides with the code that runs use and prints what would be done
with each record, with the old and new values of each changed field. Tables
and columns that a run would make first are printed as statements, entities
that it would leave out with the reason.`,
		Example: examples("kedge plan crm", "kedge plan crm --sync --entity customers", "kedge plan crm --upload", "kedge plan crm --json", "kedge plan crm --ignore-key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Integration, req.PlanOf = args[0], syncer.Import
			switch {
			case download && upload, download && sync, upload && sync:
				return usagef("give one of --download, --upload and --sync")
			case upload:
				req.PlanOf = syncer.Export
			case sync:
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
	if err := a.knownEntities(cmd.Context(), req.Integration, req.Entities); err != nil {
		return err
	}
	req.Trigger = "cli"
	planned, err := preview(cmd.Context(), s, req, limit)
	if err != nil {
		return err
	}
	shown, counts, left := planned.Items, planned.Counts, planned.More
	if !req.IgnoreKey {
		defer fmt.Fprintln(cmd.ErrOrStderr(), planNote)
	}
	return a.print(cmd.OutOrStdout(), shown, func(w io.Writer) {
		g := newGrid(w, "ENTITY", "DIRECTION", "ACTION", "EXTERNAL", "LOCAL", "CHANGES")
		for _, d := range shown {
			switch d.Action {
			case "schema":
				fmt.Fprintln(w, "would be made first: "+d.Reason+";")
			case "warning":
				fmt.Fprintln(w, d.Entity+": warning: "+d.Reason)
			case "held":
				fmt.Fprintln(w, d.Entity+" would be held: "+d.Reason)
			default:
				g.row(d.Entity, d.Direction, d.Action, d.ExtKey, d.LocalKey, changesText(d))
			}
		}
		g.end()
		if left > 0 {
			fmt.Fprintf(w, "… and %d more; --limit 0 shows all\n", left)
		}
		for _, action := range []string{"create", "update", "delete", "unchanged", "kept", "filtered", "conflict", "duplicate", "quarantine", "held"} {
			if counts[action] > 0 {
				fmt.Fprintf(w, "%s: %d\n", action, counts[action])
			}
		}
	})
}

// A planned is what a run would do.
type planned struct {
	Items  []syncer.Decision `json:"items"`
	Counts map[string]int    `json:"counts"` // by action, of all
	More   int               `json:"more"`   // records that are not in Items
}

// preview collects the decisions of a preview; of those about records, limit,
// or all if it is 0.
func preview(ctx context.Context, s *syncer.Syncer, req syncer.Request, limit int) (*planned, error) {
	p := &planned{Items: []syncer.Decision{}, Counts: map[string]int{}}
	records := 0
	for d, err := range s.Preview(ctx, req) {
		if err != nil {
			return nil, err
		}
		p.Counts[d.Action]++
		if ofRecord := d.ExtKey != "" || d.LocalKey != ""; ofRecord {
			if records++; limit != 0 && records > limit {
				p.More++
				continue
			}
		}
		p.Items = append(p.Items, d)
	}
	return p, nil
}

func changesText(d syncer.Decision) string {
	if len(d.Changes) == 0 {
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
