package sqltable

import (
	"context"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
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
