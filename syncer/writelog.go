package syncer

import (
	"context"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
)

// A writeRow is something that kedge wrote. When it comes back it is an echo,
// once.
type writeRow struct {
	bun.BaseModel `bun:"table:integration_writelog"`

	ID          int64 `bun:",pk,autoincrement"`
	Integration string
	Side        string // external
	Entity      string
	Key         kedge.Key
	Hash        int64
	Version     string
	ExpiresAt   time.Time
	ConsumedAt  *time.Time
}

const sideExternal = "external"

// loadEchoes loads what was written and has not come back yet.
func (e *entity) loadEchoes(ctx context.Context) error {
	var rows []*writeRow
	err := e.run.s.store.DB().NewSelect().Model(&rows).
		Where("integration = ? AND side = ? AND entity = ? AND consumed_at IS NULL AND expires_at > ?", e.run.name, sideExternal, e.plan.Name, e.run.start).
		Order("id").Scan(ctx)
	e.echoes = make(map[kedge.Key]*writeRow, len(rows))
	for _, w := range rows {
		e.echoes[w.Key] = w
	}
	return err
}

// echo tells whether a record that is as it was left is what kedge wrote
// itself. Only the first one is.
func (e *entity) echo(it *item) bool {
	w := e.echoes[it.rec.Key]
	if w == nil || e.silent || e.run.planning() {
		return false
	}
	delete(e.echoes, it.rec.Key)
	e.consumed = append(e.consumed, w.ID)
	same := w.Hash == int64(it.hash) || w.Version != "" && w.Version == it.rec.Version
	if !same {
		e.nearMisses++
	}
	return same && it.outcome == Unchanged
}

func (e *entity) consumeEchoes(ctx context.Context, db bun.IDB) error {
	if len(e.consumed) == 0 {
		return nil
	}
	_, err := db.NewUpdate().Model((*writeRow)(nil)).Set("consumed_at = ?", e.run.s.now().UTC()).
		Where("id IN (?)", bun.List(e.consumed)).Exec(ctx)
	e.consumed = e.consumed[:0]
	return err
}

// logWrites notes what is about to be sent, before it is sent: its echo may be
// faster than the answer.
func (e *entity) logWrites(ctx context.Context, db bun.IDB, rows []*writeRow) error {
	if len(rows) == 0 {
		return nil
	}
	_, err := db.NewInsert().Model(&rows).Returning("id").Exec(ctx)
	return err
}
