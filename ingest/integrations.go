package ingest

import (
	"context"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/internal/store"
)

// CreateIntegration attaches tables, each of which belongs to at most one
// integration: the full state of a table needs one owner.
func (s *Service) CreateIntegration(ctx context.Context, in Integration) (*Integration, error) {
	return s.createIntegration(ctx, in, OriginAPI)
}

func (s *Service) createIntegration(ctx context.Context, in Integration, origin string) (*Integration, error) {
	if err := checkIntegration(in); err != nil {
		return nil, err
	}
	now := millis(s.now())
	row := &integrationRow{ID: newID(), Name: in.Name, State: StateActive, Rate: rateJSON(in.Rate), Origin: origin, CreatedAt: now, UpdatedAt: now}
	var out *Integration
	err := s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		other, err := first[integrationRow](ctx, tx, "name = ?", in.Name)
		if err != nil {
			return err
		}
		if other != nil {
			return conflict("there is an integration with this name already")
		}
		if _, err := tx.NewInsert().Model(row).Exec(ctx); err != nil {
			return err
		}
		if err := s.attach(ctx, tx, row.ID, in.Tables); err != nil {
			return err
		}
		out, err = row.integration(ctx, tx)
		return err
	})
	return out, err
}

func checkIntegration(in Integration) error {
	if err := checkName("/name", in.Name); err != nil {
		return err
	}
	if len(in.Tables) == 0 {
		return refuse("/tables", "tables: name at least one table; an integration attaches schemas, so make them first")
	}
	if _, err := in.Rate.parse(); err != nil {
		return refuse("/rate", "%v", err)
	}
	return nil
}

func rateJSON(r *Rate) string {
	if r == nil {
		return "{}"
	}
	return mustJSON(r)
}

// attach makes exactly the named tables those of an integration.
func (s *Service) attach(ctx context.Context, tx bun.IDB, id string, names []string) error {
	var numbers []int64
	for _, name := range names {
		row, err := findSchema(ctx, tx, name)
		if err != nil {
			return err
		}
		if row == nil {
			return refuse("/tables", "tables: there is no schema %q; create the group and the schema first", name)
		}
		if row.IntegrationID != nil && *row.IntegrationID != id {
			return conflict("table %s belongs to another integration already; a table has at most one", row.FullName)
		}
		numbers = append(numbers, row.No)
	}
	if _, err := tx.NewRaw("UPDATE ingest_schema SET integration_id = NULL WHERE integration_id = ?", id).Exec(ctx); err != nil {
		return err
	}
	_, err := tx.NewRaw("UPDATE ingest_schema SET integration_id = ? WHERE no IN (?)", id, bun.List(numbers)).Exec(ctx)
	return err
}

// tablesOf returns the full names of the tables of an integration, sorted.
func tablesOf(ctx context.Context, db bun.IDB, id string) ([]string, error) {
	var names []string
	err := db.NewSelect().Model((*schemaRow)(nil)).Column("full_name").Where("integration_id = ?", id).Scan(ctx, &names)
	slices.Sort(names)
	return names, store.Error("ingest", "", err)
}

func (r *integrationRow) integration(ctx context.Context, db bun.IDB) (*Integration, error) {
	in := &Integration{Name: r.Name, State: r.State, Origin: r.Origin, CreatedAt: fromMillis(r.CreatedAt), UpdatedAt: fromMillis(r.UpdatedAt)}
	if r.Rate != "{}" {
		in.Rate = new(Rate)
		if err := unmarshal(r.Rate, in.Rate); err != nil {
			return nil, err
		}
	}
	var err error
	in.Tables, err = tablesOf(ctx, db, r.ID)
	return in, err
}

// findIntegration returns an integration by its name or id.
func findIntegration(ctx context.Context, db bun.IDB, name string) (*integrationRow, error) {
	row, err := first[integrationRow](ctx, db, "name = ? OR id = ?", name, name)
	if row == nil && err == nil {
		err = unknown("there is no integration %q", name)
	}
	return row, err
}

// Integrations returns all integrations, by name.
func (s *Service) Integrations(ctx context.Context) ([]Integration, error) {
	var rows []integrationRow
	if err := s.store.DB().NewSelect().Model(&rows).Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	slices.SortFunc(rows, func(a, b integrationRow) int { return strings.Compare(a.Name, b.Name) })
	var out []Integration
	for i := range rows {
		in, err := rows[i].integration(ctx, s.store.DB())
		if err != nil {
			return nil, err
		}
		out = append(out, *in)
	}
	return out, nil
}

// Integration returns an integration by its name.
func (s *Service) Integration(ctx context.Context, name string) (*Integration, error) {
	row, err := findIntegration(ctx, s.store.DB(), name)
	if err != nil {
		return nil, err
	}
	return row.integration(ctx, s.store.DB())
}

// UpdateIntegration replaces the tables and the rate of an integration, and
// its name.
func (s *Service) UpdateIntegration(ctx context.Context, name string, in Integration, match func(*Integration) error) (*Integration, error) {
	if err := checkIntegration(in); err != nil {
		return nil, err
	}
	var out *Integration
	err := s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := s.ownIntegration(ctx, tx, name, match)
		if err != nil {
			return err
		}
		if err := s.replaceIntegration(ctx, tx, row, in); err != nil {
			return err
		}
		out, err = row.integration(ctx, tx)
		return err
	})
	return out, err
}

// ownIntegration returns an integration that is not declared in the config.
func (s *Service) ownIntegration(ctx context.Context, tx bun.IDB, name string, match func(*Integration) error) (*integrationRow, error) {
	row, err := findIntegration(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	if err := fromFile(row.Origin, "the integration"); err != nil {
		return nil, err
	}
	was, err := row.integration(ctx, tx)
	if err != nil {
		return nil, err
	}
	return row, match(was)
}

func (s *Service) replaceIntegration(ctx context.Context, tx bun.IDB, row *integrationRow, in Integration) error {
	if in.Name != row.Name {
		other, err := first[integrationRow](ctx, tx, "name = ?", in.Name)
		if err != nil {
			return err
		}
		if other != nil {
			return conflict("there is an integration with this name already")
		}
	}
	row.Name, row.Rate, row.State, row.UpdatedAt = in.Name, rateJSON(in.Rate), StateActive, s.tick(row.UpdatedAt)
	if _, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx); err != nil {
		return err
	}
	return s.attach(ctx, tx, row.ID, in.Tables)
}

// DeleteIntegration detaches the tables of an integration and deletes its
// keys. The data stays.
func (s *Service) DeleteIntegration(ctx context.Context, name string, match func(*Integration) error) error {
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := s.ownIntegration(ctx, tx, name, match)
		if err != nil {
			return err
		}
		for _, q := range []string{
			"UPDATE ingest_schema SET integration_id = NULL WHERE integration_id = ?",
			"DELETE FROM ingest_key WHERE integration_id = ?",
			"DELETE FROM ingest_integration WHERE id = ?",
		} {
			if _, err := tx.NewRaw(q, row.ID).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}
