package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// readArg returns the text of a file, or of standard input for "-".
func readArg(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return text, nil
}

// told makes what a service refuses the user's to mend, with the values that
// are wrong.
func told(err error) error {
	p, ok := errors.AsType[*httpapi.Problem](err)
	if !ok || p.Status >= 500 {
		return err
	}
	lines := []string{p.Detail}
	for _, e := range p.Errors {
		if e.Detail != p.Detail {
			lines = append(lines, "  "+strings.TrimSpace(e.Pointer+" "+e.Detail))
		}
	}
	return usage(errors.New(strings.Join(lines, "\n")))
}

func always[T any](*T) error { return nil }

func (a *app) ingestGroups() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the groups", Args: cobra.NoArgs, Example: examples("kedge ingest groups list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			groups, err := s.Groups(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(groups), func(w io.Writer) {
				g := newGrid(w, "NAME", "PREFIX", "DESCRIPTION", "ORIGIN")
				for _, x := range groups {
					g.row(x.Name, x.Prefix, x.Description, x.Origin)
				}
				g.end()
			})
		},
	}
	var in ingest.Group
	create := &cobra.Command{
		Use: "create NAME --prefix PREFIX", Short: "Make a group, whose prefix begins the names of its tables", Args: cobra.ExactArgs(1), Example: examples("kedge ingest groups create HR --prefix hr"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			in.Name = args[0]
			made, err := s.CreateGroup(cmd.Context(), in)
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), made, func(w io.Writer) {
				fmt.Fprintf(w, "made group %s; next: kedge ingest schemas create %s TABLE FILE\n", made.Name, made.Prefix)
			})
		},
	}
	create.Flags().StringVar(&in.Prefix, "prefix", "", "lower-case letters, digits and _, up to 20")
	create.Flags().StringVar(&in.Description, "description", "", "for people")
	remove := &cobra.Command{
		Use: "delete NAME", Short: "Delete a group without schemas", Args: cobra.ExactArgs(1), Example: examples("kedge ingest groups delete HR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			return told(s.DeleteGroup(cmd.Context(), args[0], always[ingest.Group]))
		},
	}
	return group("groups", "Groups of tables", list, create, remove)
}

func (a *app) ingestIntegrations() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the integrations", Args: cobra.NoArgs, Example: examples("kedge ingest integrations list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			items, err := s.Integrations(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(items), func(w io.Writer) {
				g := newGrid(w, "NAME", "TABLES", "STATE", "ORIGIN")
				for _, x := range items {
					g.row(x.Name, strings.Join(x.Tables, ", "), x.State, x.Origin)
				}
				g.end()
			})
		},
	}
	var rate ingest.Rate
	create := &cobra.Command{
		Use: "create NAME TABLE...", Short: "Let senders push into tables", Args: cobra.MinimumNArgs(2), Example: examples("kedge ingest integrations create hr-feed hr_employee"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			in := ingest.Integration{Name: args[0], Tables: args[1:]}
			if rate != (ingest.Rate{}) {
				in.Rate = &rate
			}
			made, err := s.CreateIntegration(cmd.Context(), in)
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), made, func(w io.Writer) {
				fmt.Fprintf(w, "made integration %s; next: kedge ingest keys create %s NAME\n", made.Name, made.Name)
			})
		},
	}
	create.Flags().StringVar(&rate.Requests, "rate", "", "most requests of each key: 1000/s")
	create.Flags().IntVar(&rate.Burst, "burst", 0, "requests that may come at once")
	create.Flags().StringVar(&rate.Bytes, "bytes", "", "most bytes of each key: 16MiB/s")
	remove := &cobra.Command{
		Use: "delete NAME", Short: "Detach the tables of an integration and delete its keys; the data stays", Args: cobra.ExactArgs(1), Example: examples("kedge ingest integrations delete hr-feed --yes"),
	}
	var yes bool
	remove.Flags().BoolVar(&yes, "yes", false, "do not ask")
	remove.RunE = func(cmd *cobra.Command, args []string) error {
		if err := confirm(yes, "the keys of the integration stop working"); err != nil {
			return err
		}
		s, err := a.ingest(cmd.Context())
		if err != nil {
			return err
		}
		return told(s.DeleteIntegration(cmd.Context(), args[0], always[ingest.Integration]))
	}
	return group("integrations", "Who may push into which tables", list, create, remove)
}

