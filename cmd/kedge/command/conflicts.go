package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) conflictsCommand() *cobra.Command {
	return group("conflicts", "Look at records that both sides changed, and decide about them", a.conflictsList(), a.conflictsShow(), a.conflictsResolve())
}

func (a *app) conflictsList() *cobra.Command {
	var q syncer.ConflictQuery
	c := &cobra.Command{
		Use: "list [NAME]", Short: "List records that wait for a person", Args: cobra.MaximumNArgs(1),
		Example: examples("kedge conflicts list", "kedge conflicts list crm --entity customers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				q.Integration = args[0]
			}
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.known(cmd.Context(), q.Integration); err != nil {
				return err
			}
			all, err := s.Conflicts(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(all), func(w io.Writer) {
				g := newGrid(w, "ID", "INTEGRATION", "ENTITY", "LOCAL", "EXTERNAL", "SINCE", "STATE", "REASON")
				for _, c := range all {
					g.row(c.ID, c.Integration, c.Entity, c.LocalKey, c.ExternalKey, c.At.Local().Format(time.DateTime), c.State, c.Reason)
				}
				g.end()
			})
		},
	}
	c.Flags().StringVar(&q.Entity, "entity", "", "only this entity of the mapping")
	c.Flags().BoolVar(&q.All, "all", false, "also those that are resolved or superseded")
	c.Flags().IntVar(&q.Limit, "limit", 100, "how many")
	return c
}

func (a *app) conflictsShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show the versions of a record side by side", Args: cobra.ExactArgs(1),
		Long: `Prints each field as both sides agreed on it last (base), as it is here (local),
and as it is there (remote), at the time when the conflict was found. Fields
that both sides changed are marked with *. Values may be personal data; no other
command and no log shows them.`,
		Example: examples("kedge conflicts show 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			found, err := s.Conflicts(cmd.Context(), syncer.ConflictQuery{IDs: args})
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return fmt.Errorf("there is no conflict %s; see \"kedge conflicts list --all\"", args[0])
			}
			c := found[0]
			sides, err := c.Sides()
			if err != nil {
				return err
			}
			data := map[string]any{"conflict": c, "fields": notNil(sides)}
			return a.print(cmd.OutOrStdout(), data, func(w io.Writer) {
				for _, line := range [][2]any{
					{"id", c.ID}, {"integration", c.Integration}, {"entity", c.Entity}, {"local", c.LocalKey}, {"external", c.ExternalKey},
					{"since", c.At.Local().Format(time.DateTime)}, {"state", c.State}, {"reason", c.Reason}, {"policy", c.Policy},
					{"resolution", c.Resolution}, {"by", c.By},
				} {
					if line[1] != "" {
						fmt.Fprintf(w, "%-11s %v\n", line[0], line[1])
					}
				}
				fmt.Fprintln(w)
				g := newGrid(w, "FIELD", "BASE", "LOCAL", "REMOTE")
				for _, f := range sides {
					name := f.Field
					if f.Conflict {
						name += " *"
					}
					g.row(name, textOf(f.Base), textOf(f.Local), textOf(f.Remote))
				}
				g.end()
			})
		},
	}
}

// conflictJSON is the documented form of a conflict with both sides.
func conflictJSON(c *syncer.Conflict) (map[string]any, error) {
	sides, err := c.Sides()
	return map[string]any{"conflict": c, "fields": notNil(sides)}, err
}

func textOf(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func (a *app) conflictsResolve() *cobra.Command {
	var take string
	var set []string
	c := &cobra.Command{
		Use: "resolve ID --take local|remote|merged", Short: "End a conflict: take one side, or both merged", Args: cobra.ExactArgs(1),
		Long: `Looks at both sides as they are now and decides about the record:

  remote   the local record becomes as the remote one; if that was deleted, it is deleted here
  local    the next sync makes the remote record as the local one; if that was deleted, it is deleted there
  merged   fields that one side changed are taken from it, those that both changed as --set says

--set takes a local field and its value; an empty value is null, or of a text
field the empty text.`,
		Example: examples("kedge conflicts resolve 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11 --take remote",
			"kedge conflicts resolve 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11 --take merged --set 'name=Agreed name'"),
		RunE: func(cmd *cobra.Command, args []string) error {
			how, err := resolution(take, set)
			if err != nil {
				return err
			}
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			sends, err := s.ResolveConflict(cmd.Context(), args[0], how)
			if err != nil {
				return err
			}
			text := "resolved; both sides agree"
			if sends {
				text = "resolved; the next sync sends the rest"
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
	c.Flags().StringVar(&take, "take", "", "local, remote or merged")
	c.Flags().StringArrayVar(&set, "set", nil, "with --take merged: LOCALFIELD=VALUE; may be repeated")
	return c
}

// checkResolution refuses what is no decision; take and set name its parts.
func checkResolution(how syncer.Resolution, take, set string) error {
	if !slices.Contains([]syncer.Take{syncer.TakeLocal, syncer.TakeRemote, syncer.TakeMerged}, how.Take) {
		return usagef("%s: say local, remote or merged", take)
	}
	if len(how.Set) > 0 && how.Take != syncer.TakeMerged {
		return usagef("%s goes with %s merged", set, take)
	}
	return nil
}

// resolution reads the flags of a decision.
func resolution(take string, set []string) (syncer.Resolution, error) {
	how := syncer.Resolution{Take: syncer.Take(take), Set: map[string]string{}, By: user()}
	if err := checkResolution(how, "--take", "--set"); err != nil {
		return how, err
	}
	if len(set) > 0 && how.Take != syncer.TakeMerged {
		return how, usagef("--set goes with --take merged")
	}
	for _, pair := range set {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return how, usagef("--set takes LOCALFIELD=VALUE")
		}
		if _, twice := how.Set[name]; twice {
			return how, usagef("--set gives %s twice", name)
		}
		how.Set[name] = value
	}
	return how, nil
}
