package syncer

import (
	"context"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/uptrace/bun"
)

// A linkStatus says what a link row stands for.
type linkStatus string

const (
	linked    linkStatus = ""          // takes no room: most links are
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
	Reason   string    // of deleting and tombstone: "deleted", "left the filter"
	Version  int64     // versionHash of the last version seen
	At       time.Time `bun:",nullzero"` // of marks and tombstones
}

// versionHash stands for a version where it is only compared; 0 for none.
func versionHash(version string) int64 {
	if version == "" {
		return 0
	}
	return int64(xxhash.Sum64String(version) | 1)
}

// hasLinks tells whether an entity has links or bases.
func hasLinks(ctx context.Context, db bun.IDB, ent int64) (bool, error) {
	var has bool
	err := db.NewRaw("SELECT EXISTS (SELECT 1 FROM integration_link WHERE ent = ?) OR EXISTS (SELECT 1 FROM integration_base WHERE ent = ?)", ent, ent).Scan(ctx, &has)
	return has, err
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

var linkTable = store.Table{Name: "integration_link", Key: []string{"ent", "ext_key"}, Values: []string{"local_key", "status", "reason", "version", "at"}}

// saveLinks stores links.
func saveLinks(ctx context.Context, tx *store.Tx, mode store.PutMode, links []*link) error {
	return tx.Put(ctx, &linkTable, mode, len(links), func(i int, row []any) []any {
		l := links[i]
		return append(row, l.Ent, string(l.ExtKey), string(l.LocalKey), string(l.Status), l.Reason, l.Version, orNull(l.At))
	})
}

func (s *Syncer) dropLinks(ctx context.Context, db bun.IDB, ent int64, keys []kedge.Key) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := db.NewDelete().Model((*link)(nil)).Where("ent = ?", ent).
		Where("ext_key IN "+s.unpack(), jsonTexts(keys)).Exec(ctx)
	return err
}
