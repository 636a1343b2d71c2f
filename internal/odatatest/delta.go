package odatatest

import (
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// A changed row is what a delta says about a row.
type changed struct {
	row     *row
	values  []kedge.Value // nil: deleted
	before  []kedge.Value // as of the delta link; nil: not there
	mask    []bool        // with a partial row: what has changed; nil: send it whole
	removed bool          // no longer in the collection
	at      int           // of its last edit, in the log
}

// readDelta answers a request with a delta link (Protocol 4.01, 11.3).
func (s *Service) readDelta(rq *request, q *query, t *table) (*answer, error) {
	tok := *q.delta
	if q.token != nil {
		tok = *q.token
	}
	if s.opts.NoDelta || tok.From < s.epoch || s.faults.nth("anchor-expiry") {
		return nil, gone()
	}
	if tok.Upto == 0 {
		tok.Upto = s.seq
	}
	size, sized := s.pageSize(rq, q)
	var list []changed
	if !s.quirk(DeltaForgets) {
		list = s.changes(q, t, &tok)
	}
	next := tok
	next.Size = size
	more := len(list) > size
	if more {
		list = list[:size]
		next.At = list[size-1].at + 1
		next.Page++
	}
	body := append([]byte{'{'}, s.context(rq, t, contextList(&q.sel, q.expand, rq.version)+"/$delta")...)
	body = append(body, `"value":[`...)
	for i := range list {
		body = s.appendChange(body, rq, q, t, &list[i])
	}
	body = append(closeArray(body), ',')
	if more {
		body = append(body, rq.control("nextLink")...)
		body = append(appendString(body, s.nextLink(rq, q, t, &next)), ',')
	}
	if !more || s.quirk(EarlyDeltaLink) {
		body = append(body, rq.control("deltaLink")...)
		body = append(appendString(body, s.link(rq, q, t, "$deltatoken", &token{Set: t.ent.Name, From: tok.Upto})), ',')
	}
	a := newAnswer(rq.contentType(), closeObject(body))
	if applied := rq.preferenceApplied(sized, false); applied != "" {
		a.header.Set("Preference-Applied", applied)
	}
	return a, nil
}

func closeArray(b []byte) []byte {
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return append(b, ']')
}

// changes returns what happened to each row after commit From and up to Upto,
// in the order of the last edits, without what earlier pages have said. The
// client has read its pages while edits went on, so it may have seen any state
// since From: a row counts as seen if any of them was in the collection, and a
// property as changed if any edit changed it.
func (s *Service) changes(q *query, t *table, tok *token) []changed {
	edits := t.editsAfter(tok.From)
	offset := len(t.log) - len(edits)
	byRow := make(map[*row]*changed, len(edits))
	var order []*changed
	for i, e := range edits {
		v := e.version()
		if v.seq > tok.Upto {
			break
		}
		c := byRow[e.row]
		if c == nil {
			c = &changed{row: e.row, before: t.values(e.row, tok.From), mask: make([]bool, len(t.props))}
			c.removed = q.in(c.before)
			byRow[e.row] = c
			order = append(order, c)
		}
		c.removed = c.removed || q.in(c.values)
		c.values, c.at = v.values, offset+i
		if v.mask == nil {
			c.mask = nil
		}
		for j := range c.mask {
			c.mask[j] = c.mask[j] || v.mask[j]
		}
	}
	var out []changed
	for _, c := range order {
		seen := c.removed
		c.removed = !q.in(c.values)
		if c.removed && c.values != nil && s.quirk(DeltaOutsideFilter) {
			c.removed = false
		}
		if c.removed && !seen || c.at < tok.At {
			continue
		}
		if !seen {
			c.mask = nil
		}
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b changed) int { return a.at - b.at })
	return out
}

// in reports whether a row with these values is in the collection.
func (q *query) in(values []kedge.Value) bool {
	return values != nil && (q.match == nil || q.match(values))
}

// appendChange appends what a delta says about a row, with a comma after each
// object.
func (s *Service) appendChange(b []byte, rq *request, q *query, t *table, c *changed) []byte {
	if c.removed {
		return append(s.appendRemoved(b, rq, t, c), ',')
	}
	form := s.opts.Delta
	sel := &q.sel
	if s.quirk(DeltaIgnoresSelect) {
		all, _ := t.parseSelect("") // cannot fail
		sel = &all
	}
	links := form.Links && c.before != nil
	if links {
		b = s.appendLinks(b, rq, t, c)
	}
	e := &envelope{rq: rq, table: t, sel: sel, expand: q.expand, etags: !s.opts.NoVersion}
	if form.Partial && c.mask != nil {
		sel = t.partial(sel, c.mask, !form.IDOnly, links)
		if sel == nil {
			return b
		}
		e.sel, e.ids = sel, form.IDOnly
	}
	b = s.appendEntity(b, e, c.row, c.values)
	if form.Nested && c.before != nil {
		b = s.appendNested(b[:len(b)-1], rq, t, c)
	}
	return append(b, ',')
}

