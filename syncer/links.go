package syncer

import (
	"context"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
)

// A linkStatus says what a link row stands for.
type linkStatus string

const (
	linked    linkStatus = "linked"
	deleting  linkStatus = "deleting"  // marked; the delete phase applies it
	tombstone linkStatus = "tombstone" // was deleted here because it was gone there
	// frozenLink is the link of a record that is gone there, was edited here, and
	// waits for a person.
	frozenLink linkStatus = "frozen"
)

// A link joins an external record to a local one. Entities whose external key
// is the local key have rows only while a delete is pending or remembered.
type link struct {
	bun.BaseModel `bun:"table:integration_link"`

	Ent      int64     `bun:",pk"`
	ExtKey   kedge.Key `bun:",pk"`
	LocalKey kedge.Key
	Status   linkStatus
	Reason   string // of deleting and tombstone: "deleted", "left the filter"
	Version  string // of a tombstone: the last version seen
	At       time.Time
}

// linksBy returns the links of an entity whose column (ext_key or local_key)
// equals one of keys, by that column.
func (s *Syncer) linksBy(ctx context.Context, db bun.IDB, ent int64, column string, keys []kedge.Key) (map[kedge.Key]*link, error) {
	found := make(map[kedge.Key]*link, len(keys))
	if len(keys) == 0 {
		return found, nil
	}
	var rows []*link
	q := db.NewSelect().Model(&rows).Where("ent = ?", ent).Where("? IN "+s.unpack(), bun.Ident(column), jsonTexts(keys))
	if column == "local_key" && !s.postgres() { // SQLite would read all links of the entity by their primary key
		q = q.ModelTableExpr("integration_link AS link INDEXED BY integration_link_local")
	}
	err := q.Scan(ctx)
	for _, l := range rows {
		if column == "ext_key" {
			found[l.ExtKey] = l
		} else {
			found[l.LocalKey] = l
		}
	}
	return found, err
}

// saveLinks inserts or overwrites links.
func (s *Syncer) saveLinks(ctx context.Context, db bun.IDB, links []*link) error {
	const chunk = 1000
	for len(links) > 0 {
		n := min(chunk, len(links))
		part := links[:n]
		links = links[n:]
		_, err := db.NewInsert().Model(&part).On("CONFLICT (ent, ext_key) DO UPDATE").
			Set("local_key = EXCLUDED.local_key, status = EXCLUDED.status, reason = EXCLUDED.reason").
			Set("version = EXCLUDED.version, at = EXCLUDED.at").Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Syncer) dropLinks(ctx context.Context, db bun.IDB, ent int64, keys []kedge.Key) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := db.NewDelete().Model((*link)(nil)).Where("ent = ?", ent).
		Where("ext_key IN "+s.unpack(), jsonTexts(keys)).Exec(ctx)
	return err
}
