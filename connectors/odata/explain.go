package odata

import (
	"context"
	"errors"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// ExplainFilter returns the $filter that a full read sends.
func (d *Driver) ExplainFilter(ctx context.Context, name string, f *filter.Expr) ([]connectors.FilterRendering, bool, error) {
	m, err := d.known(ctx)
	if err != nil {
		return nil, false, err
	}
	e := m.entity(name)
	if e == nil {
		return nil, false, &kedge.Error{Op: "odata.ExplainFilter", Kind: kedge.NotFound, Entity: name, Err: errors.New("no such entity")}
	}
	text, exact := d.push(e, f)
	return []connectors.FilterRendering{{Language: "odata", Text: text}}, exact, nil
}
