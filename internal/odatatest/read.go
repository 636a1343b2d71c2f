package odatatest

import (
	"net/http"
	"strconv"

	"github.com/kedge-sync/kedge"
)

// A page is what is found for one answer.
type page struct {
	rows   []*row
	values [][]kedge.Value
	next   *token // nil on the last page
}

// readCollection answers a request for a collection (Protocol 4.01, 11.2.6).
func (s *Service) readCollection(rq *request, q *query, t *table, empty bool) (*answer, error) {
	if q.delta != nil {
		return s.readDelta(rq, q, t)
	}
	track, err := s.tracks(rq, q)
	if err != nil {
		return nil, err
	}
	tok := q.token
	if tok == nil {
		tok = &token{Set: t.ent.Name, Track: track, From: s.seq, Seen: q.skip}
		if q.top >= 0 {
			tok.Left = &q.top
		}
	}
	size, sized := s.pageSize(rq, q)
	p := &page{}
	if !empty {
		if p, err = s.findPage(q, t, tok, size); err != nil {
			return nil, err
		}
	}
	if p.next != nil {
		p.next.Size = size
	}
	body := append([]byte{'{'}, s.context(rq, t, contextList(&q.sel, q.expand, rq.version))...)
	if q.count {
		n := 0
		if !empty {
			n = s.countRows(t, q)
		}
		body = append(strconv.AppendInt(append(body, rq.control("count")...), int64(n), 10), ',')
	}
	body = append(body, `"value":[`...)
	body = s.appendRows(body, rq, q, t, p)
	body = append(body, "],"...)
	if p.next != nil {
		body = append(body, rq.control("nextLink")...)
		body = append(appendString(body, s.nextLink(rq, q, t, p.next)), ',')
	}
	if tok.Track && (p.next == nil || s.quirk(EarlyDeltaLink)) {
		body = append(body, rq.control("deltaLink")...)
		body = append(appendString(body, s.link(rq, q, t, "$deltatoken", &token{Set: t.ent.Name, From: tok.From, Live: true})), ',')
	}
	a := newAnswer(rq.contentType(), closeObject(body))
	if applied := rq.preferenceApplied(sized, track && q.token == nil); applied != "" {
		a.header.Set("Preference-Applied", applied)
	}
	return a, nil
}

func (s *Service) appendRows(b []byte, rq *request, q *query, t *table, p *page) []byte {
	e := &envelope{rq: rq, table: t, sel: &q.sel, expand: q.expand, etags: !s.opts.NoVersion}
	for i, r := range p.rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendEntity(b, e, r, p.values[i])
	}
	return b
}

// tracks reports whether changes are tracked from this first request on.
func (s *Service) tracks(rq *request, q *query) (bool, error) {
	if !rq.track || s.opts.NoDelta || q.token != nil {
		return false, nil
	}
	if s.opts.Flavor == Dataverse && (q.filter != nil || q.order.text != "" || len(q.expand) > 0 || q.top >= 0) {
		return false, badRequest("Change tracking does not go with $filter, $orderby, $expand or $top.")
	}
	return q.top < 0 && q.skip == 0, nil
}

// pageSize returns the most rows of the page and whether the client chose it.
// A next link keeps the size of the page before it unless the client asks for
// another (Protocol 4.01, 8.2.8.5).
func (s *Service) pageSize(rq *request, q *query) (size int, sized bool) {
	switch {
	case s.quirk(IgnoreMaxPageSize):
		return s.opts.PageCap, false
	case rq.pageSize > 0:
		return min(rq.pageSize, s.opts.PageCap), true
	case q.token != nil && s.quirk(PreferNotInherited):
		return int(^uint(0) >> 1), false
	case q.token != nil && q.token.Size > 0:
		return min(q.token.Size, s.opts.PageCap), false
	}
	return s.opts.PageCap, false
}

