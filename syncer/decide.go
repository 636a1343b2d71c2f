package syncer

import (
	"cmp"
	"context"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/mapping"
)

// decide finds out for each item what has to be done with it: which local
// record it belongs to, its mapped values, and the local keys that its lookups
// stand for. Run and plan both call it; it changes nothing.
func (e *entity) decide(ctx context.Context, tx connectors.Tx, items []*item) error {
	todo := e.todo[:0]
	for _, it := range items {
		if it.fail == nil && it.outcome == notSeen {
			todo = append(todo, it)
		}
	}
	e.todo = todo
	if err := e.findLinks(ctx, tx, todo); err != nil {
		return err
	}
	for _, it := range todo {
		if it.rec.Removed != kedge.Live || it.outcome != notSeen {
			continue
		}
		it.create = it.link == nil && (isLive(it.prev) == 0 || !e.plan.SharedKey) || it.link != nil && it.link.Status == tombstone && !e.keptLocal(it.link)
		if err := e.mapOne(it); err != nil {
			return err
		}
	}
	if err := e.match(ctx, tx, todo); err != nil {
		return err
	}
	if e.run.whole != nil {
		for _, it := range todo {
			if it.outcome != notSeen || it.rec.Removed != kedge.Live {
				continue
			}
			if err := e.asNew(it); err != nil {
				return err
			}
		}
	}
	if err := e.resolve(ctx, tx, todo); err != nil || !e.sends {
		return err
	}
	return e.decideBoth(ctx, tx, todo)
}

// findLinks looks up what is already known of the items' keys. A record that
// was deleted here and comes again with the version it had then is old news.
func (e *entity) findLinks(ctx context.Context, tx connectors.Tx, todo []*item) error {
	if e.plan.SharedKey && !e.hasMarks {
		return nil
	}
	keys := make([]kedge.Key, 0, len(todo))
	for _, it := range todo {
		if s, known := e.settled[it.rec.Key]; known {
			it.link = s.link
		} else if e.hadLinks || it.prev != 0 { // else it has none
			keys = append(keys, it.rec.Key)
		}
	}
	links, err := e.run.s.linksBy(ctx, e.run.db(tx), e.row.ID, "ext_key", keys)
	if err != nil {
		return err
	}
	for _, it := range todo {
		if l := links[it.rec.Key]; l != nil {
			it.link = l
		}
		if it.link == nil || it.link.Status != tombstone {
			continue
		}
		if it.rec.Removed == kedge.Live && it.rec.Version != "" && versionHash(it.rec.Version) == it.link.Version {
			it.outcome, it.stale = Unchanged, true
			it.hash = wordHash(it.prev)
		}
	}
	return nil
}

// keptLocal tells whether the local record of a tombstone is still there.
func (e *entity) keptLocal(l *link) bool {
	return e.deleteRule == mapping.DeleteSoft && l.LocalKey != ""
}

// mapOne fills in the item's mapped values and, where it is known, the local key.
func (e *entity) mapOne(it *item) error {
	it.dst.Fields = e.plan.LocalFields
	if err := e.plan.Download(&it.dst, it.rec, it.create); err != nil {
		it.fail = failMap(err)
		return nil
	}
	switch {
	case e.plan.SharedKey:
		if it.dst.Key = e.localKey(it.dst.Values); e.keyNotSent(it.dst.Values) {
			it.dst.Key = it.rec.Key // the same text
		}
		if it.dst.Key == "" {
			it.fail = failMatch("key_missing", Quarantined, "a value of the key is missing")
		}
	case it.link != nil && !it.create:
		it.dst.Key = it.link.LocalKey
	}
	return nil
}

// keyNotSent tells whether a record that came in part lacks a value of its key.
func (e *entity) keyNotSent(values []kedge.Value) bool {
	return slices.ContainsFunc(e.keyAt, func(i int) bool { return values[i].IsMissing() })
}

// localKey returns the primary key that the mapped values hold.
func (e *entity) localKey(values []kedge.Value) kedge.Key {
	if len(e.keyAt) == 1 {
		return kedge.NewKey(values[e.keyAt[0]])
	}
	e.keyParts = e.keyParts[:0]
	for _, i := range e.keyAt {
		e.keyParts = append(e.keyParts, values[i])
	}
	return kedge.NewKey(e.keyParts...)
}

// match finds the local records of items that have no link yet: by the key
// pairs, then by each set of alternate keys.
func (e *entity) match(ctx context.Context, tx connectors.Tx, todo []*item) error {
	if e.plan.SharedKey {
		return e.matchShared(ctx, tx, todo)
	}
	free := make([]*item, 0, len(todo))
	for _, it := range todo {
		if it.fail == nil && it.create && it.outcome == notSeen && it.rec.Removed == kedge.Live {
			free = append(free, it)
		}
	}
	if len(free) == 0 || e.run.req.IgnoreKey {
		return nil
	}
	sets := append([][]mapping.Pair{e.plan.Key}, e.plan.AlternateKeys...)
	for n, pairs := range sets {
		if len(pairs) == 0 {
			continue
		}
		if err := e.matchBy(ctx, tx, free, pairs, n == 0); err != nil {
			return err
		}
		free = slices.DeleteFunc(free, func(it *item) bool { return it.fail != nil || !it.create })
	}
	if len(e.lost) == 0 {
		return nil
	}
	return e.matchLost(ctx, tx, free)
}

