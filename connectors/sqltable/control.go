package sqltable

import (
	"context"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// The tables of kedge itself are hidden. Of those in its own database, the
// technical ones are shown read-only as soon as there is an integration.
var (
	controlPrefixes = []string{"integration_", "connector_", "kedge_", "webhook_", "ingest_", "incoming_", "dsr_", "push_"}
	technicalTables = []string{"integration_log", "integration_syncanchor", "integration_transaction"}
)

func isControl(table string) bool {
	return slices.ContainsFunc(controlPrefixes, func(p string) bool { return strings.HasPrefix(table, p) })
}

// tables returns the tables of the database, but of kedge's own only those
// that may be seen.
func (d *Driver) tables(ctx context.Context, q catalog.Querier, engine store.Engine) ([]*catalog.Table, []string, error) {
	tables, notices, err := catalog.Source{Engine: engine, Schemas: d.cfg.Schemas}.Load(ctx, q)
	if err != nil || d.own == nil {
		return tables, notices, err
	}
	show, err := hasIntegration(ctx, q, tables)
	tables = slices.DeleteFunc(tables, func(t *catalog.Table) bool {
		return isControl(t.Name) && !(show && slices.Contains(technicalTables, t.Name))
	})
	return tables, notices, err
}

func hasIntegration(ctx context.Context, q catalog.Querier, tables []*catalog.Table) (has bool, err error) {
	const mappings = "integration_mapping"
	if !slices.ContainsFunc(tables, func(t *catalog.Table) bool { return t.Name == mappings }) {
		return false, nil
	}
	rows, err := q.QueryContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+mappings+")")
	if err != nil {
		return false, store.Error("sqltable.Schema", "", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&has); err != nil {
			return false, err
		}
	}
	return has, store.Error("sqltable.Schema", "", rows.Err())
}
