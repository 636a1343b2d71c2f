package syncer

import (
	"context"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
)

// absorb takes records of the other side in, out of order, as a download does:
// what it changed is merged, what was sent is met again.
func (u *upload) absorb(ctx context.Context, records []kedge.Record) error {
	if len(records) == 0 {
		return nil
	}
	u.force = make(map[kedge.Key]bool, len(records))
	for i := range records {
		u.force[records[i].Key] = true
	}
	u.silent = true
	err := u.applyAside(ctx, &chunk{records: records})
	u.force, u.silent = nil, false
	return err
}

// lookFirst looks at the other side where sending blindly could double or
// overwrite something: before records are created, before updates without a
// base, where the other side cannot check versions, and where an edit may have
// ended a conflict. looked tells that what is known of the records may have
// changed thereby.
func (u *upload) lookFirst(ctx context.Context, ops []*Transaction, k known) (looked bool, err error) {
	var ask, free []kedge.Key
	for _, op := range ops {
		switch l, b := k.of(op.LocalKey); {
		case l != nil && l.Status == linked:
			if b == nil || b.ExtVersion == "" || !u.plan.External.Concurrency || u.frozen[l.ExtKey] {
				ask = append(ask, l.ExtKey)
			}
		case op.Action != actionDelete:
			free = append(free, op.LocalKey)
		}
	}
	found, err := u.ask(ctx, ask)
	if err != nil {
		return false, err
	}
	matched, err := u.findRemote(ctx, free)
	if err != nil {
		return false, err
	}
	found = append(found, matched...)
	return len(found) > 0, u.absorb(ctx, found)
}

// ask reads records of the other side by key. Those that are gone come as
// removed.
func (u *upload) ask(ctx context.Context, keys []kedge.Key) ([]kedge.Record, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	answers, err := u.readKeys(ctx, keys)
	if kedge.KindOf(err) == kedge.Unsupported && err != nil {
		return nil, nil // there is no way to look
	}
	if err != nil {
		return nil, err
	}
	records := make([]kedge.Record, 0, len(keys))
	for i, a := range answers {
		switch {
		case a.found:
			records = append(records, a.record)
		case a.bad == nil:
			records = append(records, kedge.Record{Key: keys[i], Removed: kedge.Deleted, Fields: u.plan.ExternalFields})
		}
	}
	return records, nil
}

// findRemote looks for records of the other side that local ones without a
// link would become.
func (u *upload) findRemote(ctx context.Context, local []kedge.Key) ([]kedge.Record, error) {
	if len(local) == 0 {
		return nil, nil
	}
	rows, err := u.localOutside(ctx, local)
	if err != nil {
		return nil, err
	}
	var found []kedge.Record
	var byKey []kedge.Key
	sets := u.pairSets()
	wanted := make([][]kedge.Key, len(sets))
	for _, row := range rows {
		var out kedge.Record
		if u.plan.Upload(&out, row, nil, true) != nil {
			continue // that shows when it is its turn
		}
		if k := u.externalKey(out.Values); k != "" {
			byKey = append(byKey, k)
			continue
		}
		for n, pairs := range sets {
			if k := externalPairs(&out, pairs); k != "" {
				wanted[n] = append(wanted[n], k)
				break
			}
		}
	}
	if len(byKey) > 0 {
		answers, err := u.readKeys(ctx, byKey)
		if err != nil && kedge.KindOf(err) != kedge.Unsupported {
			return nil, err
		}
		for _, a := range answers {
			if a.found {
				found = append(found, a.record)
			}
		}
	}
	for n, pairs := range sets {
		records, err := u.findBy(ctx, pairs, wanted[n])
		if err != nil {
			return nil, err
		}
		found = append(found, records...)
	}
	return found, nil
}

// localOutside reads local rows outside of a transaction.
func (u *upload) localOutside(ctx context.Context, keys []kedge.Key) ([]*kedge.Record, error) {
	answers, err := u.run.loc.ReadKeys(ctx, u.plan.Local.Name, u.plan.LocalRead.Names(), keys)
	var rows []*kedge.Record
	for i := range answers {
		if answers[i].OK {
			rows = append(rows, &answers[i].Record)
		}
	}
	return rows, err
}

// pairSets are the sets of fields by which records are matched.
func (u *upload) pairSets() [][]mapping.Pair {
	return append([][]mapping.Pair{u.plan.Key}, u.plan.AlternateKeys...)
}

// externalPairs is the key that a record to be sent has by pairs, "" if a value
// is not known yet.
func externalPairs(r *kedge.Record, pairs []mapping.Pair) kedge.Key {
	if len(pairs) == 0 {
		return ""
	}
	parts := make([]kedge.Value, len(pairs))
	for i, p := range pairs {
		parts[i] = r.Values[p.External]
	}
	return kedge.NewKey(parts...)
}

// findBy returns the records of the other side whose pairs have one of keys.
func (u *upload) findBy(ctx context.Context, pairs []mapping.Pair, keys []kedge.Key) ([]kedge.Record, error) {
	if len(keys) == 0 || !u.plan.External.Filter {
		return nil, nil
	}
	by := make([]string, len(pairs))
	for i, p := range pairs {
		by[i] = u.plan.ExternalFields.Name(p.External)
	}
	return otherSystem{u.run.ext}.find(ctx, nil, u.plan.External, u.plan.ExternalFields.Names(), by, keys)
}

// lookAgain reads the records whose other side was faster, and merges.
func (u *upload) lookAgain(ctx context.Context, batch []*outgoing) error {
	var known, free []kedge.Key
	for _, o := range batch {
		if o.change.Op == kedge.Insert && o.change.Key == "" {
			free = append(free, o.op.LocalKey)
		} else {
			known = append(known, o.change.Key)
		}
	}
	records, err := u.ask(ctx, known)
	if err != nil {
		return err
	}
	matched, err := u.findRemote(ctx, free)
	if err != nil {
		return err
	}
	return u.absorb(ctx, append(records, matched...))
}
