package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/subscriptions"
)

func (a *app) subAttempts() *cobra.Command {
	var class, event, from, to string
	c := &cobra.Command{
		Use: "attempts ID", Short: "List requests to the target, the newest first", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions attempts sub_019f4c1e", "kedge subscriptions attempts sub_019f4c1e --class server --from 2026-03-01T00:00:00Z"),
	}
	c.Flags().StringVar(&class, "class", "", "only those that ended so: ok, dns, connect, tls, timeout, server, rejected, redirect, denied, throttled, gone or blocked")
	c.Flags().StringVar(&event, "event", "", "only those of this message")
	c.Flags().StringVar(&from, "from", "", "not before this time, such as 2026-03-01T09:30:00Z")
	c.Flags().StringVar(&to, "to", "", "before this time")
	return listing(a, c, func(args []string) (string, url.Values) {
		return subPath(args[0], "attempts"), query("class", class, "event", event, "from", from, "to", to)
	}, []string{"AT", "MESSAGE", "ATTEMPT", "CLASS", "STATUS", "MS", "ANSWER"}, func(x subscriptions.Attempt) []any {
		return []any{x.At.Local().Format(time.DateTime), x.Message, x.Number, x.Class, x.Status, fmt.Sprintf("%.1f", x.Took), x.Head}
	})
}

func (a *app) subDead() *cobra.Command {
	c := &cobra.Command{
		Use: "dead ID", Short: "List deliveries that were given up; replay sends them again", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions dead sub_019f4c1e", "kedge subscriptions dead sub_019f4c1e --json"),
	}
	return listing(a, c, func(args []string) (string, url.Values) {
		return subPath(args[0], "deliveries"), query("state", "dead")
	},
		[]string{"DIED", "MESSAGE", "RESOURCE", "OPERATION", "SEQUENCE", "ATTEMPTS", "CLASS"}, func(x subscriptions.Delivery) []any {
			return []any{timeText(x.DiedAt), x.Message, x.Resource, x.Operation, x.Sequence, x.Attempts, x.Class}
		})
}

func (a *app) subGaps() *cobra.Command {
	c := &cobra.Command{
		Use: "gaps ID", Short: "List ranges of events of which some never arrived", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions gaps sub_019f4c1e"),
	}
	number := func(n *int64) any {
		if n == nil {
			return ""
		}
		return *n
	}
	return listing(a, c, func(args []string) (string, url.Values) { return subPath(args[0], "gaps"), nil },
		[]string{"GAP", "REASON", "FROM", "TO", "COUNT", "SINCE", "TOLD"}, func(x subscriptions.LostRange) []any {
			return []any{x.ID, x.Reason, x.From, number(x.To), number(x.Count), timeText(&x.At), timeText(x.ToldAt)}
		})
}

func (a *app) subReplay() *cobra.Command {
	var dead, force bool
	var gap int64
	var from, to string
	var messages []string
	c := &cobra.Command{
		Use: "replay ID", Short: "Send messages again: dead letters, a gap, single ones or a range", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions replay sub_019f4c1e --dead", "kedge subscriptions replay sub_019f4c1e --gap 3",
			"kedge subscriptions replay sub_019f4c1e --messages msg_k3a,msg_k3b", "kedge subscriptions replay sub_019f4c1e --from 2026-03-01T00:00:00Z --to 2026-03-02T00:00:00Z --force"),
	}
	f := c.Flags()
	f.BoolVar(&dead, "dead", false, "all dead letters")
	f.Int64Var(&gap, "gap", 0, "the gap with this number")
	f.StringSliceVar(&messages, "messages", nil, "these messages, at most 1000")
	f.StringVar(&from, "from", "", "what happened from this time on, such as 2026-03-01T09:30:00Z")
	f.StringVar(&to, "to", "", "what happened before this time; default: now")
	f.BoolVar(&force, "force", false, "with a range: also what arrived already")
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		body := map[string]any{}
		if dead {
			body["state"] = "dead"
		}
		if gap != 0 {
			body["gap"] = gap
		}
		if messages != nil {
			body["messages"] = messages
		}
		for name, t := range map[string]string{"from": from, "to": to} {
			if t != "" {
				body[name] = t
			}
		}
		if force {
			body["force"] = true
		}
		if len(body) == 0 {
			return usagef("say what to send again: --dead, --gap, --messages, or --from")
		}
		var raw json.RawMessage
		if err := r.call(cmd.Context(), "POST", subPath(args[0], "replay"), nil, body, &raw); err != nil {
			return err
		}
		var x struct{ Replay string }
		if err := json.Unmarshal(raw, &x); err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), raw, func(w io.Writer) { fmt.Fprintln(w, "started "+x.Replay) })
	})
}
