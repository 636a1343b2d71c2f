package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/jsonguard"
	"github.com/kedge-sync/kedge/internal/store"
)

// CreateSchema declares a table of a group, which must exist, and makes its
// views.
func (s *Service) CreateSchema(ctx context.Context, in Schema) (*Schema, error) {
	return s.createSchema(ctx, in, OriginAPI)
}

func (s *Service) createSchema(ctx context.Context, in Schema, origin string) (*Schema, error) {
	if !tableForm.MatchString(in.Table) || strings.HasSuffix(in.Table, custom.FeedSuffix) {
		return nil, refuse("/table", "table: use a lower-case letter, then up to 35 lower-case letters, digits or _, not _feed at the end")
	}
	t, err := s.parseTable(in)
	if err != nil {
		return nil, err
	}
	if err := s.checkMapping(ctx, in, t); err != nil {
		return nil, err
	}
	now := millis(s.now())
	row := &schemaRow{TableName: in.Table, State: StateActive, ActiveVersion: 1, Settings: mustJSON(in.settings()), Origin: origin, CreatedAt: now, UpdatedAt: now}
	err = s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		g, err := findGroup(ctx, tx, in.Group)
		if p, ok := asProblem(err); ok && p.Status == http.StatusNotFound {
			return refuse("/group", "group: there is no group %q; create it first", in.Group)
		}
		if err != nil {
			return err
		}
		row.GroupID, row.FullName = g.ID, g.Prefix+"_"+in.Table
		if err := s.freeName(ctx, tx, row.FullName); err != nil {
			return err
		}
		if _, err := tx.NewInsert().Model(row).Returning("no").Exec(ctx); err != nil {
			return err
		}
		if err := s.insertVersion(ctx, tx, row, string(in.Schema), "{}"); err != nil {
			return err
		}
		if _, err := tx.NewRaw("INSERT INTO ingest_head (schema_no, seq, floor_seq) VALUES (?, 0, 0)", row.No).Exec(ctx); err != nil {
			return err
		}
		t.No, t.Full, t.Name = row.No, row.FullName, row.TableName
		return s.makeViews(ctx, tx, t)
	})
	if err != nil {
		return nil, err
	}
	return s.Schema(ctx, row.FullName)
}

func (in *Schema) settings() settings {
	return settings{History: in.History, EmptyBulk: in.EmptyBulk, MaxRemoved: in.MaxRemoved, Mapping: in.Mapping}
}

// parseTable checks the document and the settings of a definition.
func (s *Service) parseTable(in Schema) (*custom.Table, error) {
	if len(in.Schema) == 0 {
		return nil, refuse("/schema", "schema: is missing; give a JSON Schema")
	}
	compiled, err := schema.Parse(in.Schema)
	if err != nil {
		return nil, schemaProblem(err, "/schema")
	}
	set, err := in.settings().parse()
	if err != nil {
		name, _, _ := strings.Cut(err.Error(), ":")
		return nil, refuse("/"+name, "%v", err)
	}
	t := &custom.Table{Schema: compiled, Settings: set, Version: 1}
	t.Describe()
	return t, nil
}

// checkMapping compiles the mapping of a definition. The group is looked up
// for the full name; if there is none, that is said later.
func (s *Service) checkMapping(ctx context.Context, in Schema, t *custom.Table) error {
	if t.Settings.Mapping == "" {
		return nil
	}
	g, err := findGroup(ctx, s.store.DB(), in.Group)
	if err != nil {
		return nil
	}
	t.Full, t.Name = g.Prefix+"_"+in.Table, in.Table
	t.Describe()
	return s.mappingProblem(ctx, t)
}

func (s *Service) mappingProblem(ctx context.Context, t *custom.Table) error {
	err := s.custom.CheckMapping(ctx, t)
	if kedge.KindOf(err) == kedge.Invalid && err != nil {
		return refuse("/mapping", "%v", err)
	}
	return err
}

// schemaProblem makes a 422 of what is wrong with a schema document, which is
// at a pointer of the body.
func schemaProblem(err error, at string) error {
	faults, ok := errors.AsType[jsonguard.Faults](err)
	if !ok {
		return err
	}
	p := &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: "the schema is not accepted: " + faults.Error()}
	if kedge.KindOf(err) == kedge.TooLarge {
		p.Status = http.StatusRequestEntityTooLarge
	}
	for _, f := range faults.Below(at).Bounded() {
		p.Errors = append(p.Errors, httpapi.FieldError{Pointer: f.Pointer, Detail: f.Detail})
	}
	return p
}

