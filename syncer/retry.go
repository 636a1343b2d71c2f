package syncer

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// retryAll tries the quarantined records that the request names again.
func (r *run) retryAll(ctx context.Context) error {
	for _, e := range r.ordered() {
		rows, err := r.s.quarantineOf(ctx, e.row.ID, r.req.Quarantine)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			continue
		}
		if err := e.prepare(ctx); err != nil {
			return err
		}
		if e.err = e.retry(ctx, rows); e.err != nil {
			return e.err
		}
	}
	return nil
}

// retryDue tries the open rows whose time has come.
func (e *entity) retryDue(ctx context.Context) error {
	var rows []*QuarantineRow
	err := e.run.s.store.DB().NewSelect().Model(&rows).
		Where("ent = ? AND direction = ? AND state = 'open' AND next_at <= ?", e.row.ID, Download, e.run.start).Order("id").Scan(ctx)
	if err != nil || len(rows) == 0 {
		return err
	}
	return e.retry(ctx, rows)
}

// retryReferences tries the records again that waited for another one, in
// passes, until a pass makes no progress.
func (r *run) retryReferences(ctx context.Context) error {
	for progress := true; progress; {
		progress = false
		for _, e := range r.ordered() {
			if e.err != nil || e.counts.Quarantined == 0 {
				continue
			}
			var rows []*QuarantineRow
			err := r.s.store.DB().NewSelect().Model(&rows).
				Where("ent = ? AND direction = ? AND state = 'open' AND code = 'ref_unresolved'", e.row.ID, Download).Order("id").Scan(ctx)
			if err != nil {
				return err
			}
			before := e.counts.Quarantined
			if len(rows) > 0 {
				if err := e.retry(ctx, rows); err != nil {
					return err
				}
			}
			progress = progress || e.counts.Quarantined < before
		}
	}
	return nil
}

// retry reads the records of quarantine rows again and stores them.
func (e *entity) retry(ctx context.Context, rows []*QuarantineRow) error {
	for len(rows) > 0 {
		n := min(sweepChunk, len(rows))
		if err := e.retrySome(ctx, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (e *entity) retrySome(ctx context.Context, rows []*QuarantineRow) error {
	keys := make([]kedge.Key, len(rows))
	for i, row := range rows {
		keys[i] = kedge.Key(row.Key)
		e.open[row.Key] = row.Attempts
	}
	found, err := e.run.ext.ReadKeys(ctx, e.plan.External.Name, e.plan.ExternalFields.Names(), keys)
	if kedge.KindOf(err) == kedge.Unsupported {
		return nil // only a full read brings it again
	}
	if err != nil {
		return err
	}
	b := new(batch)
	var gone []kedge.Key
	for i, f := range found {
		switch {
		case !f.OK:
			gone = append(gone, keys[i])
		case passes(e.filter, &f.Record):
			b.records = append(b.records, f.Record)
		default:
			gone = append(gone, keys[i])
		}
	}
	err = e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error { return e.release(ctx, tx, gone) })
	if err != nil || len(b.records) == 0 {
		return err
	}
	return e.applyAside(ctx, b)
}

// A QuarantineQuery selects quarantine rows; empty fields select all open ones.
type QuarantineQuery struct {
	Integration string
	Entity      string
	IDs         []string
	All         bool // closed ones too
	Limit       int  // 0 means 100
}

// Quarantine lists quarantined records, newest first.
func (s *Syncer) Quarantine(ctx context.Context, q QuarantineQuery) ([]*QuarantineRow, error) {
	setDefault(&q.Limit, 100)
	var rows []*QuarantineRow
	sel := s.store.DB().NewSelect().Model(&rows).ColumnExpr("quarantine_row.*").ColumnExpr("e.name AS entity").
		Join("JOIN integration_entity AS e ON e.id = quarantine_row.ent").OrderExpr("quarantine_row.id DESC").Limit(int64(q.Limit))
	if q.Integration != "" {
		sel = sel.Where("e.integration = ?", q.Integration)
	}
	if q.Entity != "" {
		sel = sel.Where("e.name = ?", q.Entity)
	}
	if len(q.IDs) > 0 {
		sel = sel.Where("quarantine_row.id IN "+s.unpack(), jsonTexts(q.IDs))
	}
	if !q.All && len(q.IDs) == 0 {
		sel = sel.Where("quarantine_row.state = 'open'")
	}
	return rows, sel.Scan(ctx)
}

// quarantineOf returns the open rows of an entity: those with the given ids,
// or all.
func (s *Syncer) quarantineOf(ctx context.Context, ent int64, ids []string) ([]*QuarantineRow, error) {
	var rows []*QuarantineRow
	sel := s.store.DB().NewSelect().Model(&rows).Where("ent = ? AND direction = ? AND state = 'open'", ent, Download).Order("id")
	if len(ids) > 0 {
		sel = sel.Where("id IN "+s.unpack(), jsonTexts(ids))
	}
	return rows, sel.Scan(ctx)
}

// DropQuarantine closes rows without storing their records. They come back if
// the record changes in its source.
func (s *Syncer) DropQuarantine(ctx context.Context, ids []string, by string) (int64, error) {
	if len(ids) == 0 {
		return 0, invalid("", errors.New("no quarantine id given"))
	}
	res, err := s.store.DB().NewUpdate().Model((*QuarantineRow)(nil)).Set("state = 'dropped', payload = '{}', message = message || ?", fmt.Sprintf(" (dropped by %s)", by)).
		Where("state = 'open'").Where("id IN "+s.unpack(), jsonTexts(ids)).Exec(ctx)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// QuarantinedIn returns the ids of open rows by integration: those of ids, or
// all of one integration, or all.
func (s *Syncer) QuarantinedIn(ctx context.Context, ids []string, integration string) (map[string][]string, error) {
	var rows []struct{ ID, Integration string }
	q := s.store.DB().NewSelect().TableExpr("integration_quarantine AS q").ColumnExpr("q.id, e.integration").
		Join("JOIN integration_entity AS e ON e.id = q.ent").Where("q.state = 'open'").OrderExpr("q.id")
	if len(ids) > 0 {
		q = q.Where("q.id IN "+s.unpack(), jsonTexts(ids))
	}
	if integration != "" {
		q = q.Where("e.integration = ?", integration)
	}
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for _, r := range rows {
		found[r.Integration] = append(found[r.Integration], r.ID)
	}
	return found, nil
}
