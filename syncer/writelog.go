package syncer

import (
	"context"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/uptrace/bun"
)

// A writeRow is something that kedge wrote. When it comes back it is an echo,
// once.
type writeRow struct {
	bun.BaseModel `bun:"table:integration_writelog"`

	ID          string `bun:",pk"` // of the transaction; its next try takes the place of the one before
	Integration string
	Side        string // external
	Entity      string
	Key         kedge.Key
	Hash        int64
	Version     string
	ExpiresAt   time.Time
	ConsumedAt  *time.Time

	earlier *writeRow // an earlier one of the record that did not come back either
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
		w.earlier = e.echoes[w.Key]
		e.echoes[w.Key] = w
	}
	return err
}

// echo tells whether a record that is as it was left is what kedge wrote
// itself. Only the first one is: it ends what was written before it, too.
func (e *entity) echo(it *item) bool {
	w := e.echoes[it.rec.Key]
	if w == nil || e.silent || e.run.planning() {
		return false
	}
	delete(e.echoes, it.rec.Key)
	same := false
	for ; w != nil; w = w.earlier {
		e.consumed = append(e.consumed, w.ID)
		same = same || w.Hash == int64(it.hash) || w.Version != "" && w.Version == it.rec.Version
	}
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
		Where("id IN "+e.run.s.unpack(), jsonTexts(e.consumed)).Exec(ctx)
	e.consumed = e.consumed[:0]
	return err
}

// newWrite is what is noted of a change that is about to be sent, or was.
func (u *upload) newWrite(o *outgoing, key kedge.Key, version string, as *kedge.Record) *writeRow {
	return &writeRow{
		ID: o.op.ID, Integration: u.run.name, Side: sideExternal, Entity: u.plan.Name, Key: key, Version: version,
		Hash: int64(u.word(as)), ExpiresAt: u.run.s.now().UTC().Add(u.run.s.limits.KeepWriteLog),
	}
}

var writeTable = store.Table{Name: "integration_writelog", Key: []string{"id"},
	Values: []string{"integration", "side", "entity", "key", "hash", "version", "expires_at", "consumed_at"}}

// logWrites notes what is about to be sent, before it is sent: its echo may be
// faster than the answer.
func logWrites(ctx context.Context, tx *store.Tx, writes []*writeRow) error {
	return tx.Put(ctx, &writeTable, store.Replace, len(writes), func(i int, row []any) []any {
		w := writes[i]
		return append(row, w.ID, w.Integration, w.Side, w.Entity, string(w.Key), w.Hash, w.Version, w.ExpiresAt, nil)
	})
}