// matchShared finds out whether the local row exists where it matters: the
// defaults of a mapping are for new rows only.
func (e *entity) matchShared(ctx context.Context, tx connectors.Tx, todo []*item) error {
	if !e.hasDefaults && !e.run.planning() && e.run.whole == nil {
		return nil
	}
	byKey := map[kedge.Key]*item{}
	var keys []kedge.Key
	for _, it := range todo {
		if e.run.req.IgnoreKey && it.create {
			continue
		}
		if it.fail == nil && it.outcome == notSeen && it.rec.Removed == kedge.Live {
			byKey[it.dst.Key] = it
			keys = append(keys, it.dst.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := e.run.target.find(ctx, tx, e.plan.Local, e.plan.LocalFields.Names(), nil, keys)
	if err != nil {
		return err
	}
	exists := map[*item]bool{}
	for i := range rows {
		if it := byKey[rows[i].Key]; it != nil {
			it.local, exists[it] = &rows[i], true
		}
	}
	for _, it := range byKey {
		if it.create == exists[it] {
			it.create = !exists[it]
			if err := e.mapOne(it); err != nil {
				return err
			}
		}
	}
	return nil
}

// matchBy looks the items up by one set of key pairs. If unique, two external
// records with one key value are an error of the second.
func (e *entity) matchBy(ctx context.Context, tx connectors.Tx, free []*item, pairs []mapping.Pair, unique bool) error {
	by := make([]string, len(pairs))
	for i, p := range pairs {
		by[i] = e.plan.LocalFields.Name(p.Local)
	}
	wanted := map[kedge.Key]*item{}
	var keys []kedge.Key
	for _, it := range free {
		k := e.pairKey(it, pairs)
		if k == "" || checkKey(k) != nil {
			continue
		}
		if other := e.planned.keys[k]; unique && other != "" && other != it.rec.Key {
			it.fail = failMatch("duplicate_key", Duplicate, "another record of this read has the same key")
			continue
		}
		if other := wanted[k]; other != nil {
			if unique {
				it.fail = failMatch("duplicate_key", Duplicate, "another record of this read has the same key")
			}
			continue
		}
		wanted[k] = it
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := e.run.target.find(ctx, tx, e.plan.Local, append(by, e.plan.LocalFields.Names()...), by, keys)
	if err != nil {
		return err
	}
	hits := map[*item][]kedge.Record{}
	locals := make([]kedge.Key, 0, len(rows))
	for i := range rows {
		if it := wanted[rowKey(&rows[i], by)]; it != nil {
			hits[it] = append(hits[it], rows[i])
			locals = append(locals, rows[i].Key)
		}
	}
	taken, err := e.run.s.linksBy(ctx, e.run.db(tx), e.row.ID, "local_key", locals)
	if err != nil {
		return err
	}
	for _, it := range free {
		if err := e.takeHit(it, hits[it], taken, unique); err != nil {
			return err
		}
	}
	return nil
}

// takeHit gives the item the local record that matches it, unless that belongs
// to another record. A record that gives its local one up, because it is gone
// itself, is forgotten.
func (e *entity) takeHit(it *item, rows []kedge.Record, taken map[kedge.Key]*link, unique bool) error {
	if len(rows) == 0 {
		return nil
	}
	if len(rows) > 1 {
		it.fail = failMatch("match_ambiguous", Quarantined, "more than one local record matches")
		return nil
	}
	row := &rows[0]
	owner, claimed := taken[row.Key], e.claimed[row.Key]
	if owner != nil && owner.ExtKey == it.rec.Key {
		owner = nil
	}
	if owner != nil && !e.givesUp(owner) || claimed != "" && claimed != it.rec.Key {
		if unique {
			it.fail = failMatch("duplicate_key", Duplicate, "the local record with this key belongs to another record")
		}
		return nil
	}
	e.claimed[row.Key] = it.rec.Key
	it.local, it.create, it.takes = row, false, owner
	err := e.mapOne(it)
	it.dst.Key = row.Key
	return err
}

// givesUp tells whether the record of a link is gone.
func (e *entity) givesUp(l *link) bool {
	it := e.inBatch[mapping.KeyHash(l.ExtKey)]
	return l.Status != linked || it != nil && it.rec.Key == l.ExtKey && it.rec.Removed != kedge.Live
}

func (e *entity) pairKey(it *item, pairs []mapping.Pair) kedge.Key {
	e.keyParts = e.keyParts[:0]
	for _, p := range pairs {
		e.keyParts = append(e.keyParts, it.dst.Values[p.Local])
	}
	return kedge.NewKey(e.keyParts...)
}

func rowKey(r *kedge.Record, by []string) kedge.Key {
	parts := make([]kedge.Value, len(by))
	for i, name := range by {
		parts[i] = r.Get(name)
	}
	return kedge.NewKey(parts...)
}

// sortChanges puts the changes into the order of their local keys, so that two
// processes lock rows in the same order and pages of the database are touched
// once.
func (e *entity) sortChanges() {
	order := make([]int, len(e.changes))
	sorted := true
	for i := range order {
		order[i] = i
		sorted = sorted && (i == 0 || e.changes[i-1].Key <= e.changes[i].Key)
	}
	if sorted {
		return
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(e.changes[a].Key, e.changes[b].Key) })
	changes, changed := make([]kedge.Change, len(order)), make([]*item, len(order))
	for i, from := range order {
		changes[i], changed[i] = e.changes[from], e.changed[from]
	}
	e.changes, e.changed = changes, changed
}