// partial returns the selection of a partial row, or nil if nothing but
// lookups has changed and links tell of those.
func (t *table) partial(sel *selection, mask []bool, keys, links bool) *selection {
	out := &selection{mask: make([]bool, len(mask)), keys: true}
	worth := !links
	for i := range mask {
		lookup := links && t.dependent(i)
		out.mask[i] = sel.mask[i] && mask[i] && !lookup
		worth = worth || mask[i] && !lookup && i != t.versionAt && i != t.modifiedAt
	}
	if !worth {
		return nil
	}
	for _, k := range t.key {
		out.mask[k] = keys
	}
	out.columns = t.columns(out.mask)
	return out
}

// dependent reports whether property i belongs to a navigation.
func (m *model) dependent(i int) bool {
	for _, n := range m.navs {
		if slices.Contains(n.from, i) {
			return true
		}
	}
	return false
}

// appendRemoved appends a deleted entity: JSON Format 4.0, 14.2, or JSON
// Format 4.01, 15.3. Under mixed-removed every second one mixes the spellings.
func (s *Service) appendRemoved(b []byte, rq *request, t *table, c *changed) []byte {
	reason := "deleted"
	if c.values != nil {
		reason = "changed"
	}
	id := string(appendString(nil, s.removedID(rq, t, c.row)))
	mixed := s.quirk(MixedRemoved)
	if rq.version == V40 && !mixed {
		b = append(b, '{')
		if rq.metadata != "none" {
			b = append(b, `"@odata.context":`...)
			b = append(appendString(b, rq.base+"$metadata#"+rq.prefix+t.ent.Name+"/$deletedEntity"), ',')
		}
		b = append(append(b, `"id":`...), id...)
		if !s.opts.Delta.NoReason {
			b = append(b, `,"reason":"`+reason+`"`...)
		}
		return append(b, '}')
	}
	removed, idName := "@removed", "@id"
	switch {
	case mixed && c.at%2 == 0:
		removed = "@odata.removed"
	case mixed:
		idName = "@odata.id"
	}
	b = append(b, `{"`+removed+`":{`...)
	if !s.opts.Delta.NoReason {
		b = append(b, `"reason":"`+reason+`"`...)
	}
	b = append(b, "},"...)
	if s.opts.Delta.Keys {
		mask := make([]bool, len(t.props))
		keys := make([]kedge.Value, len(t.props))
		for i, k := range t.key {
			mask[k], keys[k] = true, c.row.keys[i]
		}
		return closeObject(t.appendColumns(b, rq, t.columns(mask), keys))
	}
	return append(b, `"`+idName+`":`+id+`}`...)
}

// removedID returns the id of a deleted entity.
func (s *Service) removedID(rq *request, t *table, r *row) string {
	switch {
	case s.quirk(BareID):
		texts := make([]string, len(r.keys))
		for i, k := range r.keys {
			texts[i] = k.Text()
		}
		return strings.Join(texts, ",")
	case s.opts.Delta.Predicate:
		return t.ent.Name + t.predicate(r.keys)
	}
	return rq.base + rq.prefix + t.ent.Name + t.predicate(r.keys)
}

// appendLinks appends a deleted and an added link for each lookup that has
// changed, each with a comma (JSON Format 4.0, 14.3 and 14.4).
func (s *Service) appendLinks(b []byte, rq *request, t *table, c *changed) []byte {
	source := rq.base + rq.prefix + t.ent.Name + t.predicate(c.row.keys)
	for i := range t.navs {
		nav := &t.navs[i]
		was, is := s.targetID(rq, nav, c.before), s.targetID(rq, nav, c.values)
		if was == is {
			continue
		}
		for _, l := range []struct{ kind, target string }{{"$deletedLink", was}, {"$link", is}} {
			if l.target == "" {
				continue
			}
			b = append(append(b, '{'), rq.control("context")...)
			b = appendString(b, rq.base+"$metadata#"+rq.prefix+t.ent.Name+"/"+l.kind)
			b = appendString(append(b, `,"source":`...), source)
			b = appendString(append(b, `,"relationship":`...), nav.name)
			b = append(appendString(append(b, `,"target":`...), l.target), '}', ',')
		}
	}
	return b
}

// appendNested appends Nav@delta for each lookup that has changed (JSON Format
// 4.01, 15.2), and the brace that closes the entity.
func (s *Service) appendNested(b []byte, rq *request, t *table, c *changed) []byte {
	b = append(b, ',')
	for i := range t.navs {
		nav := &t.navs[i]
		was, is := s.targetID(rq, nav, c.before), s.targetID(rq, nav, c.values)
		if was == is {
			continue
		}
		b = append(appendString(b, nav.name+"@delta"), ":["...)
		if was != "" {
			b = append(appendString(append(b, `{"@removed":{"reason":"changed"},"@id":`...), was), "},"...)
		}
		if is != "" {
			b = append(appendString(append(b, `{"@id":`...), is), "},"...)
		}
		b = append(closeArray(b), ',')
	}
	return closeObject(b)
}

// targetID returns the id of the entity that a navigation leads to, or "".
func (s *Service) targetID(rq *request, nav *navigation, values []kedge.Value) string {
	target := s.table(nav.target)
	r, _ := s.follow(nav, target, values)
	if r == nil {
		return ""
	}
	return rq.base + rq.prefix + target.ent.Name + target.predicate(r.keys)
}
