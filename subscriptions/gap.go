package subscriptions

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/payload"
)

// A gapRow is a range of events of which some never arrived.
type gapRow struct {
	bun.BaseModel `bun:"table:push_gap,alias:g"`

	ID      int64 `bun:",pk,autoincrement"`
	Sub     string
	Reason  string // disabled, expired, backlog or dead
	FromSeq int64
	ToSeq   int64 // 0: still open
	Count   int64 // -1: not known
	At      int64
	ToldAt  int64 // 0: no push that carried it arrived yet
}

// lose records that events from first to last (0: and all that come) do not
// reach a subscription. A gap that the receiver does not know yet grows
// instead of a second one with the same reason; count -1 means not known.
func (s *Service) lose(ctx context.Context, tx bun.IDB, sub, reason string, first, last, count int64) error {
	var g gapRow
	err := tx.NewSelect().Model(&g).Where("sub = ? AND reason = ? AND told_at = 0", sub, reason).OrderExpr("id DESC").Limit(1).Scan(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return store.Error("subscriptions", "", err)
	}
	if err != nil {
		g = gapRow{Sub: sub, Reason: reason, FromSeq: first, ToSeq: last, Count: count, At: s.now()}
		_, err = tx.NewInsert().Model(&g).Exec(ctx)
		return store.Error("subscriptions", "", err)
	}
	g.FromSeq = min(g.FromSeq, first)
	if last == 0 || g.ToSeq == 0 {
		g.ToSeq = 0
	} else {
		g.ToSeq = max(g.ToSeq, last)
	}
	if count < 0 || g.Count < 0 {
		g.Count = -1
	} else {
		g.Count += count
	}
	_, err = tx.NewUpdate().Model(&g).Column("from_seq", "to_seq", "count").WherePK().Exec(ctx)
	return store.Error("subscriptions", "", err)
}

// widenGaps makes the last gap of each stopped subscription begin no later than
// the first event that it missed: sequences are not committed in their order.
func widenGaps(ctx context.Context, tx bun.IDB, missed map[string]int64) error {
	for _, sub := range slices.Sorted(maps.Keys(missed)) {
		_, err := exec(ctx, tx, "UPDATE push_gap SET from_seq = ? WHERE from_seq > ? AND id = (SELECT max(id) FROM push_gap WHERE sub = ? AND reason IN (?, ?))",
			missed[sub], missed[sub], sub, StateDisabled, StateExpired)
		if err != nil {
			return err
		}
	}
	return nil
}

// closeGaps ends the open gaps of a subscription at the last event so far.
func closeGaps(ctx context.Context, tx bun.IDB, sub string, last int64) error {
	_, err := exec(ctx, tx, "UPDATE push_gap SET to_seq = CASE WHEN from_seq > ? THEN from_seq ELSE ? END WHERE sub = ? AND to_seq = 0", last, last, sub)
	return err
}

// untoldGaps returns of each subscription the oldest gap that its receiver does
// not know.
func untoldGaps(ctx context.Context, db bun.IDB, subs []string) (map[string]*gapRow, error) {
	var rows []gapRow
	if err := db.NewSelect().Model(&rows).Where("told_at = 0 AND sub IN (?)", bun.List(subs)).OrderExpr("id").Scan(ctx); err != nil {
		return nil, store.Error("subscriptions", "", err)
	}
	out := map[string]*gapRow{}
	for i := range rows {
		if g := &rows[i]; out[g.Sub] == nil {
			out[g.Sub] = g
		}
	}
	return out, nil
}

func gapOf(g *gapRow) *payload.Gap {
	return &payload.Gap{ID: g.ID, From: g.FromSeq, To: g.ToSeq, Count: g.Count, Reason: g.Reason}
}

// told notes that the receiver knows of a gap, unless that has grown since.
func told(ctx context.Context, db bun.IDB, g *gapRow, now int64) error {
	_, err := exec(ctx, db, "UPDATE push_gap SET told_at = ? WHERE id = ? AND told_at = 0 AND to_seq = ? AND count = ?", now, g.ID, g.ToSeq, g.Count)
	return err
}
