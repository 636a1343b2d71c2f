package conntest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// maxPages is how many pages a read of the kit can have before it is said not
// to end; the largest has some 300 records.
const maxPages = 2000

// A history is what one read delivered.
type history struct {
	pages  []*connectors.Page
	last   map[kedge.Key]kedge.Record // the last word about each key
	anchor kedge.Anchor
	approx bool
}

// request is a request for all fields of widgets, in pages of size.
func request(size int, from kedge.Anchor) connectors.ReadRequest {
	return connectors.ReadRequest{Entity: Widgets.Name, Fields: widgetFields.Names(), Anchor: from, Size: size}
}

// read follows a read from req.Token to its last page. It calls between, if
// not nil, after each page that has a next one, with the number of pages so far.
func read(ctx context.Context, d connectors.Driver, req connectors.ReadRequest, between func(pages int) error) (*history, error) {
	h := &history{last: map[kedge.Key]kedge.Record{}}
	for {
		page, err := d.ReadPage(ctx, req)
		if err != nil {
			return h, fmt.Errorf("ReadPage of page %d: %w", len(h.pages)+1, err)
		}
		if err := h.add(page); err != nil {
			return h, err
		}
		if page.Next == "" {
			return h, nil
		}
		if page.Next == req.Token || len(h.pages) > maxPages {
			return h, errors.New("the read does not end: the token repeats, or there are too many pages")
		}
		req.Token = page.Next
		if between != nil {
			if err := between(len(h.pages)); err != nil {
				return h, err
			}
		}
	}
}

func (h *history) add(p *connectors.Page) error {
	if p == nil {
		return errors.New("ReadPage returned neither a page nor an error")
	}
	if len(p.Rejected) > 0 {
		return fmt.Errorf("a page has %d rejected records, want none: field %s: %w", len(p.Rejected), p.Rejected[0].Field, p.Rejected[0].Err)
	}
	h.pages = append(h.pages, p)
	for _, r := range p.Records {
		h.last[r.Key] = r
	}
	h.anchor, h.approx = p.Anchor, p.Approx
	return nil
}

// keys returns the keys of the records that were live in their last word, sorted.
func (h *history) keys() []kedge.Key { return h.where(kedge.Live) }

// removed returns the keys of the records that were deleted in their last word, sorted.
func (h *history) removed() []kedge.Key { return h.where(kedge.Deleted) }

func (h *history) where(state kedge.Removal) []kedge.Key {
	var keys []kedge.Key
	for k, r := range h.last {
		if r.Removed == state {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// readAll reads widgets with the first driver in pages of 10.
func (e *env) readAll(ctx context.Context, from kedge.Anchor) (*history, error) {
	return read(ctx, e.driver(), request(10, from), nil)
}

// start puts records and returns the anchor from which to look for changes.
func (e *env) start(ctx context.Context, records ...kedge.Record) (kedge.Anchor, error) {
	if err := e.put(ctx, records...); err != nil {
		return "", err
	}
	h, err := e.readAll(ctx, "")
	if err == nil && h.anchor == "" {
		err = errors.New("the full read of an entity with Delta ended without an anchor")
	}
	return h.anchor, err
}

// wantKeys compares sets of keys. Keys of the kit are no personal data.
func wantKeys(what string, got, want []kedge.Key) error {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if slices.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("%s: got %d keys, want %d; not delivered: %q; delivered but not wanted: %q",
		what, len(got), len(want), without(want, got), without(got, want))
}

// wantAtLeast is wantKeys, but more keys than want are fine.
func wantAtLeast(what string, got, want []kedge.Key) error {
	if lost := without(want, got); len(lost) > 0 {
		return fmt.Errorf("%s: not delivered: %q", what, lost)
	}
	return nil
}

// without returns at most 5 of the keys of a that are not in b.
func without(a, b []kedge.Key) []kedge.Key {
	var keys []kedge.Key
	for _, k := range a {
		if !slices.Contains(b, k) && len(keys) < 5 {
			keys = append(keys, k)
		}
	}
	return keys
}

func keysOf(records []kedge.Record) []kedge.Key {
	keys := make([]kedge.Key, len(records))
	for i, r := range records {
		keys[i] = r.Key
	}
	return keys
}

// wantKind checks the kind of an error that a call must return.
func wantKind(what string, err error, want kedge.Kind) error {
	if err == nil {
		return fmt.Errorf("%s: got no error, want kind %v", what, want)
	}
	if got := kedge.KindOf(err); got != want {
		return fmt.Errorf("%s: got kind %v (%w), want %v", what, got, err, want)
	}
	return nil
}
