package command

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) quarantineCommand() *cobra.Command {
	var q syncer.QuarantineQuery
	list := &cobra.Command{
		Use: "list [NAME]", Short: "List records that could not be stored or sent", Args: cobra.MaximumNArgs(1), Example: examples("kedge quarantine list", "kedge quarantine list crm --entity customers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				q.Integration = args[0]
			}
			return a.showQuarantine(cmd, q, false)
		},
	}
	list.Flags().StringVar(&q.Entity, "entity", "", "only this entity of the mapping")
	list.Flags().BoolVar(&q.All, "all", false, "also those that are done or dropped")
	list.Flags().IntVar(&q.Limit, "limit", 100, "how many")
	show := &cobra.Command{
		Use: "show ID", Short: "Show a record in quarantine with what was read of it", Args: cobra.ExactArgs(1), Example: examples("kedge quarantine show 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.showQuarantine(cmd, syncer.QuarantineQuery{IDs: args}, true)
		},
	}
	return group("quarantine", "Look at records that could not be stored, and try them again", list, show, a.quarantineRetry(), a.quarantineDrop())
}

func (a *app) showQuarantine(cmd *cobra.Command, q syncer.QuarantineQuery, payload bool) error {
	s, err := a.sync(cmd.Context())
	if err != nil {
		return err
	}
	if err := a.known(cmd.Context(), q.Integration); err != nil {
		return err
	}
	rows, err := s.Quarantine(cmd.Context(), q)
	if err != nil {
		return err
	}
	if payload && len(rows) == 0 {
		return fmt.Errorf("there is no quarantined record %s; see \"kedge quarantine list --all\"", q.IDs[0])
	}
	if payload {
		return a.print(cmd.OutOrStdout(), quarantineJSON(rows[0]), func(w io.Writer) {
			r := rows[0]
			for _, line := range [][2]any{
				{"id", r.ID}, {"integration", r.Integration}, {"entity", r.Entity}, {"key", r.Key}, {"direction", r.Direction}, {"state", r.State}, {"stage", r.Stage}, {"code", r.Code},
				{"field", r.Field}, {"reason", r.Message}, {"attempts", r.Attempts}, {"next try", r.NextAt.Local().Format(time.DateTime)}, {"payload", r.Payload},
			} {
				fmt.Fprintf(w, "%-11s %v\n", line[0], line[1])
			}
		})
	}
	return a.print(cmd.OutOrStdout(), notNil(rows), func(w io.Writer) {
		g := newGrid(w, "ID", "INTEGRATION", "ENTITY", "KEY", "DIRECTION", "STAGE", "CODE", "FIELD", "REASON", "ATTEMPTS")
		for _, r := range rows {
			g.row(r.ID, r.Integration, r.Entity, r.Key, r.Direction, r.Stage, r.Code, r.Field, r.Message, r.Attempts)
		}
		g.end()
	})
}

// quarantineJSON is the documented form of a quarantined record.
func quarantineJSON(r *syncer.QuarantineRow) map[string]any {
	return map[string]any{"record": r, "payload": rawJSON(r.Payload)}
}

var errNotOpen = errors.New("no such record is open in quarantine; see \"kedge quarantine list\"")

func (a *app) quarantineRetry() *cobra.Command {
	var all bool
	var name, entity string
	c := &cobra.Command{
		Use: "retry [ID...]", Short: "Read quarantined records again and store them", Long: "Records of the other side are read again and stored at once. Local records that could not be sent are sent again by the next sync.", Example: examples("kedge quarantine retry 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11", "kedge quarantine retry --all --integration crm"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usagef("give ids or --all")
			}
			a.patient = true
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.known(cmd.Context(), name); err != nil {
				return err
			}
			byIntegration, err := s.QuarantinedIn(cmd.Context(), args, name)
			if err != nil {
				return err
			}
			if len(byIntegration) == 0 {
				return errNotOpen
			}
			defer tellStop(cmd)()
			var results []syncer.Result
			for integration, ids := range byIntegration {
				uploads, ids, err := s.RetryUploads(cmd.Context(), integration, ids, user())
				if err != nil {
					return err
				}
				if uploads > 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: uploads that the next sync sends again: %d\n", integration, uploads)
				}
				if len(ids) == 0 {
					continue
				}
				req := syncer.Request{Integration: integration, Op: syncer.Retry, Trigger: "cli", Quarantine: ids}
				if entity != "" {
					req.Entities = []string{entity}
				}
				if err := a.unread[integration]; err != nil {
					return err
				}
				res, err := s.Run(cmd.Context(), req)
				if err != nil {
					return err
				}
				results = append(results, res)
				showResult(cmd.OutOrStdout(), cmd.ErrOrStderr(), res)
			}
			return exitOf(results...)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all open ones")
	c.Flags().StringVar(&name, "integration", "", "with --all: only of this integration")
	c.Flags().StringVar(&entity, "entity", "", "with --all: only of this entity of the mapping")
	return c
}

func (a *app) quarantineDrop() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "drop ID...", Short: "Close quarantined records without storing them", Args: cobra.MinimumNArgs(1),
		Long:    "A dropped record comes back only if it changes in its source or everything is read again.",
		Example: examples("kedge quarantine drop 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11 --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := confirm(yes, fmt.Sprintf("%d records are dropped without being stored", len(args))); err != nil {
				return err
			}
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			n, err := s.DropQuarantine(cmd.Context(), args, user())
			if err != nil {
				return err
			}
			if n == 0 {
				return errNotOpen
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d dropped\n", n)
			return err
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