// findPage collects the rows of a page.
func (s *Service) findPage(q *query, t *table, tok *token, size int) (*page, error) {
	next := *tok
	next.Page++
	p := &page{next: &next}
	if s.quirk(EmptyPages) && tok.Page%2 == 1 {
		return p, nil
	}
	seq := s.sequence(t, q.order)
	i, skip, err := s.start(q, t, tok, &seq)
	if err != nil {
		return nil, err
	}
	limit := size
	if tok.Left != nil {
		limit = min(limit, *tok.Left)
	}
	last := -1
	for ; i < seq.n; i++ {
		r := seq.row(i)
		values := t.values(r, s.seq)
		if values == nil || q.match != nil && !q.match(values) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if len(p.rows) == limit {
			break
		}
		p.rows, p.values, last = append(p.rows, r), append(p.values, values), i
	}
	next.Seen += len(p.rows)
	if last >= 0 {
		next.After = cursor(seq.values(last))
	}
	if tok.Left != nil {
		left := *tok.Left - len(p.rows)
		next.Left = &left
		if left == 0 && s.quirk(NextAfterTop) && len(p.rows) > 0 {
			next.Left = nil
			return p, nil
		}
	}
	if i == seq.n || next.Left != nil && *next.Left == 0 {
		p.next = nil
	}
	return p, nil
}

// start returns the index from which a page is collected, and how many
// matching rows are passed over.
func (s *Service) start(q *query, t *table, tok *token, seq *sequence) (i, skip int, err error) {
	i = 0
	if bound := lowerBound(q); bound != nil && !s.quirk(TextTimeCompare) && !s.quirk(CaseInsensitive) {
		i = seq.from(bound)
	}
	if q.token == nil {
		return i, q.skip, nil
	}
	if s.quirk(OffsetTokens) {
		return i, tok.Seen, nil
	}
	if tok.After == nil {
		return i, 0, nil
	}
	values, err := t.position(&q.order, tok.After)
	if err != nil {
		return 0, 0, err
	}
	return max(i, seq.after(values)), 0, nil
}

// nextLink returns the link to the page of next, or what the fault dup-next
// makes of it.
func (s *Service) nextLink(rq *request, q *query, t *table, next *token) string {
	name := "$skiptoken"
	if s.faults.nth("dup-next") {
		if q.token == nil {
			return rq.base + rq.prefix + t.ent.Name + "?" + rq.URL.RawQuery
		}
		return s.link(rq, q, t, name, q.token)
	}
	return s.link(rq, q, t, name, next)
}

func (s *Service) countRows(t *table, q *query) int {
	if q.match == nil {
		return t.live
	}
	n := 0
	for _, r := range t.rows {
		if values := t.values(r, s.seq); values != nil && q.match(values) {
			n++
		}
	}
	return n
}

// context returns the context URL as a member with a comma.
func (s *Service) context(rq *request, t *table, rest string) string {
	if rq.metadata == "none" {
		return ""
	}
	return string(appendString([]byte(rq.control("context")), rq.base+"$metadata#"+rq.prefix+t.ent.Name+rest)) + ","
}

// readCount answers Set/$count (Protocol 4.01, 11.2.10).
func (s *Service) readCount(q *query, t *table, empty bool) *answer {
	n := 0
	if !empty {
		n = s.countRows(t, q)
	}
	return newAnswer("text/plain", []byte(strconv.Itoa(n)))
}

// readEntity answers a request for a single entity (Protocol 4.01, 11.2.2).
func (s *Service) readEntity(rq *request, q *query, res *resource) (*answer, error) {
	t := res.table
	props := res.alt
	if props == nil {
		props = t.key
	}
	r, values := s.lookUp(t, props, res.keys)
	if r == nil || res.empty {
		return nil, notFound()
	}
	tag := etag(r.number())
	if !s.opts.NoVersion && rq.Header.Get("If-None-Match") == tag {
		return &answer{status: http.StatusNotModified, header: http.Header{"Etag": {tag}}}, nil
	}
	e := &envelope{rq: rq, table: t, sel: &q.sel, expand: q.expand, etags: !s.opts.NoVersion}
	e.prefix = s.context(rq, t, contextList(&q.sel, q.expand, rq.version)+"/$entity")
	a := newAnswer(rq.contentType(), s.appendEntity(nil, e, r, values))
	if !s.opts.NoVersion {
		a.header.Set("ETag", tag)
	}
	return a, nil
}
