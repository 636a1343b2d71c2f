package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/ingest/custom"
)

// ingestTable opens the service and a table of it.
func (a *app) ingestTable(ctx context.Context, name string) (*ingest.Service, *custom.Table, error) {
	s, err := a.ingest(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, err := s.Table(ctx, name)
	return s, t, told(err)
}

func (a *app) ingestHowto() *cobra.Command {
	return &cobra.Command{
		Use: "howto TABLE", Short: "Show example payloads and curl lines for a sender", Args: cobra.ExactArgs(1), Example: examples("kedge ingest howto hr_employee"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			h, err := s.Howto(cmd.Context(), args[0], serverURL(a.cfg.Server.PublicURL, a.cfg.Server.Listen))
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), h, func(w io.Writer) {
				fmt.Fprintf(w, "# The schema of %s:\n%s\n\n# A resource:\n%s\n", h.Table, indent(h.Schema), indent(h.Payload))
				if !h.Valid {
					fmt.Fprintln(w, "# (complete it: the schema asks for more than the example could guess)")
				}
				fmt.Fprintln(w, "\n# The key that \"kedge ingest keys create\" showed:\nexport KEDGE_INGEST_KEY=kdgi_...")
				for _, l := range h.Curl {
					fmt.Fprintf(w, "\n# %s:\n%s\n", l.About, l.Command)
				}
			})
		},
	}
}

func (a *app) ingestResources() *cobra.Command {
	var q custom.Query
	var groupKey, id string
	c := &cobra.Command{
		Use: "resources TABLE", Short: "List what is stored: id, name, important fields", Args: cobra.ExactArgs(1),
		Example: examples("kedge ingest resources hr_employee", `kedge ingest resources hr_employee --filter "active eq true" --limit 20 --json`, "kedge ingest resources hr_employee --id e1 --json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, t, err := a.ingestTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("group-key") {
				q.GroupKey = &groupKey
			}
			if id != "" {
				r, err := s.Data().Resource(cmd.Context(), t, groupKey, id)
				if err != nil {
					return err
				}
				return a.showResources(cmd, t, []custom.Resource{*r}, "")
			}
			items, next, err := s.Data().Resources(cmd.Context(), t, q)
			if err != nil {
				return told(err)
			}
			return a.showResources(cmd, t, items, next)
		},
	}
	c.Flags().StringVar(&q.Filter, "filter", "", "a filter over the fields of the table's view")
	c.Flags().StringVar(&q.OrderBy, "order-by", "", `"_seq" or "_seq desc"; default: group key and id`)
	c.Flags().StringVar(&groupKey, "group-key", "", "only this group key")
	c.Flags().StringVar(&id, "id", "", "only this resource")
	c.Flags().BoolVar(&q.Deleted, "deleted", false, "also deleted ones")
	c.Flags().IntVar(&q.Limit, "limit", 100, "how many")
	c.Flags().StringVar(&q.Cursor, "cursor", "", "where the list before ended")
	return c
}

func (a *app) showResources(cmd *cobra.Command, t *custom.Table, items []custom.Resource, next string) error {
	return a.print(cmd.OutOrStdout(), map[string]any{"items": notNil(items), "next": next}, func(w io.Writer) {
		header := []string{"ID", "GROUP KEY", "NAME"}
		for _, path := range t.Schema.Metadata().ImportantFields {
			header = append(header, strings.ToUpper(path))
		}
		g := newGrid(w, append(header, "SEQ", "UPDATED")...)
		for _, r := range items {
			cells := []any{r.Meta.ID, r.Meta.GroupKey, r.Meta.Name}
			_, values, err := custom.Important(t, r.Data)
			for i := range t.Schema.Metadata().ImportantFields {
				text := ""
				if err == nil && i < len(values) {
					text = values[i]
				}
				cells = append(cells, text)
			}
			updated := r.Meta.UpdatedAt.Local().Format(time.DateTime)
			if r.Meta.Deleted {
				updated += " (deleted)"
			}
			g.row(append(cells, r.Meta.Seq, updated)...)
		}
		g.end()
		if next != "" {
			fmt.Fprintf(w, "more: --cursor %s\n", next)
		}
	})
}

func (a *app) ingestHistory() *cobra.Command {
	var groupKey, cursor string
	var limit int
	c := &cobra.Command{
		Use: "history TABLE ID", Short: "Show the changes of a resource, with event and actor", Args: cobra.ExactArgs(2), Example: examples("kedge ingest history hr_employee e1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, t, err := a.ingestTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			items, next, err := s.Data().History(cmd.Context(), t, groupKey, args[1], limit, cursor)
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), map[string]any{"items": notNil(items), "next": next}, func(w io.Writer) {
				g := newGrid(w, "SEQ", "AT", "OP", "EVENT", "ACTOR", "FIELDS")
				for _, x := range items {
					g.row(x.Seq, x.At.Local().Format(time.DateTime), x.Op, x.Event, string(x.Actor), strings.Join(x.Fields, ", "))
				}
				g.end()
				if next != "" {
					fmt.Fprintf(w, "more: --cursor %s\n", next)
				}
			})
		},
	}
	c.Flags().StringVar(&groupKey, "group-key", "", "group key of the resource")
	c.Flags().IntVar(&limit, "limit", 100, "how many")
	c.Flags().StringVar(&cursor, "cursor", "", "where the list before ended")
	return c
}

func (a *app) ingestQuarantine() *cobra.Command {
	var limit int
	var cursor string
	c := &cobra.Command{
		Use: "quarantine TABLE", Short: "List resources that are stored, but not in the local entity of the mapping", Args: cobra.ExactArgs(1), Example: examples("kedge ingest quarantine hr_employee"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, t, err := a.ingestTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			items, next, err := s.Data().Quarantine(cmd.Context(), t, limit, cursor)
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), map[string]any{"items": notNil(items), "next": next}, func(w io.Writer) {
				g := newGrid(w, "ID", "GROUP KEY", "CODE", "FIELD", "REASON", "ATTEMPTS")
				for _, x := range items {
					g.row(x.ID, x.GroupKey, x.Code, x.Field, x.Message, x.Attempts)
				}
				g.end()
				if next != "" {
					fmt.Fprintf(w, "more: --cursor %s\n", next)
				}
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 100, "how many")
	c.Flags().StringVar(&cursor, "cursor", "", "where the list before ended")
	return c
}

func (a *app) ingestRemap() *cobra.Command {
	return &cobra.Command{
		Use: "remap TABLE", Short: "Write all resources to the local entity of the mapping again", Args: cobra.ExactArgs(1), Example: examples("kedge ingest remap hr_employee"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, t, err := a.ingestTable(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out, err := s.Data().Remap(cmd.Context(), t)
			if err != nil {
				return told(err)
			}
			err = a.print(cmd.OutOrStdout(), out, func(w io.Writer) { fmt.Fprintf(w, "mapped %d, quarantined %d\n", out.Mapped, out.Quarantined) })
			if err == nil && out.Quarantined > 0 {
				err = &exitError{exitPartly, ErrShown}
			}
			return err
		},
	}
}
