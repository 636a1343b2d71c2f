package syncer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// A preparation is what the config of the local connection says about tables
// and columns that a mapping needs and that are missing.
type preparation struct {
	steps   []connectors.SchemaStep // to be done by the run
	mapping *mapping.Mapping        // without the fields that the run does without
	local   *kedge.Schema           // with what the steps add
	ignored []mapping.Finding       // fields that are left out
	refused []mapping.Finding       // entities that wait for a person
}

// prepare finds out what is missing. It has no effect.
func prepare(ctx context.Context, loc *connectors.Conn, m *mapping.Mapping, is mapping.Schemas) (*preparation, error) {
	p := &preparation{mapping: m, local: is.Local}
	preparer, ok := loc.Driver().(connectors.Preparer)
	if !ok {
		return p, nil
	}
	found, err := preparer.Prepare(ctx, mapping.Tables(m, is.External))
	if err != nil {
		return nil, err
	}
	p.steps, p.local = found.Allowed, withEntities(is.Local, found.After)
	for _, step := range found.Ignored {
		var left []mapping.Finding
		p.mapping, left = mapping.WithoutLocal(p.mapping, step.Entity, step.Field)
		p.ignored = append(p.ignored, left...)
	}
	for i := range m.Entities {
		if e := &m.Entities[i]; !e.Disabled && found.Refused[e.Local] != nil {
			p.refused = append(p.refused, mapping.Finding{Code: mapping.LocalFieldMissing, Severity: mapping.SeverityError, Side: mapping.SideLocal,
				Entity: e.Name, Message: e.Local + ": " + found.Refused[e.Local].Err.Error()})
		}
	}
	return p, nil
}

// withEntities returns a schema in which the entities are new or replaced.
func withEntities(s *kedge.Schema, entities []kedge.Entity) *kedge.Schema {
	if len(entities) == 0 {
		return s
	}
	out := &kedge.Schema{Notices: s.Notices, Entities: slices.DeleteFunc(slices.Clone(s.Entities), func(e kedge.Entity) bool {
		return slices.ContainsFunc(entities, func(n kedge.Entity) bool { return n.Name == e.Name })
	})}
	out.Entities = append(out.Entities, entities...)
	slices.SortFunc(out.Entities, func(a, b kedge.Entity) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// prepareTables makes the local tables ready for m, which a plan only
// pretends, and returns the schema to compile with.
func (r *run) prepareTables(ctx context.Context, connection string, p *preparation, have *kedge.Schema) (*kedge.Schema, error) {
	if len(p.steps) == 0 {
		return have, nil
	}
	if r.planning() {
		r.missing, r.target = p.steps, plannedTables{r.target, have}
		return p.local, nil
	}
	for _, e := range p.mapping.Entities {
		if have.Entity(e.Local) == nil && p.local.Entity(e.Local) != nil {
			if err := r.forgetRows(ctx, e.Name); err != nil {
				return nil, err
			}
		}
	}
	if err := r.loc.Driver().(connectors.SchemaEditor).ApplySchema(ctx, p.steps); err != nil {
		return nil, fmt.Errorf("connection %q: %w", connection, err)
	}
	for _, step := range p.steps {
		if err := r.event(ctx, step.Entity, "info", "schema_extended", step.Text, ""); err != nil {
			return nil, err
		}
	}
	schema, err := r.loc.Refresh(ctx)
	if err != nil {
		return nil, fmt.Errorf("connection %q: %w", connection, err)
	}
	return schema, nil
}

// forgetRows makes a run fill a table anew: one that the integration filled
// before and that somebody dropped has none of the rows that are remembered.
func (r *run) forgetRows(ctx context.Context, entity string) error {
	return r.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for _, table := range []string{"integration_hashlog", "integration_hash"} {
			_, err := tx.NewDelete().Table(table).
				Where("ent IN (SELECT id FROM integration_entity WHERE integration = ? AND name = ?)", r.name, entity).Exec(ctx)
			if err != nil {
				return err
			}
		}
		_, err := restartAnchor(tx, r.name, entity).Exec(ctx)
		return err
	})
}

// plannedTables is the target of a plan whose tables are yet to be made or
// extended: what is not there has no rows and no values.
type plannedTables struct {
	target
	have *kedge.Schema
}

func (t plannedTables) find(ctx context.Context, tx connectors.Tx, ent *kedge.Entity, fields, by []string, keys []kedge.Key) ([]kedge.Record, error) {
	have := t.have.Entity(ent.Name)
	missing := func(name string) bool { return have.Field(name) == nil }
	if have == nil || slices.ContainsFunc(by, missing) {
		return nil, nil
	}
	return t.target.find(ctx, tx, have, slices.DeleteFunc(slices.Clone(fields), missing), by, keys)
}
