package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// A Reset is what a sync is about to delete before it takes over what the other
// side has.
type Reset struct {
	Integration string
	Entities    []ResetEntity // in the order of writing
}

// A ResetEntity is one entity of a [Reset].
type ResetEntity struct {
	Entity string // of the mapping
	Table  string // the local entity
	Rows   int64  // that are there now
}

// Rows is how many local rows are there.
func (r Reset) Rows() (n int64) {
	for _, e := range r.Entities {
		n += e.Rows
	}
	return n
}

// Refusal says that nobody has confirmed.
func (r Reset) Refusal() string {
	rows, entities := "rows", "entities"
	if r.Rows() == 1 {
		rows = "row"
	}
	if len(r.Entities) == 1 {
		entities = "entity"
	}
	return fmt.Sprintf("refused: reset-local deletes %d local %s of %d %s; confirm with --yes", r.Rows(), rows, len(r.Entities), entities)
}

// askReset finds out whether r is to begin with a reset, and asks for it. It
// changes nothing. If nobody agrees it returns why.
func (s *Syncer) askReset(ctx context.Context, r *run) (refusal string, err error) {
	if r.resets, err = s.wantsReset(ctx, r.req); err != nil || r.resets == "" {
		return "", err
	}
	planned, err := s.plannedReset(ctx, r.req)
	if err != nil {
		return "", err
	}
	if planned.Rows() == 0 {
		return "", nil // nothing can be lost
	}
	if r.req.Confirm == nil {
		return planned.Refusal(), nil
	}
	if err := r.req.Confirm(planned); err != nil {
		return err.Error(), nil
	}
	return "", nil
}

// wantsReset tells why a run begins with a reset, "" if it does not.
func (s *Syncer) wantsReset(ctx context.Context, req Request) (string, error) {
	switch {
	case req.ResetLocal && req.Op != Sync:
		return "", invalid("", errors.New("reset-local is for a sync only"))
	case req.ResetLocal:
		return "asked for by --reset-local", nil
	case req.Op != Sync:
		return "", nil
	}
	i, err := s.Mapping(ctx, req.Integration)
	if err != nil {
		return "", nil // the run tells
	}
	m, err := i.Parse()
	if err != nil || m.FirstSync != mapping.FirstReset {
		return "", nil
	}
	began, err := s.store.DB().NewSelect().Model((*Anchor)(nil)).
		Where("integration = ? AND direction = ?", req.Integration, Download).Exists(ctx)
	if err != nil || began {
		return "", err
	}
	return "the mapping says firstSync: reset", nil
}

// previewReset says of a plan that the sync would begin with a reset, which a
// plan does not show.
func (r *run) previewReset(ctx context.Context) error {
	why, err := r.s.wantsReset(ctx, Request{Integration: r.name, Op: r.op()})
	if err != nil || why == "" {
		return err
	}
	for _, e := range r.ordered() {
		if !e.plan.Rules.Direction.Downloads() {
			continue
		}
		text := why + ": the sync will first delete all local rows that match no record; this plan shows a merge"
		if err := r.emit(Decision{Entity: e.plan.Name, Direction: Download, Action: "warning", Reason: text}); err != nil {
			return err
		}
	}
	return nil
}

// plannedReset counts what a reset would delete.
func (s *Syncer) plannedReset(ctx context.Context, req Request) (Reset, error) {
	r := s.newRun(Request{Integration: req.Integration, Op: Plan, PlanOf: Sync, Entities: req.Entities})
	planned := Reset{Integration: req.Integration}
	if err := r.load(ctx); err != nil {
		return planned, err
	}
	defer r.close()
	affected, err := r.affected()
	if err != nil {
		return planned, err
	}
	schema, err := r.loc.Schema(ctx)
	if err != nil {
		return planned, err
	}
	for _, e := range affected {
		row := ResetEntity{Entity: e.plan.Name, Table: e.plan.Local.Name}
		if schema.Entity(row.Table) != nil { // else the run makes it
			for page, err := range r.loc.Pages(ctx, connectors.ReadRequest{Entity: row.Table, Fields: e.plan.Local.Key}) {
				if err != nil {
					return planned, err
				}
				row.Rows += int64(len(page.Records) + len(page.Rejected))
			}
		}
		planned.Entities = append(planned.Entities, row)
	}
	return planned, nil
}

// affected returns the entities whose local rows a reset replaces, in the
// order of writing, or why there can be no reset.
func (r *run) affected() ([]*entity, error) {
	refuse := func(entity, format string, args ...any) ([]*entity, error) {
		return nil, invalid(entity, fmt.Errorf("reset-local is not possible, nothing was changed: "+format, args...))
	}
	if !r.own {
		return refuse("", "the local tables are not in kedge's own database")
	}
	for _, name := range slices.Sorted(mapKeys(r.held())) {
		return refuse(name, "the entity is held: %s", r.held()[name])
	}
	var affected []*entity
	for _, e := range r.ordered() {
		if !e.plan.Rules.Direction.Downloads() {
			continue
		}
		if !e.plan.External.Full {
			return refuse(e.plan.Name, "the external entity %s cannot be read in whole; leave it out by naming the others with --entity", e.plan.External.Name)
		}
		for _, other := range r.entities {
			if other != e && other.plan != nil && other.plan.Local.Name == e.plan.Local.Name {
				return refuse(e.plan.Name, "entity %s has the same local table", other.plan.Name)
			}
		}
		affected = append(affected, e)
	}
	if len(affected) == 0 {
		return refuse("", "no entity is downloaded")
	}
	return affected, nil
}

// resetLocal replaces the local rows of the affected entities by what the other
// side has. Everything is read first; then one transaction does the rest.
func (r *run) resetLocal(ctx context.Context) error {
	affected, err := r.affected()
	if err != nil {
		return err
	}
	for _, e := range affected {
		if err = e.stage(ctx); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return r.resetFailed(ctx, e, affected, err)
		}
	}
	failing := affected[0]
	stopped := ctx.Err
	err = r.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		p := &replacement{run: r, tx: tx, entities: affected, stopped: stopped}
		r.whole = tx
		defer func() { r.whole, failing = nil, p.at }()
		return p.do(ctx)
	})
	if err != nil {
		return r.resetFailed(ctx, failing, affected, err)
	}
	for _, e := range affected {
		e.renewed = true
		if e.sends { // the upload opens the log anew, and what comes again counts once
			e.earlier = &e.log.index
		}
	}
	return nil
}

// resetFailed ends a run whose reset was not done.
func (r *run) resetFailed(ctx context.Context, e *entity, affected []*entity, err error) error {
	r.layers = nil // there is nothing to tell of the entities
	cleaning := context.WithoutCancel(ctx)
	for _, e := range affected {
		// What stays is removed by the next run.
		_ = e.dropStage(cleaning, r.s.store.DB())
	}
	if r.ended = ctx.Err() != nil; r.ended {
		return context.Cause(ctx)
	}
	return fmt.Errorf("reset-local changed nothing, because entity %s failed: %w", e.plan.Name, store.Error("", "", err))
}

// catchUp reads what has changed since the pages of the reset were read.
func (e *entity) catchUp(ctx context.Context) error {
	if err := e.sendMissingAck(ctx); err != nil {
		return err
	}
	if e.sends {
		if err := e.loadEchoes(ctx); err != nil {
			return err
		}
	}
	if e.plan.External.Delta {
		if err := e.readChanges(ctx); err != nil {
			return err
		}
	}
	return e.compact(ctx)
}
