package odata

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// firstPage returns the request for the first page of a full read that
// follows the server's links.
func (r *read) firstPage(ctx context.Context, t *token) (call, error) {
	c := call{pageSize: r.size, track: t.Mode == byDelta && !r.d.preset.deltaFunction}
	var q query
	r.e.selection(&q, r.req.Fields)
	tail := ""
	if t.Mode == byDelta {
		if r.d.preset.deltaFunction {
			tail = "/delta()"
		}
	} else {
		q.add("$filter", r.push)
	}
	var err error
	c.url, err = r.d.entityURL(ctx, r.e, tail, &q)
	return c, err
}

// serverCall returns the request for the page at t.
func (r *read) serverCall(ctx context.Context, t *token) (call, error) {
	if t.Link == "" {
		return r.firstPage(ctx, t)
	}
	u, err := url.Parse(t.Link)
	if err != nil {
		return call{}, &kedge.Error{Kind: kedge.Invalid, Err: err}
	}
	return call{url: u, pageSize: r.size, track: t.Mode == byDelta && !r.d.preset.deltaFunction}, nil
}

// serverPage reads a page of a full read that follows the server's links.
func (r *read) serverPage(ctx context.Context, t *token) (*batch, error) {
	b, _, _, err := r.serverAnswer(ctx, t)
	return b, err
}

// serverAnswer is serverPage with the answer that it is made of.
func (r *read) serverAnswer(ctx context.Context, t *token) (*batch, *wire.Page, http.Header, error) {
	c, err := r.serverCall(ctx, t)
	if err != nil {
		return nil, nil, nil, err
	}
	page, h, err := r.fetch(ctx, c, r.plan)
	if err != nil {
		if t.Link != "" {
			err = r.expired(ctx, err)
		}
		return nil, nil, nil, err
	}
	b := r.newBatch(page)
	b.approx = t.Mode == byVersion
	if t.Mode == byDelta {
		b.exact = false // the filter was not sent
	}
	if page.NextLink != "" {
		b.next, err = t.linkTo(c.url, page.NextLink)
		return b, page, h, err
	}
	b.anchor, err = r.fullAnchor(ctx, t, c.url, page.DeltaLink)
	return b, page, h, err
}

// tracksChanges reports whether the answer says that changes are tracked.
func tracksChanges(h http.Header) bool {
	return strings.Contains(strings.ToLower(strings.Join(h.Values("Preference-Applied"), ",")), "track-changes")
}

// fullAnchor returns the anchor at the end of a full read, "" if changes cannot
// be found in another way than by the next one.
func (r *read) fullAnchor(ctx context.Context, t *token, base *url.URL, deltaLink string) (kedge.Anchor, error) {
	switch t.Mode {
	case byVersion:
		return r.versionAnchor(t.W), nil
	case byDelta:
		if deltaLink != "" {
			r.learn(ctx, func(f *finding) { f.Delta = found })
			return r.deltaAnchor(base, deltaLink)
		}
		return r.noDelta(ctx)
	}
	return "", nil
}

// learn stores what was found about the entity.
func (r *read) learn(ctx context.Context, change func(*finding)) {
	r.d.findings.update(ctx, r.m.model.Hash, r.e.info.Name, r.d.env.Now(), change)
}

// finding returns what is known about the entity.
func (r *read) finding(ctx context.Context) finding {
	return r.d.findings.get(ctx, r.m.model.Hash, r.e.info.Name, r.d.env.Now())
}
