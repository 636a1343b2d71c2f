package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
	"go.opentelemetry.io/otel/attribute"
)

// renewEvery is how often a running run extends its lease and looks whether
// it was cancelled.
const renewEvery = 10 * time.Second

// A run is one run of an integration.
type run struct {
	s     *Syncer
	req   Request
	name  string
	id    string
	start time.Time
	lease *store.Lease            // nil in a plan
	stop  context.CancelCauseFunc // ends the run's context

	ext, loc *connectors.Conn
	own      bool // the local tables lie in kedge's own database
	acks     bool // the source wants to know which anchors are durable
	target   target
	epoch    string
	revision int64
	plan     *mapping.Plan
	layers   [][]*entity // in the order of writing
	entities map[string]*entity
	warnings map[string][]string            // about entities
	idle     map[string]*mapping.EntityPlan // of disabled entities, for lookups to their records
	emit     func(Decision) error           // plan: takes what would be done
	missing  []connectors.SchemaStep        // plan: what the run would make first
	final    bool                           // plan: no record is tried again
	resets   string                         // why the run begins with a reset; "" if it does not
	whole    *store.Tx                      // the transaction of a reset, which everything belongs to
	ended    bool                           // its context ended before the work was done
	meter    meter
}

// runRow is a run as it is stored.
type runRow struct {
	bun.BaseModel `bun:"table:integration_run"`

	ID          string `bun:",pk"`
	Integration string
	Op          Op
	Trigger     string
	Mode        string
	State       RunState
	Fence       int64
	StartedAt   time.Time
	FinishedAt  *time.Time
	Cancel      bool
	Result      string
}

// Run runs an integration. An error means that nothing useful could be done;
// what went wrong with single entities and records is in the result. If
// another run of the integration is active, the result's state is Skipped.
//
// A reset that nobody confirms changes nothing, not even the log.
//
// When ctx ends, the page transaction under way is finished, the position is
// kept, and the result's state is Cancelled; its message and the log give the
// cause of ctx, if that is a deadline or more.
func (s *Syncer) Run(ctx context.Context, req Request) (Result, error) {
	r := s.newRun(req)
	res := r.result()
	refusal, err := s.askReset(ctx, r)
	if err != nil {
		return res, err
	}
	if refusal != "" {
		res.State, res.Message = Stopped, refusal
		return res, nil
	}
	err = s.withLeaseOf(ctx, r, func(ctx context.Context, r *run) error {
		err := r.record(ctx)
		if err == nil {
			if req.Began != nil {
				req.Began(r.id)
			}
			ctx, span := r.span(ctx, "run", attribute.String("op", string(req.Op)))
			err = r.run(ctx)
			endSpan(span, err)
		}
		if s.opts.Ended != nil {
			defer func() { s.opts.Ended(res) }()
		}
		return errors.Join(r.finish(context.WithoutCancel(ctx), &res, err), ignoreCancel(err, ctx))
	})
	if held, ok := errors.AsType[*leaseHeld](err); ok {
		res.State, res.Message = Skipped, held.Error()
		return res, nil
	}
	return res, err
}

// result is the result of a run that has done nothing yet.
func (r *run) result() Result {
	return Result{Run: r.id, Integration: r.name, Op: r.req.Op, Started: r.start, State: Failed}
}

// ignoreCancel drops the error of a run that was asked to stop.
func ignoreCancel(err error, ctx context.Context) error {
	if ctx.Err() != nil && canceled(err) {
		return nil
	}
	return err
}

// canceled tells whether err says that a context ended.
func canceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (s *Syncer) newRun(req Request) *run {
	if req.Op == "" {
		req.Op = Sync
	}
	return &run{s: s, req: req, name: req.Integration, id: newID(), start: s.now().UTC(), entities: map[string]*entity{}, warnings: map[string][]string{}}
}

// op is what the run does, or in a plan what it pretends to do.
func (r *run) op() Op {
	if r.planning() {
		return r.req.PlanOf
	}
	return r.req.Op
}

func (r *run) planning() bool { return r.req.Op == Plan }

func (r *run) ownTables() bool { return r.own }

// A leaseHeld says that another run of the integration is active.
type leaseHeld struct{ err error }

func (e *leaseHeld) Error() string { return "skipped: " + e.err.Error() }

func (e *leaseHeld) Unwrap() error { return &kedge.Error{Kind: kedge.Conflict, Err: e.err} }

// IsActive tells whether an error says that a run of the integration is
// active, or another process works on it.
func IsActive(err error) bool {
	_, ok := errors.AsType[*leaseHeld](err)
	return ok
}

// withLease calls fn with a run that holds the integration's lease.
func (s *Syncer) withLease(ctx context.Context, integration string, fn func(context.Context, *run) error) error {
	return s.withLeaseOf(ctx, s.newRun(Request{Integration: integration}), fn)
}

