package sqltable

import (
	"context"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// A View tells what the catalog does not know of a view of kedge's own
// database: the types of its columns and its key, and of a feed how its
// changes are found.
type View struct {
	Fields []kedge.Field // types by name; times and decimals as in [Expression]
	Key    []string

	// Seq is a column that each change sets to the next number, in the order
	// of commits; "" if the view is no feed. Deleted is then a column that is
	// true in rows of what was deleted.
	Seq     string
	Deleted string
	// Floor returns the number up to which deletions may be forgotten.
	Floor func(ctx context.Context) (int64, error)
}

// Views returns the views that are known, by name.
type Views func(ctx context.Context) (map[string]View, error)

// known completes the entities of views.
func (d *Driver) known(ctx context.Context, engine store.Engine, tables []*catalog.Table) (map[string]View, error) {
	if d.own == nil || d.shared.views == nil {
		return nil, nil
	}
	views, err := d.shared.views(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		v, ok := views[t.Name]
		if !ok || !t.View {
			continue
		}
		for i := range t.Columns {
			c := &t.Columns[i]
			at := slices.IndexFunc(v.Fields, func(f kedge.Field) bool { return f.Name == c.Name })
			if at < 0 {
				continue
			}
			if f := v.Fields[at]; engine == store.SQLite {
				c.Type, c.Storage, c.Scale = f.Type, storageOf(f.Type), -1
			}
			c.NotNull = !v.Fields[at].Nullable
		}
		t.Primary = nil
		for _, name := range v.Key {
			if i := t.Column(name); i >= 0 {
				t.Primary = append(t.Primary, i)
			}
		}
	}
	return views, nil
}

// follow makes an entity of a feed one whose changes are found by numbers.
func (e *entity) follow(v View) {
	seq, deleted := e.table.Column(v.Seq), e.table.Column(v.Deleted)
	if v.Seq == "" || seq < 0 || deleted < 0 {
		return
	}
	e.capture, e.version, e.deleted, e.marked, e.floor = byVersion, seq, deleted, kedge.Bool(true), v.Floor
}

// checkFloor refuses an anchor after which deletions may be forgotten.
func (e *entity) checkFloor(ctx context.Context, from kedge.Value) error {
	floor, err := e.floor(ctx)
	if err != nil {
		return err
	}
	if from.Int() < floor {
		return fail(opRead, kedge.AnchorExpired, e.Name, "deletions after the anchor are forgotten")
	}
	return nil
}

func storageOf(t kedge.Type) catalog.Storage {
	if t == kedge.TypeJSON {
		return catalog.JSON
	}
	if s, ok := literalStorage[t]; ok {
		return s
	}
	return catalog.Text
}
