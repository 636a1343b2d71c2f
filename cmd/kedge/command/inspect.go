package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the health of every integration on one screen", Args: cobra.NoArgs, Example: examples("kedge status", "kedge status --json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			all, err := s.Status(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(all), func(w io.Writer) {
				g := newGrid(w, "INTEGRATION", "LAST RUN", "RESULT", "ANCHOR AGE", "RECORDS", "QUARANTINE", "PENDING DELETES")
				for _, st := range all {
					at, state := "", "never run"
					if st.LastRun != nil {
						at, state = st.LastRun.StartedAt.Local().Format(time.DateTime), string(st.LastRun.State)
					}
					age := ""
					if st.OldestAt != nil {
						age = time.Since(*st.OldestAt).Round(time.Second).String()
					}
					g.row(st.Integration, at, state, age, st.Records, st.Quarantine, st.Deletes)
				}
				g.end()
			})
		},
	}
}

func (a *app) logCommand() *cobra.Command {
	var q syncer.LogQuery
	var follow bool
	c := &cobra.Command{
		Use: "log [RUN]", Short: "Show what runs and connections did", Args: cobra.MaximumNArgs(1),
		Long:    "Shows one line for each entity of each run, and one for each event: a record that went to quarantine, an anchor that expired, a sign-in. With --follow, --json prints an object per line.",
		Example: examples("kedge log", "kedge log --integration crm", "kedge log --follow", "kedge log --json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				q.Run = args[0]
			}
			if err := a.known(cmd.Context(), q.Integration); err != nil {
				return err
			}
			rows, err := s.Log(cmd.Context(), q)
			if err != nil {
				return err
			}
			if q.Run != "" && len(rows) == 0 && !follow {
				return fmt.Errorf("the log has nothing about a run %s; see \"kedge runs list\"", q.Run)
			}
			if !follow {
				return a.print(cmd.OutOrStdout(), notNil(rows), func(w io.Writer) {
					for _, r := range rows {
						fmt.Fprintln(w, logLine(r))
					}
				})
			}
			return a.follow(cmd, s, q, rows)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on showing new lines until Ctrl-C")
	c.Flags().StringVar(&q.Integration, "integration", "", "only this integration")
	c.Flags().IntVar(&q.Limit, "limit", 100, "the newest lines to show")
	return c
}

// follow prints rows and then those that come, looking once a second.
func (a *app) follow(cmd *cobra.Command, s *syncer.Syncer, q syncer.LogQuery, rows []syncer.LogRow) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for _, r := range rows {
			q.After = r.ID
			if err := a.logRow(cmd.OutOrStdout(), r); err != nil {
				return err
			}
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-tick.C:
		}
		var err error
		if rows, err = s.Log(cmd.Context(), q); err != nil && cmd.Context().Err() == nil {
			return err
		}
	}
}

// logRow prints a row of a log that goes on: in one line, also as JSON.
func (a *app) logRow(w io.Writer, r syncer.LogRow) error {
	if a.output == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	return a.print(w, []syncer.LogRow{r}, func(w io.Writer) { fmt.Fprintln(w, logLine(r)) })
}

func logLine(r syncer.LogRow) string {
	line := r.At.Local().Format(time.DateTime) + " " + r.Level
	for _, part := range []string{r.Integration, r.Operation, r.Entity, r.Mode} {
		if part != "" {
			line += " " + part
		}
	}
	if r.Code == "summary" {
		line += ": " + r.Status
		if r.ResultLine != "" {
			line += ": " + r.ResultLine
		}
	} else {
		line += ": " + r.Code
	}
	if r.Message != "" {
		line += ": " + r.Message
	}
	if r.Ref != "" {
		line += " [" + r.Ref + "]"
	}
	return line
}

func (a *app) runsCommand() *cobra.Command {
	var integration string
	var limit int
	list := &cobra.Command{
		Use: "list", Short: "List runs, newest first", Args: cobra.NoArgs, Example: examples("kedge runs list", "kedge runs list --integration crm --json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.known(cmd.Context(), integration); err != nil {
				return err
			}
			runs, err := s.Runs(cmd.Context(), integration, limit)
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(runs), func(w io.Writer) {
				g := newGrid(w, "RUN", "INTEGRATION", "OPERATION", "TRIGGER", "STARTED", "STATE")
				for _, r := range runs {
					g.row(r.ID, r.Integration, r.Op, r.Trigger, r.StartedAt.Local().Format(time.DateTime), r.State)
				}
				g.end()
			})
		},
	}
	list.Flags().StringVar(&integration, "integration", "", "only this integration")
	list.Flags().IntVar(&limit, "limit", 20, "how many")
	cancel := &cobra.Command{
		Use: "cancel RUN", Short: "Stop a run after the page it is at; the next one goes on", Args: cobra.ExactArgs(1),
		Example: examples("kedge runs cancel 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := s.Cancel(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "asked; the run stops within ten seconds, after the page it is at")
			return err
		},
	}
	return group("runs", "List and cancel runs", list, cancel)
}

