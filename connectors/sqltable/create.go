package sqltable

import (
	"context"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

const (
	opPlan  = "sqltable.PlanSchema"
	opApply = "sqltable.ApplySchema"
)

// idField is the key of tables for which the mapping has none. kedge fills it.
var idField = kedge.Field{Name: "id", Type: kedge.TypeString, MaxLength: 36}

// PlanSchema tells which tables, columns and indexes are missing for want.
// The text of a step is the statement that makes it.
func (d *Driver) PlanSchema(ctx context.Context, want []kedge.Entity) ([]connectors.SchemaStep, error) {
	s, err := d.store(ctx)
	if err != nil {
		return nil, err
	}
	entities, _, err := d.load(ctx, s.DB().DB, s.Engine())
	if err != nil {
		return nil, err
	}
	var steps []connectors.SchemaStep
	for i := range want {
		p := planner{engine: s.Engine(), want: &want[i], have: entities[want[i].Name]}
		if p.have == nil {
			if p.table, err = d.newTable(s.Engine(), want[i].Name); err != nil {
				return nil, err
			}
		}
		more, err := p.plan()
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	return steps, nil
}

// newTable returns the quoted name of the table to make for an entity.
func (d *Driver) newTable(engine store.Engine, entity string) (string, error) {
	cfg := d.cfg.Entities[entity]
	switch {
	case cfg == nil && d.cfg.Entities != nil:
		return "", fail(opPlan, kedge.NotFound, entity, "connections.%s.entities does not list it", d.name)
	case isControl(entity):
		return "", fail(opPlan, kedge.Forbidden, entity, "names that begin like this belong to kedge")
	case d.own == nil && (cfg == nil || cfg.Create == nil), cfg != nil && cfg.Create != nil && !*cfg.Create:
		return "", fail(opPlan, kedge.NotFound, entity, "there is no such table; make it, or set connections.%s.entities.%s.create: true", d.name, entity)
	}
	name := entity
	if cfg != nil {
		name = cfg.Table
	}
	if isControl(name) {
		return "", fail(opPlan, kedge.Forbidden, entity, "names that begin like this belong to kedge")
	}
	if err := catalog.CheckName(engine, name); err != nil {
		return "", err
	}
	ref := catalog.Quote(engine, name)
	if engine == store.Postgres && len(d.cfg.Schemas) > 0 {
		if schema, table, ok := strings.Cut(name, "."); ok && slices.Contains(d.cfg.Schemas, schema) {
			return catalog.Quote(engine, schema) + "." + catalog.Quote(engine, table), nil
		}
		ref = catalog.Quote(engine, d.cfg.Schemas[0]) + "." + ref
	}
	return ref, nil
}

// ApplySchema makes what PlanSchema found missing, in one transaction.
func (d *Driver) ApplySchema(ctx context.Context, steps []connectors.SchemaStep) error {
	s, err := d.store(ctx)
	if err != nil || len(steps) == 0 {
		return err
	}
	defer d.forget()
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		conn := tx.Conn().Conn
		tables, _, err := d.tables(ctx, conn, s.Engine())
		if err != nil {
			return err
		}
		entities, _, err := d.describe(s.Engine(), tables, nil, nil)
		if err != nil {
			return err
		}
		for _, step := range steps {
			if e := entities[step.Entity]; e != nil && step.Field != "" && e.table.Column(step.Field) >= 0 {
				continue // it is there by now; SQLite has no ADD COLUMN IF NOT EXISTS
			}
			if _, err := conn.ExecContext(ctx, step.Text); err != nil {
				return store.Error(opApply, step.Entity, err)
			}
		}
		return nil
	})
}

// A planner finds what is missing for one entity.
type planner struct {
	engine store.Engine
	want   *kedge.Entity
	have   *entity // nil if there is no table
	table  string  // quoted name of the table to make
	steps  []connectors.SchemaStep
}

