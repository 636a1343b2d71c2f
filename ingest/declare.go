package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/internal/store"
)

// A Declaration is what the config file says about pushed data.
type Declaration struct {
	Groups       []Group
	Schemas      []Schema
	Integrations []DeclaredIntegration
}

// A DeclaredIntegration is an integration with its keys.
type DeclaredIntegration struct {
	Integration
	Keys []DeclaredKey
}

// A DeclaredKey is a key whose secret the config gives, by a reference.
type DeclaredKey struct {
	Name   string
	Secret string // at least 32 characters
	Rights
}

// Check finds what is wrong with a declaration without looking at the
// database. Each line of the error begins with the key of the config:
// "ingest.schemas[0].schema: …".
func (s *Service) Check(d Declaration) error {
	var errs []error
	at := func(list string, i int, err error) {
		if err != nil {
			errs = append(errs, placed(list, i, err))
		}
	}
	for i, g := range d.Groups {
		at("groups", i, errors.Join(checkName("/name", g.Name), checkPrefix(g.Prefix)))
	}
	for i, t := range d.Schemas {
		_, err := s.parseTable(t)
		if err == nil && !tableForm.MatchString(t.Table) {
			err = errors.New("table: use a lower-case letter, then up to 35 lower-case letters, digits or _")
		}
		at("schemas", i, err)
	}
	for i, in := range d.Integrations {
		at("integrations", i, checkIntegration(in.Integration))
		for _, k := range in.Keys {
			at("integrations", i, checkDeclaredKey(k))
		}
	}
	return errors.Join(errs...)
}

func checkDeclaredKey(k DeclaredKey) error {
	if err := checkName("/name", k.Name); err != nil {
		return err
	}
	if len(k.Secret) < minSecret {
		return fmt.Errorf("keys: %s: from: must have at least %d characters; \"openssl rand -hex 32\" makes a good one", k.Name, minSecret)
	}
	return nil
}

// placed gives each line of an error the key of the config that it is about.
func placed(list string, i int, err error) error {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		lines = append(lines, fmt.Sprintf("ingest.%s[%d]: %s", list, i, line))
	}
	return errors.New(strings.Join(lines, "\n"))
}

// Declare makes what the config says: new things are made, changed ones
// changed, and integrations and schemas that were taken out are paused. What
// cannot be done is left as it was, and told in the error, a line for each; the
// rest is done.
func (s *Service) Declare(ctx context.Context, d Declaration) error {
	if err := s.Check(d); err != nil {
		return err
	}
	var errs []error
	for i, g := range d.Groups {
		if err := s.declareGroup(ctx, g); err != nil {
			errs = append(errs, placed("groups", i, err))
		}
	}
	for i, t := range d.Schemas {
		if err := s.declareSchema(ctx, t); err != nil {
			errs = append(errs, placed("schemas", i, err))
		}
	}
	for i, in := range d.Integrations {
		if err := s.declareIntegration(ctx, in); err != nil {
			errs = append(errs, placed("integrations", i, err))
		}
	}
	return errors.Join(append(errs, s.pauseOthers(ctx, d))...)
}

func (s *Service) declareGroup(ctx context.Context, g Group) error {
	row, err := first[groupRow](ctx, s.store.DB(), "name = ?", g.Name)
	if err != nil {
		return err
	}
	if row == nil {
		_, err := s.createGroup(ctx, g, OriginFile)
		return err
	}
	if row.Prefix != g.Prefix {
		return errors.New("prefix: is part of the names of tables and can't change; make another group")
	}
	if row.Description == g.Description && row.Origin == OriginFile {
		return nil
	}
	row.Description, row.Origin, row.UpdatedAt = g.Description, OriginFile, s.tick(row.UpdatedAt)
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.NewUpdate().Model(row).WherePK().Exec(ctx)
		return err
	})
}

func (s *Service) declareSchema(ctx context.Context, in Schema) error {
	g, err := findGroup(ctx, s.store.DB(), in.Group)
	if err != nil {
		return fmt.Errorf("group: %w", err)
	}
	row, err := first[schemaRow](ctx, s.store.DB(), "group_id = ? AND table_name = ?", g.ID, in.Table)
	if err != nil {
		return err
	}
	if row == nil {
		_, err := s.createSchema(ctx, in, OriginFile)
		return err
	}
	var active versionRow
	if err := s.store.DB().NewSelect().Model(&active).Where("schema_no = ? AND version = ?", row.No, row.ActiveVersion).Scan(ctx); err != nil {
		return store.Error("ingest", row.FullName, err)
	}
	if !sameDocument([]byte(active.Source), in.Schema) {
		if _, err := s.changeSchema(ctx, row.FullName, in.Schema, Apply, OriginFile, none[Schema]); err != nil {
			return fmt.Errorf("the old version stays active: %w", err)
		}
	}
	if row.Settings == mustJSON(in.settings()) && row.Origin == OriginFile && row.State == StateActive {
		return nil
	}
	if err := s.checkSettings(ctx, row.FullName, in); err != nil {
		return err
	}
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		now, err := mustFindSchema(ctx, tx, row.FullName)
		if err != nil {
			return err
		}
		now.Origin = OriginFile
		if _, err := tx.NewUpdate().Model(now).Column("origin").WherePK().Exec(ctx); err != nil {
			return err
		}
		return s.saveSettings(ctx, tx, now, in)
	})
}

