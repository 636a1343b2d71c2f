package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/nearest"
)

func rawJSON(text string) json.RawMessage { return json.RawMessage(text) }

func (a *app) connectionsCommand() *cobra.Command {
	return group("connections", "List, test and describe the systems that kedge talks to",
		a.connectionsList(), a.connectionsTest(), a.connectionsSchema(), a.connectionsLogin(), a.connectionsCapture())
}

func (a *app) connectionsList() *cobra.Command {
	var kinds bool
	c := &cobra.Command{
		Use: "list", Short: "List connections, or with --kinds the kinds there are", Args: cobra.NoArgs,
		Example: examples("kedge connections list", "kedge connections list --kinds"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kinds {
				rows := []connectionRow{}
				for _, k := range registry().Kinds() {
					rows = append(rows, connectionRow{Name: k.Name, Title: k.Title})
				}
				return a.print(cmd.OutOrStdout(), rows, func(w io.Writer) {
					g := newGrid(w, "KIND", "WHAT")
					for _, r := range rows {
						g.row(r.Name, r.Title)
					}
					g.end()
				})
			}
			if _, err := a.open(cmd.Context()); err != nil {
				return err
			}
			rows, err := a.connectionRows(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), rows, func(w io.Writer) {
				g := newGrid(w, "CONNECTION", "KIND", "FROM")
				for _, r := range rows {
					g.row(r.Name, r.Kind, r.From)
				}
				g.end()
			})
		},
	}
	c.Flags().BoolVar(&kinds, "kinds", false, "list the kinds of systems instead")
	return c
}

// A connectionRow is a connection, or a kind of them, in a list.
type connectionRow struct {
	Name  string `json:"name"`
	Kind  string `json:"kind,omitempty"`
	Title string `json:"title,omitempty"`
	From  string `json:"from,omitempty"`
}

// connectionRows lists the connections of the config, then those that commands
// made.
func (a *app) connectionRows(ctx context.Context) ([]connectionRow, error) {
	rows := []connectionRow{}
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Connections)) {
		c := a.cfg.Connections[name]
		from := "built in"
		if c.Declared {
			from = "file"
		}
		rows = append(rows, connectionRow{Name: name, Kind: c.Kind, From: from})
	}
	stored, err := a.storedConnections(ctx)
	for _, s := range stored {
		if !a.hasConnection(s.Name) {
			rows = append(rows, connectionRow{Name: s.Name, Kind: s.Kind, From: "database"})
		}
	}
	return rows, err
}

// A testReport is what "connections test" found.
type testReport struct {
	Connection string                        `json:"connection"`
	Account    *connectors.Account           `json:"account,omitempty"`
	Entities   int                           `json:"entities"`
	Proofs     map[string][]connectors.Proof `json:"proofs,omitempty"`
}

func (a *app) connectionsTest() *cobra.Command {
	var entity string
	var write bool
	c := &cobra.Command{
		Use: "test NAME", Short: "Prove that a connection works and what it can do", Args: cobra.ExactArgs(1),
		Long: "Signs in, reads the metadata and asks the system to prove for one entity how it pages, how changes are found and what its filters can do. " +
			"It only reads, unless --write is given: then it makes a record of the entity, changes it, and deletes it again.",
		Example: examples("kedge connections test crm", "kedge connections test crm --entity customers --json", "kedge connections test crm --entity customers --write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if write && entity == "" {
				return usagef("--write makes a record: name the entity with --entity")
			}
			a.prompt = true
			report, err := a.testConnection(cmd.Context(), args[0], entity, write)
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), report, func(w io.Writer) { showReport(w, report) })
		},
	}
	c.Flags().StringVar(&entity, "entity", "", "the entity to prove; default: the first one that has a key")
	c.Flags().BoolVar(&write, "write", false, "also write a record of the entity, and delete it again")
	return c
}

// testConnection tests a connection and writes to the log how it went.
func (a *app) testConnection(ctx context.Context, name, entity string, write bool) (*testReport, error) {
	s, err := a.sync(ctx)
	if err != nil {
		return nil, err
	}
	report, err := a.probe(ctx, name, entity, write)
	if err != nil {
		return nil, errors.Join(err, s.LogConnection(ctx, name, "test_failed", err.Error()))
	}
	return report, s.LogConnection(ctx, name, "test", "the connection works")
}

func (a *app) probe(ctx context.Context, name, entity string, write bool) (*testReport, error) {
	conn, err := a.connect(ctx, name, "")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	report := &testReport{Connection: name, Proofs: map[string][]connectors.Proof{}}
	failed := func(err error) (*testReport, error) { return nil, fmt.Errorf("connection %q: %w", name, err) }
	account, err := conn.Probe(ctx)
	if err != nil && kedge.KindOf(err) != kedge.Unsupported {
		return failed(err)
	}
	if err == nil {
		report.Account = &account
	}
	schema, err := conn.Schema(ctx)
	if err != nil {
		return failed(err)
	}
	report.Entities = len(schema.Entities)
	if entity != "" && schema.Entity(entity) == nil {
		return nil, noEntity(name, schema, entity)
	}
	if entity == "" {
		i := slices.IndexFunc(schema.Entities, func(e kedge.Entity) bool { return len(e.Key) > 0 })
		if i >= 0 {
			entity = schema.Entities[i].Name
		}
	}
	if checker, ok := conn.Driver().(connectors.Checker); ok && entity != "" {
		if report.Proofs[entity], err = checker.Check(ctx, entity); err != nil {
			return failed(err)
		}
	}
	if write {
		checker, ok := conn.Driver().(connectors.WriteChecker)
		if !ok {
			return nil, usagef("--write: this kind of system cannot be tested by writing")
		}
		proofs, err := checker.CheckWrite(ctx, entity)
		if err != nil {
			return failed(err)
		}
		report.Proofs[entity] = append(report.Proofs[entity], proofs...)
	}
	return report, nil
}