func (a *app) ingestKeys() *cobra.Command {
	list := &cobra.Command{
		Use: "list INTEGRATION", Short: "List the keys of an integration, without their secrets", Args: cobra.ExactArgs(1), Example: examples("kedge ingest keys list hr-feed"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			keys, err := s.Keys(cmd.Context(), args[0])
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), notNil(keys), func(w io.Writer) {
				g := newGrid(w, "ID", "NAME", "OPERATIONS", "TABLES", "GROUP KEYS", "EXPIRES", "REVOKED", "LAST USED", "ORIGIN")
				for _, k := range keys {
					g.row(k.ID, k.Name, strings.Join(k.Operations, ","), strings.Join(k.Tables, ","), strings.Join(k.GroupKeys, ","), when(k.ExpiresAt), when(k.RevokedAt), when(k.LastUsedAt), k.Origin)
				}
				g.end()
			})
		},
	}
	var in ingest.Key
	var expires string
	create := &cobra.Command{
		Use: "create INTEGRATION NAME", Short: "Make a key and show it, this once", Args: cobra.ExactArgs(2),
		Example: examples("kedge ingest keys create hr-feed nightly", "kedge ingest keys create hr-feed dept-a --operations event --group-keys dept-a --expires 90d"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			in.Name = args[1]
			if expires != "" {
				d, err := ingest.ParseDuration(expires)
				if err != nil {
					return usagef("--expires: %v", err)
				}
				t := time.Now().Add(d).UTC()
				in.ExpiresAt = &t
			}
			k, err := s.CreateKey(cmd.Context(), args[0], in)
			if err != nil {
				return told(err)
			}
			return a.showKey(cmd, k)
		},
	}
	create.Flags().StringSliceVar(&in.Operations, "operations", nil, "event, bulk, delete; default: all")
	create.Flags().StringSliceVar(&in.Tables, "tables", nil, "full names of tables; default: all of the integration")
	create.Flags().StringSliceVar(&in.GroupKeys, "group-keys", nil, "group keys; default: all")
	create.Flags().StringVar(&expires, "expires", "", "how long it works: 90d; default: until it is revoked")
	var grace string
	rotate := &cobra.Command{
		Use: "rotate INTEGRATION KEY", Short: "Make a new key in the place of one, which works for a while", Args: cobra.ExactArgs(2), Example: examples("kedge ingest keys rotate hr-feed nightly --grace 24h"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := ingest.ParseDuration(grace)
			if err != nil {
				return usagef("--grace: %v", err)
			}
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			k, err := s.RotateKey(cmd.Context(), args[0], args[1], d)
			if err != nil {
				return told(err)
			}
			return a.showKey(cmd, k)
		},
	}
	rotate.Flags().StringVar(&grace, "grace", "24h", "how long the old key works")
	revoke := &cobra.Command{
		Use: "revoke INTEGRATION KEY", Short: "End a key: within 5 seconds in running servers", Args: cobra.ExactArgs(2), Example: examples("kedge ingest keys revoke hr-feed nightly"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			return told(s.RevokeKey(cmd.Context(), args[0], args[1]))
		},
	}
	return group("keys", "Keys that senders show", list, create, rotate, revoke)
}

func when(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// showKey shows a new key. JSON has what the API answers.
func (a *app) showKey(cmd *cobra.Command, k *ingest.Key) error {
	return a.print(cmd.OutOrStdout(), k, func(w io.Writer) {
		fmt.Fprintln(w, k.Key)
		fmt.Fprintln(cmd.ErrOrStderr(), "This is the only time that the key is shown.")
	})
}

func (a *app) ingestSchemas() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the schemas", Args: cobra.NoArgs, Example: examples("kedge ingest schemas list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			items, err := s.Schemas(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), notNil(items), func(w io.Writer) {
				g := newGrid(w, "TABLE", "GROUP", "VERSION", "INTEGRATION", "STATE", "ORIGIN")
				for _, x := range items {
					g.row(x.FullName, x.Group, x.Version, x.Integration, x.State, x.Origin)
				}
				g.end()
			})
		},
	}
	show := &cobra.Command{
		Use: "show TABLE", Short: "Show a schema as it is checked", Args: cobra.ExactArgs(1), Example: examples("kedge ingest schemas show hr_employee"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			t, err := s.Schema(cmd.Context(), args[0])
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), t, func(w io.Writer) {
				fmt.Fprintf(w, "%s, version %d\n", t.FullName, t.Version)
				for _, x := range t.Warnings {
					fmt.Fprintf(w, "warning: %s\n", x)
				}
				fmt.Fprintln(w, indent(t.Schema))
			})
		},
	}
	return group("schemas", "Tables and what their resources look like", list, show, a.schemasCreate(), a.schemasCheck(), a.schemasApply(), a.schemasDelete())
}

func indent(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return string(raw)
	}
	return b.String()
}

