package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

func (a *app) pushTokenCommand() *cobra.Command {
	return group("token", "Make, list, rotate and revoke the access tokens of subscribers", a.pushTokenCreate(), a.pushTokenList(), a.pushTokenRotate(), a.pushTokenRevoke())
}

// A tokenStore manages access tokens: on a server if one is named, else in the
// database of the config.
type tokenStore struct {
	apiClient
	a *app
}

// tokens returns a command that works on access tokens.
func (a *app) onTokens(c *cobra.Command, run func(cmd *cobra.Command, t *tokenStore, args []string) error) *cobra.Command {
	t := &tokenStore{a: a}
	t.flags(c)
	c.Flags().Lookup("server").Usage = "URL of a server whose API is called, with an operator's token in $KEDGE_TOKEN; also by $KEDGE_SERVER; default: the database of the config"
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if t.named() {
			if err := a.openRemote(&t.apiClient); err != nil {
				return err
			}
			defer t.client.Close()
		}
		return run(cmd, t, args)
	}
	return c
}

// invalidInput makes what is wrong with a command's input the user's to mend.
func invalidInput(err error) error {
	if kedge.KindOf(err) == kedge.Invalid {
		return usage(err)
	}
	return err
}

// A grantFlag is grants as a command line has them.
type grantFlag struct {
	texts                []string
	operations, fields   []string
	listOnly             bool
	file                 string
	account, user, until string
}

func (g *grantFlag) request(cmd *cobra.Command) (subscriptions.TokenRequest, error) {
	r := subscriptions.TokenRequest{Account: g.account, User: g.user}
	if g.file != "" {
		text, err := readArg(cmd, g.file)
		if err != nil {
			return r, err
		}
		if err := json.Unmarshal(text, &r.Grants); err != nil {
			return r, usagef("--grants %s: not a JSON array of grants: %v", g.file, err)
		}
	}
	for _, text := range g.texts {
		grant := spec.Grant{Manage: !g.listOnly, Fields: g.fields}
		for _, op := range g.operations {
			grant.Operations = append(grant.Operations, kedge.Operation(op))
		}
		what, under, below := strings.Cut(text, "@")
		if entity, record, one := strings.Cut(what, "/"); one {
			grant.Entity, grant.Record = entity, record
		} else {
			grant.Entity = what
		}
		if below {
			grant.Under = under
		}
		r.Grants = append(r.Grants, grant)
	}
	if g.until != "" {
		d, err := config.ParseDuration(g.until)
		if err != nil {
			return r, usagef("--expires: %v", err)
		}
		t := time.Now().Add(d).UTC()
		r.ExpiresAt = &t
	}
	return r, nil
}

func (a *app) pushTokenCreate() *cobra.Command {
	var g grantFlag
	c := &cobra.Command{
		Use: "create --account ACCOUNT --grant GRANT", Short: "Make an access token and show it, this once", Args: cobra.NoArgs,
		Long: `A grant is an entity (tasks), one record of it (projects/proj1), or the records
below one of another entity (tasks@projects/proj1). Without grants the token
allows nothing. --operations, --fields and --list-only apply to all --grant;
--grants takes a file with a JSON array for all that they cannot say.`,
		Example: examples("kedge subscriptions token create --account acme --user u7 --grant projects/proj1 --grant tasks@projects/proj1",
			"kedge subscriptions token create --account acme --grant projects --list-only --expires 90d --json"),
	}
	f := c.Flags()
	f.StringVar(&g.account, "account", "", "account whose subscriptions it manages")
	f.StringVar(&g.user, "user", "", "user that pushes name")
	f.StringArrayVar(&g.texts, "grant", nil, "what may be seen: ENTITY, ENTITY/KEY or ENTITY@PARENT/KEY; may be repeated")
	f.StringSliceVar(&g.operations, "operations", nil, "create, update, delete; default: all")
	f.StringSliceVar(&g.fields, "fields", nil, "fields that may be seen; default: all that are offered")
	f.BoolVar(&g.listOnly, "list-only", false, "it may list resources but not subscribe")
	f.StringVar(&g.file, "grants", "", "file with a JSON array of grants, - for standard input")
	f.StringVar(&g.until, "expires", "", "valid for this time, such as 90d; default: for ever")
	return a.onTokens(c, func(cmd *cobra.Command, t *tokenStore, _ []string) error {
		r, err := g.request(cmd)
		if err != nil {
			return err
		}
		var out struct {
			subscriptions.Token
			Value string `json:"token"`
		}
		if t.client != nil {
			err = t.call(cmd.Context(), "POST", "push-tokens", nil, r, &out)
		} else {
			err = a.withSubscriptions(cmd.Context(), func(p *pusher) error {
				made, value, err := p.IssueToken(cmd.Context(), r)
				if err == nil {
					out.Token, out.Value = *made, value
				}
				return invalidInput(err)
			})
		}
		if err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), out, func(w io.Writer) {
			fmt.Fprintf(cmd.ErrOrStderr(), "kedge: access token %s of %s; it is shown this once:\n", out.ID, out.Account)
			fmt.Fprintln(w, out.Value)
		})
	})
}

