package syncer

import (
	"context"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// previewPage tells what an upload would do with local records. It looks at the
// records of the other side that are concerned, as an upload does.
func (u *upload) previewPage(ctx context.Context, page *connectors.Page) error {
	items, err := u.classify(ctx, nil, page.Records)
	if err != nil {
		return err
	}
	there, err := u.previewRemote(ctx, items)
	if err != nil {
		return err
	}
	for _, l := range items {
		d, outcome := u.previewOne(l, there[l.rec.Key])
		if err := u.run.emit(d); err != nil {
			return err
		}
		u.counts.count(notSeen, outcome)
	}
	return nil
}

// previewOne decides about one record. there is the record of the other side,
// nil if there is none or it cannot be looked at.
func (u *upload) previewOne(l *localItem, there *kedge.Record) (Decision, Outcome) {
	d := Decision{Entity: u.plan.Name, Direction: Upload, Action: l.action, LocalKey: l.rec.Key, ExtKey: l.external()}
	if there != nil {
		d.ExtKey = there.Key
		if park, decided := u.foresee(l, there); decided && park != nil {
			d.Action, d.Reason = "conflict", park.reason()
			return d, Conflicted
		}
	}
	switch d.Action = l.action; d.Action {
	case actionCreate:
		d.Changes = u.sentDiff(l, nil)
		return d, Created
	case actionUpdate:
		d.Changes = u.sentDiff(l, there)
		return d, Changed
	case actionDelete:
		d.Reason = kedge.Deleted.String()
		return d, Deleted
	}
	switch d.Action = "unchanged"; l.outcome {
	case Filtered:
		d.Action = "filtered"
	case Kept:
		d.Action = "kept"
	}
	return d, l.outcome
}

// foresee decides anew about a record, with what the other side has. It
// returns the conflict if there would be one.
func (u *upload) foresee(l *localItem, there *kedge.Record) (park *conflictRow, decided bool) {
	remote := kedge.Record{}
	if u.plan.Download(&remote, there, false) != nil {
		return nil, false // the download tells why
	}
	s := Sides{Remote: &remote}
	if at := u.plan.Modified.External; at >= 0 {
		s.RemoteModified = there.Values[at]
	}
	if l.base != nil {
		s.Base = l.base.values
	}
	if l.rec.Removed == kedge.Live {
		local := l.rec.Clone()
		for _, lookup := range u.plan.Lookups {
			if s.Base == nil { // what it names there is not looked up
				local.Values[lookup.Local] = kedge.Value{}
			}
		}
		s.Local = &local
	}
	v := Decide(s, u.plan, u.run.op())
	switch l.action, l.outcome = "", Unchanged; v.Action {
	case Park:
		return u.conflictOf(there.Key, l.rec.Key, s, v), true
	case Merge:
		d := decision{}
		if d.any(v.Up) {
			l.action, l.up = actionUpdate, v.Up
		}
	case DeleteRemote:
		l.action = actionDelete
	case CreateLocal:
		l.outcome = Kept
	}
	return nil, true
}

// previewRemote returns the records of the other side that local ones with
// something to send are linked to, or would be matched with, by local key.
func (u *upload) previewRemote(ctx context.Context, items []*localItem) (map[kedge.Key]*kedge.Record, error) {
	there := map[kedge.Key]*kedge.Record{}
	local := map[kedge.Key]kedge.Key{} // by external key
	var keys []kedge.Key
	sets := u.pairSets()
	wanted := make([]map[kedge.Key]kedge.Key, len(sets)) // local keys by the values of the pairs
	for _, l := range items {
		k := l.external()
		if k == "" && l.action == actionCreate {
			k = u.previewKey(l, wanted)
		}
		if k != "" && l.action != "" {
			local[k] = l.rec.Key
			keys = append(keys, k)
		}
	}
	if len(keys) > 0 {
		answers, err := u.readKeys(ctx, keys)
		if err != nil && kedge.KindOf(err) != kedge.Unsupported {
			return nil, err
		}
		for i, a := range answers {
			if a.found {
				there[local[keys[i]]] = &answers[i].record
			}
		}
	}
	for n, by := range wanted {
		var values []kedge.Key
		for k := range by {
			values = append(values, k)
		}
		records, err := u.findBy(ctx, sets[n], values)
		if err != nil {
			return nil, err
		}
		for i := range records {
			if k, found := by[externalPairs(&records[i], sets[n])]; found {
				there[k] = &records[i]
			}
		}
	}
	return there, nil
}

// previewKey returns the external key that a new record brings along. Without
// one, it notes the values by which the record would be matched.
func (u *upload) previewKey(l *localItem, wanted []map[kedge.Key]kedge.Key) kedge.Key {
	var out kedge.Record
	if u.plan.Upload(&out, l.rec, nil, true) != nil {
		return "" // that shows when it is sent
	}
	if k := u.externalKey(out.Values); k != "" {
		return k
	}
	for n, pairs := range u.pairSets() {
		if k := externalPairs(&out, pairs); k != "" {
			if wanted[n] == nil {
				wanted[n] = map[kedge.Key]kedge.Key{}
			}
			wanted[n][k] = l.rec.Key
			break
		}
	}
	return ""
}

// sentDiff is what would be sent of a record, by local fields.
func (u *upload) sentDiff(l *localItem, there *kedge.Record) []Diff {
	var changes []Diff
	var remote kedge.Record
	if there == nil || u.plan.Download(&remote, there, false) != nil {
		remote.Values = nil
	}
	for i := range u.plan.LocalFields.Len() {
		send := l.up != nil && l.up[i]
		if l.action == actionCreate {
			send = u.plan.Exports(i) && !value(l.rec, i).IsEmpty()
		}
		if !send {
			continue
		}
		d := Diff{Field: u.plan.LocalFields.Name(i), To: value(l.rec, i).Any()}
		if from := value(&remote, i); !from.IsMissing() {
			d.From = from.Any()
		} else if l.base != nil {
			d.From = value(l.base.values, i).Any()
		}
		changes = append(changes, d)
	}
	return changes
}

// previewMissing tells which deletions an upload would send.
func (u *upload) previewMissing(ctx context.Context, links []*link) error {
	for _, l := range links {
		err := u.run.emit(Decision{Entity: u.plan.Name, Direction: Upload, Action: actionDelete, LocalKey: l.LocalKey, ExtKey: l.ExtKey, Reason: kedge.Deleted.String()})
		if err != nil {
			return err
		}
		u.counts.count(notSeen, Deleted)
	}
	return ctx.Err()
}
