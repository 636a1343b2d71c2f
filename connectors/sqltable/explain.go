package sqltable

import (
	"context"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// ExplainFilter returns the condition of a full read as SQL; arguments are
// shown as placeholders.
func (d *Driver) ExplainFilter(ctx context.Context, name string, f *filter.Expr) ([]connectors.FilterRendering, bool, error) {
	s, err := d.store(ctx)
	if err != nil {
		return nil, false, err
	}
	e, err := d.entity(ctx, "sqltable.ExplainFilter", s.DB().DB, s.Engine(), name)
	if err != nil {
		return nil, false, err
	}
	q := &query{engine: s.Engine()}
	exact := e.where(q, f)
	return []connectors.FilterRendering{{Language: s.Engine().String(), Text: q.String()}}, exact, nil
}

// FilterSQL returns the condition for the table that [Driver.ApplySchema] would
// make for ent, and whether it is the whole filter. ent may be of any system;
// f is bound to it.
func FilterSQL(engine store.Engine, ent *kedge.Entity, f *filter.Expr) (connectors.FilterRendering, bool) {
	t := &catalog.Table{Name: ent.Name}
	for i := range ent.Fields {
		t.Columns = append(t.Columns, madeColumn(engine, &ent.Fields[i]))
	}
	q := &query{engine: engine}
	exact := newEntity(engine, ent.Name, t).where(q, f)
	return connectors.FilterRendering{Language: engine.String(), Text: q.String()}, exact
}

// madeColumn is the column that is made for f, as the catalog would show it as
// far as conditions depend on it.
func madeColumn(engine store.Engine, f *kedge.Field) catalog.Column {
	c := catalog.Column{Name: f.Name, Native: columnType(engine, f), Type: f.Type, Storage: literalStorage[f.Type], NotNull: !f.Nullable}
	switch {
	case f.Type == kedge.TypeJSON:
		c.Storage = catalog.JSON
	case f.Type == kedge.TypeString && f.Format == kedge.FormatGUID:
		c.Storage, c.Format = catalog.UUID, kedge.FormatGUID
	}
	return c
}
