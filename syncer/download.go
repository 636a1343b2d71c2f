package syncer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
)

// An entity is one entity of a run. It is used by one goroutine at a time.
type entity struct {
	run    *run
	plan   *mapping.EntityPlan
	row    *entityRow
	filter *filter.Expr
	keyAt  []int // positions in LocalFields of the local primary key

	deleteRule  mapping.DeleteRule
	hasDefaults bool // some values are for new local rows only
	anchor      *Anchor
	log         *hashLog

	mode        string // full, incremental, import
	reason      string // why the read is full
	state       RunState
	counts      Counts
	began       time.Time
	read        int64 // records delivered so far, for the progress
	total       int64
	unreadable  int
	pending     int64            // deletes that are marked and not applied
	open        map[string]int64 // attempts of the open quarantine rows by key
	opened      []string
	hasMarks    bool       // the entity has links that are marked or tombstones
	hadLinks    bool       // the entity had links before this run, or an upload of it made some
	earlier     *hashIndex // outcomes from before the read was started again
	renewed     bool       // a reset has replaced the local rows
	staged      int64      // chunks that wait for it
	waits       bool       // this run stored records with lookups whose targets are not here
	interrupted bool       // a full read, or its sweep, is under way; what it saw must be kept
	confirm     string
	err         error
	claimed     map[kedge.Key]kedge.Key // local keys that records of this batch, in a plan of this read, match
	planned     planned

	// Of entities whose local edits are sent.
	sends      bool
	localDelta bool               // local changes are captured
	salt       uint64             // keeps their hashes apart from those of a download alone
	up         *upload            // nil if this run sends nothing
	frozen     map[kedge.Key]bool // records with an open conflict
	parked     map[kedge.Key]bool // of those, the ones that this run met; true if its upload did
	echoes     map[kedge.Key]*writeRow
	consumed   []string       // echoes that came
	lost       []*Transaction // that made records, or not, which have no key to be looked up by
	nearMisses int64
	force      map[kedge.Key]bool                     // records that are looked at though they seem unchanged
	silent     bool                                   // records are taken in beside a download, and are not counted
	aside      bool                                   // the position of the read stays as it is
	before     func(context.Context, *store.Tx) error // runs first in the next page transaction
	settled    map[kedge.Key]settled                  // of records that before has settled, by external key
	seq        int64
	resolving  *resolving // a person's decision about a conflict, under way
	inStep     []uint64   // rowMark of the local rows that this run left as both sides agree, for the first upload

	// Memory of one page transaction, used again by the next.
	batch     batch
	todo      []*item
	inBatch   map[uint64]*item
	keyHashes []uint64
	keyParts  []kedge.Value
	whole     []kedge.Value
	changes   []kedge.Change
	changed   []*item
	puts      []byte
	seen      []byte
	states    []hashState
}

// download brings the local side up to date with the external one.
func (e *entity) download(ctx context.Context) (err error) {
	ctx, span := e.span(ctx, "entity", Download)
	defer func() { endSpan(span, err) }()
	e.began = e.run.s.now()
	if err := e.prepare(ctx); err != nil {
		return err
	}
	// What an upload learns after a read is not what the read saw.
	defer func() { e.log.generation = 0 }()
	if e.mode != "incremental" {
		if err := e.readAll(ctx); err != nil {
			return err
		}
		if e.run.planning() {
			return e.previewSweep(ctx)
		}
		if e.mode == "import" {
			return e.compact(ctx)
		}
		e.run.s.hook("p6")
	}
	if e.plan.External.Delta {
		if err := e.readChanges(ctx); err != nil {
			return err
		}
	}
	if e.run.planning() {
		return nil
	}
	if err := e.retryDue(ctx); err != nil {
		return err
	}
	if e.anchor.Clean {
		if err := e.sweep(ctx); err != nil {
			return err
		}
	}
	return e.compact(ctx)
}

// prepare loads what is known of the entity and decides how it is read.
func (e *entity) prepare(ctx context.Context) error {
	anchor, err := e.loadState(ctx)
	if err != nil {
		return err
	}
	generation := e.choose(anchor)
	if err := e.openLog(ctx, generation); err != nil {
		return err
	}
	if e.sends && e.run.op() == Sync {
		if err := e.loadEchoes(ctx); err != nil {
			return err
		}
		if err := e.loadLost(ctx); err != nil {
			return err
		}
	}
	return e.sendMissingAck(ctx)
}