func (a *app) anchorsCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list [NAME]", Short: "Show how far each entity got", Args: cobra.MaximumNArgs(1), Example: examples("kedge anchors list", "kedge anchors list crm --json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			if err := a.known(cmd.Context(), name); err != nil {
				return err
			}
			anchors, err := s.Anchors(cmd.Context(), name)
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(anchors), func(w io.Writer) {
				g := newGrid(w, "INTEGRATION", "ENTITY", "DIRECTION", "PHASE", "LAST VERSION", "ROWS READ", "LAST FULL READ", "UPDATED")
				for _, an := range anchors {
					full := ""
					if an.LastFullAt != nil {
						full = an.LastFullAt.Local().Format(time.DateTime)
					}
					g.row(an.Integration, an.Entity, an.Direction, an.Phase, an.LastVersion, an.Rows, full, an.UpdatedAt.Local().Format(time.DateTime))
				}
				g.end()
			})
		},
	}
	var entity string
	reset := &cobra.Command{
		Use: "reset NAME --entity ENTITY", Short: "Make the next run of an entity read everything again", Args: cobra.ExactArgs(1),
		Long:    "Nothing is deleted or forgotten by a reset: the next run compares everything and stores what differs.",
		Example: examples("kedge anchors reset crm --entity customers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if entity == "" {
				return usagef("name the entity with --entity")
			}
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.known(cmd.Context(), args[0]); err != nil {
				return err
			}
			if err := s.ResetAnchor(cmd.Context(), args[0], entity, user()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "the next run of %s reads all of %s again\n", args[0], entity)
			return err
		},
	}
	reset.Flags().StringVar(&entity, "entity", "", "entity of the mapping")
	return group("anchors", "Show and reset how far each entity got", list, reset)
}

func (a *app) deletesCommand() *cobra.Command {
	var limit int
	list := &cobra.Command{
		Use: "list NAME", Short: "List deletes that wait for a person", Args: cobra.ExactArgs(1), Example: examples("kedge deletes list crm"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.known(cmd.Context(), args[0]); err != nil {
				return err
			}
			pending, err := s.PendingDeletes(cmd.Context(), args[0], limit)
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(pending), func(w io.Writer) {
				g := newGrid(w, "ENTITY", "EXTERNAL", "LOCAL", "REASON")
				for _, d := range pending {
					g.row(d.Entity, d.ExtKey, d.LocalKey, d.Reason)
				}
				g.end()
			})
		},
	}
	list.Flags().IntVar(&limit, "limit", 100, "how many")
	var yes bool
	discard := &cobra.Command{
		Use: "discard NAME", Short: "Take waiting deletes back; the local records stay", Args: cobra.ExactArgs(1), Example: examples("kedge deletes discard crm --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := confirm(yes, "the local records of the waiting deletes stay, and are no longer kept in step"); err != nil {
				return err
			}
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.known(cmd.Context(), args[0]); err != nil {
				return err
			}
			n, err := s.DiscardDeletes(cmd.Context(), args[0], user())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d deletes discarded\n", n)
			return err
		},
	}
	discard.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return group("deletes", "Look at deletes that the breaker holds back", list, discard)
}

func (a *app) quarantineCommand() *cobra.Command {
	var q syncer.QuarantineQuery
	list := &cobra.Command{
		Use: "list [NAME]", Short: "List records that could not be stored", Args: cobra.MaximumNArgs(1), Example: examples("kedge quarantine list", "kedge quarantine list crm --entity customers"),
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
		data := map[string]any{"record": rows[0], "payload": rawJSON(rows[0].Payload)}
		return a.print(cmd.OutOrStdout(), data, func(w io.Writer) {
			r := rows[0]
			fmt.Fprintf(w, "id        %s\nintegration %s\nentity    %s\nkey       %s\nstate     %s\nstage     %s\ncode      %s\nfield     %s\nreason    %s\nattempts  %d\nnext try  %s\npayload   %s\n",
				r.ID, r.Integration, r.Entity, r.Key, r.State, r.Stage, r.Code, r.Field, r.Message, r.Attempts, r.NextAt.Local().Format(time.DateTime), r.Payload)
		})
	}
	return a.print(cmd.OutOrStdout(), notNil(rows), func(w io.Writer) {
		g := newGrid(w, "ID", "INTEGRATION", "ENTITY", "KEY", "STAGE", "CODE", "FIELD", "REASON", "ATTEMPTS")
		for _, r := range rows {
			g.row(r.ID, r.Integration, r.Entity, r.Key, r.Stage, r.Code, r.Field, r.Message, r.Attempts)
		}
		g.end()
	})
}

var errNotOpen = errors.New("no such record is open in quarantine; see \"kedge quarantine list\"")

func (a *app) quarantineRetry() *cobra.Command {
	var all bool
	var name, entity string
	c := &cobra.Command{
		Use: "retry [ID...]", Short: "Read quarantined records again and store them", Example: examples("kedge quarantine retry 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11", "kedge quarantine retry --all --integration crm"),
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
				req := syncer.Request{Integration: integration, Op: syncer.Retry, Trigger: "cli", Quarantine: ids}
				if entity != "" {
					req.Entities = []string{entity}
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