func (a *app) schemasCreate() *cobra.Command {
	var in ingest.Schema
	var mapping string
	var removed ingest.MaxRemoved
	c := &cobra.Command{
		Use: "create GROUP TABLE FILE", Short: "Declare a table by a JSON Schema (2020-12)", Args: cobra.ExactArgs(3), Example: examples("kedge ingest schemas create hr employee employee.schema.json", "kedge ingest schemas create hr employee employee.schema.json --history 90d --max-removed-percent 30 --max-removed-min 20"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			in.Group, in.Table = args[0], args[1]
			if in.Schema, err = readArg(cmd, args[2]); err != nil {
				return err
			}
			if mapping != "" {
				text, err := readArg(cmd, mapping)
				if err != nil {
					return err
				}
				if in.Mapping, err = json.Marshal(string(text)); err != nil {
					return err
				}
			}
			if removed != (ingest.MaxRemoved{}) {
				in.MaxRemoved = &removed
			}
			made, err := s.CreateSchema(cmd.Context(), in)
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), made, func(w io.Writer) {
				for _, x := range made.Warnings {
					fmt.Fprintf(w, "warning: %s\n", x)
				}
				fmt.Fprintf(w, "made table %s; next: kedge ingest integrations create NAME %s\n", made.FullName, made.FullName)
			})
		},
	}
	c.Flags().StringVar(&in.History, "history", "", "how long changes are kept: 90d; default: for ever")
	c.Flags().StringVar(&in.EmptyBulk, "empty-bulk", "", "reject (default) or accept: whether an empty list may remove all")
	c.Flags().IntVar(&removed.Percent, "max-removed-percent", 0, "bulks that remove more percent must confirm it")
	c.Flags().IntVar(&removed.Min, "max-removed-min", 0, "so many may always be removed")
	c.Flags().StringVar(&mapping, "mapping", "", "mapping file by which resources are written to a local entity")
	return c
}

func (a *app) schemasCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE [PAYLOAD]", Short: "Check a JSON Schema, and a resource against it, without a database", Args: cobra.RangeArgs(1, 2), Example: examples("kedge ingest schemas check employee.schema.json", "kedge ingest schemas check employee.schema.json payload.json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			document, err := readArg(cmd, args[0])
			if err != nil {
				return err
			}
			var payload []byte
			if len(args) == 2 {
				if payload, err = readArg(cmd, args[1]); err != nil {
					return err
				}
			}
			res, err := ingest.CheckSchema(document, payload)
			if err != nil {
				return err
			}
			err = a.print(cmd.OutOrStdout(), res, func(w io.Writer) {
				for _, x := range res.Warnings {
					fmt.Fprintf(w, "warning: %s\n", x)
				}
				for _, e := range res.Errors {
					fmt.Fprintf(w, "error: %s\n", strings.TrimPrefix(e.Pointer+": "+e.Detail, ": "))
				}
				if res.Valid {
					fmt.Fprintln(w, "ok")
				}
			})
			if err == nil && !res.Valid {
				err = &exitError{exitUsage, ErrShown}
			}
			return err
		},
	}
}

func (a *app) schemasApply() *cobra.Command {
	var check, force bool
	c := &cobra.Command{
		Use: "apply TABLE FILE", Short: "Make a new version of a schema active, after a look at all stored resources", Args: cobra.ExactArgs(2),
		Example: examples("kedge ingest schemas apply hr_employee employee.schema.json --check", "kedge ingest schemas apply hr_employee employee.schema.json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			mode := ingest.Apply
			switch {
			case check && force:
				return usagef("give --check or --force, not both")
			case check:
				mode = ingest.Check
			case force:
				mode = ingest.Force
			}
			document, err := readArg(cmd, args[1])
			if err != nil {
				return err
			}
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			out, err := s.ChangeSchema(cmd.Context(), args[0], document, mode, always[ingest.Schema])
			if err != nil {
				return told(err)
			}
			return a.print(cmd.OutOrStdout(), out, func(w io.Writer) { showVersioned(w, out) })
		},
	}
	c.Flags().BoolVar(&check, "check", false, "only report")
	c.Flags().BoolVar(&force, "force", false, "keep stored resources that do not fit, marked as not valid")
	return c
}

func showVersioned(w io.Writer, out *ingest.Versioned) {
	fmt.Fprintf(w, "%s; stored resources: %d fit, %d do not\n", out.Level, out.Stored.Valid, out.Stored.Invalid)
	for _, c := range out.Changes {
		fmt.Fprintf(w, "  %s %s: %s (%s)\n", c.Kind, c.Pointer, c.Detail, c.Level)
	}
	for _, m := range out.Stored.First {
		fmt.Fprintf(w, "  does not fit: %s %s: %s\n", m.ID, m.Pointer, m.Detail)
	}
	for _, x := range out.Warnings {
		fmt.Fprintf(w, "warning: %s\n", x)
	}
	if out.Applied {
		fmt.Fprintf(w, "version %d is active\n", out.Version)
	}
}

func (a *app) schemasDelete() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete TABLE", Short: "Delete a schema with all its data", Args: cobra.ExactArgs(1), Example: examples("kedge ingest schemas delete hr_employee --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := confirm(yes, "all resources of the table and their history are deleted"); err != nil {
				return err
			}
			s, err := a.ingest(cmd.Context())
			if err != nil {
				return err
			}
			return told(s.DeleteSchema(cmd.Context(), args[0], always[ingest.Schema]))
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