// prepareAside loads what is known of the entity, for work that leaves the
// position of its read as it is.
func (e *entity) prepareAside(ctx context.Context) error {
	anchor, err := e.loadState(ctx)
	if err != nil {
		return err
	}
	if anchor == nil {
		anchor = e.newAnchor()
	}
	e.anchor = anchor
	generation := int64(0)
	if e.interrupted {
		generation = anchor.Generation
	}
	return e.openLog(ctx, generation)
}

// loadState loads what is known of the entity, and returns its anchor, or nil.
func (e *entity) loadState(ctx context.Context) (*Anchor, error) {
	db := e.run.reader()
	anchor, err := loadAnchor(ctx, db, e.run.name, e.plan.Name, Download)
	if err != nil {
		return nil, err
	}
	e.interrupted = anchor != nil && (anchor.Clean || anchor.Phase == phaseSnapshot && anchor.PageToken != "")
	if e.open, err = openQuarantine(ctx, db, e.row.ID); err != nil {
		return nil, err
	}
	marks, err := db.NewSelect().Model((*link)(nil)).Where("ent = ? AND status <> ?", e.row.ID, linked).Count(ctx)
	if err != nil {
		return nil, err
	}
	e.hasMarks = marks > 0
	if e.hadLinks, err = hasLinks(ctx, db, e.row.ID); err != nil {
		return nil, err
	}
	e.inBatch, e.claimed = map[uint64]*item{}, map[kedge.Key]kedge.Key{}
	if e.sends {
		e.frozen, err = openConflicts(ctx, db, e.row.ID)
	}
	return anchor, err
}

// openLog loads what is known of the rows.
func (e *entity) openLog(ctx context.Context, generation int64) (err error) {
	whole := generation != 0 || e.mode == "full" || e.mode == "import"
	e.log, err = openHashLog(ctx, e.run.reader(), e.row.ID, generation, whole)
	if err != nil {
		return err
	}
	e.log.planning = e.run.planning()
	if e.run.lease != nil {
		e.log.fence = e.run.lease.Fence
	}
	return nil
}

func (e *entity) newAnchor() *Anchor {
	return &Anchor{Integration: e.run.name, Entity: e.plan.Name, Direction: Download, Phase: phaseSnapshot, Acked: true}
}

// readAll makes a full read. If the page token it goes on from is no longer
// known, it starts again, once.
func (e *entity) readAll(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		err := e.pages(ctx, connectors.ReadRequest{Token: connectors.Token(e.anchor.PageToken)})
		if kedge.KindOf(err) != kedge.AnchorExpired || attempt > 0 || e.mode == "import" {
			return err
		}
		if err := e.run.event(ctx, e.plan.Name, "warn", "token_expired", "the page token is no longer known; the full read starts again", ""); err != nil {
			return err
		}
		if err := e.restart(ctx); err != nil {
			return err
		}
	}
}

// restart begins a new full read. What it will bring again still counts once.
func (e *entity) restart(ctx context.Context) error {
	e.startFull()
	before := e.log.index
	if err := e.openLog(ctx, e.anchor.Generation); err != nil {
		return err
	}
	if !e.log.table {
		e.earlier = &before
	}
	return nil
}

// readChanges makes one incremental read. If its page token is no longer known
// the read starts again from its anchor; if that is not known either,
// everything is read.
func (e *entity) readChanges(ctx context.Context) error {
	err := e.changesFrom(ctx)
	if kedge.KindOf(err) == kedge.AnchorExpired && e.anchor.PageToken != "" {
		if err := e.run.event(ctx, e.plan.Name, "warn", "token_expired", "the page token is no longer known; the incremental read starts again", ""); err != nil {
			return err
		}
		e.anchor.PageToken = ""
		err = e.changesFrom(ctx)
	}
	if kedge.KindOf(err) != kedge.AnchorExpired || e.mode == "full" {
		return err
	}
	if err := e.run.event(ctx, e.plan.Name, "warn", "anchor_expired", "the anchor is no longer known; everything is read again", ""); err != nil {
		return err
	}
	e.mode, e.reason = "full", "the anchor expired"
	if err := e.restart(ctx); err != nil {
		return err
	}
	if err := e.readAll(ctx); err != nil {
		return err
	}
	if e.run.planning() {
		return e.previewSweep(ctx)
	}
	e.run.s.hook("p6")
	return e.changesFrom(ctx)
}

