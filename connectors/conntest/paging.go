package conntest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
)

var pagingChecks = []check{
	{"paging/Empty", pagingCount(0)},
	{"paging/One", pagingCount(1)},
	{"paging/ExactPage", pagingCount(10)},
	{"paging/OnePast", pagingCount(11)},
	{"paging/Many", pagingCount(257)},
	{"paging/EmptyMiddle", pagingEmptyMiddle},
	{"paging/NoDuplicateInPage", pagingNoDuplicateInPage},
	{"paging/ForeignToken", pagingForeignToken},
	{"paging/TokenInNewDriver", pagingTokenInNewDriver},
	{"paging/ResumeAtEveryPage", pagingResumeAtEveryPage},
}

// pagingCount reads n records in pages of 10.
func pagingCount(n int) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		records := widgets(1, n)
		if n > 0 {
			if err := e.put(ctx, records...); err != nil {
				return err
			}
		}
		h, err := e.readAll(ctx, "")
		if err != nil {
			return err
		}
		if err := wellFormed(h.pages, 10); err != nil {
			return err
		}
		return wantKeys(fmt.Sprintf("full read of %d records in pages of 10", n), h.keys(), keysOf(records))
	}
}

// wellFormed checks what must be true of the pages of every read.
func wellFormed(pages []*connectors.Page, size int) error {
	for i, p := range pages {
		if len(p.Records) > 2*size {
			return fmt.Errorf("page %d has %d records, want at most twice %d", i+1, len(p.Records), size)
		}
		if p.Next != "" && p.Anchor != "" {
			return fmt.Errorf("page %d has an anchor but is not the last", i+1)
		}
		if len(p.Next) > connectors.MaxToken {
			return fmt.Errorf("the token of page %d has %d bytes, want at most %d", i+1, len(p.Next), connectors.MaxToken)
		}
	}
	return nil
}

// pagingEmptyMiddle makes pages in the middle empty: by a filter that matches
// at both ends only, and by deleting the middle while it is read.
func pagingEmptyMiddle(ctx context.Context, e *env) error {
	records := widgets(1, 60)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	ent, err := e.entity(ctx, Widgets.Name)
	if err != nil {
		return err
	}
	expr, err := bound(ent, "int le 5 or int gt 55")
	if err != nil {
		return err
	}
	req := request(10, "")
	req.Filter = expr
	ends := append(keysOf(records[:5]), keysOf(records[55:])...)
	h, err := read(ctx, e.driver(), req, nil)
	if err != nil {
		return err
	}
	got, err := h.matching(expr)
	if err != nil {
		return err
	}
	if err := wantKeys("filtered read of the first and last 5 of 60", got, ends); err != nil {
		return err
	}
	h, err = read(ctx, e.driver(), request(10, ""), func(pages int) error {
		if pages > 1 {
			return nil
		}
		return e.delete(ctx, keysOf(records[20:50])...)
	})
	if err != nil {
		return err
	}
	left := append(keysOf(records[:20]), keysOf(records[50:])...)
	return wantAtLeast("full read of 60 while 30 were deleted", h.keys(), left)
}