func (a *app) pushTokenList() *cobra.Command {
	var account string
	limit := 100
	c := &cobra.Command{
		Use: "list", Short: "List access tokens, also those that were revoked", Args: cobra.NoArgs,
		Example: examples("kedge subscriptions token list", "kedge subscriptions token list --account acme --json"),
	}
	c.Flags().StringVar(&account, "account", "", "only those of this account")
	c.Flags().IntVar(&limit, "limit", limit, "the most rows")
	return a.onTokens(c, func(cmd *cobra.Command, t *tokenStore, _ []string) error {
		all, err := t.list(cmd.Context(), account, limit)
		if err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), notNil(all), func(w io.Writer) {
			g := newGrid(w, "ID", "ACCOUNT", "USER", "GRANTS", "CREATED", "EXPIRES", "REVOKED", "LAST USED")
			for _, x := range all {
				var grants []string
				for _, y := range x.Grants {
					grants = append(grants, grantText(y))
				}
				g.row(x.ID, x.Account, x.User, strings.Join(grants, " "), timeText(&x.CreatedAt), timeText(x.ExpiresAt), timeText(x.RevokedAt), timeText(x.LastUsedAt))
			}
			g.end()
		})
	})
}

func (t *tokenStore) list(ctx context.Context, account string, limit int) ([]*subscriptions.Token, error) {
	if t.client != nil {
		items, err := t.apiClient.list(ctx, "push-tokens", query("account", account), limit)
		if err != nil {
			return nil, err
		}
		return decode[*subscriptions.Token](items)
	}
	var all []*subscriptions.Token
	err := t.a.withSubscriptions(ctx, func(p *pusher) (err error) {
		all, err = p.Tokens(ctx, account, "", limit)
		return err
	})
	return all, err
}

func grantText(g spec.Grant) string {
	text := g.Entity
	if g.Record != "" {
		text += "/" + g.Record
	}
	if g.Under != "" {
		text += "@" + g.Under
	}
	if !g.Manage {
		text += " (list)"
	}
	return text
}

func (a *app) pushTokenRotate() *cobra.Command {
	var overlap string
	c := &cobra.Command{
		Use: "rotate ID", Short: "Give a token a new value; the old one stays valid for a while", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions token rotate tok_019f4c1e", "kedge subscriptions token rotate tok_019f4c1e --overlap 0s"),
	}
	c.Flags().StringVar(&overlap, "overlap", "24h", "how long the old value stays valid, at most 7d")
	return a.onTokens(c, func(cmd *cobra.Command, t *tokenStore, args []string) error {
		d, err := config.ParseDuration(overlap)
		if err != nil {
			return usagef("--overlap: %v", err)
		}
		var out struct {
			ID    string    `json:"id"`
			Token string    `json:"token"`
			Until time.Time `json:"previousValidUntil"`
		}
		if t.client != nil {
			err = t.call(cmd.Context(), "POST", "push-tokens/"+url.PathEscape(args[0])+"/rotate", nil, map[string]string{"overlap": d.String()}, &out)
		} else {
			err = a.withSubscriptions(cmd.Context(), func(p *pusher) (err error) {
				out.ID = args[0]
				out.Token, out.Until, err = p.RotateToken(cmd.Context(), args[0], d)
				return invalidInput(err)
			})
		}
		if err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), out, func(w io.Writer) {
			fmt.Fprintf(cmd.ErrOrStderr(), "kedge: shown this once; the old value is valid until %s\n", timeText(&out.Until))
			fmt.Fprintln(w, out.Token)
		})
	})
}

func (a *app) pushTokenRevoke() *cobra.Command {
	c := &cobra.Command{
		Use: "revoke ID", Short: "End a token, at once and on all servers; its subscriptions are disabled", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions token revoke tok_019f4c1e"),
	}
	return a.onTokens(c, func(cmd *cobra.Command, t *tokenStore, args []string) error {
		var err error
		if t.client != nil {
			err = t.call(cmd.Context(), "DELETE", "push-tokens/"+url.PathEscape(args[0]), nil, nil, nil)
		} else {
			err = a.withSubscriptions(cmd.Context(), func(p *pusher) error { return p.RevokeToken(cmd.Context(), args[0]) })
		}
		if err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), map[string]any{"id": args[0], "revoked": true}, func(w io.Writer) { fmt.Fprintln(w, "revoked "+args[0]) })
	})
}
