package syncer

import (
	"context"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// A guarded is what becomes of records that are gone from the other side and
// may have been edited here.
type guarded struct {
	apply  []*link        // deleted here
	parked []*conflictRow // a person decides
	frozen []*link        // of those, and of those that were parked before
	revive []*link        // made again there
}

// guard separates the marks whose local records were edited since both sides
// agreed.
func (e *entity) guard(ctx context.Context, tx connectors.Tx, links []*link) (guarded, error) {
	if !e.sends {
		return guarded{apply: links}, nil
	}
	var g guarded
	local, external := make([]kedge.Key, len(links)), make([]kedge.Key, len(links))
	for i, l := range links {
		local[i], external[i] = l.LocalKey, l.ExtKey
	}
	rows, err := e.localByKey(ctx, tx, local)
	if err != nil {
		return g, err
	}
	bases, err := e.bases(ctx, e.run.db(tx), external)
	if err != nil {
		return g, err
	}
	for _, l := range links {
		row, base := rows[l.LocalKey], bases[l.ExtKey]
		if row == nil || base == nil {
			g.apply = append(g.apply, l)
			continue
		}
		s := Sides{Base: base.values, Local: row}
		switch v := Decide(s, e.plan, Sync); v.Action {
		case Park:
			g.frozen = append(g.frozen, l)
			if !e.frozen[l.ExtKey] {
				g.parked = append(g.parked, e.conflictOf(l.ExtKey, l.LocalKey, s, v))
			}
		case CreateRemote:
			g.revive = append(g.revive, l)
		default:
			g.apply = append(g.apply, l)
		}
	}
	return g, nil
}

// saveGuarded stores what is not deleted here.
func (e *entity) saveGuarded(ctx context.Context, tx *store.Tx, g guarded) error {
	if err := e.saveConflicts(ctx, tx, g.parked); err != nil {
		return err
	}
	var hashes []uint64
	for _, l := range g.frozen {
		l.Status = frozenLink
		hashes = append(hashes, mapping.KeyHash(l.ExtKey))
	}
	if err := saveLinks(ctx, tx, store.Replace, g.frozen); err != nil {
		return err
	}
	if err := e.forget(ctx, tx, hashes); err != nil {
		return err
	}
	var revived []kedge.Key
	var ops []outboxEntry
	for _, l := range g.revive {
		revived = append(revived, l.ExtKey)
		ops = append(ops, outboxEntry{local: l.LocalKey, action: actionCreate})
	}
	if err := e.run.s.dropLinks(ctx, tx, e.row.ID, revived); err != nil {
		return err
	}
	if err := e.dropBases(ctx, tx, revived); err != nil {
		return err
	}
	if err := e.enqueue(ctx, tx, ops); err != nil {
		return err
	}
	store.OnCommit(ctx, func() {
		for _, l := range g.revive {
			e.countKey(l.ExtKey, Kept)
		}
		for _, c := range g.parked {
			e.countKey(c.ExtKey, Conflicted)
		}
	})
	return nil
}
