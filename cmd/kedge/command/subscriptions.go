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

	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/resources"
)

func (a *app) subscriptionsCommand() *cobra.Command {
	c := group("subscriptions", "Have kedge call a URL when records change: list, create and look after push subscriptions",
		a.subResources(), a.subList(), a.subGet(), a.subCreate(), a.subUpdate(), a.subDelete(), a.subSwitch("pause", "paused"), a.subSwitch("resume", "active"),
		a.subProve("test", "Send a test message now"), a.subProve("verify", "Do the handshake with the target now"), a.subRotate(),
		a.subAttempts(), a.subDead(), a.subReplay(), a.subGaps(), a.subRewrap(), a.pushTokenCommand())
	c.Long = `The commands call the API of a server: --server or $KEDGE_SERVER, else the
address in the config. $KEDGE_TOKEN is an access token (kps_…), which sees the
subscriptions of its account, or an operator's token, which sees all. Without
--server, token and rewrap work on the database of the config.`
	return c
}

// calling returns a command that calls a server.
func (a *app) calling(c *cobra.Command, run func(cmd *cobra.Command, r *apiClient, args []string) error) *cobra.Command {
	r := &apiClient{}
	r.flags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.openRemote(r); err != nil {
			return err
		}
		defer r.client.Close()
		return run(cmd, r, args)
	}
	return c
}

// listing is calling for a list: it prints the items as JSON, or one row each.
func listing[T any](a *app, c *cobra.Command, path func(args []string) (string, url.Values), header []string, row func(T) []any) *cobra.Command {
	limit := 100
	c.Flags().IntVar(&limit, "limit", limit, "the most rows")
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		p, q := path(args)
		items, err := r.list(cmd.Context(), p, q, limit)
		if err != nil {
			return err
		}
		rows, err := decode[T](items)
		if err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), items, func(w io.Writer) {
			g := newGrid(w, header...)
			for _, x := range rows {
				g.row(row(x)...)
			}
			g.end()
		})
	})
}

// query makes parameters of those values that are not empty.
func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func (a *app) subResources() *cobra.Command {
	var search, filter string
	limit := 100
	c := &cobra.Command{
		Use: "resources [ENTITY]", Short: "List what can be subscribed: entities, or the records of one", Args: cobra.MaximumNArgs(1),
		Example: examples("kedge subscriptions resources", "kedge subscriptions resources projects --search al", "kedge subscriptions resources tasks --filter \"status eq 'open'\" --json"),
	}
	c.Flags().StringVar(&search, "search", "", "text in one of the entity's search fields")
	c.Flags().StringVar(&filter, "filter", "", "condition in kedge's filter language")
	c.Flags().IntVar(&limit, "limit", limit, "the most rows")
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		if len(args) == 0 {
			return a.showEntities(cmd, r)
		}
		items, err := r.list(cmd.Context(), "resources/"+url.PathEscape(args[0]), query("search", search, "filter", filter), limit)
		if err != nil {
			return err
		}
		rows, err := decode[resources.Resource](items)
		if err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), items, func(w io.Writer) {
			g := newGrid(w, "RESOURCE", "TITLE")
			for _, x := range rows {
				g.row(x.Resource, x.Title)
			}
			g.end()
		})
	})
}

func (a *app) showEntities(cmd *cobra.Command, r *apiClient) error {
	var answer struct{ Value, Items []resources.Entity }
	if err := r.call(cmd.Context(), "GET", "resources", nil, nil, &answer); err != nil {
		return err
	}
	all := append(answer.Value, answer.Items...)
	return a.print(cmd.OutOrStdout(), notNil(all), func(w io.Writer) {
		g := newGrid(w, "RESOURCE", "TITLE", "OPERATIONS", "FIELDS", "CHILDREN")
		for _, e := range all {
			var children []string
			for _, c := range e.Children {
				children = append(children, c.Entity+" via "+c.Via)
			}
			ops, _ := json.Marshal(e.Operations) // cannot fail
			g.row(e.Resource, e.Title, strings.Trim(strings.ReplaceAll(string(ops), `"`, ""), "[]"), strings.Join(e.Fields, ","), strings.Join(children, ", "))
		}
		g.end()
	})
}

func (a *app) subList() *cobra.Command {
	var resource, state, account string
	c := &cobra.Command{
		Use: "list", Short: "List subscriptions", Args: cobra.NoArgs,
		Example: examples("kedge subscriptions list", "kedge subscriptions list --state disabled --json"),
	}
	c.Flags().StringVar(&resource, "resource", "", "only those of this resource, such as projects/proj1")
	c.Flags().StringVar(&state, "state", "", "only those in this state: active, paused, unverified, disabled or expired")
	c.Flags().StringVar(&account, "account", "", "only those of this account; for operators")
	return listing(a, c, func([]string) (string, url.Values) {
		return "subscriptions", query("resource", resource, "state", state, "account", account)
	}, []string{"ID", "ACCOUNT", "RESOURCE", "EVENTS", "STATE", "URL", "LAST SUCCESS"}, func(s subscriptions.Subscription) []any {
		return []any{s.ID, s.Account, s.Resource, strings.Join(s.Events, ","), stateText(s), s.URL, timeText(s.LastOkAt)}
	})
}

