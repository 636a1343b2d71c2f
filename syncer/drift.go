package syncer

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
)

// A schemaRow is a connection's schema as it was last accepted: when it was
// first seen, or at the last "kedge discover".
type schemaRow struct {
	bun.BaseModel `bun:"table:integration_schema"`

	Connection string `bun:",pk"`
	JSON       string `bun:"json"`
	Hash       string
	SeenAt     time.Time
}

// compile makes the plan of a run from the mapping and the live schemas of
// both sides, after the drift policy has had its say.
func (r *run) compile(ctx context.Context, i *Integration) error {
	m, err := i.Parse()
	if err != nil {
		return err
	}
	is, was, err := r.schemas(ctx, i)
	if err != nil {
		return err
	}
	drifted := mapping.Drift(m, was, is)
	if err := r.logFindings(ctx, drifted.Findings); err != nil {
		return err
	}
	if drifted.Adopted != nil && i.Source == "" && !r.planning() {
		adopted := *i
		adopted.YAML, adopted.Author = string(drifted.Adopted.Marshal()), "drift: adopt"
		saved, err := r.s.Save(ctx, adopted)
		if err != nil {
			return err
		}
		r.revision = saved.Revision
	}
	ready, err := prepare(ctx, r.loc, drifted.Mapping, is)
	if err != nil {
		return fmt.Errorf("connection %q: %w", i.Local, err)
	}
	if err := r.logFindings(ctx, ready.ignored); err != nil {
		return err
	}
	if is.Local, err = r.prepareTables(ctx, i.Local, ready, is.Local); err != nil {
		return err
	}
	m = ready.mapping
	plan, err := mapping.Compile(m, is.External, is.Local, r.s.now())
	if err != nil {
		return err
	}
	r.plan = plan.Hold(append(drifted.Findings, unmappedTargets(m, is.External)...)).Hold(ready.refused)
	for _, f := range ready.refused { // it says more than what the check of the mapping found
		r.plan.Held[f.Entity] = append([]mapping.Finding{f}, r.plan.Held[f.Entity]...)
	}
	r.idle, err = idlePlans(m, is, r.s.now())
	return err
}

func (r *run) logFindings(ctx context.Context, findings []mapping.Finding) error {
	for _, f := range findings {
		if err := r.event(ctx, f.Entity, string(f.Severity), string(f.Code), f.Message, ""); err != nil {
			return err
		}
		if f.Severity == mapping.SeverityWarning {
			r.warnings[f.Entity] = append(r.warnings[f.Entity], f.Text())
		}
	}
	return nil
}

// idlePlans compiles the entities that are disabled and runs.
func idlePlans(m *mapping.Mapping, is mapping.Schemas, now time.Time) (map[string]*mapping.EntityPlan, error) {
	enabled := *m
	enabled.Entities = slices.Clone(m.Entities)
	for i := range enabled.Entities {
		enabled.Entities[i].Disabled = false
	}
	plan, err := mapping.Compile(&enabled, is.External, is.Local, now)
	if err != nil {
		return nil, err
	}
	idle := map[string]*mapping.EntityPlan{}
	for _, p := range slices.Concat(plan.Layers...) {
		if m.Entity(p.Name).Disabled {
			idle[p.Name] = p
		}
	}
	return idle, nil
}

// unmappedTargets finds the lookups by fields that cannot be compared with the
// local rows, because the target does not download them as they are.
func unmappedTargets(m *mapping.Mapping, ext *kedge.Schema) []mapping.Finding {
	var found []mapping.Finding
	for i := range m.Entities {
		e := &m.Entities[i]
		for _, f := range e.Fields {
			if f.Lookup == nil || f.Disabled || e.Disabled {
				continue
			}
			target := m.Entity(f.Lookup.Entity)
			if target == nil {
				continue // found by the check of the mapping
			}
			if live := ext.Entity(target.External); live == nil || slices.Equal(live.Key, f.Lookup.Fields) {
				continue // named by its key
			}
			for _, name := range f.Lookup.Fields {
				if !downloadsPlain(target, name) {
					found = append(found, mapping.Finding{Code: mapping.LookupTargetMissing, Severity: mapping.SeverityError, Side: mapping.SideMapping,
						Entity: e.Name, Field: f.Local, Message: fmt.Sprintf("lookup field %s of %s is not downloaded as it is", name, target.Name),
						Fix: fmt.Sprintf("map %s of %s to a local field without values and expressions", name, target.Name)})
				}
			}
		}
	}
	return found
}

func downloadsPlain(e *mapping.Entity, external string) bool {
	return plainLocal(e, external) != "" || slices.ContainsFunc(e.Key, func(k mapping.KeyPair) bool { return k.External == external })
}

// plainLocal returns the local field that an external one is copied to, or "".
func plainLocal(e *mapping.Entity, external string) string {
	for _, f := range e.Fields {
		if !f.Disabled && f.Direction != mapping.Upload && len(f.External) == 1 && f.External[0] == external &&
			f.Lookup == nil && len(f.Values) == 0 && f.Expressions.Download == "" {
			return f.Local
		}
	}
	return ""
}

