package odatatest

import (
	"slices"

	"github.com/kedge-sync/kedge"
)

// A changed row is what a delta says about a row.
type changed struct {
	row     *row
	values  []kedge.Value // nil: deleted
	before  []kedge.Value // as of the delta link; nil: not there
	mask    []bool        // with a partial row: what has changed; nil: send it whole
	removed bool          // no longer in the collection
	maybe   bool          // the client may have the row
	sure    bool          // the client has the row
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
// in the order of the last edits, without what earlier pages have said. A
// client that has read pages of a collection while edits went on may have seen
// any state since From: it may have a row if any of them was in the
// collection, it surely has it if all were, and a property has changed if any
// edit changed it.
func (s *Service) changes(q *query, t *table, tok *token) []changed {
	var out []changed
	for _, c := range t.history(q, tok) {
		c.removed = !q.in(c.values)
		if c.removed && c.values != nil && s.quirk(DeltaOutsideFilter) {
			c.removed = false
		}
		if c.removed && !c.maybe || c.at < tok.At {
			continue
		}
		if !c.sure {
			c.mask = nil
		}
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b changed) int { return a.at - b.at })
	return out
}

// history gathers the edits of each row between From and Upto.
func (t *table) history(q *query, tok *token) []*changed {
	edits := t.editsAfter(tok.From)
	offset := len(t.log) - len(edits)
	byRow := make(map[*row]*changed, len(edits))
	var out []*changed
	for i, e := range edits {
		v := e.version()
		if v.seq > tok.Upto {
			break
		}
		c := byRow[e.row]
		if c == nil {
			c = &changed{row: e.row, before: t.values(e.row, tok.From), mask: make([]bool, len(t.props))}
			c.maybe = q.in(c.before)
			c.sure = c.maybe
			byRow[e.row] = c
			out = append(out, c)
		}
		c.values, c.at = v.values, offset+i
		if tok.Live {
			in := q.in(c.values)
			c.maybe, c.sure = c.maybe || in, c.sure && in
		}
		if v.mask == nil {
			c.sure = false // it was deleted or came back
		}
		for j := range v.mask {
			c.mask[j] = c.mask[j] || v.mask[j]
		}
	}
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
