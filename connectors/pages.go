package connectors

import (
	"context"
	"iter"

	"github.com/kedge-sync/kedge"
)

const opPages = "connectors.Pages"

// Pages yields the pages of one read, from req.Token on, reading ahead in one
// goroutine that ends with the loop. After an error it yields nothing more.
// A req.Size of 0 means Options.PageSize; no size is above Entity.PageMax.
func (c *Conn) Pages(ctx context.Context, req ReadRequest) iter.Seq2[*Page, error] {
	return func(yield func(*Page, error) bool) {
		entity, err := c.entity(ctx, opPages, req.Entity)
		if err != nil {
			yield(nil, err)
			return
		}
		if req.Size <= 0 {
			req.Size = c.opts.PageSize
		}
		if entity.PageMax > 0 {
			req.Size = min(req.Size, entity.PageMax)
		}
		check := newPageChecker(opPages, req, len(entity.Key) > 0)
		if c.opts.ReadAhead < 0 {
			c.readPages(ctx, check, yield)
		} else {
			c.readAhead(ctx, check, yield)
		}
	}
}

// readPages gives the pages to yield until the last one, an error, or until
// yield returns false.
func (c *Conn) readPages(ctx context.Context, check *pageChecker, yield func(*Page, error) bool) {
	for {
		page, err := c.readPage(ctx, check)
		if err != nil {
			yield(nil, err)
			return
		}
		if !yield(page, nil) || page.Next == "" {
			return
		}
	}
}

func (c *Conn) readPage(ctx context.Context, check *pageChecker) (page *Page, err error) {
	err = c.call(ctx, opPages, check.req.Entity, kedge.Transient, func(ctx context.Context) (err error) {
		page, err = c.driver.ReadPage(ctx, check.req)
		return err
	})
	if err == nil {
		err = check.page(page)
	}
	return page, err
}

// readAhead is readPages with the driver in a goroutine of its own. That
// goroutine holds one page and the channel the others, so that at most
// ReadAhead pages wait while the caller works on one.
func (c *Conn) readAhead(ctx context.Context, check *pageChecker, yield func(*Page, error) bool) {
	type answer struct {
		page *Page
		err  error
	}
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan answer, c.opts.ReadAhead-1)
	go func() {
		defer close(answers)
		c.readPages(ctx, check, func(p *Page, err error) bool {
			select {
			case answers <- answer{p, err}:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	defer func() { // the goroutine has ended when the loop has
		cancel()
		for range answers {
		}
	}()
	for a := range answers {
		if !yield(a.page, a.err) || a.err != nil || a.page.Next == "" {
			return
		}
	}
	// The caller's context ended while a page was handed over. A read that was
	// cut must not look complete.
	yield(nil, canceled(opPages, check.req.Entity, caller.Err()))
}
