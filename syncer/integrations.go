package syncer

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
)

// An Integration joins two connections by a mapping. Each change of its
// mapping is a new revision; runs use the newest.
type Integration struct {
	bun.BaseModel `bun:"table:integration_mapping" json:"-"`

	Name     string    `bun:",pk" json:"name"`
	Revision int64     `bun:",pk" json:"revision"`
	External string    `json:"external"`
	Local    string    `json:"local"`
	Source   string    `json:"source,omitempty"` // the file it comes from; then it is edited there
	YAML     string    `bun:"yaml" json:"-"`
	Hash     string    `json:"-"`
	Author   string    `json:"author"`
	At       time.Time `json:"at"`
}

// Parse returns the mapping.
func (i *Integration) Parse() (*mapping.Mapping, error) {
	name := i.Source
	if name == "" {
		name = "mapping of " + i.Name
	}
	return mapping.Parse(name, []byte(i.YAML))
}

var integrationName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Mapping returns the integration with that name at its newest revision.
func (s *Syncer) Mapping(ctx context.Context, name string) (*Integration, error) {
	i := new(Integration)
	err := s.store.DB().NewSelect().Model(i).Where("name = ?", name).Order("revision DESC").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("there is no integration %q; see \"kedge integrations list\"", name)}
	}
	return i, err
}

// Integrations returns all integrations at their newest revisions, by name.
func (s *Syncer) Integrations(ctx context.Context) ([]*Integration, error) {
	var all []*Integration
	err := s.store.DB().NewSelect().Model(&all).
		Where("revision = (SELECT max(m.revision) FROM integration_mapping AS m WHERE m.name = integration.name)").
		Order("name").Scan(ctx)
	return all, err
}

// Save stores a new revision of an integration, or nothing if it is equal to
// the newest one. The mapping must parse; what it says is checked by
// [Syncer.Check].
func (s *Syncer) Save(ctx context.Context, i Integration) (*Integration, error) {
	return s.save(ctx, i, func(int64) error { return nil })
}

// Replace stores what was made of the revision that i has. If that is no more
// the newest one, it is a Conflict.
func (s *Syncer) Replace(ctx context.Context, i Integration) (*Integration, error) {
	base := i.Revision
	return s.save(ctx, i, func(newest int64) error {
		if newest != base {
			return &kedge.Error{Kind: kedge.Conflict, Err: fmt.Errorf("the mapping of %s was changed meanwhile: it is at revision %d, not %d", i.Name, newest, base)}
		}
		return nil
	})
}

func (s *Syncer) save(ctx context.Context, i Integration, allow func(newest int64) error) (*Integration, error) {
	if !integrationName.MatchString(i.Name) {
		return nil, invalid("", fmt.Errorf("integration name %q: use a lower-case letter, then up to 62 lower-case letters, digits or hyphens", i.Name))
	}
	m, err := i.Parse()
	if err != nil {
		return nil, err
	}
	i.YAML = string(m.Marshal())
	sum := sha256.Sum256([]byte(i.External + "\x00" + i.Local + "\x00" + i.Source + "\x00" + i.YAML))
	i.Hash, i.At = hex.EncodeToString(sum[:]), s.now().UTC()
	err = s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		var newest []Integration
		err := tx.NewSelect().Model(&newest).Where("name = ?", i.Name).Order("revision DESC").Limit(1).Scan(ctx)
		if err != nil {
			return err
		}
		if len(newest) == 1 {
			if err := allow(newest[0].Revision); err != nil {
				return err
			}
			if i.Revision = newest[0].Revision; newest[0].Hash == i.Hash {
				i = newest[0]
				return nil
			}
		}
		i.Revision++
		_, err = tx.NewInsert().Model(&i).Exec(ctx)
		return err
	})
	return &i, err
}

