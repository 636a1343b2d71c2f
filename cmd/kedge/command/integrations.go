package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// emptyMapping is what an integration starts with.
const emptyMapping = "kedge: mapping/v1\n"

func (a *app) integrationsCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List integrations", Args: cobra.NoArgs, Example: examples("kedge integrations list"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			all, err := s.Integrations(cmd.Context())
			if err != nil {
				return err
			}
			a.unread.tell(cmd.ErrOrStderr())
			return a.print(cmd.OutOrStdout(), notNil(all), func(w io.Writer) {
				g := newGrid(w, "INTEGRATION", "EXTERNAL", "LOCAL", "REVISION", "FROM")
				for _, i := range all {
					g.row(i.Name, i.External, i.Local, i.Revision, i.Source)
				}
				g.end()
			})
		},
	}
	return group("integrations", "List, show, create, edit and delete integrations",
		list, a.integrationsShow(), a.integrationsCreate(), a.integrationsEdit(), a.integrationsDelete())
}

func (a *app) integrationsShow() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show an integration, its mapping and what a check finds", Args: cobra.ExactArgs(1), Example: examples("kedge integrations show crm"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, i, err := a.integration(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			data, findings, checkErr := showIntegration(cmd.Context(), s, i)
			return a.print(cmd.OutOrStdout(), data, func(w io.Writer) {
				fmt.Fprintf(w, "integration %s: %s → %s, revision %d by %s\n", i.Name, i.External, i.Local, i.Revision, i.Author)
				if i.Source != "" {
					fmt.Fprintf(w, "mapping from file %s\n", i.Source)
				}
				fmt.Fprintf(w, "\n%s\n", i.YAML)
				if checkErr != nil {
					fmt.Fprintf(w, "not checked: %v\n", checkErr)
					return
				}
				showFindings(w, i.Name, findings)
			})
		},
	}
}

// showIntegration is the documented form of an integration with its mapping and
// what a check finds.
func showIntegration(ctx context.Context, s *syncer.Syncer, i *syncer.Integration) (map[string]any, []mapping.Finding, error) {
	findings, err := s.Check(ctx, i)
	data := map[string]any{"integration": i, "mapping": i.YAML, "findings": notNil(findings)}
	if err != nil {
		data["error"] = err.Error()
	}
	return data, findings, err
}

// integration returns the syncer and a stored integration whose mapping could
// be read.
func (a *app) integration(ctx context.Context, name string) (*syncer.Syncer, *syncer.Integration, error) {
	s, err := a.sync(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := a.unread[name]; err != nil {
		return nil, nil, err
	}
	i, err := s.Mapping(ctx, name)
	if kedge.KindOf(err) == kedge.NotFound {
		err = usage(err)
	}
	return s, i, err
}

// known refuses the name of an integration that there is not; "" means all.
func (a *app) known(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	_, _, err := a.integration(ctx, name)
	return err
}

// knownEntities refuses an integration, or entities of it, that there are not.
func (a *app) knownEntities(ctx context.Context, name string, entities []string) error {
	_, i, err := a.integration(ctx, name)
	if err != nil || len(entities) == 0 {
		return err
	}
	m, err := i.Parse()
	if err != nil {
		return usage(err)
	}
	for _, e := range entities {
		if m.Entity(e) == nil {
			return usagef("the mapping of %s has no entity %q; it has %s", name, e, entityList(m))
		}
	}
	return nil
}

func (a *app) integrationsCreate() *cobra.Command {
	var external, local, kind, preset string
	var set []string
	c := &cobra.Command{
		Use: "create NAME (--external CONNECTION | --kind KIND --set KEY=VALUE...)", Short: "Create an integration", Args: cobra.ExactArgs(1),
		Long: `Joins a connection of the config, or a new one made of --kind and --set, with
the local tables. The mapping starts empty; for Business Central it starts with
customers, contacts and service orders. Secrets are given as references, such as
--set 'auth.password=${CRM_PASSWORD}', and are stored as references.`,
		Example: examples("kedge integrations create crm --external crm",
			"kedge integrations create crm --kind odata --set url=https://crm.example/odata/ --set auth.type=bearer --set 'auth.token=${CRM_TOKEN}'"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			if (external == "") == (kind == "") {
				return usagef("give one of --external and --kind")
			}
			if err := checkPreset(preset); err != nil {
				return err
			}
			if err := a.canCreate(cmd.Context(), s, name, external, local); err != nil {
				return err
			}
			if kind != "" {
				if external, err = a.makeConnection(cmd.Context(), name, kind, set); err != nil {
					return err
				}
			}
			m, err := a.firstMapping(cmd.Context(), s, preset, external, name)
			if err != nil {
				return err
			}
			_, err = s.Save(cmd.Context(), syncer.Integration{Name: name, External: external, Local: local, YAML: string(m.Marshal()), Author: user()})
			if err != nil {
				return usage(err)
			}
			next := "map enable " + name + " EXTERNAL_ENTITY"
			if len(m.Entities) > 0 {
				next = "map tables " + name
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "created %s; next: kedge %s\n", name, next)
			return err
		},
	}
	c.Flags().StringVar(&external, "external", "", "connection of the remote side")
	c.Flags().StringVar(&local, "local", config.Local, "connection of our side")
	c.Flags().StringVar(&kind, "kind", "", "make a connection of this kind, named as the integration")
	c.Flags().StringArrayVar(&set, "set", nil, "setting of the new connection, KEY=VALUE; nested keys with dots")
	c.Flags().StringVar(&preset, "preset", "", "start with a mapping: businesscentral, or none; by itself the one that fits the connection")
	return c
}

// canCreate refuses a name that is taken, and connections that there are not.
func (a *app) canCreate(ctx context.Context, s *syncer.Syncer, name string, connections ...string) error {
	if _, err := s.Mapping(ctx, name); kedge.KindOf(err) != kedge.NotFound {
		if err == nil {
			err = usage(&kedge.Error{Kind: kedge.Conflict, Err: fmt.Errorf("there is an integration %q already", name)})
		}
		return err
	}
	for _, conn := range connections {
		if err := a.connects(ctx, conn, name); err != nil {
			return err
		}
	}
	return nil
}

// connects tells whether the settings of a connection are right; "" are.
func (a *app) connects(ctx context.Context, connection, integration string) error {
	if connection == "" {
		return nil
	}
	conn, err := a.connect(ctx, connection, integration)
	if err != nil {
		return err
	}
	return conn.Close()
}

// makeConnection checks and stores a connection.
func (a *app) makeConnection(ctx context.Context, name, kind string, set []string) (string, error) {
	if _, err := a.storedConnection(ctx, name); err == nil || a.hasConnection(name) {
		return "", usagef("there is a connection %q already; use --external %s", name, name)
	}
	if !slices.ContainsFunc(registry().Kinds(), func(k connectors.Kind) bool { return k.Name == kind }) {
		return "", usagef("there is no kind %q; see \"kedge connections list --kinds\"", kind)
	}
	block := map[string]any{}
	for _, s := range set {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return "", usagef("--set %q: write KEY=VALUE", key)
		}
		if secret(key) && !strings.HasPrefix(value, "${") && !strings.HasPrefix(value, "file:") {
			return "", usagef("--set %s: give a secret as a reference: '%s=${NAME}' or '%s=file:PATH'", key, key, key)
		}
		put(block, strings.Split(key, "."), value)
	}
	text, err := json.Marshal(block)
	if err != nil {
		return "", err
	}
	resolved, err := config.Resolve(name, text)
	if err != nil {
		return "", usage(err)
	}
	a.cfg.Connections[name] = config.Connection{Kind: kind, Block: resolved}
	if _, err := a.connect(ctx, name, ""); err != nil {
		return "", err
	}
	row := &storedConnection{Name: name, Kind: kind, Config: string(text), Author: user(), At: time.Now().UTC()}
	_, err = a.store.DB().NewInsert().Model(row).Exec(ctx)
	return name, err
}

