package custom

import (
	"errors"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/mapping"
)

// A mapped is a resource on its way to the local entity.
type mapped struct {
	ch     *change
	gone   bool // deleted, or left the filter
	dst    kedge.Record
	key    kedge.Key     // by the key pairs
	local  *kedge.Record // what is there, nil if there is nothing
	op     kedge.Operation
	change kedge.Change
	code   string // why it is quarantined, "" if it is not
	field  string
	err    error
}

func (m *mapped) quarantine(code, field string, err error) { m.code, m.field, m.err = code, field, err }

// mapLocal writes the last state of each changed resource to the local entity
// of the table's mapping. What cannot be written is quarantined; the resource
// itself is stored.
func (w *work) mapLocal(changes []*change) error {
	p, err := w.c.localPlan(w.ctx, w.table, false)
	if p == nil || err != nil || len(changes) == 0 {
		return err
	}
	items := lastOf(changes)
	if p.err != nil {
		for _, it := range items {
			it.quarantine("mapping", "", p.err)
		}
		return w.keepQuarantine(items)
	}
	for _, it := range items {
		w.mapOne(p, it)
	}
	if err := w.findLocal(p, items); err != nil {
		return err
	}
	if err := w.writeLocal(p, items); err != nil {
		return err
	}
	return w.keepQuarantine(items)
}

// lastOf returns the last change of each resource, in order.
func lastOf(changes []*change) []*mapped {
	last := map[resourceKey]*change{}
	for _, ch := range changes {
		last[ch.key] = ch
	}
	var out []*mapped
	for _, ch := range changes {
		if last[ch.key] == ch {
			out = append(out, &mapped{ch: ch, gone: ch.op == kedge.OpDelete})
		}
	}
	return out
}

// mapOne maps the data of a resource, of a deleted one the last.
func (w *work) mapOne(p *localPlan, it *mapped) {
	data, name := it.ch.prevData(), ""
	if it.ch.el != nil {
		data, name = it.ch.el.data, it.ch.el.name
	}
	rec, err := w.table.record(it.ch.key, name, data)
	if err != nil {
		it.quarantine("mapping", "", err)
		return
	}
	src := kedge.Record{Fields: p.plan.ExternalFields, Values: make([]kedge.Value, p.plan.ExternalFields.Len()), Key: rec.Key}
	for i, name := range p.plan.ExternalFields.Names() {
		if src.Values[i] = rec.Get(name); src.Values[i].IsMissing() {
			src.Values[i] = kedge.Null() // what is not sent is gone
		}
	}
	if f := p.plan.DownloadFilter; f != nil && !it.gone {
		truth, err := f.Match(&src)
		if err != nil {
			it.quarantine("filter", "", err)
			return
		}
		it.gone = truth != filter.Yes
	}
	if err := p.plan.Download(&it.dst, &src, true); err != nil {
		if fe, ok := errors.AsType[*mapping.FieldError](err); ok {
			it.quarantine(fe.Code, fe.Field, fe.Err)
		} else {
			it.quarantine("mapping", "", err)
		}
		return
	}
	parts := make([]kedge.Value, len(p.plan.Key))
	for i, pair := range p.plan.Key {
		parts[i] = it.dst.Values[pair.Local]
	}
	if it.key = kedge.NewKey(parts...); it.key == "" {
		it.quarantine("key_missing", "", errors.New("a value of the key is missing"))
	}
}

