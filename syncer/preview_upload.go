package syncer

import (
	"context"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// previewPage tells what an upload would do with local records.
func (u *upload) previewPage(ctx context.Context, page *connectors.Page) error {
	items, err := u.classify(ctx, nil, page.Records)
	if err != nil {
		return err
	}
	for _, l := range items {
		d := Decision{Entity: u.plan.Name, Direction: Upload, Action: l.action, LocalKey: l.rec.Key, ExtKey: l.external()}
		outcome := l.outcome
		switch l.action {
		case "":
			d.Action = "unchanged"
			if l.outcome == Filtered {
				d.Action = "filtered"
			}
		case actionCreate:
			outcome = Created
			d.Changes = u.sentDiff(l)
		case actionUpdate:
			outcome = Changed
			d.Changes = u.sentDiff(l)
		case actionDelete:
			outcome = Deleted
			d.Reason = kedge.Deleted.String()
		}
		if err := u.run.emit(d); err != nil {
			return err
		}
		u.counts.count(notSeen, outcome)
	}
	return nil
}

// sentDiff is what would be sent of a record, by local fields.
func (u *upload) sentDiff(l *localItem) []Diff {
	var changes []Diff
	for i := range u.plan.LocalFields.Len() {
		send := l.up != nil && l.up[i]
		if l.action == actionCreate {
			send = u.plan.Exports(i) && !value(l.rec, i).IsEmpty()
		}
		if !send {
			continue
		}
		d := Diff{Field: u.plan.LocalFields.Name(i), To: value(l.rec, i).Any()}
		if l.base != nil {
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