func (s *Syncer) withLeaseOf(ctx context.Context, r *run, fn func(context.Context, *run) error) error {
	lease, err := s.store.Acquire(ctx, "sync:"+r.name, r.id)
	if kedge.KindOf(err) == kedge.Conflict {
		return &leaseHeld{s.activeRun(ctx, r.name)}
	}
	if err != nil {
		return err
	}
	r.lease = lease
	ctx, cancel := context.WithCancelCause(ctx)
	r.stop = cancel
	var renewing sync.WaitGroup
	renewing.Go(func() { r.keepLease(ctx, cancel) })
	defer func() {
		cancel(nil)
		renewing.Wait()
		// A lease that cannot be given back runs out by itself.
		_ = s.store.Release(context.WithoutCancel(ctx), lease)
	}()
	return fn(ctx, r)
}

// activeRun names the run that holds the lease.
func (s *Syncer) activeRun(ctx context.Context, integration string) error {
	var id string
	err := s.store.DB().NewSelect().Model((*runRow)(nil)).Column("id").
		Where("integration = ? AND state = ? AND op <> ?", integration, Running, Plan).
		Order("started_at DESC").Limit(1).Scan(ctx, &id)
	if err != nil {
		return errors.New("another process works on this integration")
	}
	return fmt.Errorf("run %s is active", id)
}

// keepLease extends the lease until ctx ends. It ends ctx when the lease is
// lost or the run is cancelled from elsewhere.
func (r *run) keepLease(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := r.s.store.Renew(ctx, r.lease); kedge.KindOf(err) == kedge.Conflict {
			cancel(err)
			return
		}
		// What cannot be read now is read at the next tick.
		_ = r.heedCancel(ctx)
	}
}

// heedCancel ends the run's context if somebody has asked for it.
func (r *run) heedCancel(ctx context.Context) error {
	if r.lease == nil {
		return nil
	}
	var asked bool
	err := r.s.store.DB().NewSelect().Model((*runRow)(nil)).Column("cancel").Where("id = ?", r.id).Scan(ctx, &asked)
	if err == nil && asked {
		r.stop(context.Canceled)
	}
	return err
}

// inTx runs fn in a transaction that commits only while the lease is held. It
// is finished even if ctx ends meanwhile: a page is stored whole or not at all.
func (r *run) inTx(ctx context.Context, fn func(ctx context.Context, tx *store.Tx) error) error {
	if r.whole != nil {
		return fn(ctx, r.whole)
	}
	return r.s.store.InTx(context.WithoutCancel(ctx), func(ctx context.Context, tx *store.Tx) error {
		if err := r.s.store.CheckFence(ctx, tx, r.lease); err != nil {
			return err
		}
		return fn(ctx, tx)
	})
}

// holds returns an error if the lease was lost: a process that was paused must
// not send what another has taken over.
func (r *run) holds(ctx context.Context) error {
	return r.s.store.Holds(ctx, r.lease)
}

// record notes that the run is under way, and that earlier ones that never
// ended have failed.
func (r *run) record(ctx context.Context) error {
	return r.s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if r.lease != nil { // so no other run is under way
			if err := r.bury(ctx, tx); err != nil {
				return err
			}
		}
		row := &runRow{ID: r.id, Integration: r.name, Op: r.req.Op, Trigger: r.req.Trigger, State: Running, StartedAt: r.start, Result: "{}"}
		if r.lease != nil {
			row.Fence = r.lease.Fence
		}
		_, err := tx.NewInsert().Model(row).Exec(ctx)
		return err
	})
}

// bury closes the runs of processes that were killed.
func (r *run) bury(ctx context.Context, tx *store.Tx) error {
	var dead []runRow
	err := tx.NewSelect().Model(&dead).Where("integration = ? AND state = ?", r.name, Running).Order("id").Scan(ctx)
	if err != nil || len(dead) == 0 {
		return err
	}
	for _, d := range dead {
		if d.Op == Plan {
			continue // one may be under way beside any run
		}
		_, err := tx.NewInsert().Model(&LogRow{ID: newID(), RunID: d.ID, At: r.start, Integration: r.name, Operation: string(d.Op), Direction: Download,
			Status: string(Failed), Level: "error", Code: "killed", Message: "the process ended in the middle of the run; the next run goes on from there"}).Exec(ctx)
		if err != nil {
			return err
		}
	}
	_, err = tx.NewUpdate().Model((*runRow)(nil)).Set("state = ?, finished_at = ?", Failed, r.start).
		Where("integration = ? AND state = ?", r.name, Running).Exec(ctx)
	return err
}

// run does the work of a run, from the check of the mapping to the deletes.
func (r *run) run(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	defer r.close()
	if r.req.Op == Retry {
		r.each(ctx, (*entity).retryAsked)
	}
	if r.resets != "" {
		if err := r.resetLocal(ctx); err != nil {
			return err
		}
	}
	r.tidyUploads(ctx)
	r.upload(ctx, func(u *upload) bool { return !u.first })
	for _, layer := range r.layers {
		if r.req.Op == Retry || r.req.Op == Export || ctx.Err() != nil {
			break
		}
		r.readLayer(ctx, layer)
	}
	r.retryReferences(ctx)
	r.each(ctx, (*entity).secondPass)
	r.upload(ctx, func(u *upload) bool { return u.first })
	if r.req.Op == Sync {
		r.deletes(ctx)
	}
	r.finishUpload(ctx)
	if r.ended = ctx.Err() != nil; r.ended {
		return context.Cause(ctx)
	}
	return r.expire(ctx)
}