func showReport(w io.Writer, r *testReport) {
	fmt.Fprintf(w, "connection %s works: %d entities\n", r.Connection, r.Entities)
	if acc := r.Account; acc != nil {
		for label, text := range map[string]string{"user": acc.User, "organization": acc.Organization, "version": acc.Version} {
			if text != "" {
				fmt.Fprintf(w, "%s: %s\n", label, text)
			}
		}
		for _, f := range acc.Features {
			fmt.Fprintln(w, "feature: "+f)
		}
		for _, p := range acc.Problems {
			fmt.Fprintln(w, "problem: "+p)
		}
	}
	for entity, proofs := range r.Proofs {
		fmt.Fprintf(w, "\nentity %s\n", entity)
		g := newGrid(w, "CHECK", "OK", "RESULT", "WHY")
		for _, p := range proofs {
			ok := "yes"
			if !p.OK {
				ok = "no"
			}
			g.row(p.Name, ok, p.Result, p.Reason)
		}
		g.end()
	}
}

func (a *app) connectionsSchema() *cobra.Command {
	c := &cobra.Command{
		Use: "schema NAME [ENTITY]", Short: "List the entities and fields of a system", Args: cobra.RangeArgs(1, 2),
		Example: examples("kedge connections schema crm", "kedge connections schema crm customers --json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			schema, err := s.SchemaOf(cmd.Context(), args[0], "")
			if err != nil {
				return err
			}
			entities := schema.Entities
			if len(args) == 2 {
				e := schema.Entity(args[1])
				if e == nil {
					return noEntity(args[0], schema, args[1])
				}
				entities = []kedge.Entity{*e}
			}
			return a.print(cmd.OutOrStdout(), entitiesJSON(entities), func(w io.Writer) { showEntities(w, entities) })
		},
	}
	return c
}

// noEntity is the error for the name of an entity that a connection lacks.
func noEntity(connection string, schema *kedge.Schema, name string) error {
	var names []string
	for _, e := range schema.Entities {
		names = append(names, e.Name)
	}
	if near := nearest.Name(name, names); near != "" {
		return usagef("connection %q has no entity %q; did you mean %q?", connection, name, near)
	}
	return usagef("connection %q has no entity %q; see \"kedge connections schema %s\"", connection, name, connection)
}

func showEntities(w io.Writer, entities []kedge.Entity) {
	if len(entities) != 1 {
		g := newGrid(w, "ENTITY", "KEY", "FIELDS", "CHANGES ARE FOUND BY")
		for _, e := range entities {
			g.row(e.Name, strings.Join(e.Key, ", "), len(e.Fields), tracking(e))
		}
		g.end()
		return
	}
	e := entities[0]
	fmt.Fprintf(w, "entity %s, key %s, changes are found by %s\n", e.Name, strings.Join(e.Key, ", "), tracking(e))
	g := newGrid(w, "FIELD", "TYPE", "NATIVE", "NULL", "LOOKUP")
	for _, f := range e.Fields {
		var targets []string
		for _, l := range f.Lookup {
			targets = append(targets, l.Entity)
		}
		g.row(f.Name, fieldType(f), f.NativeType, f.Nullable, strings.Join(targets, ", "))
	}
	g.end()
}

func tracking(e kedge.Entity) string {
	switch {
	case e.Tracking != "":
		return e.Tracking
	case e.Delta:
		return "anchor"
	}
	return "full reads"
}

func fieldType(f kedge.Field) string {
	t := f.Type.String()
	if f.Format != kedge.FormatNone {
		t = string(f.Format)
	}
	if f.MaxLength > 0 {
		t += fmt.Sprintf("(%d)", f.MaxLength)
	}
	return t
}

// entitiesJSON is the documented form of entities.
func entitiesJSON(entities []kedge.Entity) []map[string]any {
	out := []map[string]any{}
	for _, e := range entities {
		fields := []map[string]any{}
		for _, f := range e.Fields {
			m := map[string]any{"name": f.Name, "type": f.Type.String(), "nullable": f.Nullable}
			for k, v := range map[string]string{"title": f.Title, "format": string(f.Format), "native": f.NativeType} {
				if v != "" {
					m[k] = v
				}
			}
			if f.MaxLength > 0 {
				m["maxLength"] = f.MaxLength
			}
			if f.ReadOnly || f.Computed {
				m["readOnly"] = true
			}
			if len(f.Enum) > 0 {
				m["enum"] = f.Enum
			}
			var lookup []map[string]string
			for _, l := range f.Lookup {
				lookup = append(lookup, map[string]string{"entity": l.Entity, "field": l.Field})
			}
			if lookup != nil {
				m["lookup"] = lookup
			}
			fields = append(fields, m)
		}
		out = append(out, map[string]any{"name": e.Name, "title": e.Title, "key": notNil(e.Key), "version": e.Version, "tracking": tracking(e),
			"full": e.Full, "delta": e.Delta, "deletes": e.Deletes, "fields": fields})
	}
	return out
}

func (a *app) connectionsLogin() *cobra.Command {
	return &cobra.Command{
		Use: "login NAME", Short: "Sign in by device code, and keep the tokens sealed", Args: cobra.ExactArgs(1),
		Example: examples("kedge connections login bc"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.prompt = true
			report, err := a.testConnection(cmd.Context(), args[0], "", false)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "signed in to %s\n", report.Connection)
			return err
		},
	}
}
