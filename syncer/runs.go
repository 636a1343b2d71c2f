package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
)

// A RunInfo is a stored run.
type RunInfo struct {
	ID          string          `json:"id"`
	Integration string          `json:"integration"`
	Op          Op              `json:"op"`
	Trigger     string          `json:"trigger"`
	State       RunState        `json:"state"`
	StartedAt   time.Time       `json:"startedAt"`
	FinishedAt  *time.Time      `json:"finishedAt,omitempty"`
	Result      json.RawMessage `json:"result,omitempty"`
}

// Runs lists runs, newest first; integration "" means all.
func (s *Syncer) Runs(ctx context.Context, integration string, limit int) ([]RunInfo, error) {
	return s.runs(ctx, func(q *bun.SelectQuery) *bun.SelectQuery {
		if integration != "" {
			q = q.Where("integration = ?", integration)
		}
		return q.Limit(int64(limit))
	})
}

func (s *Syncer) runs(ctx context.Context, where func(*bun.SelectQuery) *bun.SelectQuery) ([]RunInfo, error) {
	var rows []runRow
	if err := s.store.DB().NewSelect().Model(&rows).Order("id DESC").Apply(where).Scan(ctx); err != nil {
		return nil, err
	}
	return runInfos(rows), nil
}

func runInfos(rows []runRow) []RunInfo {
	infos := make([]RunInfo, len(rows))
	for i, r := range rows {
		infos[i] = RunInfo{ID: r.ID, Integration: r.Integration, Op: r.Op, Trigger: r.Trigger, State: r.State, StartedAt: r.StartedAt,
			FinishedAt: r.FinishedAt, Result: json.RawMessage(r.Result)}
	}
	return infos
}

// RunOf returns a stored run.
func (s *Syncer) RunOf(ctx context.Context, id string) (*RunInfo, error) {
	found, err := s.runs(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("id = ?", id) })
	if err == nil && len(found) == 0 {
		err = &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("there is no run %s; see \"kedge runs list\"", id)}
	}
	if err != nil {
		return nil, err
	}
	return &found[0], nil
}

// Cancel asks a running run to stop after the page it is at. It may run in
// another process and notices within [renewEvery].
func (s *Syncer) Cancel(ctx context.Context, id string) error {
	res, err := s.store.DB().NewUpdate().Model((*runRow)(nil)).Set("cancel = ?", true).Where("id = ? AND state = ?", id, Running).Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("no run %s is active; see \"kedge runs list\"", id)})
	}
	return nil
}

// A Status sums up one integration for one screen.
type Status struct {
	Integration string     `json:"integration"`
	LastRun     *RunInfo   `json:"lastRun,omitempty"`
	OldestAt    *time.Time `json:"oldestAnchor,omitempty"` // when the entity that is furthest behind was last read
	Quarantine  int64      `json:"quarantine"`
	Deletes     int64      `json:"pendingDeletes"`
	Uploads     int64      `json:"pendingUploads"` // not sent yet, or to be tried again or looked up
	Dead        int64      `json:"deadUploads"`    // refused, or failed too often
	Conflicts   int64      `json:"conflicts"`
	Records     int64      `json:"records"`
}

// Status returns the status of all integrations.
func (s *Syncer) Status(ctx context.Context) ([]Status, error) {
	all, err := s.Integrations(ctx)
	if err != nil {
		return nil, err
	}
	statuses := make([]Status, len(all))
	for i, in := range all {
		if statuses[i], err = s.statusOf(ctx, in.Name); err != nil {
			return nil, err
		}
	}
	return statuses, nil
}

func (s *Syncer) statusOf(ctx context.Context, name string) (Status, error) {
	st := Status{Integration: name}
	runs, err := s.runs(ctx, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("integration = ? AND op <> ?", name, Plan).Limit(1) // a plan brings nothing up to date
	})
	if err != nil {
		return st, err
	}
	if len(runs) > 0 {
		st.LastRun = &runs[0]
	}
	anchors, err := s.Anchors(ctx, name)
	if err != nil {
		return st, err
	}
	for _, a := range anchors {
		if st.OldestAt == nil || a.UpdatedAt.Before(*st.OldestAt) {
			st.OldestAt = &a.UpdatedAt
		}
	}
	db, ents := s.store.DB(), "ent IN (SELECT id FROM integration_entity WHERE integration = ?)"
	if st.Quarantine, err = db.NewSelect().Model((*QuarantineRow)(nil)).Where("state = 'open'").Where(ents, name).Count(ctx); err != nil {
		return st, err
	}
	if st.Deletes, err = db.NewSelect().Model((*link)(nil)).Where("status = ?", deleting).Where(ents, name).Count(ctx); err != nil {
		return st, err
	}
	if st.Conflicts, err = db.NewSelect().Model((*conflictRow)(nil)).Where("state = ?", conflictOpen).Where(ents, name).Count(ctx); err != nil {
		return st, err
	}
	waiting := []TransactionState{TxPending, TxInflight, TxFailed, TxUnknown}
	if st.Uploads, err = db.NewSelect().Model((*Transaction)(nil)).Where("integration = ? AND state IN (?)", name, bun.List(waiting)).Count(ctx); err != nil {
		return st, err
	}
	if st.Dead, err = db.NewSelect().Model((*Transaction)(nil)).Where("integration = ? AND state = ?", name, TxDead).Count(ctx); err != nil {
		return st, err
	}
	err = db.NewSelect().Model((*entityRow)(nil)).ColumnExpr("coalesce(sum(linked), 0)").Where("integration = ?", name).Scan(ctx, &st.Records)
	return st, err
}
