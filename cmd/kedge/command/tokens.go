package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/cmd/kedge/server"
)

func (a *app) tokensCommand() *cobra.Command {
	return group("tokens", "Create, list and revoke the tokens of operators", a.tokensCreate(), a.tokensList(), a.tokensRevoke())
}

func (a *app) tokens(ctx context.Context) (*server.Tokens, error) {
	s, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	return server.NewTokens(s, nil), nil
}

func (a *app) tokensCreate() *cobra.Command {
	var scope string
	c := &cobra.Command{
		Use: "create NAME --scope admin|read", Short: "Make a token and show it, this once", Args: cobra.ExactArgs(1),
		Long: `The token goes into the header of requests: "Authorization: Bearer TOKEN". The
scope read allows to look at everything, admin also to change it. kedge keeps a
hash of the token only: store it where you keep secrets.

From the first token on, the server asks for one everywhere but for what others
push with keys of their own, and may listen for other machines.`,
		Example: examples("kedge tokens create ops --scope admin", "kedge tokens create grafana --scope read --output json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if scope == "" {
				return usagef("--scope is missing: admin or read")
			}
			ts, err := a.tokens(cmd.Context())
			if err != nil {
				return err
			}
			t, secret, err := ts.Create(cmd.Context(), args[0], server.Scope(scope), user())
			if err != nil {
				return usageIfInvalid(err)
			}
			data := map[string]any{"id": t.ID, "name": t.Name, "scope": t.Scope, "token": secret}
			return a.print(cmd.OutOrStdout(), data, func(w io.Writer) {
				fmt.Fprintf(cmd.ErrOrStderr(), "kedge: token %s, scope %s; it is shown this once:\n", t.Name, t.Scope)
				fmt.Fprintln(w, secret)
			})
		},
	}
	c.Flags().StringVar(&scope, "scope", "", "admin or read")
	return c
}

func (a *app) tokensList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens, also those that were revoked", Args: cobra.NoArgs, Example: examples("kedge tokens list", "kedge tokens list --json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ts, err := a.tokens(cmd.Context())
			if err != nil {
				return err
			}
			all, err := ts.List(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(all), func(w io.Writer) {
				g := newGrid(w, "ID", "NAME", "SCOPE", "CREATED", "BY", "REVOKED")
				for _, t := range all {
					revoked := ""
					if t.RevokedAt != nil {
						revoked = t.RevokedAt.Local().Format(time.DateTime)
					}
					g.row(t.ID, t.Name, t.Scope, t.CreatedAt.Local().Format(time.DateTime), t.CreatedBy, revoked)
				}
				g.end()
			})
		},
	}
}

func (a *app) tokensRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME|ID", Short: "End a token, at once and on all servers", Args: cobra.ExactArgs(1), Example: examples("kedge tokens revoke grafana"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ts, err := a.tokens(cmd.Context())
			if err != nil {
				return err
			}
			t, err := ts.Revoke(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "revoked %s\n", t.Name)
			return err
		},
	}
}
