package odata

import (
	"context"
	"errors"
	"net/http"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// startFull settles how a full read is done and reads its first page. The
// anchor for what changes meanwhile is fixed before the first row is read.
func (r *read) startFull(ctx context.Context) (*batch, *token, error) {
	f := r.finding(ctx)
	mode, _ := r.e.mode(f)
	if mode == auto || mode == byDelta && f.Delta != found {
		return r.startTracked(ctx)
	}
	t := &token{Entity: r.e.info.Name, Mode: mode}
	if mode == byVersion {
		w, ok, err := r.handoff(ctx, f)
		if err != nil {
			return nil, nil, err
		}
		if t.W = w; !ok {
			t.Mode = byFull
		}
	}
	if t.Mode != byDelta {
		var err error
		if t.Keyset, err = r.byKeys(ctx, f); err != nil {
			return nil, nil, err
		}
	}
	b, err := r.step(ctx, nil, t)
	return b, t, err
}

// handoff returns the greatest version there is, after the filter on it was
// tested. ok is false if the test failed and another way may be taken.
func (r *read) handoff(ctx context.Context, f finding) (w string, ok bool, err error) {
	newest, err := r.newest(ctx)
	if err != nil || newest.Version == "" {
		return "", true, err
	}
	if f.Watermark == found {
		return newest.Version, true, nil
	}
	why, newest, err := r.testVersion(ctx, newest)
	switch {
	case err != nil:
		return "", false, err
	case why == "":
		r.learn(ctx, func(f *finding) { f.Watermark, f.WatermarkWhy = found, "" })
		return newest.Version, true, nil
	case r.e.opts.Tracking == byVersion:
		return "", false, &kedge.Error{Kind: kedge.Invalid, Err: errors.New(why)}
	}
	r.learn(ctx, func(f *finding) { f.Watermark, f.WatermarkWhy = failed, why })
	return "", false, nil
}

// startTracked reads the first page with change tracking, and finds out whether
// the service has it. If not, the read begins again in another way.
func (r *read) startTracked(ctx context.Context) (*batch, *token, error) {
	t := &token{Entity: r.e.info.Name, Mode: byDelta}
	b, page, h, err := r.serverAnswer(ctx, t)
	ok := false
	switch {
	case err == nil:
		ok, err = r.tracked(ctx, page, h)
	case refused(err) && r.e.opts.Tracking == auto:
		err = nil
	}
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		r.learn(ctx, func(f *finding) { f.Delta = failed })
		if r.e.opts.Tracking == byDelta {
			return nil, nil, errNoDelta()
		}
		return r.startFull(ctx)
	}
	r.learn(ctx, func(f *finding) { f.Delta = found })
	return b, t, nil
}

func errNoDelta() error {
	return &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("the service gave no delta link; use another tracking")}
}

// refused reports whether the service understood a request and will not do it.
func refused(err error) bool {
	switch statusOf(err) {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return true
	}
	return false
}

// noDelta tells what follows if the last page has no delta link, although it
// was expected: without a choice an error, else no anchor, so that the next read
// is a full one in another way.
func (r *read) noDelta(ctx context.Context) (kedge.Anchor, error) {
	r.learn(ctx, func(f *finding) { f.Delta = failed })
	if r.e.opts.Tracking == byDelta {
		return "", errNoDelta()
	}
	return "", nil
}

// tracked tells from the first page of a tracked read whether there will be a
// delta link on the last one. In doubt it asks for one row with tracking.
func (r *read) tracked(ctx context.Context, page *wire.Page, h http.Header) (bool, error) {
	switch {
	case page.DeltaLink != "" || r.d.preset.bareDelta || tracksChanges(h):
		return true, nil
	case page.NextLink == "":
		return false, nil
	case page.Last.Key[0] == "": // an empty page: nothing to ask by
		return true, nil
	}
	var q query
	q.add("$select", orderBy(r.e.key))
	q.add("$filter", equals(r.e.key, page.Last.Key))
	u, err := r.d.entityURL(ctx, r.e, "", &q)
	if err != nil {
		return false, err
	}
	plan, err := r.e.plan(nil, false)
	if err != nil {
		return false, err
	}
	for range 5 { // a few empty pages may come first
		one, _, err := r.fetch(ctx, call{url: u, track: true}, plan)
		switch {
		case refused(err):
			return false, nil
		case err != nil || one.NextLink == "":
			return err == nil && one.DeltaLink != "", err
		}
		if u, err = resolve(u, one.NextLink); err != nil {
			return false, err
		}
	}
	return false, nil
}