// freeName refuses a full name that a table or view of the database has, or
// will have as a feed.
func (s *Service) freeName(ctx context.Context, tx bun.IDB, full string) error {
	for _, name := range []string{full, full + custom.FeedSuffix} {
		query := "SELECT count(*) FROM sqlite_master WHERE lower(name) = ?"
		if s.store.Engine() == store.Postgres {
			query = "SELECT count(*) FROM pg_class WHERE relname = ? AND pg_table_is_visible(oid)"
		}
		var n int
		if err := tx.NewRaw(query, name).Scan(ctx, &n); err != nil {
			return store.Error("ingest", "", err)
		}
		if n > 0 {
			return conflict("there is a table, view or index %s in the database already; choose another table name", name)
		}
	}
	return nil
}

func (s *Service) insertVersion(ctx context.Context, tx bun.IDB, row *schemaRow, source, report string) error {
	_, err := tx.NewInsert().Model(&versionRow{SchemaNo: row.No, Version: row.ActiveVersion, Source: source, Report: report, CreatedAt: millis(s.now()), CreatedBy: row.Origin}).Exec(ctx)
	return err
}

func (s *Service) makeViews(ctx context.Context, tx *store.Tx, t *custom.Table) error {
	return runAll(ctx, tx, custom.ViewStatements(s.store.Engine(), t))
}

// runAll runs statements that bun must not look into: names may hold a ?.
func runAll(ctx context.Context, tx *store.Tx, statements []string) error {
	for _, q := range statements {
		if _, err := tx.Tx.Tx.ExecContext(ctx, q); err != nil {
			return store.Error("ingest", "", err)
		}
	}
	return nil
}

// findSchema returns a schema by its full name, or by its table name if only
// one has it; nil if there is none.
func findSchema(ctx context.Context, db bun.IDB, name string) (*schemaRow, error) {
	row, err := first[schemaRow](ctx, db, "full_name = ?", name)
	if row != nil || err != nil {
		return row, err
	}
	var rows []schemaRow
	if err := db.NewSelect().Model(&rows).Where("table_name = ?", name).Limit(2).Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	switch len(rows) {
	case 0:
		return nil, nil
	case 1:
		return &rows[0], nil
	}
	return nil, refuse("", "more than one table is named %q; use the full name, prefix_table", name)
}

func mustFindSchema(ctx context.Context, db bun.IDB, name string) (*schemaRow, error) {
	row, err := findSchema(ctx, db, name)
	if row == nil && err == nil {
		err = unknown("there is no schema %q", name)
	}
	return row, err
}

// Schemas returns all schemas by full name, without their documents.
func (s *Service) Schemas(ctx context.Context) ([]Schema, error) {
	var rows []schemaRow
	if err := s.store.DB().NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	slices.SortFunc(rows, func(a, b schemaRow) int { return strings.Compare(a.FullName, b.FullName) })
	var out []Schema
	for i := range rows {
		one, err := s.describe(ctx, s.store.DB(), &rows[i], false)
		if err != nil {
			return nil, err
		}
		out = append(out, *one)
	}
	return out, nil
}

// Schema returns a schema with its effective document, by full or table name.
func (s *Service) Schema(ctx context.Context, name string) (*Schema, error) {
	row, err := mustFindSchema(ctx, s.store.DB(), name)
	if err != nil {
		return nil, err
	}
	return s.describe(ctx, s.store.DB(), row, true)
}