// changesFrom reads what changed since the anchor. Without one, the full read of
// this run found that the external system cannot tell: the next run reads all.
func (e *entity) changesFrom(ctx context.Context) error {
	if e.anchor.Anchor == "" {
		return nil
	}
	return e.pages(ctx, connectors.ReadRequest{Anchor: kedge.Anchor(e.anchor.Anchor), Token: connectors.Token(e.anchor.PageToken)})
}

// pages reads from req's position to the end, a page transaction at a time.
func (e *entity) pages(ctx context.Context, req connectors.ReadRequest) error {
	req.Entity, req.Fields, req.Filter = e.plan.External.Name, e.plan.ExternalFields.Names(), e.filter
	for c, err := range e.chunks(ctx, req) {
		if err != nil {
			return errors.Join(e.storeRest(ctx), err)
		}
		if err := e.screen(ctx, c); err != nil {
			return err
		}
		if e.due() {
			e.run.s.hook("p1")
			if err := e.store(ctx); err != nil {
				return err
			}
			if err := e.tooManyBad(); err != nil {
				return err
			}
			e.run.s.hook("p3")
		}
		e.read += int64(len(c.records) + len(c.rejected))
		e.total = max(c.total, e.total)
		e.run.progress(e)
		if err := e.ack(ctx, c); err != nil {
			return err
		}
		if err := e.run.heedCancel(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil && !c.last {
			return errors.Join(e.storeRest(ctx), err)
		}
		e.run.s.hook("p5")
	}
	return nil
}

// storeRest stores what waits to be stored, because the read ends early.
func (e *entity) storeRest(ctx context.Context) error {
	if e.batch.next == "" {
		return nil
	}
	return e.store(context.WithoutCancel(ctx))
}

// compact rewrites the hash log once it is worth it. What a full read saw is
// needed until its sweep is done.
func (e *entity) compact(ctx context.Context) error {
	waits := e.anchor.Clean || e.mode == "import" && e.interrupted
	switch {
	case waits || !e.log.seen && !e.log.grown():
		return nil
	case !e.log.grown():
		return e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error { return e.log.forgetSeen(ctx, tx) })
	}
	if err := e.log.loadAll(ctx, e.run.s.store.DB()); err != nil {
		return err
	}
	return e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error { return e.log.compact(ctx, tx) })
}

// limitMemory moves the hash log into a table once it has outgrown its limit.
func (e *entity) limitMemory(ctx context.Context) error {
	if e.run.whole != nil {
		return nil // the next run does
	}
	outgrown, err := e.log.outgrown(ctx, e.run.s.store.DB(), e.run.s.limits.HashSkipMaxRows)
	if err != nil || !outgrown || e.run.planning() {
		return err
	}
	err = e.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error { return e.log.toTable(ctx, tx) })
	if err == nil {
		e.log.inTable()
	}
	return err
}

// tooManyBad stops the entity when most of what it delivers cannot be stored:
// that is a wrong mapping or a broken source, not a few bad records.
func (e *entity) tooManyBad() error {
	bad, all := e.counts.Quarantined+e.counts.Refused, e.counts.Read
	if all >= 100 && bad*5 > all {
		return &kedge.Error{Kind: kedge.Invalid,
			Err: fmt.Errorf("%d of %d records could not be stored; see \"kedge quarantine list\" for the reasons, correct the mapping, then run again", bad, all)}
	}
	return nil
}

// db is the transaction, or outside of one the database.
func (r *run) db(tx connectors.Tx) bun.IDB {
	if tx == nil {
		return r.s.store.DB()
	}
	return tx
}

// reader is the transaction that everything belongs to, or else the database.
func (r *run) reader() bun.IDB {
	if r.whole != nil {
		return r.whole
	}
	return r.s.store.DB()
}

func errorsIsMissing(err error) bool { return errors.Is(err, filter.ErrMissing) }
