package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable"
)

func (a *app) connectionsCapture() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "capture NAME status|install|remove", Short: "Show, prepare or end the capture of changes by triggers", Args: cobra.ExactArgs(2),
		Long: "Changes of tables are noted by triggers for each integration that uploads them. In kedge's own database everything is made when it is needed. " +
			"In another database nothing is made before \"install\": it adds the tables that changes are noted in; the triggers come with the first run. " +
			"\"remove\" takes all triggers, notes and, in another database, these tables away; integrations that listened read everything again.",
		Example: examples("kedge connections capture local status", "kedge connections capture erp install --yes", "kedge connections capture erp remove --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.open(cmd.Context()); err != nil {
				return err
			}
			conn, err := a.connect(cmd.Context(), args[0], "")
			if err != nil {
				return err
			}
			defer conn.Close()
			driver, ok := conn.Driver().(*sqltable.Driver)
			if !ok {
				return usagef("connection %q has no tables; only the kind sqltable captures changes by triggers", args[0])
			}
			switch args[1] {
			case "status":
				return a.captureStatus(cmd, driver)
			case "install":
				return installCapture(cmd, driver, yes)
			case "remove":
				return removeCapture(cmd, driver, yes)
			}
			return usagef("%q is none of status, install, remove", args[1])
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) captureStatus(cmd *cobra.Command, d *sqltable.Driver) error {
	states, err := d.CaptureStatus(cmd.Context())
	installed := kedge.KindOf(err) != kedge.NotFound
	if err != nil && installed {
		return err
	}
	report := struct {
		Installed bool                    `json:"installed"`
		Listeners []sqltable.CaptureState `json:"listeners"`
	}{installed, notNil(states)}
	return a.print(cmd.OutOrStdout(), report, func(w io.Writer) {
		switch {
		case !installed:
			fmt.Fprintln(w, "capture by triggers is not installed")
			return
		case len(states) == 0:
			fmt.Fprintln(w, "nobody listens to a table yet")
			return
		}
		g := newGrid(w, "TABLE", "INTEGRATION", "TRIGGERS", "WAITING", "SEEN", "FIELDS")
		for _, s := range states {
			triggers := "in place"
			if !s.Triggers {
				triggers = "missing"
			}
			g.row(s.Table, s.Integration, triggers, s.Waiting, s.SeenAt.Format(time.RFC3339), strings.Join(s.Fields, ", "))
		}
		g.end()
	})
}

func installCapture(cmd *cobra.Command, d *sqltable.Driver, yes bool) error {
	statements, err := d.CaptureStatements(cmd.Context())
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if statements == "" {
		_, err := fmt.Fprintln(out, "capture by triggers is installed")
		return err
	}
	fmt.Fprintln(out, statements)
	if err := confirm(yes, "these statements will be carried out"); err != nil {
		return err
	}
	if err := d.InstallCapture(cmd.Context()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "done; the triggers come with the first run that uploads")
	return err
}

func removeCapture(cmd *cobra.Command, d *sqltable.Driver, yes bool) error {
	if err := confirm(yes, "no changes are noted any more, and those that wait are forgotten"); err != nil {
		return err
	}
	if err := d.RemoveCapture(cmd.Context()); err != nil {
		return err
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), "removed")
	return err
}