// each does a part of the work for the entities that have not failed. An
// entity that fails stops alone.
func (r *run) each(ctx context.Context, do func(*entity, context.Context) error) {
	for _, e := range r.ordered() {
		if e.err == nil && ctx.Err() == nil {
			e.err = do(e, ctx)
		}
	}
}

// readLayer reads the entities of a layer, some at once.
func (r *run) readLayer(ctx context.Context, layer []*entity) {
	slots := make(chan struct{}, r.s.limits.ParallelEntities)
	var all sync.WaitGroup
	for _, e := range layer {
		if r.op() == Sync && !e.plan.Rules.Direction.Downloads() {
			continue
		}
		if parent := r.failedParent(e); parent != "" {
			e.err = fmt.Errorf("not read, because entity %s failed and is required", parent)
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if e.renewed {
				e.err = e.catchUp(ctx)
			} else {
				e.err = e.download(ctx)
			}
		})
	}
	all.Wait()
}

// failedParent names an entity that e cannot do without and that failed.
func (r *run) failedParent(e *entity) string {
	for _, l := range e.plan.Lookups {
		if parent := r.entities[l.Target]; l.Required && parent != nil && parent.err != nil {
			return l.Target
		}
	}
	return ""
}

// ordered returns the entities in the order of writing.
func (r *run) ordered() []*entity { return slices.Concat(r.layers...) }

// finish stores how the run ended.
func (r *run) finish(ctx context.Context, res *Result, err error) error {
	res.Took = r.s.now().Sub(r.start)
	res.Entities = r.results()
	res.State = r.endState(res.Entities, err)
	if err != nil && (res.State != Cancelled || !errors.Is(err, context.Canceled)) {
		res.Message = err.Error() // of a cancelled run: the context's cause, which says more than that it ended
	}
	text, jsonErr := json.Marshal(res)
	if jsonErr != nil {
		return jsonErr
	}
	now := r.s.now().UTC()
	return r.s.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for _, e := range res.Entities {
			if err := r.summary(ctx, tx, e, now); err != nil {
				return err
			}
		}
		if res.State == Cancelled && res.Message != "" {
			if err := r.eventIn(ctx, tx, "", "warn", "cancelled", res.Message, ""); err != nil {
				return err
			}
		}
		if len(res.Entities) == 0 {
			if err := r.summary(ctx, tx, EntityResult{Direction: Download, State: res.State, Error: res.Message}, now); err != nil {
				return err
			}
		}
		_, err := tx.NewUpdate().Model((*runRow)(nil)).Set("state = ?, finished_at = ?, result = ?", res.State, now, string(text)).
			Where("id = ?", r.id).Exec(ctx)
		return err
	})
}

func (r *run) results() []EntityResult {
	var results []EntityResult
	for _, e := range r.ordered() {
		if e.up != nil {
			results = append(results, e.up.result(r.ended))
		}
		if r.op() == Export || r.op() == Sync && !e.plan.Rules.Direction.Downloads() {
			continue
		}
		res := EntityResult{Entity: e.plan.Name, Direction: Download, NearMisses: e.nearMisses, Mode: e.mode, Reason: e.reason, State: Succeeded, Counts: e.counts, Pending: e.pending, Warnings: r.warnings[e.plan.Name]}
		switch {
		case e.err != nil && r.ended && canceled(e.err):
			res.State = Cancelled
		case e.err != nil:
			err := store.Error("", "", e.err) // which hides the values that a database may tell
			res.State, res.Error, res.Kind = Failed, err.Error(), kedge.KindOf(err).String()
		case e.state == Stopped:
			res.State, res.Error = Stopped, e.confirm
		case e.counts.Failed() > 0:
			res.State = Partial
		}
		results = append(results, res)
	}
	for _, name := range slices.Sorted(mapKeys(r.held())) {
		results = append(results, EntityResult{Entity: name, Direction: Download, State: Failed, Error: "held: " + r.held()[name], Kind: kedge.Invalid.String()})
	}
	return results
}

// endState sums up how a run ended. What a person must do comes first.
func (r *run) endState(entities []EntityResult, err error) RunState {
	states := map[RunState]int{}
	for _, e := range entities {
		states[e.State]++
	}
	switch {
	case states[Stopped] > 0:
		return Stopped
	case err != nil && !canceled(err):
		return Failed
	case err != nil || states[Cancelled] > 0:
		return Cancelled
	case states[Failed] > 0 && states[Failed] == len(entities):
		return Failed
	case states[Failed]+states[Partial] > 0:
		return Partial
	}
	return Succeeded
}
