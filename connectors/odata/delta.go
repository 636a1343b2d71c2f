package odata

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/kedge-sync/kedge"
)

// deltaAnchor returns the anchor for a delta link.
func (r *read) deltaAnchor(base *url.URL, link string) (kedge.Anchor, error) {
	u, err := resolve(base, link)
	if err != nil {
		return "", err
	}
	a := anchor{Mode: byDelta, Entity: r.e.info.Name, Link: u.String()}
	return a.encode(), nil
}

// deltaPage reads a page of changes. Nothing is added to the link, whose
// query is the service's own; only the link on the last page counts.
func (r *read) deltaPage(ctx context.Context, a *anchor, t *token) (*batch, error) {
	u, err := url.Parse(t.Link)
	if err != nil {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("foreign anchor: its link is not a URL")}
	}
	plan, err := r.e.plan(r.req.Fields, true)
	if err != nil {
		return nil, err
	}
	page, _, err := r.fetch(ctx, call{url: u, pageSize: r.size, track: !r.d.preset.deltaFunction}, plan)
	if err != nil {
		return nil, r.expired(ctx, err)
	}
	if page.Reread != nil {
		rows, err := r.reread(ctx, page.Reread)
		if err != nil {
			return nil, err
		}
		page.Records = append(page.Records, rows...)
	}
	b := r.newBatch(page)
	if page.NextLink != "" {
		b.next, err = t.linkTo(u, page.NextLink)
		return b, err
	}
	if page.DeltaLink == "" {
		return nil, &kedge.Error{Kind: kedge.AnchorExpired, Err: errors.New("the service answered without a new delta link")}
	}
	b.anchor, err = r.deltaAnchor(u, page.DeltaLink)
	return b, err
}

// reread reads the rows whose links have changed.
func (r *read) reread(ctx context.Context, keys []kedge.Key) ([]kedge.Record, error) {
	slices.Sort(keys)
	found, err := r.d.ReadKeys(ctx, r.e.info.Name, r.req.Fields, slices.Compact(keys))
	if err != nil {
		return nil, err
	}
	var rows []kedge.Record
	for _, f := range found {
		if f.OK { // else its deletion comes by itself
			rows = append(rows, f.Record)
		}
	}
	return rows, nil
}

// expiredCodes are the error codes of services that have forgotten a link
// (Microsoft Graph, "Use delta query"; OneDrive and SharePoint, "delta").
var expiredCodes = []string{
	"syncStateNotFound", "syncStateInvalid", "resyncRequired", "resyncApplyDifferences", "resyncUploadDifferences",
}

// expired tells whether err means that the service does not know a link any
// more. Some statuses can mean that or something else: then the link is to
// blame if the set itself can be read.
func (r *read) expired(ctx context.Context, err error) error {
	status, code := statusOf(err), codeOf(err)
	gone := &kedge.Error{Kind: kedge.AnchorExpired, Err: errors.New("the service does not know the link any more: " + causeText(err))}
	if code != "" && (slices.Contains(expiredCodes, code) || slices.Contains(r.d.cfg.AnchorExpiredCodes, code)) {
		return gone
	}
	switch status {
	case http.StatusGone:
		return gone
	case http.StatusBadRequest, http.StatusNotFound, http.StatusNotImplemented, http.StatusInternalServerError:
		if _, e := r.ask(ctx, "", "", 1); e == nil {
			return gone
		}
	}
	return err
}
