package sqltable

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// An entity is a table as the rest of kedge sees it. Columns and fields have
// the same positions.
type entity struct {
	kedge.Entity
	engine  store.Engine
	table   *catalog.Table
	columns []column
	key     []int // positions of the key columns
	unique  bool  // an index makes the key unique
	capture capture
	version int // position of the version column, or -1
	overlap time.Duration
	window  int64
	deleted int                                  // position of the column that marks deleted rows, or -1
	marked  kedge.Value                          // its value in deleted rows
	floor   func(context.Context) (int64, error) // of a feed, see [View]
	ref     string                               // the table's name, quoted
}

// A column is one column of an entity with its quoted name.
type column struct {
	catalog.Column
	ref string
}

// describe makes entities of the tables that the config names, or of all.
// listening holds what kedge_capture says about the driver's consumer.
func (d *Driver) describe(engine store.Engine, tables []*catalog.Table, views map[string]View, listening map[string]bool) (map[string]*entity, []string, error) {
	names := map[[2]string]string{} // entity by schema and table
	home := d.cfg.Schemas
	if len(home) == 0 && len(tables) > 0 {
		home = []string{tables[0].Schema}
	}
	if d.cfg.Entities == nil {
		for _, t := range tables {
			if d.own == nil && isControl(t.Name) {
				continue
			}
			name := t.Name
			if engine == store.Postgres && t.Schema != home[0] {
				name = t.Schema + "." + t.Name
			}
			names[[2]string{t.Schema, t.Name}] = name
		}
	}
	var notices []string
	entities := map[string]*entity{}
	for _, t := range tables {
		if name, ok := names[[2]string{t.Schema, t.Name}]; ok {
			e := newEntity(engine, name, t)
			if d.own != nil && e.capturable() {
				e.capture = byTrigger
			}
			entities[name] = e
		}
	}
	for name, cfg := range d.cfg.Entities {
		t := findTable(tables, cfg.Table, home)
		if t == nil {
			notices = append(notices, "entity "+name+": there is no table "+cfg.Table)
			continue
		}
		e := newEntity(engine, name, t)
		if err := e.configure(cfg, d.makes(cfg)); err != nil {
			return nil, nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("connections." + d.name + ".entities." + name + "." + err.Error())}
		}
		entities[name] = e
		names[[2]string{t.Schema, t.Name}] = name
	}
	for _, e := range entities {
		if v, ok := views[e.table.Name]; ok && e.table.View {
			e.follow(v)
		}
		e.abilities(listening[e.noted()])
	}
	for _, e := range entities {
		e.link(names, entities)
	}
	slices.Sort(notices)
	return entities, notices, nil
}

// findTable looks for a table by its name or by schema.name.
func findTable(tables []*catalog.Table, name string, home []string) *catalog.Table {
	for _, t := range tables {
		if t.Name == name && (t.Schema == "" || len(home) > 0 && t.Schema == home[0]) || t.Schema != "" && t.Schema+"."+t.Name == name {
			return t
		}
	}
	return nil
}

func newEntity(engine store.Engine, name string, t *catalog.Table) *entity {
	e := &entity{engine: engine, table: t, version: -1, deleted: -1, ref: catalog.Quote(engine, t.Name), key: t.Key()}
	if t.Schema != "" {
		e.ref = catalog.Quote(engine, t.Schema) + "." + e.ref
	}
	e.Entity = kedge.Entity{Name: name, Title: t.Title, Filter: true, Tracking: "comparing full reads"}
	readOnly := t.View || isControl(t.Name)
	for i := range t.Columns {
		c := &t.Columns[i]
		e.columns = append(e.columns, column{*c, catalog.Quote(engine, c.Name)})
		e.Fields = append(e.Fields, kedge.Field{
			Name: c.Name, Title: c.Title, Type: c.Type, Format: c.Format, Nullable: !c.NotNull, MaxLength: c.MaxLength,
			Precision: c.Precision, Scale: c.Scale, Enum: c.Enum, NativeType: c.Native,
			ReadOnly: c.Generated || readOnly, Computed: c.Generated,
		})
	}
	return e
}

// makes reports whether kedge makes the table of an entity if there is none.
func (d *Driver) makes(cfg *entityConfig) bool {
	if cfg == nil || cfg.Create == nil {
		return d.own != nil
	}
	return *cfg.Create
}

