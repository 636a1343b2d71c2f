package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) mapCommand() *cobra.Command {
	return group("map", "Work on the mapping of an integration",
		a.mapSuggest(), a.mapCheck(), a.mapEnable(), a.mapDisable(), a.mapTables(), a.mapCleanup(), a.mapTest(), a.mapExport(), a.mapImport())
}

// A draft is a mapping with the live schemas of both sides.
type draft struct {
	syncer      *syncer.Syncer
	integration *syncer.Integration
	mapping     *mapping.Mapping
	ext, loc    *kedge.Schema
}

func (a *app) draft(ctx context.Context, name string) (*draft, error) {
	s, i, err := a.integration(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &draft{syncer: s, integration: i}
	if d.mapping, err = i.Parse(); err != nil {
		return nil, usage(err)
	}
	if d.ext, err = s.SchemaOf(ctx, i.External, name); err != nil {
		return nil, err
	}
	d.loc, err = s.SchemaOf(ctx, i.Local, name)
	return d, err
}

// save checks the mapping and stores it as a new revision. A mapping from a
// file is edited in the file: the new text is printed instead.
func (d *draft) save(cmd *cobra.Command, m *mapping.Mapping) error {
	if err := d.check(m); err != nil {
		showFindings(cmd.ErrOrStderr(), d.integration.Name, err.findings)
		return usage(ErrShown)
	}
	if source := d.integration.Source; source != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "kedge: the mapping comes from %s and is edited there; it would read:\n", source)
		_, err := cmd.OutOrStdout().Write(m.Marshal())
		return err
	}
	saved, err := d.store(cmd.Context(), m, user())
	if err != nil {
		return usage(err)
	}
	if saved.Revision == d.integration.Revision {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: nothing changed, still revision %d\n", saved.Name, saved.Revision)
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: saved as revision %d\n", saved.Name, saved.Revision)
	return err
}

// A refusedMapping is the error for a mapping that cannot be saved.
type refusedMapping struct {
	mapping  *mapping.Mapping
	findings []mapping.Finding
}

func (e *refusedMapping) Error() string {
	lines := make([]string, len(e.findings))
	for i, f := range e.findings {
		lines[i] = f.Text()
	}
	return strings.Join(lines, "\n")
}

// check compares a mapping with both systems; what cannot be saved is an error.
func (d *draft) check(m *mapping.Mapping) *refusedMapping {
	if refused := mapping.Refusals(mapping.Check(m, d.ext, d.loc)); len(refused) > 0 {
		return &refusedMapping{m, refused}
	}
	return nil
}

// store makes a checked mapping the newest revision, if nobody did so since the
// draft was made.
func (d *draft) store(ctx context.Context, m *mapping.Mapping, by string) (*syncer.Integration, error) {
	next := *d.integration
	next.YAML, next.Author = string(m.Marshal()), by
	return d.syncer.Replace(ctx, next)
}

func (a *app) mapCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check NAME", Short: "Compare a mapping with both live systems", Args: cobra.ExactArgs(1), Example: examples("kedge map check crm", "kedge map check crm --json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, i, err := a.integration(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			findings, err := s.Check(cmd.Context(), i)
			if err != nil {
				return err
			}
			wrong := slices.ContainsFunc(findings, func(f mapping.Finding) bool { return f.Severity == mapping.SeverityError })
			err = a.print(cmd.OutOrStdout(), notNil(findings), func(w io.Writer) { showFindings(w, i.Name, findings) })
			if err == nil && wrong {
				err = usage(ErrShown)
			}
			return err
		},
	}
}

