package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) transactionsCommand() *cobra.Command {
	return group("transactions", "Look at what was sent, and send it again", a.transactionsList(), a.transactionsShow(),
		a.transactionsChange("retry", "Send failed transactions once more in the next sync", "retried", (*syncer.Syncer).RetryTransactions,
			"Takes transactions that failed or are dead. The next sync sends each of them once, with the record as it is by then."),
		a.transactionsChange("archive", "Put transactions aside that are not to be sent", "archived", (*syncer.Syncer).ArchiveTransactions,
			"Takes transactions that are pending, failed or dead. What they would have sent is sent only if the record changes again. If the deletion of a record is put aside, the record stays on the other side and is no longer kept in step."))
}

func (a *app) transactionsList() *cobra.Command {
	var q syncer.TransactionQuery
	var state string
	c := &cobra.Command{
		Use: "list", Short: "List uploads of records, newest first", Args: cobra.NoArgs,
		Example: examples("kedge transactions list", "kedge transactions list --integration crm --state dead"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.State = syncer.TransactionState(state); state != "" && !slices.Contains(syncer.TransactionStates, q.State) {
				return usagef("--state %q: must be one of %s", state, stateList())
			}
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.known(cmd.Context(), q.Integration); err != nil {
				return err
			}
			rows, err := s.Transactions(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(rows), func(w io.Writer) {
				g := newGrid(w, "ID", "INTEGRATION", "ENTITY", "LOCAL", "EXTERNAL", "ACTION", "STATE", "ATTEMPTS", "REASON")
				for _, t := range rows {
					g.row(t.ID, t.Integration, t.Entity, t.LocalKey, t.ExtKey, t.Action, t.State, t.Attempts, reasonOf(t))
				}
				g.end()
			})
		},
	}
	c.Flags().StringVar(&q.Integration, "integration", "", "only of this integration")
	c.Flags().StringVar(&q.Entity, "entity", "", "only of this entity of the mapping")
	c.Flags().StringVar(&state, "state", "", "only in this state: "+stateList())
	c.Flags().IntVar(&q.Limit, "limit", 100, "how many")
	return c
}

func stateList() string {
	names := make([]string, len(syncer.TransactionStates))
	for i, s := range syncer.TransactionStates {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// reasonOf is why a transaction is not applied, in one line.
func reasonOf(t *syncer.Transaction) string {
	if t.ErrorText == "" {
		return ""
	}
	return t.ErrorKind + ": " + t.ErrorText
}

func (a *app) transactionsShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a transaction with what was sent", Args: cobra.ExactArgs(1),
		Long:    "Prints the fields and values that were sent. They may be personal data; no other command and no log shows them.",
		Example: examples("kedge transactions show 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			rows, err := s.Transactions(cmd.Context(), syncer.TransactionQuery{IDs: args})
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				return fmt.Errorf("there is no transaction %s; see \"kedge transactions list\"", args[0])
			}
			t := rows[0]
			return a.print(cmd.OutOrStdout(), transactionJSON(t), func(w io.Writer) {
				done := ""
				if t.DoneAt != nil {
					done = t.DoneAt.Local().Format(time.DateTime)
				}
				for _, line := range [][2]any{
					{"id", t.ID}, {"integration", t.Integration}, {"entity", t.Entity}, {"local", t.LocalKey}, {"external", t.ExtKey},
					{"action", t.Action}, {"state", t.State}, {"attempts", t.Attempts}, {"created", t.CreatedAt.Local().Format(time.DateTime)},
					{"ended", done}, {"run", t.RunID}, {"reason", reasonOf(t)}, {"sent", t.Payload},
				} {
					fmt.Fprintf(w, "%-11s %v\n", line[0], line[1])
				}
			})
		},
	}
}

// transactionJSON is the documented form of a transaction with what was sent.
func transactionJSON(t *syncer.Transaction) map[string]any {
	return map[string]any{"transaction": t, "sent": rawJSON(t.Payload)}
}

// transactionsChange makes one of the commands that take ids or --all-failed.
func (a *app) transactionsChange(name, short, done string, change func(*syncer.Syncer, context.Context, syncer.TransactionChoice, string) (int, error), long string) *cobra.Command {
	var choice syncer.TransactionChoice
	c := &cobra.Command{
		Use: name + " [ID...]", Short: short, Long: long,
		Example: examples("kedge transactions "+name+" 01939b1c-7a52-7cc3-8a3f-9d2b2c1f0a11", "kedge transactions "+name+" --all-failed --integration crm"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if choice.AllFailed == (len(args) > 0) {
				return usagef("give ids or --all-failed")
			}
			if (choice.Integration != "" || choice.Entity != "") && !choice.AllFailed {
				return usagef("--integration and --entity go with --all-failed")
			}
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.known(cmd.Context(), choice.Integration); err != nil {
				return err
			}
			choice.IDs = args
			n, err := change(s, cmd.Context(), choice, user())
			if err != nil {
				return err
			}
			if n == 0 && !choice.AllFailed {
				return errNoTransaction
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d %s\n", n, done)
			return err
		},
	}
	c.Flags().BoolVar(&choice.AllFailed, "all-failed", false, "all that failed or are dead")
	c.Flags().StringVar(&choice.Integration, "integration", "", "with --all-failed: only of this integration")
	c.Flags().StringVar(&choice.Entity, "entity", "", "with --all-failed: only of this entity of the mapping")
	return c
}

var errNoTransaction = errors.New("no such transaction is in a state for that; see \"kedge transactions list\"")
