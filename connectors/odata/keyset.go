package odata

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// order returns the columns by which the read at t is ordered.
func (e *entity) order(t *token) []wire.Column {
	if t.Inc && t.Mode == byVersion {
		return e.versionOrder()
	}
	return e.key
}

// versionOrder is the version, then the key without it.
func (e *entity) versionOrder() []wire.Column {
	order := []wire.Column{*e.version}
	for _, k := range e.key {
		if k.Path != e.version.Path {
			order = append(order, k)
		}
	}
	return order
}

func orderBy(columns []wire.Column) string {
	paths := make([]string, len(columns))
	for i, c := range columns {
		paths[i] = c.Path
	}
	return strings.Join(paths, ",")
}

// after returns the condition for the rows behind the position texts. With or,
// one condition takes all of them. Without, level tells which column must be
// greater while those before it are equal; the rows of a lower level come
// when this one is empty.
func after(columns []wire.Column, texts []string, or bool, level int) string {
	one := func(level int) string {
		var b strings.Builder
		for i := range level {
			b.WriteString(columns[i].Path + " eq " + wire.Literal(&columns[i], texts[i]) + " and ")
		}
		b.WriteString(columns[level].Path + " gt " + wire.Literal(&columns[level], texts[level]))
		return b.String()
	}
	if !or {
		return one(level)
	}
	conditions := []string{one(0)}
	for level := 1; level < len(columns); level++ {
		conditions = append(conditions, "("+one(level)+")")
	}
	return strings.Join(conditions, " or ")
}

// both joins two conditions, each of which may be "".
func both(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return "(" + a + ") and (" + b + ")"
}

// keysetCall returns the request for the page at t.
func (r *read) keysetCall(ctx context.Context, a *anchor, t *token) (call, error) {
	if t.Link != "" {
		u, err := url.Parse(t.Link)
		if err != nil {
			return call{}, &kedge.Error{Kind: kedge.Invalid, Err: err}
		}
		return call{url: u}, nil
	}
	columns := r.e.order(t)
	var q query
	r.e.selection(&q, r.req.Fields)
	condition, err := r.start(a, t)
	if err != nil {
		return call{}, err
	}
	if len(t.Texts) > 0 {
		condition = after(columns, t.Texts, *r.d.cfg.OrFilters, t.Level)
	}
	q.add("$filter", both(r.push, condition))
	q.add("$orderby", orderBy(columns))
	q.add("$top", strconv.Itoa(r.size))
	u, err := r.d.entityURL(ctx, r.e, "", &q)
	return call{url: u}, err
}

// start returns the condition of the first page.
func (r *read) start(a *anchor, t *token) (string, error) {
	if !t.Inc {
		return "", nil
	}
	return r.sinceVersion(a.W)
}

// keysetPage reads a page by $orderby and $top, behind the position in t.
func (r *read) keysetPage(ctx context.Context, a *anchor, t *token) (*batch, error) {
	c, err := r.keysetCall(ctx, a, t)
	if err != nil {
		return nil, err
	}
	page, _, err := r.fetch(ctx, c, r.plan)
	if err != nil {
		if t.Link != "" {
			err = r.expired(ctx, err)
		}
		return nil, err
	}
	b := r.newBatch(page)
	b.approx = t.Mode == byVersion
	if t.Inc && page.Greatest != "" {
		t.W = r.laterVersion(t.W, page.Greatest)
	}
	if b.next, err = r.keysetNext(t, c.url, page); err != nil || b.next != nil {
		return b, err
	}
	if t.Inc {
		b.anchor = r.versionAnchor(t.W)
		return b, nil
	}
	b.anchor, err = r.fullAnchor(ctx, t, c.url, "")
	return b, err
}

// keysetNext returns the token of the page behind page, or nil. Next links are
// followed only from an empty page: some services send one although $top is met.
func (r *read) keysetNext(t *token, base *url.URL, page *wire.Page) (*token, error) {
	if page.Rows == 0 && page.NextLink != "" {
		return t.linkTo(base, page.NextLink)
	}
	next := *t
	next.whole()
	next.Link, next.Mark, next.Pages = "", "", 0
	or := *r.d.cfg.OrFilters
	if page.Rows == 0 || page.Rows < r.size && page.NextLink == "" && t.Link == "" {
		if or || t.Level == 0 {
			return nil, nil
		}
		next.Level-- // what is equal in one column less
		return &next, nil
	}
	texts := page.Last.Key
	if t.Inc {
		texts = r.e.versionTexts(page.Last)
	}
	if slices.Equal(texts, t.Texts) || t.Inc && texts[0] == "" || !slices.ContainsFunc(texts, func(s string) bool { return s != "" }) {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("the rows of a page do not come in the order that was asked for")}
	}
	if next.Texts = texts; !or {
		next.Level = len(texts) - 1
	}
	return &next, nil
}

// versionTexts is the position of a row in the order of [entity.versionOrder].
func (e *entity) versionTexts(p wire.Position) []string {
	texts := []string{p.Version}
	for i, k := range e.key {
		if k.Path != e.version.Path {
			texts = append(texts, p.Key[i])
		}
	}
	return texts
}