func stateText(s subscriptions.Subscription) string {
	if s.Reason != "" {
		return s.State + " (" + s.Reason + ")"
	}
	return s.State
}

func timeText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// subPath is the path of a subscription, or of what is below it.
func subPath(id string, below ...string) string {
	return strings.Join(append([]string{"subscriptions", url.PathEscape(id)}, below...), "/")
}

func (a *app) subGet() *cobra.Command {
	c := &cobra.Command{
		Use: "get ID", Short: "Show a subscription, without its secrets", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions get sub_019f4c1e", "kedge subscriptions get sub_019f4c1e --json"),
	}
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		return a.showSubscription(cmd, r, args[0])
	})
}

func (a *app) showSubscription(cmd *cobra.Command, r *apiClient, id string) error {
	var raw json.RawMessage
	if err := r.call(cmd.Context(), "GET", subPath(id), nil, nil, &raw); err != nil {
		return err
	}
	return a.printSubscription(cmd, raw)
}

// printSubscription prints one that a server answered, and its secret if it
// has one.
func (a *app) printSubscription(cmd *cobra.Command, raw json.RawMessage) error {
	var s struct {
		subscriptions.Subscription
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	return a.print(cmd.OutOrStdout(), raw, func(w io.Writer) {
		g := newGrid(w, "NAME", "VALUE")
		for _, line := range [][2]string{
			{"id", s.ID}, {"account", s.Account}, {"user", s.User}, {"resource", s.Resource}, {"events", strings.Join(s.Events, ",")}, {"state", stateText(s.Subscription)},
			{"url", s.Method + " " + s.URL}, {"auth", s.Auth.Type}, {"format", s.Format}, {"payload", s.Payload}, {"ordering", s.Ordering}, {"verify", s.Verify},
			{"created", timeText(&s.CreatedAt)}, {"last success", timeText(s.LastOkAt)}, {"failing since", timeText(s.FailingFrom)}, {"expires", timeText(s.ExpiresAt)},
			{"description", s.Description}, {"secret, shown this once", s.Secret},
		} {
			if line[1] != "" {
				g.row(line[0], line[1])
			}
		}
		g.end()
	})
}

func (a *app) subDelete() *cobra.Command {
	c := &cobra.Command{
		Use: "delete ID", Short: "Delete a subscription and all that waits for it; no push comes afterwards", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions delete sub_019f4c1e"),
	}
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		var answer json.RawMessage
		if err := r.call(cmd.Context(), "DELETE", subPath(args[0]), nil, nil, &answer); err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), answer, func(w io.Writer) { fmt.Fprintln(w, "deleted "+args[0]) })
	})
}

func (a *app) subSwitch(verb, state string) *cobra.Command {
	short := map[string]string{"pause": "Send nothing until it is resumed; events wait", "resume": "Send what waits, and what comes; also one that was disabled"}[verb]
	c := &cobra.Command{Use: verb + " ID", Short: short, Args: cobra.ExactArgs(1), Example: examples("kedge subscriptions " + verb + " sub_019f4c1e")}
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		return a.patchSubscription(cmd, r, args[0], map[string]string{"state": state})
	})
}

func (a *app) patchSubscription(cmd *cobra.Command, r *apiClient, id string, patch any) error {
	var raw json.RawMessage
	if err := r.call(cmd.Context(), "PATCH", subPath(id), nil, patch, &raw); err != nil {
		return err
	}
	return a.printSubscription(cmd, raw)
}

func (a *app) subProve(verb, short string) *cobra.Command {
	c := &cobra.Command{
		Use: verb + " ID", Short: short, Args: cobra.ExactArgs(1), Long: short + ". Ends with 1 if it did not succeed.",
		Example: examples("kedge subscriptions "+verb+" sub_019f4c1e", "kedge subscriptions "+verb+" sub_019f4c1e --json"),
	}
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		var raw json.RawMessage
		if err := r.call(cmd.Context(), "POST", subPath(args[0], verb), nil, nil, &raw); err != nil {
			return err
		}
		var p subscriptions.Proof
		if err := json.Unmarshal(raw, &p); err != nil {
			return err
		}
		err := a.print(cmd.OutOrStdout(), raw, func(w io.Writer) {
			fmt.Fprintf(w, "%s: status %d after %.1f ms, verified %v\n", p.Class, p.Status, p.Took, p.Verified)
		})
		if err == nil && (!p.OK || verb == "verify" && !p.Verified) {
			return &exitError{exitFailed, ErrShown}
		}
		return err
	})
}

func (a *app) subRewrap() *cobra.Command {
	return &cobra.Command{
		Use: "rewrap", Short: "Seal all secrets of subscriptions with the newest key of the config", Args: cobra.NoArgs,
		Long:    "Works on the database of the config. After it an older key may be taken out of keys.",
		Example: examples("kedge subscriptions rewrap"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.subscriptions(cmd.Context())
			if err != nil {
				return err
			}
			n, err := p.Rewrap(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), map[string]int{"sealed": n}, func(w io.Writer) { fmt.Fprintf(w, "sealed %d subscriptions\n", n) })
		},
	}
}

// withSubscriptions calls f with the subscriptions of the config's database.
func (a *app) withSubscriptions(ctx context.Context, f func(p *pusher) error) error {
	p, err := a.subscriptions(ctx)
	if err != nil {
		return err
	}
	return f(p)
}
