package syncer

import (
	"context"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// A replacement is the one transaction in which a reset replaces local rows.
//
// Rows that match a staged record are kept, so that their keys and what refers
// to them stay, and are overwritten as if they were new. All others are
// deleted before, so that the values they hold are free; those that something
// still refers to then are deleted at the end.
type replacement struct {
	run      *run
	tx       *store.Tx
	entities []*entity // in the order of writing
	stopped  func() error
	at       *entity               // the one that is worked on
	matched  map[*entity]hashIndex // local rows that staged records match, by hash of the key
	deleted  map[*entity]int64
}

// each does a step for all entities, in their order.
func (p *replacement) each(do func(*entity) error) error {
	for _, e := range p.entities {
		p.at = e
		if err := p.stopped(); err != nil {
			return err
		}
		if err := do(e); err != nil {
			return err
		}
		p.run.s.hook("r2")
	}
	return nil
}

func (p *replacement) do(ctx context.Context) error {
	p.at, p.matched, p.deleted = p.entities[0], map[*entity]hashIndex{}, map[*entity]int64{}
	steps := []func(*entity) error{
		func(e *entity) error { return p.keepReferences(ctx, e) },
		func(e *entity) error { return e.forgetAll(ctx, p.tx) },
		func(e *entity) error { return p.match(ctx, e) },
	}
	for _, step := range steps {
		if err := p.each(step); err != nil {
			return err
		}
	}
	if err := p.deleteRows(ctx, p.isMatched, false); err != nil {
		return err
	}
	if err := p.each(func(e *entity) error { return p.insert(ctx, e) }); err != nil {
		return err
	}
	for _, e := range p.run.entities {
		if e.plan == nil || len(e.plan.Lookups) == 0 {
			continue
		}
		if err := e.fillPending(ctx); err != nil {
			return err
		}
	}
	if err := p.deleteRows(ctx, p.isStored, true); err != nil {
		return err
	}
	if err := p.each(func(e *entity) error { return p.end(ctx, e) }); err != nil {
		return err
	}
	// The transaction may have taken longer than the lease lasts.
	return p.run.s.store.CheckFence(ctx, p.tx, p.run.lease)
}

// keepReferences makes the records of other entities wait that refer to
// records of e: those may have other local keys afterwards.
func (p *replacement) keepReferences(ctx context.Context, e *entity) error {
	outside := false
	for _, child := range p.run.entities {
		outside = outside || child.plan != nil && !slices.Contains(p.entities, child) &&
			slices.ContainsFunc(child.plan.Lookups, func(l mapping.Lookup) bool { return l.Target == e.plan.Name })
	}
	if !outside {
		return nil
	}
	after := kedge.Key("")
	for {
		var links []*link
		err := p.tx.NewSelect().Model(&links).Where("ent = ? AND status = ? AND ext_key > ?", e.row.ID, linked, after).
			Order("ext_key").Limit(deleteChunk).Scan(ctx)
		if err != nil || len(links) == 0 {
			return err
		}
		after = links[len(links)-1].ExtKey
		if err := e.awaitReturn(ctx, p.tx, links); err != nil {
			return err
		}
	}
}

// forgetAll drops what is known of the entity's records, and what was to be
// done with them. What the local side has noted may stay: it names keys, whose
// rows are compared with what is known of them when it is read.
func (e *entity) forgetAll(ctx context.Context, tx *store.Tx) error {
	for _, table := range []string{"integration_link", "integration_hashlog", "integration_hash", "integration_pendingref", "integration_base"} {
		if _, err := tx.NewDelete().Table(table).Where("ent = ?", e.row.ID).Exec(ctx); err != nil {
			return err
		}
	}
	_, err := tx.NewUpdate().Model((*conflictRow)(nil)).Set("state = ?, resolution = 'reset-local'", conflictSuperseded).
		Where("ent = ? AND state = ?", e.row.ID, conflictOpen).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = tx.NewUpdate().Model((*QuarantineRow)(nil)).Set("state = 'dropped', payload = '{}'").
		Where("ent = ? AND state = 'open'", e.row.ID).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = tx.NewUpdate().Model((*Transaction)(nil)).Set("state = ?, done_at = ?", TxArchived, e.run.s.now().UTC()).
		Where("integration = ? AND entity = ?", e.run.name, e.plan.Name).
		Where("state NOT IN (?, ?)", TxApplied, TxArchived).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = tx.NewDelete().Model((*writeRow)(nil)).Where("integration = ? AND entity = ?", e.run.name, e.plan.Name).Exec(ctx)
	if err != nil {
		return err
	}
	e.row.Linked = 0
	anchor, err := e.loadState(ctx)
	if err != nil {
		return err
	}
	if e.anchor = anchor; anchor == nil {
		e.anchor = e.newAnchor()
	}
	e.interrupted = false
	e.startFull()
	return e.openLog(ctx, e.anchor.Generation)
}

// match finds the local rows that staged records belong to.
func (p *replacement) match(ctx context.Context, e *entity) error {
	var rows hashIndex
	err := e.stagedChunks(ctx, p.tx, func(c *chunk) error {
		clear(e.claimed)
		items := make([]*item, 0, len(c.records))
		for i := range c.records {
			it := &item{rec: &c.records[i], create: true}
			e.judge(it, i < c.exact)
			if it.fail != nil || it.outcome != notSeen || it.rec.Removed != kedge.Live {
				continue
			}
			if err := e.mapOne(it); err != nil {
				return err
			}
			items = append(items, it)
		}
		if err := e.match(ctx, p.tx, items); err != nil {
			return err
		}
		for _, it := range items {
			if it.fail == nil && it.dst.Key != "" {
				rows.set(mapping.KeyHash(it.dst.Key), outcomeMask+1)
			}
		}
		return p.stopped()
	})
	clear(e.claimed)
	p.matched[e] = rows
	return err
}

// insert stores the staged records in the way in which a read stores them.
func (p *replacement) insert(ctx context.Context, e *entity) error {
	return e.stagedChunks(ctx, p.tx, func(c *chunk) error {
		if err := e.screen(ctx, c); err != nil {
			return err
		}
		if !e.due() {
			return p.stopped()
		}
		if err := e.store(ctx); err != nil {
			return err
		}
		p.run.s.hook("r2")
		if err := e.tooManyBad(); err != nil {
			return err
		}
		return p.stopped()
	})
}

// asNew maps a record whose local row is kept as if it had none: nothing of
// what the mapped fields held stays.
func (e *entity) asNew(it *item) error {
	if it.fail != nil || it.create {
		return nil
	}
	key := it.dst.Key
	it.create = true
	err := e.mapOne(it)
	it.create, it.dst.Key = false, key
	if err != nil || it.fail != nil {
		return err
	}
	for i := range it.dst.Values {
		f := e.plan.Local.Field(e.plan.LocalFields.Name(i))
		if it.dst.Values[i].IsMissing() && f != nil && f.Nullable && !f.ReadOnly && !f.Computed && !f.Immutable && !slices.Contains(e.plan.Local.Key, f.Name) {
			it.dst.Values[i] = kedge.Null()
		}
	}
	return nil
}

// isMatched tells which of the local rows staged records match.
func (p *replacement) isMatched(_ context.Context, e *entity, keys []kedge.Key) (map[kedge.Key]bool, error) {
	rows, keep := p.matched[e], make(map[kedge.Key]bool, len(keys))
	for _, k := range keys {
		_, keep[k] = rows.get(mapping.KeyHash(k))
	}
	return keep, nil
}

// isStored tells which of the local rows hold a staged record.
func (p *replacement) isStored(ctx context.Context, e *entity, keys []kedge.Key) (map[kedge.Key]bool, error) {
	keep := make(map[kedge.Key]bool, len(keys))
	if e.plan.SharedKey {
		for _, k := range keys {
			keep[k] = isLive(e.log.get(mapping.KeyHash(k))) == 1
		}
		return keep, nil
	}
	links, err := p.run.s.linksBy(ctx, p.tx, e.row.ID, "local_key", keys)
	for k := range links {
		keep[k] = true
	}
	return keep, err
}

// deleteRows deletes the rows that were there before the transaction, children
// first, except those that keep names. If all, each of them must go.
func (p *replacement) deleteRows(ctx context.Context, keep func(context.Context, *entity, []kedge.Key) (map[kedge.Key]bool, error), all bool) error {
	for _, e := range slices.Backward(p.entities) {
		p.at = e
		// This reads beside the transaction, so it sees the rows as they were.
		for page, err := range p.run.loc.Pages(ctx, connectors.ReadRequest{Entity: e.plan.Local.Name, Fields: e.plan.Local.Key}) {
			if err == nil {
				err = p.stopped()
			}
			if err != nil {
				return err
			}
			keys := make([]kedge.Key, len(page.Records))
			for i := range page.Records {
				keys[i] = page.Records[i].Key
			}
			kept, err := keep(ctx, e, keys)
			if err != nil {
				return err
			}
			keys = slices.DeleteFunc(keys, func(k kedge.Key) bool { return kept[k] })
			if err := p.deleteSome(ctx, e, keys, all); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *replacement) deleteSome(ctx context.Context, e *entity, keys []kedge.Key, all bool) error {
	if len(keys) == 0 {
		return nil
	}
	changes := make([]kedge.Change, len(keys))
	for i, k := range keys {
		changes[i] = kedge.Change{Op: kedge.Delete, Entity: e.plan.Local.Name, Key: k}
	}
	results, err := p.run.target.write(ctx, p.tx, changes)
	if err != nil {
		return err
	}
	for _, res := range results {
		switch res.State {
		case connectors.Removed:
			p.deleted[e]++
		case connectors.Rejected:
			if all && res.Err.Kind != kedge.NotFound {
				return fmt.Errorf("the local side refuses to delete a row: %w", res.Err)
			}
		}
	}
	return nil
}

// end notes that the entity was read in whole and needs no sweep.
func (p *replacement) end(ctx context.Context, e *entity) error {
	e.anchor.Clean = false
	if _, err := p.tx.NewUpdate().Model(e.anchor).Column("clean").WherePK().Exec(ctx); err != nil {
		return err
	}
	if err := e.dropStage(ctx, p.tx); err != nil {
		return err
	}
	by := p.run.req.By
	if by == "" {
		by = "nobody named"
	}
	text := fmt.Sprintf("the local rows were replaced (%s, by %s): %d were deleted", e.reason, by, p.deleted[e])
	return e.event(ctx, p.tx, "info", "reset_local", text, "")
}