// sameDocument tells whether two documents are equal but for white space.
func sameDocument(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

func (s *Service) declareIntegration(ctx context.Context, in DeclaredIntegration) error {
	row, err := first[integrationRow](ctx, s.store.DB(), "name = ?", in.Name)
	if err != nil {
		return err
	}
	if row == nil {
		if _, err := s.createIntegration(ctx, in.Integration, OriginFile); err != nil {
			return err
		}
	} else if err := s.updateDeclared(ctx, row, in.Integration); err != nil {
		return err
	}
	return s.declareKeys(ctx, in)
}

// updateDeclared changes an integration to what is declared, if it differs.
func (s *Service) updateDeclared(ctx context.Context, row *integrationRow, in Integration) error {
	was, err := row.integration(ctx, s.store.DB())
	if err != nil {
		return err
	}
	var tables []string
	for _, name := range in.Tables {
		t, err := findSchema(ctx, s.store.DB(), name)
		if err != nil {
			return err
		}
		if t != nil {
			name = t.FullName
		}
		tables = append(tables, name)
	}
	slices.Sort(tables)
	if slices.Equal(was.Tables, tables) && row.Rate == rateJSON(in.Rate) && row.State == StateActive && row.Origin == OriginFile {
		return nil
	}
	row.Origin = OriginFile
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error { return s.replaceIntegration(ctx, tx, row, in) })
}

// declareKeys makes the keys of the config; one whose secret changed replaces
// the old one at once, one that was taken out is revoked.
func (s *Service) declareKeys(ctx context.Context, in DeclaredIntegration) error {
	row, err := findIntegration(ctx, s.store.DB(), in.Name)
	if err != nil {
		return err
	}
	tables, err := tablesOf(ctx, s.store.DB(), row.ID)
	if err != nil {
		return err
	}
	var have []keyRow
	if err := s.store.DB().NewSelect().Model(&have).Where("integration_id = ? AND origin = ? AND revoked_at IS NULL", row.ID, OriginFile).Scan(ctx); err != nil {
		return store.Error("ingest", "", err)
	}
	var missing []keyRow
	keep := map[string]bool{}
	for _, k := range in.Keys {
		if err := k.Rights.check(tables); err != nil {
			return fmt.Errorf("keys: %s: %w", k.Name, err)
		}
		sum := sha256.Sum256([]byte(k.Secret))
		want := keyRow{IntegrationID: row.ID, Name: k.Name, Hash: sum[:], Rights: mustJSON(k.Rights), Origin: OriginFile}
		i := slices.IndexFunc(have, func(h keyRow) bool {
			return h.Name == want.Name && bytes.Equal(h.Hash, want.Hash) && h.Rights == want.Rights
		})
		if i >= 0 {
			keep[have[i].ID] = true
		} else {
			missing = append(missing, want)
		}
	}
	if len(missing) == 0 && len(keep) == len(have) {
		return nil
	}
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error { return s.replaceKeys(ctx, tx, have, keep, missing) })
}

func (s *Service) replaceKeys(ctx context.Context, tx bun.IDB, have []keyRow, keep map[string]bool, missing []keyRow) error {
	for _, k := range have {
		if keep[k.ID] {
			continue
		}
		// Not only revoked: the same secret may come back with other rights.
		if _, err := tx.NewDelete().Model(&k).WherePK().Exec(ctx); err != nil {
			return err
		}
	}
	for _, k := range missing {
		other, err := first[keyRow](ctx, tx, "hash = ?", k.Hash)
		if err != nil {
			return err
		}
		if other != nil {
			return fmt.Errorf("keys: %s: another key has the same secret", k.Name)
		}
		k.ID, k.CreatedAt = newID(), millis(s.now())
		if err := s.insertKey(ctx, tx, &k); err != nil {
			return err
		}
	}
	return nil
}

// pauseOthers pauses the integrations and schemas that were declared once and
// are not any more. Their data stays.
func (s *Service) pauseOthers(ctx context.Context, d Declaration) error {
	var schemas, integrations []string
	for _, t := range d.Schemas {
		if g, err := findGroup(ctx, s.store.DB(), t.Group); err == nil {
			schemas = append(schemas, g.Prefix+"_"+t.Table)
		}
	}
	for _, in := range d.Integrations {
		integrations = append(integrations, in.Name)
	}
	gone := func(db bun.IDB, table, column string, names []string) *bun.UpdateQuery {
		q := db.NewUpdate().Table(table).Set("state = ?", StatePaused).Where("origin = ? AND state = ?", OriginFile, StateActive)
		if len(names) > 0 {
			q = q.Where(column+" NOT IN (?)", bun.List(names))
		}
		return q
	}
	count := func(table, column string, names []string) (int64, error) {
		q := s.store.DB().NewSelect().Table(table).Where("origin = ? AND state = ?", OriginFile, StateActive)
		if len(names) > 0 {
			q = q.Where(column+" NOT IN (?)", bun.List(names))
		}
		return q.Count(ctx)
	}
	n, err := count("ingest_schema", "full_name", schemas)
	m, err2 := count("ingest_integration", "name", integrations)
	if err := errors.Join(err, err2); err != nil || n+m == 0 {
		return store.Error("ingest", "", err)
	}
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := gone(tx, "ingest_schema", "full_name", schemas).Exec(ctx)
		_, err2 := gone(tx, "ingest_integration", "name", integrations).Exec(ctx)
		return errors.Join(err, err2)
	})
}
