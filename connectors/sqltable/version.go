package sqltable

import (
	"context"
	"errors"
	"math"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// An anchorText is the content of an anchor: everything up to a version was
// read. A transaction may commit rows with a lower version later, so reads
// look back a little, and the anchor is approximate.
type anchorText struct {
	Entity string `json:"e"`
	Column string `json:"c"`
	Value  string `json:"v"` // "" if there were no versions yet
}

// anchor returns the anchor for a read whose bound is given.
func (e *entity) anchor(bound string) (kedge.Anchor, error) {
	text, err := pack(anchorText{e.Name, e.Version, bound})
	return kedge.Anchor(text), err
}

// fromAnchor returns the version in a, or null.
func (e *entity) fromAnchor(a kedge.Anchor) (kedge.Value, error) {
	var at anchorText
	switch {
	case !unpack(string(a), &at) || at.Entity != e.Name:
		return kedge.Value{}, fail(opRead, kedge.Invalid, e.Name, "the anchor is not one of this table")
	case !e.Delta || at.Column != e.Version:
		return kedge.Value{}, fail(opRead, kedge.AnchorExpired, e.Name, "the version column is no longer the one of the anchor")
	case at.Value == "":
		return kedge.Null(), nil
	}
	v, err := kedge.ParseText(e.columns[e.version].Type, at.Value)
	if err != nil {
		return v, fail(opRead, kedge.AnchorExpired, e.Name, "the version column has another type than that of the anchor")
	}
	return v, nil
}

// lookBack is the version after which all changes must be read again to meet
// those that were committed late.
func (e *entity) lookBack(v kedge.Value) kedge.Value {
	switch {
	case e.floor != nil && v.Type() == kedge.TypeInt: // numbers are in order of commit
		return kedge.Int(v.Int() + 1)
	case v.Type() == kedge.TypeInt:
		if v.Int() < math.MinInt64+e.window {
			return kedge.Null()
		}
		return kedge.Int(v.Int() - e.window)
	case v.Type() == kedge.TypeTime:
		if t := v.Time().Add(-e.overlap); t.Year() >= 1 {
			return kedge.Time(t)
		}
	}
	return kedge.Null()
}

// greatestVersion is the bound of a read that begins now; null if there is none.
func (e *entity) greatestVersion(ctx context.Context, q catalog.Querier) (kedge.Value, error) {
	c := e.columns[e.version]
	c.ref = "max(" + c.ref + ")"
	rows, err := q.QueryContext(ctx, "SELECT "+c.selected(e.engine, "")+" FROM "+e.ref)
	if err != nil {
		return kedge.Value{}, store.Error(opRead, e.Name, err)
	}
	defer rows.Close()
	var raw any
	if rows.Next() {
		err = rows.Scan(&raw)
	}
	if err = errors.Join(err, rows.Err()); err != nil {
		return kedge.Value{}, store.Error(opRead, e.Name, err)
	}
	v, err := c.decode(raw)
	if err != nil {
		return v, fail(opRead, kedge.Invalid, e.Name, "column %q: %w", c.Name, err)
	}
	return v, nil
}
