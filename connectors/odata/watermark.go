package odata

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// versionAnchor returns the anchor for the version w, as the server sent it.
func (r *read) versionAnchor(w string) kedge.Anchor {
	a := anchor{Mode: versionMode(r.e.version), Entity: r.e.info.Name, Field: r.e.version.Path, W: w}
	return a.encode()
}

func versionMode(c *wire.Column) string {
	if c.Type == kedge.TypeInt {
		return "int"
	}
	return "time"
}

// startIncremental returns the token of the first page behind the anchor.
func (r *read) startIncremental(ctx context.Context, a *anchor) (*token, error) {
	t := &token{Entity: r.e.info.Name, Inc: true}
	gone := func(why string) (*token, error) {
		return nil, &kedge.Error{Kind: kedge.AnchorExpired, Err: errors.New(why)}
	}
	tracking := r.e.opts.Tracking
	f := r.finding(ctx)
	switch a.Mode {
	case byDelta:
		if tracking != byDelta && tracking != auto {
			return gone("the anchor is a delta link, and changes are not found by delta links any more")
		}
		t.Mode, t.Link = byDelta, a.Link
		return t, nil
	case "int", "time":
		switch {
		case r.e.version == nil || r.e.version.Path != a.Field || versionMode(r.e.version) != a.Mode:
			return gone("the anchor is of another version field")
		case tracking != byVersion && tracking != auto, tracking == auto && (f.Delta == found || f.Watermark == failed):
			return gone("changes are not found by the version field any more")
		}
		t.Mode, t.Keyset, t.W = byVersion, true, a.W
		return t, nil
	}
	return gone("changes cannot be found in another way than by a full read")
}

// sinceVersion returns the condition for the rows since version w, less the
// overlap: rows can be committed later than their version was given out.
func (r *read) sinceVersion(w string) (string, error) {
	c := r.e.version
	if w == "" { // there was no row
		return c.Path + " ne null", nil
	}
	v, ok := wire.ParseLiteral(c, w)
	if !ok {
		return "", &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("foreign anchor: its version does not fit %s", c.Path)}
	}
	if c.Type == kedge.TypeInt {
		if overlap := r.overlapVersions(); overlap > 0 {
			n := int64(math.MinInt64)
			if v.Int() >= math.MinInt64+overlap {
				n = v.Int() - overlap
			}
			w = strconv.FormatInt(n, 10)
		}
		return c.Path + " gt " + w, nil
	}
	overlap := defaultOverlap
	if o := r.e.opts.Overlap; o != nil {
		overlap = time.Duration(*o)
	}
	if overlap > 0 {
		from := v.Time().Add(-overlap)
		if from.Year() < 1 {
			return c.Path + " ne null", nil
		}
		w = kedge.Time(from).Text()
	}
	return c.Path + " ge " + w, nil
}

func (r *read) overlapVersions() int64 {
	if o := r.e.opts.OverlapVersions; o != nil {
		return *o
	}
	return defaultOverlapVersions
}

// laterVersion returns the greater of two versions, as the server sent them.
func (r *read) laterVersion(a, b string) string {
	x, ok := wire.ParseLiteral(r.e.version, a)
	if !ok {
		return b
	}
	y, ok := wire.ParseLiteral(r.e.version, b)
	if c, comparable := kedge.Compare(x, y); ok && comparable && c < 0 {
		return b
	}
	return a
}
