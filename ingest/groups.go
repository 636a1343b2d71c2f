package ingest

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/internal/store"
)

var (
	prefixForm = regexp.MustCompile(`^_?[a-z][a-z0-9_]{0,18}$`)
	tableForm  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,35}$`)
)

// reservedPrefixes begin the names of tables that are not the users'.
var reservedPrefixes = []string{"kedge", "integration", "connector", "webhook", "bun", "ingest", "incoming", "dsr", "push", "sqlite", "pg"}

const maxName = 100 // characters of names and keys' names

func checkName(pointer, name string) error {
	if strings.TrimSpace(name) == "" || utf8.RuneCountInString(name) > maxName || strings.ContainsFunc(name, isControl) {
		return refuse(pointer, "name: give 1 to %d characters, none of them a control character", maxName)
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

func checkPrefix(prefix string) error {
	if !prefixForm.MatchString(prefix) || strings.HasSuffix(prefix, "_") {
		return refuse("/prefix", "prefix: use a lower-case letter, then up to 18 lower-case letters, digits or _, not _ at the end; one _ may go before")
	}
	for _, r := range reservedPrefixes {
		if prefix == r || strings.HasPrefix(prefix, r+"_") {
			return refuse("/prefix", "prefix: %s is reserved for kedge and the database", r)
		}
	}
	return nil
}

// CreateGroup makes a group. Its name and its prefix are unique.
func (s *Service) CreateGroup(ctx context.Context, g Group) (*Group, error) {
	return s.createGroup(ctx, g, OriginAPI)
}

func (s *Service) createGroup(ctx context.Context, g Group, origin string) (*Group, error) {
	if err := checkName("/name", g.Name); err != nil {
		return nil, err
	}
	if err := checkPrefix(g.Prefix); err != nil {
		return nil, err
	}
	now := millis(s.now())
	row := &groupRow{ID: newID(), Name: g.Name, Prefix: g.Prefix, Description: g.Description, Origin: origin, CreatedAt: now, UpdatedAt: now}
	err := s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := uniqueGroup(ctx, tx, row); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
	return row.group(), err
}

func uniqueGroup(ctx context.Context, tx bun.IDB, row *groupRow) error {
	other, err := first[groupRow](ctx, tx, "id <> ? AND (name = ? OR prefix = ?)", row.ID, row.Name, row.Prefix)
	switch {
	case err != nil || other == nil:
		return err
	case other.Name == row.Name:
		return conflict("there is a group with this name already")
	}
	return conflict("there is a group with this prefix already: %s", other.Name)
}

func (r *groupRow) group() *Group {
	return &Group{Name: r.Name, Prefix: r.Prefix, Description: r.Description, Origin: r.Origin, CreatedAt: fromMillis(r.CreatedAt), UpdatedAt: fromMillis(r.UpdatedAt)}
}

// findGroup returns a group by its name or prefix.
func findGroup(ctx context.Context, db bun.IDB, name string) (*groupRow, error) {
	row, err := first[groupRow](ctx, db, "name = ?", name)
	if row == nil && err == nil {
		row, err = first[groupRow](ctx, db, "prefix = ?", name)
	}
	if row == nil && err == nil {
		err = unknown("there is no group %q", name)
	}
	return row, err
}

// Groups returns all groups, by name.
func (s *Service) Groups(ctx context.Context) ([]Group, error) {
	var rows []groupRow
	if err := s.store.DB().NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return nil, store.Error("ingest", "", err)
	}
	var out []Group
	for i := range rows {
		out = append(out, *rows[i].group())
	}
	slices.SortFunc(out, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Group returns the group with a name or prefix.
func (s *Service) Group(ctx context.Context, name string) (*Group, error) {
	row, err := findGroup(ctx, s.store.DB(), name)
	if err != nil {
		return nil, err
	}
	return row.group(), nil
}

// UpdateGroup changes the name and the description of a group. match sees the
// group as it is, in the transaction, and may refuse.
func (s *Service) UpdateGroup(ctx context.Context, name string, g Group, match func(*Group) error) (*Group, error) {
	if err := checkName("/name", g.Name); err != nil {
		return nil, err
	}
	var out *Group
	err := s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := findGroup(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := fromFile(row.Origin, "the group"); err != nil {
			return err
		}
		if err := match(row.group()); err != nil {
			return err
		}
		if g.Prefix != "" && g.Prefix != row.Prefix {
			return refuse("/prefix", "prefix: is part of the names of tables and can't change; make another group")
		}
		row.Name, row.Description, row.UpdatedAt = g.Name, g.Description, s.tick(row.UpdatedAt)
		if err := uniqueGroup(ctx, tx, row); err != nil {
			return err
		}
		out = row.group()
		_, err = tx.NewUpdate().Model(row).WherePK().Exec(ctx)
		return err
	})
	return out, err
}

// tick returns the time of an update, which is later than the one before, so
// that entity tags differ.
func (s *Service) tick(before int64) int64 { return max(millis(s.now()), before+1) }

// DeleteGroup deletes a group without schemas.
func (s *Service) DeleteGroup(ctx context.Context, name string, match func(*Group) error) error {
	return s.define(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, err := findGroup(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := fromFile(row.Origin, "the group"); err != nil {
			return err
		}
		if err := match(row.group()); err != nil {
			return err
		}
		used, err := first[schemaRow](ctx, tx, "group_id = ?", row.ID)
		if err != nil {
			return err
		}
		if used != nil {
			return conflict("the group has schemas, such as %s; delete them first", used.FullName)
		}
		_, err = tx.NewDelete().Model(row).WherePK().Exec(ctx)
		return err
	})
}