// configure applies the config of an entity. Errors begin with a path.
func (e *entity) configure(cfg *entityConfig, made bool) error {
	at := func(path, name string) (int, error) {
		i := e.table.Column(name)
		if i < 0 {
			return i, errors.New(path + ": the table has no column " + strconv.Quote(name))
		}
		return i, nil
	}
	if cfg.Key != nil {
		e.key = nil
		for _, name := range cfg.Key {
			i, err := at("key", name)
			if err != nil {
				return err
			}
			e.key = append(e.key, i)
		}
	}
	if cfg.Version != nil && cfg.Capture != "sweep" {
		i, err := at("version.column", cfg.Version.Column)
		if err != nil {
			return err
		}
		if t := e.columns[i].Type; t != kedge.TypeInt && t != kedge.TypeTime {
			return errors.New("version.column: is " + t.String() + ", must be int or time")
		}
		e.version, e.overlap, e.window = i, cfg.Version.overlap(), cfg.Version.window()
	}
	switch {
	case cfg.Capture == "trigger" && !e.capturable():
		return errors.New("capture: triggers need a table with a key")
	case cfg.Capture == "trigger", cfg.Capture == "" && e.version < 0 && made && e.capturable():
		e.capture = byTrigger
	case e.version >= 0:
		e.capture = byVersion
	}
	if cfg.Deleted != nil {
		i, err := at("deleted.column", cfg.Deleted.Column)
		if err != nil {
			return err
		}
		if e.marked, err = markedValue(e.columns[i].Type, cfg.Deleted.Value); err != nil {
			return err
		}
		e.deleted = i
	}
	return nil
}

// markedValue reads the value of deleted.value as one of the column's type.
func markedValue(t kedge.Type, raw json.RawMessage) (kedge.Value, error) {
	text := string(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil {
		text = s
	}
	v, err := kedge.ParseText(t, text)
	if err != nil {
		return v, errors.New("deleted.value: does not fit the column, which is " + t.String())
	}
	return v, nil
}

// link sets the lookups. They name the entities of other tables.
func (e *entity) link(names map[[2]string]string, entities map[string]*entity) {
	for _, l := range e.table.Links {
		target := entities[names[[2]string{l.Schema, l.Table}]]
		if target == nil {
			continue
		}
		fields := l.Targets
		if len(fields) == 0 {
			fields = target.Key
		}
		for i, c := range l.Columns {
			if c >= 0 && i < len(fields) {
				e.Fields[c].Lookup = append(e.Fields[c].Lookup, kedge.LookupTarget{Entity: target.Name, Field: fields[i]})
			}
		}
	}
}

// capturable reports whether triggers can note changes of the table.
func (e *entity) capturable() bool {
	return len(e.key) > 0 && !e.table.View && !isControl(e.table.Name)
}

// abilities fills in what kedge can do with the table, whose changes are noted
// if listening is set.
func (e *entity) abilities(listening bool) {
	for _, i := range e.key {
		e.Key = append(e.Key, e.columns[i].Name)
	}
	for _, u := range append([][]int{e.table.Primary}, e.table.Unique...) {
		var names []string
		for _, i := range u {
			names = append(names, e.columns[i].Name)
		}
		if len(u) > 0 && !slices.Equal(names, e.Key) {
			e.AlternateKeys = append(e.AlternateKeys, names)
		}
	}
	keyed := len(e.key) > 0
	e.unique = keyed && e.table.IsUnique(e.key)
	e.Full = keyed
	writable := keyed && !e.table.View && !isControl(e.table.Name)
	e.Insert, e.Update, e.Delete = writable, writable, writable
	e.Upsert = writable && e.unique
	if e.version >= 0 && keyed {
		e.Version = e.columns[e.version].Name
		e.Concurrency = writable
	}
	switch e.capture {
	case byVersion:
		e.Delta, e.Deletes = keyed, e.deleted >= 0
		switch {
		case e.floor != nil:
			e.Tracking = "change feed"
		case keyed:
			e.Tracking = "version column " + e.Version
		}
	case byTrigger:
		e.Delta, e.Deletes = listening, listening
		if listening {
			e.Tracking, e.ReconcileEvery = "triggers", reconcileTriggers
		}
	}
}