// Delete forgets an integration and all that is known about its records. The
// records themselves stay, on both sides.
func (s *Syncer) Delete(ctx context.Context, name string) error {
	if _, err := s.Mapping(ctx, name); err != nil {
		return err
	}
	return s.withLease(ctx, name, func(ctx context.Context, r *run) error {
		return r.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			for _, table := range []string{"integration_link", "integration_hashlog", "integration_hash", "integration_pendingref", "integration_quarantine", "integration_base", "integration_conflict", "integration_stage"} {
				_, err := tx.NewDelete().Table(table).
					Where("ent IN (SELECT id FROM integration_entity WHERE integration = ?)", name).Exec(ctx)
				if err != nil {
					return err
				}
			}
			for _, table := range []string{"integration_entity", "integration_syncanchor", "integration_transaction", "integration_writelog"} {
				if _, err := tx.NewDelete().Table(table).Where("integration = ?", name).Exec(ctx); err != nil {
					return err
				}
			}
			_, err := tx.NewDelete().Table("integration_mapping").Where("name = ?", name).Exec(ctx)
			return err
		})
	})
}

// Check compares the mapping of an integration with the live schemas. Tables
// and columns that a run may make are taken as made.
func (s *Syncer) Check(ctx context.Context, i *Integration) ([]mapping.Finding, error) {
	m, err := i.Parse()
	if err != nil {
		return nil, err
	}
	ext, err := s.SchemaOf(ctx, i.External, i.Name)
	if err != nil {
		return nil, err
	}
	conn, err := s.opts.Connect(ctx, i.Local, i.Name)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	loc, err := readSchema(ctx, i.Local, conn)
	if err != nil {
		return nil, err
	}
	p, err := prepare(ctx, conn, m, mapping.Schemas{External: ext, Local: loc})
	if err != nil {
		return nil, fmt.Errorf("connection %q: %w", i.Local, err)
	}
	return append(p.ignored, mapping.Check(p.mapping, ext, p.local)...), nil
}

// SchemaOf reads the live schema of a connection.
func (s *Syncer) SchemaOf(ctx context.Context, connection, integration string) (*kedge.Schema, error) {
	conn, err := s.opts.Connect(ctx, connection, integration)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return readSchema(ctx, connection, conn)
}

func readSchema(ctx context.Context, connection string, conn *connectors.Conn) (*kedge.Schema, error) {
	schema, err := conn.Schema(ctx)
	if err != nil {
		return nil, fmt.Errorf("connection %q: %w", connection, err)
	}
	return schema, nil
}

// Anchors lists how far each entity of an integration got.
func (s *Syncer) Anchors(ctx context.Context, integration string) ([]*Anchor, error) {
	var rows []*Anchor
	q := s.store.DB().NewSelect().Model(&rows).Order("integration", "entity", "direction")
	if integration != "" {
		q = q.Where("integration = ?", integration)
	}
	return rows, q.Scan(ctx)
}

// restartAnchor makes the next read of an entity a full one.
func restartAnchor(tx bun.IDB, integration, entity string) *bun.UpdateQuery {
	return tx.NewUpdate().Model((*Anchor)(nil)).
		Set("phase = ?, anchor = '', page_token = '', clean = ?, acked = ?", phaseSnapshot, false, true).
		Where("integration = ? AND entity = ?", integration, entity)
}

// ResetAnchor makes the next run of one entity read everything again. No
// record is deleted or forgotten by it.
func (s *Syncer) ResetAnchor(ctx context.Context, integration, entity, by string) error {
	return s.withLease(ctx, integration, func(ctx context.Context, r *run) error {
		return r.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
			res, err := restartAnchor(tx, integration, entity).Exec(ctx)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				return errors.Join(err, &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("integration %s has no anchor for entity %q; see \"kedge anchors list %s\"", integration, entity, integration)})
			}
			return r.eventIn(ctx, tx, entity, "info", "anchor_reset", "anchor reset by "+by, "")
		})
	})
}
