package custom

import (
	"time"

	"github.com/kedge-sync/kedge"
)

// publish tells the Publisher what changed, in the order of the numbers.
func (w *work) publish(changes []*change) error {
	if !w.interest.Any || len(changes) == 0 {
		return nil
	}
	events := make([]kedge.Event, 0, len(changes))
	at := time.UnixMilli(w.at).UTC()
	for _, ch := range changes {
		e := kedge.Event{Entity: w.table.Full, Op: ch.op, Changed: ch.fields, Origin: kedge.OriginIngest, At: at}
		e.Key, e.KeyNames = eventKey(ch.key)
		var err error
		var before, after *kedge.Record
		if ch.op != kedge.OpCreate && ch.prev.data != nil {
			if before, err = w.table.record(ch.key, ch.prev.data); err != nil {
				return err
			}
		}
		if ch.el != nil {
			if after, err = w.table.record(ch.key, ch.el.data); err != nil {
				return err
			}
		}
		e.Before, e.After = before, after
		if ch.op == kedge.OpDelete {
			e.After = before // the last known values
		}
		events = append(events, e)
	}
	if err := w.c.opts.Publisher.Publish(w.ctx, w.tx, events...); err != nil {
		return unavailable(err)
	}
	return nil
}

var (
	idOnly   = []string{"id"}
	groupAnd = []string{"groupKey", "id"}
)

// eventKey is the key of a resource for subscribers: the id alone in the
// default group.
func eventKey(k resourceKey) (kedge.Key, []string) {
	if k.group == "" {
		return kedge.NewKey(kedge.String(k.id)), idOnly
	}
	return kedge.NewKey(kedge.String(k.group), kedge.String(k.id)), groupAnd
}
