package sqltable

import (
	"context"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// Prepare sorts what is missing for a run over want as the config says: tables
// are made where create is true; missing columns are added under "extend",
// left out under "ignore" and stop their entity with the plan under "refuse".
func (d *Driver) Prepare(ctx context.Context, want []kedge.Entity) (connectors.Preparation, error) {
	out := connectors.Preparation{Refused: map[string]*kedge.Error{}}
	s, err := d.store(ctx)
	if err != nil {
		return out, err
	}
	d.mu.Lock()
	entities := d.entities // a run has just read the schema
	d.mu.Unlock()
	if entities == nil {
		if entities, _, err = d.load(ctx, s.DB().DB, s.Engine()); err != nil {
			return out, err
		}
	}
	for i := range want {
		d.prepare(&planner{engine: s.Engine(), want: &want[i], have: entities[want[i].Name]}, &out)
	}
	return out, nil
}

func (d *Driver) prepare(p *planner, out *connectors.Preparation) {
	name, cfg := p.want.Name, d.cfg.Entities[p.want.Name]
	if cfg == nil {
		cfg = &entityConfig{}
	}
	var err error
	if p.have == nil {
		if cfg.Create == nil || !*cfg.Create {
			return // the check of the mapping says what is missing
		}
		p.table, err = d.newTable(p.engine, name)
	}
	var steps []connectors.SchemaStep
	if err == nil {
		steps, err = p.plan()
	}
	switch {
	case err != nil:
		out.Refused[name] = &kedge.Error{Op: opPrepare, Kind: kedge.Invalid, Entity: name, Err: err}
	case len(steps) == 0:
	case p.have == nil, cfg.OnMissingColumn == "extend":
		out.Allowed = append(out.Allowed, steps...)
		out.After = append(out.After, p.after(cfg))
	case cfg.OnMissingColumn == "ignore":
		out.Ignored = append(out.Ignored, steps...)
	default:
		out.Refused[name] = refusal(d.name, p, steps)
	}
}

const opPrepare = "sqltable.Prepare"

// refusal tells what is missing, the statements for it, and who can do them.
func refusal(connection string, p *planner, steps []connectors.SchemaStep) *kedge.Error {
	var columns, texts []string
	for _, s := range steps {
		if s.Field != "" {
			columns = append(columns, s.Field)
		}
		texts = append(texts, s.Text+";")
	}
	return fail(opPrepare, kedge.Invalid, p.want.Name,
		"the table has no column %s; run \"kedge map tables\", or set connections.%s.entities.%s.onMissingColumn to extend or ignore. Missing are:\n%s",
		strings.Join(columns, ", "), connection, p.want.Name, strings.Join(texts, "\n"))
}

// after returns the entity as it is once the steps are done.
func (p *planner) after(cfg *entityConfig) kedge.Entity {
	if p.have != nil {
		e := p.have.Entity
		e.Fields = slices.Clone(e.Fields)
		for _, f := range p.want.Fields {
			if e.Field(f.Name) == nil {
				f.Nullable = true
				e.Fields = append(e.Fields, f)
			}
		}
		return e
	}
	e := kedge.Entity{Name: p.want.Name, AlternateKeys: p.want.AlternateKeys, Tracking: "comparing full reads",
		Full: true, Filter: true, Insert: true, Update: true, Upsert: true, Delete: true}
	e.Fields, e.Key = p.columns()
	e.Fields = slices.Clone(e.Fields)
	for i := range e.Fields {
		e.Fields[i].Nullable = !slices.Contains(e.Key, e.Fields[i].Name)
	}
	if cfg.Key != nil {
		e.Key = cfg.Key
	}
	return e
}