// describe is what is told of a schema. The document is the effective one: as
// it was given, but closed.
func (s *Service) describe(ctx context.Context, db bun.IDB, row *schemaRow, document bool) (*Schema, error) {
	out := &Schema{Table: row.TableName, FullName: row.FullName, Version: row.ActiveVersion, State: row.State, Origin: row.Origin,
		CreatedAt: fromMillis(row.CreatedAt), UpdatedAt: fromMillis(row.UpdatedAt)}
	g, err := first[groupRow](ctx, db, "id = ?", row.GroupID)
	if err != nil {
		return nil, err
	}
	out.Group = g.Name
	if row.IntegrationID != nil {
		in, err := first[integrationRow](ctx, db, "id = ?", *row.IntegrationID)
		if err != nil {
			return nil, err
		}
		out.Integration = in.Name
	}
	var set settings
	if err := unmarshal(row.Settings, &set); err != nil {
		return nil, err
	}
	out.History, out.EmptyBulk, out.MaxRemoved = set.History, set.EmptyBulk, set.MaxRemoved
	if !document {
		return out, nil
	}
	out.Mapping = set.Mapping
	t, err := s.catalog.table(ctx, row)
	if err != nil {
		return nil, err
	}
	out.Schema = t.Schema.Effective()
	out.Warnings = warnings(t)
	return out, nil
}

// warnings are what is allowed in a schema but probably not meant.
func warnings(t *custom.Table) []string {
	var out []string
	for _, f := range slices.Concat(t.Schema.Warnings(), t.Describe()) {
		out = append(out, f.String())
	}
	return out
}

// UpdateSchema replaces the settings of a schema. Its document changes by
// [Service.ChangeSchema].
func (s *Service) UpdateSchema(ctx context.Context, name string, in Schema, match func(*Schema) error) (*Schema, error) {
	if err := s.checkSettings(ctx, name, in); err != nil {
		return nil, err
	}
	var full string
	err := s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := s.ownSchema(ctx, tx, name, match)
		if err != nil {
			return err
		}
		full = row.FullName
		return s.saveSettings(ctx, tx, row, in)
	})
	if err != nil {
		return nil, err
	}
	return s.Schema(ctx, full)
}

// checkSettings checks new settings of a schema.
func (s *Service) checkSettings(ctx context.Context, name string, in Schema) error {
	set, err := in.settings().parse()
	if err != nil {
		field, _, _ := strings.Cut(err.Error(), ":")
		return refuse("/"+field, "%v", err)
	}
	row, err := mustFindSchema(ctx, s.store.DB(), name)
	if err != nil {
		return err
	}
	t, err := s.catalog.table(ctx, row)
	if err != nil {
		return err
	}
	t.Settings = set
	return s.mappingProblem(ctx, t)
}

func (s *Service) saveSettings(ctx context.Context, tx bun.IDB, row *schemaRow, in Schema) error {
	row.Settings, row.UpdatedAt, row.State = mustJSON(in.settings()), s.tick(row.UpdatedAt), StateActive
	_, err := tx.NewUpdate().Model(row).Column("settings", "updated_at", "state").WherePK().Exec(ctx)
	return err
}

// ownSchema returns a schema that is not declared in the config.
func (s *Service) ownSchema(ctx context.Context, tx bun.IDB, name string, match func(*Schema) error) (*schemaRow, error) {
	row, err := mustFindSchema(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	if err := fromFile(row.Origin, "the schema"); err != nil {
		return nil, err
	}
	was, err := s.describe(ctx, tx, row, true)
	if err != nil {
		return nil, err
	}
	return row, match(was)
}

// DeleteSchema deletes a schema that is attached to no integration, with all
// its data.
func (s *Service) DeleteSchema(ctx context.Context, name string, match func(*Schema) error) error {
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := s.ownSchema(ctx, tx, name, match)
		if err != nil {
			return err
		}
		if row.IntegrationID != nil {
			return conflict("the schema is attached to an integration; take it out there first")
		}
		t, err := s.catalog.table(ctx, row)
		if err != nil {
			return err
		}
		if err := runAll(ctx, tx, custom.DropStatements(s.store.Engine(), t)); err != nil {
			return err
		}
		for _, table := range []string{"ingest_resource", "ingest_change", "ingest_scope", "ingest_head", "ingest_quarantine", "ingest_schema_version"} {
			if _, err := tx.NewRaw("DELETE FROM "+table+" WHERE schema_no = ?", row.No).Exec(ctx); err != nil {
				return err
			}
		}
		_, err = tx.NewDelete().Model(row).WherePK().Exec(ctx)
		return err
	})
}

func unmarshal(text string, v any) error { return json.Unmarshal([]byte(text), v) }

func asProblem(err error) (*httpapi.Problem, bool) { return errors.AsType[*httpapi.Problem](err) }
