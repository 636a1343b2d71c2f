package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// subDoc are the flags that make a subscription's document, or a patch of it.
type subDoc struct {
	file, url, method, format, payload, description, account, user string
	events                                                         []string
	resource                                                       string
}

func (d *subDoc) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&d.file, "file", "", "file with the members as JSON, - for standard input; flags win over it")
	f.StringVar(&d.url, "url", "", "URL to call")
	f.StringSliceVar(&d.events, "events", nil, "events, such as tasks.create,update")
	f.StringVar(&d.method, "method", "", "POST, PUT, PATCH or GET")
	f.StringVar(&d.format, "format", "", "standard, cloudevents-structured or cloudevents-binary")
	f.StringVar(&d.payload, "payload", "", "full or thin")
	f.StringVar(&d.description, "description", "", "for people")
}

// body returns the document.
func (d *subDoc) body(cmd *cobra.Command) (map[string]any, error) {
	out := map[string]any{}
	if d.file != "" {
		text, err := readArg(cmd, d.file)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &out); err != nil {
			return nil, usagef("--file %s: not a JSON object: %v", d.file, err)
		}
	}
	for name, v := range map[string]string{
		"url": d.url, "method": d.method, "format": d.format, "payload": d.payload, "description": d.description,
		"resource": d.resource, "account": d.account, "user": d.user,
	} {
		if v != "" {
			out[name] = v
		}
	}
	if d.events != nil {
		out["events"] = d.events
	}
	if len(out) == 0 {
		return nil, usagef("say what: --file, or flags such as --events")
	}
	return out, nil
}

func (a *app) subCreate() *cobra.Command {
	var d subDoc
	c := &cobra.Command{
		Use: "create", Short: "Subscribe: kedge calls the URL when one of the events happens", Args: cobra.NoArgs,
		Long: `Prints the subscription with its signing secret, which is shown this once. The
receiver verifies with it that a call comes from kedge (Standard Webhooks).`,
		Example: examples("kedge subscriptions create --url https://hooks.example.com/k/8f3a --resource projects/proj1 --events tasks.create,tasks.update",
			"kedge subscriptions create --file subscription.json --account acme"),
	}
	d.flags(c)
	c.Flags().StringVar(&d.resource, "resource", "", "entity, or entity/key of one record")
	c.Flags().StringVar(&d.account, "account", "", "account that it belongs to; for operators")
	c.Flags().StringVar(&d.user, "user", "", "user that it belongs to; for operators")
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, _ []string) error {
		body, err := d.body(cmd)
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := r.call(cmd.Context(), "POST", "subscriptions", nil, body, &raw); err != nil {
			return err
		}
		return a.printSubscription(cmd, raw)
	})
}

func (a *app) subUpdate() *cobra.Command {
	var d subDoc
	c := &cobra.Command{
		Use: "update ID", Short: "Change a subscription; only what is given changes", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions update sub_019f4c1e --events tasks.delete", "kedge subscriptions update sub_019f4c1e --file patch.json"),
	}
	d.flags(c)
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		patch, err := d.body(cmd)
		if err != nil {
			return err
		}
		return a.patchSubscription(cmd, r, args[0], patch)
	})
}

func (a *app) subRotate() *cobra.Command {
	var overlap, env string
	c := &cobra.Command{
		Use: "rotate-secret ID", Short: "Sign with a new secret, and for a while with the old one, too", Args: cobra.ExactArgs(1),
		Example: examples("kedge subscriptions rotate-secret sub_019f4c1e", "kedge subscriptions rotate-secret sub_019f4c1e --overlap 0s --secret-env NEW_SECRET"),
	}
	c.Flags().StringVar(&overlap, "overlap", "24h", "how long the old secret signs beside the new one, at most 7d")
	c.Flags().StringVar(&env, "secret-env", "", "environment variable that holds the new secret; default: kedge makes one")
	return a.calling(c, func(cmd *cobra.Command, r *apiClient, args []string) error {
		body := map[string]string{"overlap": overlap}
		if env != "" {
			if body["secret"] = os.Getenv(env); body["secret"] == "" {
				return usagef("the environment variable %s is not set", env)
			}
		}
		var raw json.RawMessage
		if err := r.call(cmd.Context(), "POST", subPath(args[0], "rotate-secret"), nil, body, &raw); err != nil {
			return err
		}
		var x struct{ Secret, PreviousValidUntil string }
		if err := json.Unmarshal(raw, &x); err != nil {
			return err
		}
		return a.print(cmd.OutOrStdout(), raw, func(w io.Writer) {
			fmt.Fprintln(w, x.Secret)
			fmt.Fprintf(cmd.ErrOrStderr(), "kedge: shown this once; the old secret is valid until %s\n", strings.TrimSpace(x.PreviousValidUntil))
		})
	})
}
