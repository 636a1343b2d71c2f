package syncer

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
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
	for _, f := range drifted.Findings {
		if err := r.event(ctx, f.Entity, string(f.Severity), string(f.Code), f.Message, ""); err != nil {
			return err
		}
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
	plan, err := mapping.Compile(drifted.Mapping, is.External, is.Local, r.s.now())
	if err != nil {
		return err
	}
	r.plan = plan.Hold(append(drifted.Findings, r.unsupported(drifted.Mapping)...))
	return nil
}

// unsupported finds the entities that a sync cannot keep in step, because
// this version only downloads: to download them alone would overwrite edits
// that are waiting to be sent. An import ignores directions.
func (r *run) unsupported(m *mapping.Mapping) []mapping.Finding {
	var found []mapping.Finding
	for i := range m.Entities {
		if e := &m.Entities[i]; !e.Disabled && e.Direction.Uploads() && r.op() == Sync {
			found = append(found, mapping.Finding{Code: "direction_unsupported", Severity: mapping.SeverityError, Side: mapping.SideMapping, Entity: e.Name,
				Message: fmt.Sprintf("direction is %s, and this version of kedge only downloads", e.Direction), Fix: "set direction: download"})
		}
	}
	return found
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
	for connection, schema := range map[string]*kedge.Schema{i.External: is.External, i.Local: is.Local} {
		if err := r.s.acceptSchema(ctx, connection, schema, false); err != nil {
			return is, was, err
		}
	}
	return is, was, nil
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