// schemas returns the live schemas of both sides and those last accepted.
func (r *run) schemas(ctx context.Context, i *Integration) (is, was mapping.Schemas, err error) {
	if is.External, err = readSchema(ctx, i.External, r.ext); err != nil {
		return is, was, err
	}
	if is.Local, err = readSchema(ctx, i.Local, r.loc); err != nil {
		return is, was, err
	}
	if was.External, err = r.s.acceptedSchema(ctx, i.External); err != nil {
		return is, was, err
	}
	if was.Local, err = r.s.acceptedSchema(ctx, i.Local); err != nil || r.planning() {
		return is, was, err
	}
	if was.External == nil {
		err = r.s.acceptSchema(ctx, i.External, is.External, false)
	}
	if was.Local == nil && err == nil {
		err = r.s.acceptSchema(ctx, i.Local, is.Local, false)
	}
	return is, was, err
}

// acceptedSchema returns the schema of a connection as last accepted, or nil.
func (s *Syncer) acceptedSchema(ctx context.Context, connection string) (*kedge.Schema, error) {
	row := new(schemaRow)
	err := s.store.DB().NewSelect().Model(row).Where("connection = ?", connection).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	schema := new(kedge.Schema)
	if err := json.Unmarshal([]byte(row.JSON), schema); err != nil {
		return nil, fmt.Errorf("stored schema of connection %q: %w", connection, err)
	}
	return schema, nil
}

// acceptSchema stores the schema of a connection; unless replace is set, only
// if there is none.
func (s *Syncer) acceptSchema(ctx context.Context, connection string, schema *kedge.Schema, replace bool) error {
	text, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	q := s.store.DB().NewInsert().Model(&schemaRow{Connection: connection, JSON: string(text), Hash: schema.Hash, SeenAt: s.now().UTC()})
	if replace {
		q = q.On("CONFLICT (connection) DO UPDATE").Set("json = EXCLUDED.json, hash = EXCLUDED.hash, seen_at = EXCLUDED.seen_at")
	} else {
		q = q.On("CONFLICT (connection) DO NOTHING")
	}
	_, err = q.Exec(ctx)
	return err
}

// A SchemaDiff says what changed in a system since its schema was accepted.
type SchemaDiff struct {
	Entity string `json:"entity"`
	Field  string `json:"field,omitempty"`
	Change string `json:"change"` // new, missing, changed
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
}

// Discover reads the live schema of a connection, accepts it, and returns what
// changed since the last time; everything is new the first time.
func (s *Syncer) Discover(ctx context.Context, connection string) (*kedge.Schema, []SchemaDiff, error) {
	was, err := s.acceptedSchema(ctx, connection)
	if err != nil {
		return nil, nil, err
	}
	is, err := s.SchemaOf(ctx, connection, "")
	if err != nil {
		return nil, nil, err
	}
	if was == nil {
		was = new(kedge.Schema)
	}
	return is, diffSchemas(was, is), s.acceptSchema(ctx, connection, is, true)
}

func diffSchemas(was, is *kedge.Schema) []SchemaDiff {
	var diffs []SchemaDiff
	for i := range is.Entities {
		now := &is.Entities[i]
		if before := was.Entity(now.Name); before == nil {
			diffs = append(diffs, SchemaDiff{Entity: now.Name, Change: "new"})
		} else {
			diffs = append(diffs, diffEntities(before, now)...)
		}
	}
	for i := range was.Entities {
		if is.Entity(was.Entities[i].Name) == nil {
			diffs = append(diffs, SchemaDiff{Entity: was.Entities[i].Name, Change: "missing"})
		}
	}
	return diffs
}

func diffEntities(was, is *kedge.Entity) []SchemaDiff {
	var diffs []SchemaDiff
	for i := range is.Fields {
		now := &is.Fields[i]
		before := was.Field(now.Name)
		switch {
		case before == nil:
			diffs = append(diffs, SchemaDiff{Entity: is.Name, Field: now.Name, Change: "new", To: now.Type.String()})
		case describe(before) != describe(now):
			diffs = append(diffs, SchemaDiff{Entity: is.Name, Field: now.Name, Change: "changed", From: describe(before), To: describe(now)})
		}
	}
	for i := range was.Fields {
		if is.Field(was.Fields[i].Name) == nil {
			diffs = append(diffs, SchemaDiff{Entity: is.Name, Field: was.Fields[i].Name, Change: "missing", From: was.Fields[i].Type.String()})
		}
	}
	return diffs
}

// describe is what of a field matters to a mapping, in words.
func describe(f *kedge.Field) string {
	text := f.Type.String()
	if f.Format != kedge.FormatNone {
		text = string(f.Format)
	}
	if f.MaxLength > 0 {
		text += fmt.Sprintf("(%d)", f.MaxLength)
	}
	if f.Precision > 0 {
		text += fmt.Sprintf("(%d,%d)", f.Precision, f.Scale)
	}
	if !f.Nullable {
		text += " not null"
	}
	if f.ReadOnly || f.Computed {
		text += " read only"
	}
	return text
}
