package odata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

const opReadPage = "odata.ReadPage"

// A read is one call of ReadPage.
type read struct {
	d    *Driver
	m    *metadata
	e    *entity
	req  connectors.ReadRequest
	size int
	plan *wire.Plan // of rows; delta answers have their own
	push string     // filter that goes to the service
	// exact tells that push is the whole filter.
	exact bool
}

// ReadPage reads one page. See [connectors.Driver].
func (d *Driver) ReadPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	page, err := d.readPage(ctx, req)
	if err != nil {
		return nil, inEntity(err, opReadPage, req.Entity)
	}
	return page, nil
}

// inEntity completes an error with operation and entity.
func inEntity(err error, op, entity string) error {
	e, ok := err.(*kedge.Error)
	if !ok {
		return &kedge.Error{Op: op, Kind: kedge.KindOf(err), Entity: entity, Err: err}
	}
	full := *e
	setDefault(&full.Op, op)
	setDefault(&full.Entity, entity)
	return &full
}

func (d *Driver) readPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	if err := ctx.Err(); err != nil { // a slice of an answer needs no request that would notice
		return nil, &kedge.Error{Kind: kedge.Transient, Err: err}
	}
	r, err := d.newRead(ctx, req)
	if err != nil {
		return nil, err
	}
	var t *token
	if req.Token != "" {
		if t, err = parseToken(req.Token, r.e, req.Anchor != ""); err != nil {
			return nil, err
		}
	}
	var a *anchor
	if req.Anchor != "" {
		if a, err = parseAnchor(req.Anchor, r.e.info.Name); err != nil {
			return nil, err
		}
	}
	if t != nil && t.Offset > 0 {
		return r.rest(ctx, a, t)
	}
	b, t, err := r.batch(ctx, a, t)
	if err != nil {
		return nil, err
	}
	if len(b.records) > 0 && isETag(b.records[0].Version) {
		r.learn(ctx, func(f *finding) { f.ETag = found })
	}
	return r.slice(t, b)
}

// rest hands out more of an answer. If it is not kept any more, it is asked
// for again, and begun again unless its rows are still the same.
func (r *read) rest(ctx context.Context, a *anchor, t *token) (*connectors.Page, error) {
	if b := r.d.spilled.get(t.ID); b != nil {
		return r.slice(t, b)
	}
	offset, sum := t.Offset, t.Sum
	t.Offset, t.ID, t.Sum = 0, "", ""
	b, t, err := r.batch(ctx, a, t)
	if err != nil {
		return nil, err
	}
	if offset <= b.len() && b.sum(offset) == sum {
		t.Offset = offset
	} else {
		t.Restart++ // so that its tokens differ from those before
	}
	return r.slice(t, b)
}

func (d *Driver) newRead(ctx context.Context, req connectors.ReadRequest) (*read, error) {
	m, err := d.known(ctx)
	if err != nil {
		return nil, err
	}
	e := m.entity(req.Entity)
	if e == nil {
		return nil, &kedge.Error{Kind: kedge.NotFound, Err: errors.New("no such entity")}
	}
	r := &read{d: d, m: m, e: e, req: req, size: req.Size}
	if r.size <= 0 || r.size > e.opts.PageSize {
		r.size = e.opts.PageSize
	}
	if r.plan, err = e.plan(req.Fields, false); err != nil {
		return nil, err
	}
	if req.Filter != nil && req.Anchor == "" {
		r.push, r.exact = d.push(e, req.Filter)
	}
	return r, nil
}

// plan returns the plan of a request for fields. All pages of a read have the
// same one, so the last one is kept.
func (e *entity) plan(fields []string, delta bool) (*wire.Plan, error) {
	last := &e.lastPlan
	if delta {
		last = &e.lastDelta
	}
	if p := last.Load(); p != nil && slices.Equal(p.Fields().Names(), fields) {
		return p, nil
	}
	p, err := e.newPlan(fields, delta)
	if err == nil {
		last.Store(p)
	}
	return p, err
}

func (e *entity) newPlan(fields []string, delta bool) (*wire.Plan, error) {
	spec := wire.Spec{Set: e.info.Name, Key: e.key, Version: e.version, Delta: delta}
	for _, name := range fields {
		c, ok := e.columns[name]
		if !ok {
			return nil, &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("there is no field %q", name)}
		}
		spec.Columns = append(spec.Columns, c)
		if delta {
			spec.Navigations = append(spec.Navigations, e.navigationsOf(name)...)
		}
	}
	p, err := wire.NewPlan(spec)
	if err != nil {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: err}
	}
	return p, nil
}

