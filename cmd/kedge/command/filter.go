package command

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
)

// An explanation says who evaluates which part of a filter.
type explanation struct {
	Filter string                       `json:"filter"`
	Fields []string                     `json:"fields"`
	Remote []connectors.FilterRendering `json:"remote"`
	Exact  bool                         `json:"exact"`
	SQL    []connectors.FilterRendering `json:"sql"` // of tables with the same columns
	Local  string                       `json:"local,omitempty"`
	Note   string                       `json:"note,omitempty"`
}

func (a *app) filterCommand() *cobra.Command {
	var connection, entity string
	explain := &cobra.Command{
		Use: "explain EXPRESSION", Short: "Show what of a filter the system evaluates, and what kedge does", Args: cobra.ExactArgs(1),
		Long:    "Parses a filter, checks it against the fields of an entity, and shows the part that is sent to the system in its own language. kedge tests every record again where the system gets less than the whole filter. The conditions for SQLite and PostgreSQL are those for tables that \"kedge map tables\" would make of the entity; values are shown as placeholders.",
		Example: examples(`kedge filter explain --connection crm --entity customers "Blocked eq false and startswith(Name,'A')"`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if connection == "" || entity == "" {
				return usagef("give --connection and --entity")
			}
			ex, err := a.explain(cmd, connection, entity, args[0])
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), ex, func(w io.Writer) {
				fmt.Fprintf(w, "filter    %s\nfields    %s\n", ex.Filter, strings.Join(ex.Fields, ", "))
				for _, r := range ex.Remote {
					fmt.Fprintf(w, "%-9s %s\n", r.Language, cmp.Or(r.Text, "nothing is sent"))
				}
				if ex.Local != "" {
					fmt.Fprintf(w, "kedge     %s\n", ex.Local)
				}
				for _, r := range ex.SQL {
					fmt.Fprintf(w, "%-9s %s\n", r.Language, r.Text)
				}
				if ex.Note != "" {
					fmt.Fprintf(w, "note      %s\n", ex.Note)
				}
			})
		},
	}
	explain.Flags().StringVar(&connection, "connection", "", "connection")
	explain.Flags().StringVar(&entity, "entity", "", "entity of the connection")
	return group("filter", "Try filters", explain)
}

func (a *app) explain(cmd *cobra.Command, connection, entity, src string) (*explanation, error) {
	ctx := cmd.Context()
	expr, err := filter.Parse(src)
	if err != nil {
		return nil, usagef("filter: %v", err)
	}
	if _, err := a.sync(ctx); err != nil {
		return nil, err
	}
	conn, err := a.connect(ctx, connection, "")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	schema, err := conn.Schema(ctx)
	if err != nil {
		return nil, fmt.Errorf("connection %q: %w", connection, err)
	}
	ent := schema.Entity(entity)
	if ent == nil {
		return nil, noEntity(connection, schema, entity)
	}
	bound, err := expr.Bind(ent, time.Now())
	if err != nil {
		return nil, usagef("filter: %v", err)
	}
	ex := &explanation{Filter: expr.String(), Fields: expr.Fields(), Remote: []connectors.FilterRendering{}}
	if explainer, ok := conn.Driver().(connectors.FilterExplainer); ok {
		ex.Remote, ex.Exact, err = explainer.ExplainFilter(ctx, ent.Name, bound)
		if err != nil && kedge.KindOf(err) != kedge.Unsupported {
			return nil, err
		}
	}
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		if text, _ := sqltable.FilterSQL(engine, ent, bound); !slices.ContainsFunc(ex.Remote, func(r connectors.FilterRendering) bool { return r.Language == text.Language }) {
			ex.SQL = append(ex.SQL, text)
		}
	}
	if !ex.Exact {
		ex.Local = expr.String()
	}
	if expr.Volatile() {
		ex.Note = "it uses now(): records leave it without being changed, so they are removed by the next reconcile"
	}
	return ex, nil
}
