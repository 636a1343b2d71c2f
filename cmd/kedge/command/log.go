package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/syncer"
)

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
		line += ": " + strings.ReplaceAll(r.Message, "\n", " ")
	}
	if r.Ref != "" {
		line += " [" + r.Ref + "]"
	}
	return line
}
