package custom

import (
	"time"

	"github.com/kedge-sync/kedge"
)

// publish tells the Publisher what changed, in the order of the numbers, and
// then what the mapping changed.
func (w *work) publish(changes []*change) error {
	at := time.UnixMilli(w.at).UTC()
	events := w.localEvents
	if w.interest.Any {
		events = make([]kedge.Event, 0, len(changes)+len(w.localEvents))
		for _, ch := range changes {
			e, err := w.event(ch)
			if err != nil {
				return err
			}
			events = append(events, e)
		}
		events = append(events, w.localEvents...)
	}
	w.localEvents = nil
	if len(events) == 0 {
		return nil
	}
	for i := range events {
		events[i].At = at
	}
	if err := w.c.opts.Publisher.Publish(w.ctx, w.tx, events...); err != nil {
		return unavailable(err)
	}
	return nil
}

func (w *work) event(ch *change) (kedge.Event, error) {
	e := kedge.Event{Entity: w.table.Full, Op: ch.op, Changed: ch.fields, Origin: kedge.OriginIngest}
	e.Key, e.KeyNames = eventKey(ch.key)
	var err error
	if data := ch.prevData(); data != nil {
		if e.Before, err = w.table.record(ch.key, "", data); err != nil {
			return e, err
		}
	}
	if e.After = e.Before; ch.el != nil { // of a delete the last known values
		e.After, err = w.table.record(ch.key, ch.el.name, ch.el.data)
	}
	return e, err
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