// navigationsOf returns the navigations that a field depends on.
func (e *entity) navigationsOf(field string) []string {
	var names []string
	if f := e.info.Field(field); f != nil {
		for _, l := range f.Lookup {
			names = append(names, l.Navigation)
		}
	}
	return names
}

// selection adds $select and $expand for the fields, the key and the version.
// Names at the top level are valid in 4.0 too.
func (e *entity) selection(q *query, fields []string) {
	var top, navs []string
	expand := map[string][]string{}
	add := func(path string) {
		head, rest, nested := strings.Cut(path, "/")
		if !nested || e.isComplex(head) {
			if !slices.Contains(top, head) {
				top = append(top, head)
			}
			return
		}
		if expand[head] == nil {
			navs = append(navs, head)
		}
		if !slices.Contains(expand[head], rest) {
			expand[head] = append(expand[head], rest)
		}
	}
	for _, f := range fields {
		add(f)
	}
	for _, k := range e.key {
		add(k.Path)
	}
	if e.version != nil {
		add(e.version.Path)
	}
	q.add("$select", strings.Join(top, ","))
	for i, nav := range navs {
		navs[i] = nav + "($select=" + strings.Join(expand[nav], ",") + ")"
	}
	q.add("$expand", strings.Join(navs, ","))
}

// isComplex reports whether name is a complex property and not a navigation.
func (e *entity) isComplex(name string) bool {
	for i := range e.set.Navigations {
		if e.set.Navigations[i].Name == name {
			return false
		}
	}
	return true
}

// batch gets the next answer. t is nil for the first page; the token that it
// returns is that of the page it read.
func (r *read) batch(ctx context.Context, a *anchor, t *token) (*batch, *token, error) {
	switch {
	case a == nil && t == nil:
		return r.startFull(ctx)
	case t == nil:
		var err error
		if t, err = r.startIncremental(ctx, a); err != nil {
			return nil, nil, err
		}
	case a != nil && !a.begins(t, r.e):
		return nil, nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("foreign page token: it belongs to another anchor")}
	}
	b, err := r.step(ctx, a, t)
	return b, t, err
}

// step reads the page at t.
func (r *read) step(ctx context.Context, a *anchor, t *token) (*batch, error) {
	switch {
	case t.Inc && t.Mode == byDelta:
		return r.deltaPage(ctx, a, t)
	case t.Keyset:
		return r.keysetPage(ctx, a, t)
	}
	return r.serverPage(ctx, t)
}

// slice hands out as much of b as fits into a page.
func (r *read) slice(t *token, b *batch) (*connectors.Page, error) {
	n, end := r.size, 0
	if t.Offset == 0 && b.len() <= 2*r.size {
		n = b.len()
	}
	end = t.Offset + n
	p := &connectors.Page{Exact: b.exact, Approx: b.approx, Version: b.version}
	p.Records, p.Rejected = b.slice(t.Offset, n)
	next := b.next
	if end < b.len() {
		rest := *t
		rest.Offset, rest.Sum = end, b.sum(end)
		if rest.ID == "" {
			rest.ID = r.d.spilled.put(b)
		}
		next = &rest
	} else if t.ID != "" {
		r.d.spilled.drop(t.ID)
	}
	if next == nil {
		p.Anchor = b.anchor
		return p, nil
	}
	var err error
	p.Next, err = next.encode()
	return p, err
}

// fetch gets one answer with a collection.
func (r *read) fetch(ctx context.Context, c call, plan *wire.Plan) (page *wire.Page, h http.Header, err error) {
	c.op, c.entity = opReadPage, r.e.info.Name
	err = r.d.get(ctx, c, func(resp *httpclient.Response) (err error) {
		h = resp.Header
		page, err = plan.Decode(resp.Body, r.size)
		return err
	})
	return page, h, err
}

// newBatch takes the rows of an answer; of rows with the same key the last one.
func (r *read) newBatch(page *wire.Page) *batch {
	b := &batch{records: page.Records, rejected: page.Rejected, exact: r.exact && r.req.Filter != nil, version: page.Greatest}
	if len(r.e.key) > 0 {
		b.records = lastOfEach(b.records)
	}
	return b
}

// linkTo makes the token of the page behind a link of the page at base.
func (t *token) linkTo(base *url.URL, link string) (*token, error) {
	u, err := resolve(base, link)
	if err != nil {
		return nil, err
	}
	next := *t
	next.whole()
	next.Link = u.String()
	return &next, next.follow()
}
