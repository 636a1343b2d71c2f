package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Mode says what [Service.ChangeSchema] does.
type Mode string

// The modes.
const (
	Check Mode = "check" // only reports
	Apply Mode = "apply" // makes the version active, unless stored resources do not fit
	Force Mode = "force" // makes it active; resources that do not fit stay, marked as not valid
)

// A Versioned is the answer to a new version of a schema.
type Versioned struct {
	custom.Report
	Version  int      `json:"version"` // active now
	Applied  bool     `json:"applied"`
	Warnings []string `json:"warnings,omitempty"`
}

// ChangeSchema checks a new document of a schema against the old one and all
// stored resources, and makes it active if mode says so.
func (s *Service) ChangeSchema(ctx context.Context, name string, document json.RawMessage, mode Mode, match func(*Schema) error) (*Versioned, error) {
	return s.changeSchema(ctx, name, document, mode, OriginAPI, match)
}

func (s *Service) changeSchema(ctx context.Context, name string, document json.RawMessage, mode Mode, origin string, match func(*Schema) error) (*Versioned, error) {
	next, err := schema.Parse(document)
	if err != nil {
		return nil, schemaProblem(err, "/schema")
	}
	row, err := mustFindSchema(ctx, s.store.DB(), name)
	if err != nil {
		return nil, err
	}
	if origin == OriginAPI && mode != Check {
		if err := fromFile(row.Origin, "the schema"); err != nil {
			return nil, err
		}
	}
	old, err := s.catalog.table(ctx, row)
	if err != nil {
		return nil, err
	}
	check, err := s.custom.Check(ctx, old, next)
	if err != nil {
		return nil, err
	}
	t := &custom.Table{No: row.No, Full: row.FullName, Name: row.TableName, Version: row.ActiveVersion + 1, Schema: next}
	out := &Versioned{Version: row.ActiveVersion, Warnings: warnings(t)}
	if mode != Check {
		if err := s.activate(ctx, row, t, old, check, string(document), mode, match); err != nil {
			return nil, err
		}
		out.Version, out.Applied = t.Version, true
	}
	out.Report = check.Report
	return out, nil
}

// activate makes a version active and switches the views, in one transaction.
func (s *Service) activate(ctx context.Context, row *schemaRow, t, old *custom.Table, check *custom.Check, source string, mode Mode, match func(*Schema) error) error {
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		was, err := s.describe(ctx, tx, row, true)
		if err != nil {
			return err
		}
		if err := match(was); err != nil {
			return err
		}
		updated := s.tick(row.UpdatedAt)
		// Senders read this row with a lock and check again what was checked
		// against another version.
		res, err := tx.NewRaw("UPDATE ingest_schema SET active_version = ?, updated_at = ? WHERE no = ? AND active_version = ?", t.Version, updated, row.No, row.ActiveVersion).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return conflict("the schema was changed meanwhile; look at it again")
		}
		if err := check.Finish(ctx, tx, row.No, true); err != nil {
			return err
		}
		stored := check.Report.Stored
		if stored.Invalid > 0 && mode == Apply {
			return misfit(check.Report)
		}
		if old.Schema.Metadata().ID != t.Schema.Metadata().ID && stored.Valid+stored.Invalid > 0 {
			return conflict("the path of the id can't change while there are resources; remove them first, or make another schema")
		}
		next := *row
		next.ActiveVersion = t.Version
		if err := s.insertVersion(ctx, tx, &next, source, mustJSON(check.Report)); err != nil {
			return err
		}
		return s.makeViews(ctx, tx, t)
	})
}

// misfit is the answer when stored resources do not fit.
func misfit(r custom.Report) error {
	p := &httpapi.Problem{Status: http.StatusConflict, Type: "stored_invalid",
		Detail: fmt.Sprintf("%d of %d stored resources do not fit the new schema; mode=check lists some, mode=force keeps them as they are", r.Stored.Invalid, r.Stored.Invalid+r.Stored.Valid)}
	return p
}

// CheckSchema tells what is wrong with a document, and with a resource if one
// is given. It needs no database.
func CheckSchema(document, payload json.RawMessage) (CheckResult, error) {
	out := CheckResult{Errors: []httpapi.FieldError{}, Warnings: []string{}}
	compiled, err := schema.Parse(document)
	if err == nil {
		t := &custom.Table{Schema: compiled}
		out.Warnings = append(out.Warnings, warnings(t)...)
		if len(payload) == 0 {
			out.Valid = true
			return out, nil
		}
		err = custom.CheckResource(t, payload)
	} else {
		err = schemaProblem(err, "")
	}
	p, ok := asProblem(err)
	if err != nil && !ok {
		return out, err
	}
	out.Valid = err == nil
	if ok {
		out.Errors = p.Errors
		if len(out.Errors) == 0 {
			out.Errors = []httpapi.FieldError{{Detail: p.Detail}}
		}
	}
	return out, nil
}

// A CheckResult is the answer of [CheckSchema].
type CheckResult struct {
	Valid    bool                 `json:"valid"`
	Errors   []httpapi.FieldError `json:"errors"`
	Warnings []string             `json:"warnings"`
}

// A Version is one version of a schema's document.
type Version struct {
	Version   int             `json:"version"`
	Schema    json.RawMessage `json:"schema"` // as it was given
	Report    json.RawMessage `json:"report"` // what it meant when it became active
	CreatedAt time.Time       `json:"createdAt"`
}

func (v Version) sortName() string { return fmt.Sprintf("%010d", v.Version) }

// Versions returns the versions of a schema, the oldest first.
func (s *Service) Versions(ctx context.Context, name string) ([]Version, error) {
	row, err := mustFindSchema(ctx, s.store.DB(), name)
	if err != nil {
		return nil, err
	}
	var rows []versionRow
	if err := s.store.DB().NewSelect().Model(&rows).Where("schema_no = ?", row.No).Order("version").Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	var out []Version
	for _, v := range rows {
		out = append(out, Version{Version: v.Version, Schema: json.RawMessage(v.Source), Report: json.RawMessage(v.Report), CreatedAt: fromMillis(v.CreatedAt)})
	}
	return out, nil
}