func (a *app) mapSuggest() *cobra.Command {
	var only string
	var save bool
	c := &cobra.Command{
		Use: "suggest NAME", Short: "Suggest pairs of fields by name and type", Args: cobra.ExactArgs(1),
		Long: `Compares the fields of each mapped pair of entities, ignoring case, spaces and
underscores. For a local lookup only identifiers are suggested; a text field of
like name is shown as rejected. --save adds what is suggested to the mapping.`,
		Example: examples("kedge map suggest crm", "kedge map suggest crm --entity customers --save"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.draft(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			rows, err := d.suggest(only)
			if err != nil {
				return err
			}
			if save {
				return d.save(cmd, d.mapping)
			}
			return a.print(cmd.OutOrStdout(), rows, func(w io.Writer) {
				g := newGrid(w, "ENTITY", "EXTERNAL", "LOCAL", "SCORE", "NOT SUGGESTED")
				for _, r := range rows {
					g.row(r.Entity, r.External, r.Local, fmt.Sprintf("%.2f", r.Score), rejections(r.Suggestion))
				}
				g.end()
			})
		},
	}
	c.Flags().StringVar(&only, "entity", "", "only this entity of the mapping")
	c.Flags().BoolVar(&save, "save", false, "add the suggestions to the mapping")
	return c
}

// A suggestionRow is a suggestion for an entity of a mapping.
type suggestionRow struct {
	Entity string `json:"entity"`
	mapping.Suggestion
}

// suggest adds to the draft what is suggested for an entity, or for all of
// them.
func (d *draft) suggest(only string) ([]suggestionRow, error) {
	rows, matched := []suggestionRow{}, false
	for i := range d.mapping.Entities {
		e := &d.mapping.Entities[i]
		ext, loc := d.ext.Entity(e.External), d.loc.Entity(e.Local)
		if only != "" && e.Name != only || ext == nil || loc == nil {
			continue
		}
		matched = true
		suggestions := mapping.Suggest(ext, loc)
		for _, s := range suggestions {
			rows = append(rows, suggestionRow{e.Name, s})
		}
		e.Adopt(d.mapping, loc, suggestions)
	}
	if e := d.mapping.Entity(only); only != "" && e == nil {
		return nil, usagef("the mapping of %s has no entity %q; it has %s", d.integration.Name, only, entityList(d.mapping))
	}
	if !matched {
		return nil, usagef("no entity of the mapping exists on both sides; \"kedge map enable %s EXTERNAL --local TABLE\" adds one", d.integration.Name)
	}
	return rows, nil
}

func entityList(m *mapping.Mapping) string {
	if len(m.Entities) == 0 {
		return "none"
	}
	var names []string
	for _, e := range m.Entities {
		names = append(names, e.Name)
	}
	return strings.Join(names, ", ")
}

func rejections(s mapping.Suggestion) string {
	text := ""
	for _, r := range s.Rejected {
		if text != "" {
			text += "; "
		}
		text += r.External + ": " + r.Reason
	}
	return text
}

func (a *app) mapEnable() *cobra.Command {
	var local string
	c := &cobra.Command{
		Use: "enable NAME EXTERNAL", Short: "Add an external entity to the mapping, or switch it on again", Args: cobra.ExactArgs(2),
		Long:    "Pairs an external entity with a local one and maps the fields that are suggested. An entity that was disabled is switched on as it was.",
		Example: examples("kedge map enable crm customers --local customer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.draft(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(d.mapping.Entities, func(e mapping.Entity) bool { return e.External == args[1] && (local == "" || e.Local == local) }); i >= 0 {
				d.mapping.Entities[i].Disabled = false
				return d.save(cmd, d.mapping)
			}
			if local == "" {
				local = args[1]
			}
			ext, loc := d.ext.Entity(args[1]), d.loc.Entity(local)
			switch {
			case ext == nil:
				return usagef("the external system has no entity %q; see \"kedge connections schema %s\"", args[1], d.integration.External)
			case loc == nil:
				return usagef("there is no local entity %q; name one with --local, or write the mapping and make its table with \"kedge map tables %s\"", local, args[0])
			}
			e := mapping.Entity{Name: local, External: ext.Name, Local: loc.Name, Direction: mapping.Download}
			e.Adopt(d.mapping, loc, mapping.Suggest(ext, loc))
			d.mapping.Entities = append(d.mapping.Entities, e)
			return d.save(cmd, d.mapping)
		},
	}
	c.Flags().StringVar(&local, "local", "", "local entity; default: the same name")
	return c
}

func (a *app) mapDisable() *cobra.Command {
	return &cobra.Command{
		Use: "disable NAME EXTERNAL", Short: "Leave an entity out of all runs; its records stay", Args: cobra.ExactArgs(2), Example: examples("kedge map disable crm customers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.draft(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			found := false
			for i := range d.mapping.Entities {
				if d.mapping.Entities[i].External == args[1] {
					d.mapping.Entities[i].Disabled, found = true, true
				}
			}
			if !found {
				return usagef("the mapping of %s has no external entity %q; see \"kedge map export %s\"", args[0], args[1], args[0])
			}
			return d.save(cmd, d.mapping)
		},
	}
}

func (a *app) mapCleanup() *cobra.Command {
	var dryRun bool
	c := &cobra.Command{
		Use: "cleanup NAME", Short: "Remove what the external system no longer has from the mapping", Args: cobra.ExactArgs(1),
		Long:    "Removes exactly the external entities and fields that are missing. Local items and data stay.",
		Example: examples("kedge map cleanup crm --dry-run", "kedge map cleanup crm"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.draft(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			cleaned, removed := mapping.CleanUp(d.mapping, mapping.Check(d.mapping, d.ext, d.loc))
			list := cmd.OutOrStdout()
			if !dryRun { // there, the mapping may have to be printed
				list = cmd.ErrOrStderr()
			}
			for _, f := range removed {
				fmt.Fprintf(list, "remove %s %s\n", f.Entity, f.Field)
			}
			if dryRun || len(removed) == 0 {
				if len(removed) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), "nothing to clean up")
				}
				return nil
			}
			return d.save(cmd, cleaned)
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be removed")
	return c
}

func (a *app) discoverCommand() *cobra.Command {
	return &cobra.Command{
		Use: "discover CONNECTION", Short: "Read a system's schema again and show what changed (Update Schema)", Args: cobra.ExactArgs(1),
		Long:    "Shows new, missing and changed entities and fields since the last time, and accepts them. Mappings and data stay as they are.",
		Example: examples("kedge discover crm", "kedge discover crm --json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			schema, diffs, err := s.Discover(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(diffs), func(w io.Writer) {
				for _, d := range diffs {
					name := d.Entity
					if d.Field != "" {
						name += "." + d.Field
					}
					switch d.Change {
					case "changed":
						fmt.Fprintf(w, "changed %s: %s → %s\n", name, d.From, d.To)
					default:
						fmt.Fprintf(w, "%s %s\n", d.Change, name)
					}
				}
				fmt.Fprintf(w, "%d entities, %d changes\n", len(schema.Entities), len(diffs))
			})
		},
	}
}
