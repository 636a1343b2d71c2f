package command

import (
	"context"
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
			statuses, err := s.Status(cmd.Context())
			if err != nil {
				return err
			}
			all, err := a.withNextRuns(cmd.Context(), statuses)
			if err != nil {
				return err
			}
			a.unread.tell(cmd.ErrOrStderr())
			return a.print(cmd.OutOrStdout(), notNil(all), func(w io.Writer) {
				g := newGrid(w, "INTEGRATION", "LAST RUN", "RESULT", "ANCHOR AGE", "RECORDS", "QUARANTINE", "PENDING DELETES", "PENDING UPLOADS", "CONFLICTS", "NEXT RUN")
				for _, st := range all {
					at, state := "", "never run"
					if st.LastRun != nil {
						at, state = st.LastRun.StartedAt.Local().Format(time.DateTime), string(st.LastRun.State)
					}
					age := ""
					if st.OldestAt != nil {
						age = time.Since(*st.OldestAt).Round(time.Second).String()
					}
					g.row(st.Integration, at, state, age, st.Records, st.Quarantine, st.Deletes, st.Uploads, st.Conflicts, localTime(st.NextRun))
				}
				g.end()
			})
		},
	}
}

// A plannedStatus is the status of an integration and when a job runs it next.
type plannedStatus struct {
	syncer.Status
	NextRun *time.Time `json:"nextRun,omitempty"`
}

func (a *app) withNextRuns(ctx context.Context, statuses []syncer.Status) ([]plannedStatus, error) {
	s, err := a.jobService(ctx)
	if err != nil {
		return nil, err
	}
	s.Know(a.cfg.Jobs)
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	next := map[string]*time.Time{}
	for _, j := range all {
		if t := next[j.Integration]; j.NextRun != nil && (t == nil || j.NextRun.Before(*t)) {
			next[j.Integration] = j.NextRun
		}
	}
	planned := make([]plannedStatus, len(statuses))
	for i, st := range statuses {
		planned[i] = plannedStatus{Status: st, NextRun: next[st.Integration]}
	}
	return planned, nil
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