// bound returns src as a filter of ent.
func bound(ent *kedge.Entity, src string) (*filter.Expr, error) {
	expr, err := filter.Parse(src)
	if err != nil {
		return nil, err
	}
	return expr.Bind(ent, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
}

// matching returns the keys of the records that pass expr: all of a page that
// says it is exact.
func (h *history) matching(expr *filter.Expr) ([]kedge.Key, error) {
	var keys []kedge.Key
	for _, p := range h.pages {
		for _, r := range p.Records {
			truth := filter.Yes
			if !p.Exact {
				var err error
				if truth, err = expr.Match(&r); err != nil {
					return nil, err
				}
			}
			if truth == filter.Yes {
				keys = append(keys, r.Key)
			}
		}
	}
	return keys, nil
}

func pagingNoDuplicateInPage(ctx context.Context, e *env) error {
	ent, err := e.entity(ctx, Widgets.Name)
	if err != nil {
		return err
	}
	full, err := e.startAnywhere(ctx, widgets(1, 30)...)
	if err != nil {
		return err
	}
	if err := distinct(full); err != nil || !ent.Delta {
		return err
	}
	for range 3 { // several writes of one record between two reads
		if err := e.put(ctx, widgets(1, 5)...); err != nil {
			return err
		}
	}
	delta, err := e.readAll(ctx, full.anchor)
	if err != nil {
		return err
	}
	return distinct(delta)
}

// startAnywhere is start for systems with and without deltas.
func (e *env) startAnywhere(ctx context.Context, records ...kedge.Record) (*history, error) {
	if err := e.put(ctx, records...); err != nil {
		return nil, err
	}
	return e.readAll(ctx, "")
}

func distinct(h *history) error {
	for i, p := range h.pages {
		seen := map[kedge.Key]bool{}
		for _, r := range p.Records {
			if r.Key == "" {
				return fmt.Errorf("page %d has a record without key", i+1)
			}
			if seen[r.Key] {
				return fmt.Errorf("page %d has the key %q twice", i+1, r.Key)
			}
			seen[r.Key] = true
		}
	}
	return nil
}

// firstToken puts 30 widgets and returns the token of the second page.
func (e *env) firstToken(ctx context.Context) (connectors.Token, error) {
	if err := e.put(ctx, widgets(1, 30)...); err != nil {
		return "", err
	}
	page, err := e.driver().ReadPage(ctx, request(10, ""))
	if err == nil && page.Next == "" {
		err = errors.New("a read of 30 records in pages of 10 has one page")
	}
	if err != nil {
		return "", err
	}
	return page.Next, nil
}

func pagingForeignToken(ctx context.Context, e *env) error {
	token, err := e.firstToken(ctx)
	if err != nil {
		return err
	}
	parts := connectors.ReadRequest{Entity: Parts.Name, Fields: partFields.Names(), Size: 10, Token: token}
	_, err = e.driver().ReadPage(ctx, parts)
	if err := wantKind("ReadPage of parts with a token of widgets", err, kedge.Invalid); err != nil {
		return err
	}
	for _, text := range []connectors.Token{"x", "e30", "!\x00'\";", "bm9uc2Vuc2U"} {
		req := request(10, "")
		req.Token = text
		_, err = e.driver().ReadPage(ctx, req)
		if err := wantKind("ReadPage with a token that is no token", err, kedge.Invalid); err != nil {
			return err
		}
	}
	return nil
}

func pagingTokenInNewDriver(ctx context.Context, e *env) error {
	token, err := e.firstToken(ctx)
	if err != nil {
		return err
	}
	first, err := e.driver().ReadPage(ctx, request(10, ""))
	if err != nil {
		return err
	}
	req := request(10, "")
	req.Token = token
	h, err := read(ctx, e.another(), req, nil)
	if err != nil {
		return fmt.Errorf("with a new driver: %w", err)
	}
	for _, r := range first.Records {
		h.last[r.Key] = r
	}
	return wantKeys("first page, and the others with a new driver", h.keys(), keysOf(widgets(1, 30)))
}

// pagingResumeAtEveryPage reads on from every page as another process would.
func pagingResumeAtEveryPage(ctx context.Context, e *env) error {
	records := widgets(1, 45)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	whole, err := read(ctx, e.driver(), request(7, ""), nil)
	if err != nil {
		return err
	}
	seen := map[kedge.Key]bool{}
	for i, p := range whole.pages {
		for _, r := range p.Records {
			seen[r.Key] = true
		}
		if p.Next == "" {
			return nil
		}
		req := request(7, "")
		req.Token = p.Next
		rest, err := read(ctx, e.another(), req, nil)
		if err != nil {
			return fmt.Errorf("resumed after page %d: %w", i+1, err)
		}
		var want []kedge.Key
		for _, k := range keysOf(records) {
			if !seen[k] {
				want = append(want, k)
			}
		}
		if err := wantAtLeast(fmt.Sprintf("resumed after page %d", i+1), rest.keys(), want); err != nil {
			return err
		}
		if (rest.anchor == "") != (whole.anchor == "") {
			return fmt.Errorf("resumed after page %d: anchor present %v, want %v", i+1, rest.anchor != "", whole.anchor != "")
		}
	}
	return nil
}