func (p *planner) plan() ([]connectors.SchemaStep, error) {
	for i := range p.want.Fields {
		if err := catalog.CheckName(p.engine, p.want.Fields[i].Name); err != nil {
			return nil, fail(opPlan, kedge.Invalid, p.want.Name, "%w", err)
		}
	}
	if p.have == nil {
		if err := p.create(); err != nil {
			return nil, err
		}
	} else if err := p.extend(); err != nil {
		return nil, err
	}
	return p.steps, p.indexes()
}

func (p *planner) step(field, text string) {
	p.steps = append(p.steps, connectors.SchemaStep{Entity: p.want.Name, Field: field, Text: text})
}

// columns returns the fields of a table to make, and its primary key.
func (p *planner) columns() ([]kedge.Field, []string) {
	if len(p.want.Key) > 0 {
		return p.want.Fields, p.want.Key
	}
	id := idField
	for p.want.Field(id.Name) != nil {
		id.Name = "kedge_" + id.Name
	}
	return append([]kedge.Field{id}, p.want.Fields...), []string{id.Name}
}

func (p *planner) create() error {
	fields, key := p.columns()
	lines := make([]string, 0, len(fields)+1)
	for i := range fields {
		f := fields[i]
		f.Nullable = !slices.Contains(key, f.Name) // a remote system may stop to fill what it calls required
		lines = append(lines, columnSQL(p.engine, &f, true))
	}
	names := make([]string, len(key))
	for i, name := range key {
		if !slices.ContainsFunc(fields, func(f kedge.Field) bool { return f.Name == name }) {
			return fail(opPlan, kedge.Invalid, p.want.Name, "the key field %q is not a field", name)
		}
		names[i] = catalog.Quote(p.engine, name)
	}
	lines = append(lines, "PRIMARY KEY ("+strings.Join(names, ", ")+")")
	p.step("", "CREATE TABLE IF NOT EXISTS "+p.table+" (\n  "+strings.Join(lines, ",\n  ")+"\n)")
	return nil
}

// extend adds the columns that are missing. They are nullable, because the
// table may have rows.
func (p *planner) extend() error {
	if p.have.table.View || isControl(p.have.table.Name) {
		return nil
	}
	p.table = p.have.ref
	for i := range p.want.Fields {
		f := &p.want.Fields[i]
		if p.have.table.Column(f.Name) >= 0 {
			continue
		}
		if slices.Contains(p.want.Key, f.Name) {
			return fail(opPlan, kedge.Invalid, p.want.Name, "the table has no column %q, which is its key; a key is not added later", f.Name)
		}
		p.step(f.Name, "ALTER TABLE "+p.table+" ADD COLUMN "+columnSQL(p.engine, f, false))
	}
	return nil
}

// indexes makes unique indexes for the alternate keys and plain ones for
// lookups. An existing table gets only those on columns that are added to it.
func (p *planner) indexes() error {
	isNew := func(names []string) bool {
		return p.have == nil || slices.ContainsFunc(names, func(n string) bool { return p.have.table.Column(n) < 0 })
	}
	for _, names := range p.want.AlternateKeys {
		for _, n := range names {
			if p.want.Field(n) == nil {
				return fail(opPlan, kedge.Invalid, p.want.Name, "the alternate key field %q is not a field", n)
			}
		}
		if len(names) > 0 && isNew(names) && !slices.Equal(names, p.want.Key) {
			p.index("UNIQUE INDEX", names)
		}
	}
	for i := range p.want.Fields {
		f := &p.want.Fields[i]
		names := []string{f.Name}
		covered := slices.ContainsFunc(append([][]string{p.want.Key}, p.want.AlternateKeys...), func(k []string) bool { return len(k) > 0 && k[0] == f.Name })
		if len(f.Lookup) > 0 && !covered && isNew(names) {
			p.index("INDEX", names)
		}
	}
	return nil
}

func (p *planner) index(kind string, columns []string) {
	refs := make([]string, len(columns))
	for i, c := range columns {
		refs[i] = catalog.Quote(p.engine, c)
	}
	name := catalog.Quote(p.engine, indexName(p.want.Name, columns))
	p.step("", "CREATE "+kind+" IF NOT EXISTS "+name+" ON "+p.table+" ("+strings.Join(refs, ", ")+")")
}