// findLocal looks the local records up, locks them, and says what to do.
func (w *work) findLocal(p *localPlan, items []*mapped) error {
	by := make([]string, len(p.plan.Key))
	for i, pair := range p.plan.Key {
		by[i] = p.plan.LocalFields.Name(pair.Local)
	}
	var keys []kedge.Key
	of := map[kedge.Key]*mapped{}
	for _, it := range items {
		if it.code != "" {
			continue
		}
		if other := of[it.key]; other != nil && !other.gone {
			if !it.gone {
				it.quarantine("duplicate_key", "", errors.New("another resource has the same key"))
			}
			continue
		}
		if of[it.key] == nil {
			keys = append(keys, it.key)
		}
		of[it.key] = it
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := p.get.GetTx(w.ctx, w.tx, p.plan.Local.Name, p.plan.LocalFields.Names(), by, keys)
	if err != nil {
		return err
	}
	for i := range rows {
		parts := make([]kedge.Value, len(by))
		for j, name := range by {
			parts[j] = rows[i].Get(name)
		}
		it := of[kedge.NewKey(parts...)]
		switch {
		case it == nil:
		case it.local != nil:
			it.quarantine("match_ambiguous", "", errors.New("more than one local record matches"))
		default:
			it.local = &rows[i]
		}
	}
	for _, it := range of {
		it.decide(p)
	}
	return nil
}

// decide says how the local record is written.
func (it *mapped) decide(p *localPlan) {
	name := p.plan.Local.Name
	switch {
	case it.code != "":
	case !it.gone && it.local == nil:
		it.op, it.change = kedge.OpCreate, kedge.Change{Op: kedge.Insert, Entity: name, Fields: it.dst.Fields, Values: it.dst.Values}
	case !it.gone:
		var fields []string
		var values []kedge.Value
		for i, v := range it.dst.Values {
			if n := it.dst.Fields.Name(i); !v.IsMissing() && !kedge.Equal(v, it.local.Get(n)) {
				fields, values = append(fields, n), append(values, v)
			}
		}
		if len(fields) > 0 {
			it.op, it.change = kedge.OpUpdate, kedge.Change{Op: kedge.Update, Entity: name, Key: it.local.Key, Fields: kedge.NewFields(fields...), Values: values}
		}
	case it.local == nil, it.ch.op != kedge.OpDelete && p.plan.Rules.Deletes.FilterExit != mapping.ExitDelete:
	case p.plan.Rules.Deletes.Download == mapping.DeleteRemove:
		it.op, it.change = kedge.OpDelete, kedge.Change{Op: kedge.Delete, Entity: name, Key: it.local.Key}
	case p.plan.Rules.Deletes.Download == mapping.DeleteSoft:
		soft := p.plan.Rules.Deletes.Soft
		it.op, it.change = kedge.OpUpdate, kedge.Change{Op: kedge.Update, Entity: name, Key: it.local.Key, Fields: kedge.NewFields(soft.Field), Values: []kedge.Value{soft.Value}}
	}
}

// writeLocal writes the local records and notes their events.
func (w *work) writeLocal(p *localPlan, items []*mapped) error {
	var changes []kedge.Change
	var written []*mapped
	for _, it := range items {
		if it.op != "" {
			changes, written = append(changes, it.change), append(written, it)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	results, err := p.put.WriteTx(w.ctx, w.tx, changes)
	if err != nil {
		return err
	}
	interest := kedge.Interest{}
	if w.c.opts.Publisher != nil {
		if interest, err = w.c.opts.Publisher.Interest(w.ctx, w.tx, p.plan.Local.Name); err != nil {
			return unavailable(err)
		}
	}
	for i, it := range written {
		switch res := results[i]; {
		case res.State == connectors.Rejected:
			it.quarantine(res.Err.Kind.String(), "", res.Err)
		case res.State == connectors.Unchanged:
		case interest.Any:
			w.localEvents = append(w.localEvents, it.event(p, res.Key))
		}
	}
	return nil
}

// event tells what happened to the local record.
func (it *mapped) event(p *localPlan, key kedge.Key) kedge.Event {
	e := kedge.Event{Entity: p.plan.Local.Name, Key: key, KeyNames: p.plan.Local.Key, Op: it.op, Before: it.local, Origin: kedge.OriginIngest}
	switch it.op {
	case kedge.OpDelete:
		e.After = it.local
	case kedge.OpCreate:
		e.After = &it.dst
	default:
		e.Changed = it.change.Fields.Names()
		after := it.local.Clone()
		for i, name := range e.Changed {
			if at := after.Fields.Index(name); at >= 0 {
				after.Values[at] = it.change.Values[i]
			}
		}
		e.After = &after
	}
	return e
}
