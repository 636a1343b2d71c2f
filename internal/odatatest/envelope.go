package odatatest

import "github.com/kedge-sync/kedge"

// An envelope says what an entity is sent with.
type envelope struct {
	rq     *request
	table  *table
	sel    *selection
	expand []expansion
	etags  bool
	ids    bool   // always with its id
	prefix string // members that come first, each with a comma
}

// appendEntity appends an entity as an object.
func (s *Service) appendEntity(b []byte, e *envelope, r *row, values []kedge.Value) []byte {
	b = append(append(b, '{'), e.prefix...)
	m := e.table.model
	minimal := e.rq.metadata != "none"
	if e.rq.metadata == "full" {
		b = append(b, e.rq.control("type")...)
		b = append(appendString(b, "#"+s.ns+"."+m.typeName), ',')
	}
	if minimal && (e.ids || !e.sel.keys || e.rq.metadata == "full") {
		id := e.rq.base + e.rq.prefix + m.ent.Name + m.predicate(r.keys())
		b = append(appendString(append(b, e.rq.control("id")...), id), ',')
		if e.rq.metadata == "full" {
			b = append(appendString(append(b, e.rq.control("editLink")...), id), ',')
		}
	}
	if minimal && e.etags {
		b = append(b, e.rq.control("etag")...)
		b = append(appendString(b, etag(r.number())), ',')
	}
	b = m.appendColumns(b, e.rq, e.sel.columns, values)
	for i := range e.expand {
		b = append(s.appendExpanded(b, e, &e.expand[i], values), ',')
	}
	return closeObject(b)
}

// appendExpanded appends a navigation property with its entity, or null.
func (s *Service) appendExpanded(b []byte, e *envelope, x *expansion, values []kedge.Value) []byte {
	b = append(appendString(b, x.nav.name), ':')
	r, target := s.follow(x.nav, x.target, values)
	if r == nil {
		return append(b, "null"...)
	}
	inner := &envelope{rq: e.rq, table: x.target, sel: &x.sel, expand: x.expand, etags: e.etags}
	return s.appendEntity(b, inner, r, target)
}

// follow returns the row that a navigation leads to, or nil.
func (s *Service) follow(nav *navigation, target *table, values []kedge.Value) (*row, []kedge.Value) {
	want := pick(values, nav.from)
	for _, v := range want {
		if v.IsEmpty() {
			return nil, nil
		}
	}
	return s.lookUp(target, nav.to, want)
}

// lookUp returns the row of t whose properties have the given values.
func (s *Service) lookUp(t *table, props []int, want []kedge.Value) (*row, []kedge.Value) {
	if len(props) == len(t.key) {
		keys := make([]kedge.Value, 0, len(props))
		for _, k := range t.key {
			for i, p := range props {
				if p == k {
					keys = append(keys, want[i])
				}
			}
		}
		if len(keys) == len(t.key) {
			i, ok := t.find(keys)
			if !ok {
				return nil, nil
			}
			if values := t.values(t.rows[i], s.seq); values != nil {
				return t.rows[i], values
			}
			return nil, nil
		}
	}
	rows, ok := t.candidates(props, want)
	if !ok {
		rows = t.rows
	}
	for _, r := range rows {
		values := t.values(r, s.seq)
		if values != nil && compareKeys(pick(values, props), want) == 0 {
			return r, values
		}
	}
	return nil, nil
}
