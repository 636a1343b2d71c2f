package odatatest

import (
	"net/http"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// A change is a request that writes, with what it is about.
type change struct {
	rq  *request
	q   *query
	res *resource
	t   *table
	row *row          // that is addressed, or nil if there is none
	old []kedge.Value // of the row

	key     kedge.Key // of the row that is written, as soon as it is known
	created bool
}

// writes reports whether a method asks for a change.
func writes(method string) bool {
	return method == http.MethodPost || method == http.MethodPatch || method == http.MethodPut || method == http.MethodDelete
}

// write answers a request that is not for reading, and notes it.
func (s *Service) write(rq *request, res *resource) (*answer, error) {
	if err := s.mayWrite(rq, res); err != nil {
		return nil, err
	}
	c := &change{rq: rq, res: res, t: res.table}
	before := s.seq
	a, replayed, err := s.repeats.once(c, s.opts.Now(), func() (*answer, error) { return s.apply(c) })
	w := Write{Method: rq.Method, Set: c.t.ent.Name, Key: c.key, Batch: rq.part, Replayed: replayed, Applied: s.seq != before, Created: c.created}
	w.IfMatch, w.Prefer = rq.Header.Get("If-Match"), strings.Join(rq.Header.Values("Prefer"), ", ")
	if w.Status = statusOf(err); err == nil {
		w.Status = a.status
	}
	if s.bench == nil { // benchmarks write more than is worth keeping
		w.Body = string(rq.body)
	}
	s.wrote.add(w)
	return a, err
}

// mayWrite refuses what cannot be written (Protocol 4.01, 9.3.5).
func (s *Service) mayWrite(rq *request, res *resource) error {
	allow := "GET, HEAD"
	switch {
	case res.table == nil || res.table == s.companyTable:
	case res.kind == collection:
		allow = "GET, HEAD, POST"
		if rq.Method == http.MethodPost {
			allow = ""
		}
	case res.kind == entity:
		allow = "GET, HEAD, PATCH, PUT, DELETE"
		if writes(rq.Method) && rq.Method != http.MethodPost {
			allow = ""
		}
	}
	if allow != "" {
		f := fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method is not allowed here.")
		f.header = http.Header{"Allow": {allow}}
		return f
	}
	if res.empty {
		return fail(http.StatusForbidden, "Forbidden", "Only the first company can be written.")
	}
	return nil
}

// apply carries out a change.
func (s *Service) apply(c *change) (*answer, error) {
	var err error
	if c.q, err = s.parseQuery(c.rq, &resource{kind: entity, table: c.t}); err != nil {
		return nil, err
	}
	if err := s.negotiate(c.rq, c.q.format, false); err != nil {
		return nil, err
	}
	if c.rq.Method == http.MethodPost {
		return s.insert(c, nil)
	}
	props := c.res.alt
	if props == nil {
		props = c.t.key
		c.key = kedge.NewKey(c.res.keys...)
	}
	if c.row, c.old = s.lookUp(c.t, props, c.res.keys); c.row != nil {
		c.key = kedge.NewKey(c.row.keys()...)
	}
	if err := s.precondition(c); err != nil {
		return nil, err
	}
	if c.rq.Method == http.MethodDelete {
		s.store(c.t, c.row.keys(), nil)
		return &answer{status: http.StatusNoContent, header: http.Header{}}, nil
	}
	if c.row == nil {
		given := make(map[int]kedge.Value)
		for i, p := range props {
			given[p] = c.res.keys[i]
		}
		return s.insert(c, given)
	}
	return s.update(c)
}

// insert adds a row (Protocol 4.01, 11.4.2). given are the values that the URL
// of an upsert has.
func (s *Service) insert(c *change, given map[int]kedge.Value) (*answer, error) {
	in, err := s.readInput(c.rq, c.t)
	if err != nil {
		return nil, err
	}
	values, err := s.fresh(c.t, in, given)
	if err != nil {
		return nil, err
	}
	if err := s.linked(c.t, in, values); err != nil {
		return nil, err
	}
	keys := pick(values, c.t.key)
	c.key = kedge.NewKey(keys...)
	if err := s.unique(c.t, nil, values); err != nil {
		return nil, err
	}
	c.created = true
	return s.stored(c, s.store(c.t, keys, values)), nil
}

// update changes a row (Protocol 4.01, 11.4.3): PATCH what is sent, PUT all but
// links. Keys and immutable properties stay as they are, whatever is sent.
func (s *Service) update(c *change) (*answer, error) {
	in, err := s.readInput(c.rq, c.t)
	if err != nil {
		return nil, err
	}
	if in.tag != "" && c.rq.Header.Get("OData-Version") == V401 && !s.matches(in.tag, c.row) {
		return nil, changedSince() // Protocol 4.01, 11.4.3; 4.0 passes over it
	}
	values := slices.Clone(c.old)
	for i := range c.t.props {
		p := &c.t.props[i]
		fixed := p.Immutable || slices.Contains(c.t.key, i)
		v, ok := in.values[i]
		switch {
		case fixed:
		case ok:
			values[i] = v
		case c.rq.Method == http.MethodPut && !p.Computed && !p.ReadOnly && len(p.Lookup) == 0:
			if values[i], ok = p.initial(); !ok {
				in.problem(p.Name, "The property is required.")
			}
		}
	}
	if err := in.err(); err != nil {
		return nil, err
	}
	if err := s.linked(c.t, in, values); err != nil {
		return nil, err
	}
	if err := s.unique(c.t, c.row, values); err != nil {
		return nil, err
	}
	return s.stored(c, s.store(c.t, c.row.keys(), values)), nil
}

// store writes a row, or deletes it if values is nil, in a commit of its own.
func (s *Service) store(t *table, keys, values []kedge.Value) *row {
	s.seq++
	t.version++
	if values != nil {
		if s.quirk(Normalise) {
			t.version++
			t.normalise(values)
		}
		if t.set.derive != nil {
			t.set.derive(values)
		}
		t.stamp(values, t.version, s.opts.Now())
	}
	t.write(s.seq, t.version, keys, values)
	s.bench.drop()
	at, _ := t.find(keys)
	return t.rows[at]
}

// shows reports whether a write whose request has no preference is answered
// with the row: if a part of it is asked for (Protocol 4.01, 11.4.1.5), as
// 4.01 recommends it, and if it is new; not by Dataverse.
func (s *Service) shows(c *change) bool {
	if !c.q.sel.all || len(c.q.expand) > 0 {
		return true
	}
	return s.opts.Flavor != Dataverse && (c.created || c.rq.version == V401)
}

// stored answers a write that was done (Protocol 4.01, 11.4.2 and 8.2.8.7).
func (s *Service) stored(c *change, r *row) *answer {
	rq := c.rq
	h := http.Header{}
	if !s.opts.NoVersion {
		h.Set("ETag", etag(r.number()))
	}
	url := rq.base + rq.prefix + c.t.ent.Name + c.t.predicate(r.keys())
	if c.created {
		h.Set("Location", url)
	}
	minimal := rq.returns == "minimal" || rq.returns == "" && !s.shows(c)
	if rq.returns != "" {
		h.Set("Preference-Applied", "return="+rq.returns)
	}
	if minimal {
		if c.created {
			h.Set("OData-EntityId", url)
		}
		return &answer{status: http.StatusNoContent, header: h}
	}
	e := &envelope{rq: rq, table: c.t, sel: &c.q.sel, expand: c.q.expand, etags: !s.opts.NoVersion}
	e.prefix = s.context(rq, c.t, contextList(&c.q.sel, c.q.expand, rq.version)+"/$entity")
	a := newAnswer(rq.contentType(), s.appendEntity(nil, e, r, c.t.values(r, s.seq)))
	for k, v := range h {
		a.header[k] = v
	}
	if c.created {
		a.status = http.StatusCreated
	}
	return a
}
