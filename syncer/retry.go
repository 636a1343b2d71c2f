package syncer

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
)

// retryAsked tries the quarantined records that the request names again.
func (e *entity) retryAsked(ctx context.Context) error {
	rows, err := e.run.s.quarantineOf(ctx, e.row.ID, e.run.req.Quarantine)
	if err != nil || len(rows) == 0 {
		return err
	}
	if err := e.prepareAside(ctx); err != nil {
		return err
	}
	return e.retry(ctx, rows)
}

// retryDue tries the open rows whose time has come.
func (e *entity) retryDue(ctx context.Context) error {
	if len(e.open) == 0 {
		return nil
	}
	var rows []*QuarantineRow
	err := e.run.s.store.DB().NewSelect().Model(&rows).
		Where("ent = ? AND direction = ? AND state = 'open' AND next_at <= ?", e.row.ID, Download, e.run.start).Order("id").Scan(ctx)
	if err != nil || len(rows) == 0 {
		return err
	}
	return e.retry(ctx, rows)
}

// retryReferences tries the records again that wait for another one, in
// passes, until a pass makes no progress. Those that came to wait in an earlier
// run are tried if records were created that they may wait for.
func (r *run) retryReferences(ctx context.Context) {
	for progress := true; progress; {
		progress = false
		r.each(ctx, func(e *entity, ctx context.Context) error {
			if e.log == nil || e.counts.Quarantined == 0 && !r.targetsGrew(e) {
				return nil
			}
			rows, err := e.waiting(ctx)
			if err != nil || len(rows) == 0 {
				return err
			}
			if err := e.retry(ctx, rows); err != nil {
				return err
			}
			left, err := e.waiting(ctx)
			progress = progress || len(left) < len(rows)
			return err
		})
	}
}

// targetsGrew tells whether this run created records that a lookup of e, which
// must not be null, may name.
func (r *run) targetsGrew(e *entity) bool {
	for _, l := range e.plan.Lookups {
		if t := r.entities[l.Target]; l.Required && t != nil && t.counts.Created > 0 {
			return true
		}
	}
	return false
}

// waiting returns the quarantined records that wait for another one.
func (e *entity) waiting(ctx context.Context) ([]*QuarantineRow, error) {
	var rows []*QuarantineRow
	err := e.run.s.store.DB().NewSelect().Model(&rows).
		Where("ent = ? AND direction = ? AND state = 'open' AND code = ?", e.row.ID, Download, codeUnresolved).Order("id").Scan(ctx)
	return rows, err
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
	keys := make([]kedge.Key, 0, len(rows))
	for _, row := range rows {
		e.open[row.Key] = row.Attempts
		if row.Code != codeKeyInvalid && row.Code != codeKeyUnreadable { // only a read of all brings those again
			keys = append(keys, kedge.Key(row.Key))
		}
	}
	answers, err := e.readKeys(ctx, keys)
	if kedge.KindOf(err) == kedge.Unsupported {
		return nil // only a full read brings it again
	}
	if err != nil {
		return err
	}
	b := new(chunk)
	var gone []string
	for i, a := range answers {
		switch {
		case a.bad != nil:
			b.rejected = append(b.rejected, *a.bad)
		case a.found && passes(e.filter, &a.record):
			b.records = append(b.records, a.record)
		default:
			gone = append(gone, string(keys[i]))
		}
	}
	err = e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error { return e.release(ctx, tx, gone) })
	if err != nil || len(b.records)+len(b.rejected) == 0 {
		return err
	}
	return e.applyAside(ctx, b)
}

// An answer is what the source says about one key: the record, that there is
// none, or that it is there but cannot be decoded.
type answer struct {
	record kedge.Record
	found  bool
	bad    *connectors.BadRecord
}

// readKeys reads records by key. A record that cannot be decoded is asked for
// alone, so that it does not keep the others from being read.
func (e *entity) readKeys(ctx context.Context, keys []kedge.Key) ([]answer, error) {
	found, err := e.run.ext.ReadKeys(ctx, e.plan.External.Name, e.plan.ExternalFields.Names(), keys)
	answers := make([]answer, len(keys))
	switch {
	case kedge.KindOf(err) == kedge.Invalid && err != nil && len(keys) > 1:
		half := len(keys) / 2
		first, err := e.readKeys(ctx, keys[:half])
		if err != nil {
			return nil, err
		}
		second, err := e.readKeys(ctx, keys[half:])
		return append(first, second...), err
	case kedge.KindOf(err) == kedge.Invalid && err != nil:
		answers[0].bad = &connectors.BadRecord{Key: keys[0], Err: err}
		return answers, nil
	case err != nil:
		return nil, err
	}
	for i, f := range found {
		answers[i].record, answers[i].found = f.Record, f.OK
	}
	return answers, nil
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
	sel := s.store.DB().NewSelect().Model(&rows).ColumnExpr("quarantine_row.*").ColumnExpr("e.integration, e.name AS entity").
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