func (a *app) hasConnection(name string) bool {
	_, ok := a.cfg.Connections[name]
	return ok
}

// secret tells whether a setting must be given as a reference.
func secret(key string) bool {
	last := key[strings.LastIndexByte(key, '.')+1:]
	return slices.Contains([]string{"password", "token", "clientSecret", "secret", "value"}, last)
}

func put(block map[string]any, path []string, value string) {
	for len(path) > 1 {
		next, ok := block[path[0]].(map[string]any)
		if !ok {
			next = map[string]any{}
			block[path[0]] = next
		}
		block, path = next, path[1:]
	}
	var typed any
	if err := json.Unmarshal([]byte(value), &typed); err == nil {
		if _, isText := typed.(string); !isText && typed != nil {
			block[path[0]] = typed
			return
		}
	}
	block[path[0]] = value
}

func (a *app) integrationsEdit() *cobra.Command {
	var external, local string
	c := &cobra.Command{
		Use: "edit NAME", Short: "Change the connections of an integration", Args: cobra.ExactArgs(1),
		Example: examples("kedge integrations edit crm --external crm-test"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, i, err := a.integration(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if external == "" && local == "" {
				return usagef("give --external or --local")
			}
			saved, err := a.editIntegration(cmd.Context(), s, i, external, local, user())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s → %s, revision %d\n", saved.Name, saved.External, saved.Local, saved.Revision)
			return err
		},
	}
	c.Flags().StringVar(&external, "external", "", "connection of the remote side")
	c.Flags().StringVar(&local, "local", "", "connection of our side")
	return c
}

// editIntegration changes the connections that are not "".
func (a *app) editIntegration(ctx context.Context, s *syncer.Syncer, i *syncer.Integration, external, local, by string) (*syncer.Integration, error) {
	if i.Source != "" {
		return nil, fromFile("integration %s comes from the config; edit it there", i.Name)
	}
	for _, side := range []struct {
		given string
		to    *string
	}{{external, &i.External}, {local, &i.Local}} {
		if err := a.connects(ctx, side.given, i.Name); err != nil {
			return nil, err
		}
		if side.given != "" {
			*side.to = side.given
		}
	}
	i.Author = by
	saved, err := s.Save(ctx, *i)
	return saved, usage(err)
}

// fromFile refuses to change what a file declares.
func fromFile(format string, args ...any) error {
	return usage(&kedge.Error{Kind: kedge.Conflict, Err: fmt.Errorf(format, args...)})
}

func canDelete(i *syncer.Integration) error {
	if i.Source != "" {
		return fromFile("integration %s comes from the config; remove it there first, then delete what is known about it", i.Name)
	}
	return nil
}

func (a *app) integrationsDelete() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "delete NAME", Short: "Forget an integration; the records stay on both sides", Args: cobra.ExactArgs(1),
		Example: examples("kedge integrations delete crm --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, i, err := a.integration(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := canDelete(i); err != nil {
				return err
			}
			if err := confirm(yes, fmt.Sprintf("integration %s and all it knows about its records is forgotten; the records stay", i.Name)); err != nil {
				return err
			}
			if err := s.Delete(cmd.Context(), i.Name); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "deleted "+i.Name)
			return err
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// writeTo writes text to a file, or to out for "" and "-".
func writeTo(path string, out io.Writer, text []byte) error {
	if path == "" || path == "-" {
		_, err := out.Write(text)
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
