package syncer

import (
	"context"
	"iter"
	"time"

	"github.com/kedge-sync/kedge/connectors"
)

// batches gathers the pages of a read into batches, in a goroutine of its own
// that ends with the loop, so that pages are fetched while others are stored.
// Pages that came before an error are delivered before it.
func (e *entity) batches(ctx context.Context, req connectors.ReadRequest) iter.Seq2[*batch, error] {
	type result struct {
		b   *batch
		err error
	}
	return func(yield func(*batch, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		ready := make(chan result)
		go func() {
			defer close(ready)
			for b, err := range e.gather(ctx, req) {
				select {
				case ready <- result{b, err}:
				case <-ctx.Done():
					if err == nil {
						return
					}
				}
			}
		}()
		defer func() {
			cancel()
			for range ready { // the goroutine has ended when ready is closed
			}
		}()
		for r := range ready {
			if !yield(r.b, r.err) || r.err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

func (e *entity) gather(ctx context.Context, req connectors.ReadRequest) iter.Seq2[*batch, error] {
	return func(yield func(*batch, error) bool) {
		b, since := new(batch), time.Time{}
		for page, err := range e.run.ext.Pages(ctx, req) {
			if err != nil {
				if b.next != "" && !yield(b, nil) {
					return
				}
				yield(nil, err)
				return
			}
			if b.next == "" {
				since = e.run.s.now()
			}
			b.add(page)
			full := len(b.records) >= e.run.s.limits.CommitRows || b.bytes >= commitBytes || e.run.s.now().Sub(since) >= commitAfter
			if !full && !b.last {
				continue
			}
			if last := b.last; !yield(b, nil) || last {
				return
			}
			b = new(batch)
		}
	}
}

func (b *batch) add(page *connectors.Page) {
	if page.Exact && b.exact == len(b.records) {
		b.exact += len(page.Records)
	}
	for range page.Rejected {
		b.before = append(b.before, len(b.records))
	}
	if b.records == nil && page.Next == "" {
		b.records = page.Records
	} else {
		b.records = append(b.records, page.Records...)
	}
	b.rejected = append(b.rejected, page.Rejected...)
	b.next, b.anchor, b.last = page.Next, page.Anchor, page.Next == ""
	b.total = max(b.total, page.Total)
	for i := range page.Records {
		for _, v := range page.Records[i].Values {
			b.bytes += len(v.Str()) + 8
		}
	}
}
