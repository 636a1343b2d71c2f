package syncer

import (
	"context"
	"iter"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A chunk is some whole pages of a read.
type chunk struct {
	records  []kedge.Record
	exact    int // records[:exact] are known to pass the filter
	rejected []connectors.BadRecord
	before   []int            // rejected[i] came after records[:before[i]]
	next     connectors.Token // where to go on
	anchor   kedge.Anchor     // of the last page
	last     bool
	total    int64
	version  string // greatest, where the source tells it
	bytes    int
	since    time.Time // when the first page came
}

// chunksPerCommit is how many chunks make a full batch. Few rows a chunk need
// less memory in a read that meets almost only what it knows.
const chunksPerCommit = 4

// chunks gathers the pages of a read, in a goroutine of its own
// that ends with the loop, so that pages are fetched while others are stored.
// Pages that came before an error are delivered before it.
func (e *entity) chunks(ctx context.Context, req connectors.ReadRequest) iter.Seq2[*chunk, error] {
	type result struct {
		c   *chunk
		err error
	}
	return func(yield func(*chunk, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		ready := make(chan result, chunksPerCommit/2)
		go func() {
			defer close(ready)
			for c, err := range e.gather(ctx, req) {
				select {
				case ready <- result{c, err}:
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
			if !yield(r.c, r.err) || r.err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

func (e *entity) gather(ctx context.Context, req connectors.ReadRequest) iter.Seq2[*chunk, error] {
	return func(yield func(*chunk, error) bool) {
		limits := e.run.s.limits
		c := new(chunk)
		for page, err := range e.run.ext.Pages(ctx, req) {
			if err != nil {
				if c.next != "" && !yield(c, nil) {
					return
				}
				yield(nil, err)
				return
			}
			if c.next == "" {
				c.since = e.run.s.now()
			}
			c.add(page)
			full := len(c.records) >= limits.CommitRows/chunksPerCommit || c.bytes >= commitBytes/chunksPerCommit ||
				e.run.s.now().Sub(c.since) >= commitAfter
			if !full && !c.last {
				continue
			}
			if last := c.last; !yield(c, nil) || last {
				return
			}
			c = new(chunk)
		}
	}
}

func (c *chunk) add(page *connectors.Page) {
	if page.Exact && c.exact == len(c.records) {
		c.exact += len(page.Records)
	}
	for range page.Rejected {
		c.before = append(c.before, len(c.records))
	}
	if c.records == nil && page.Next == "" {
		c.records = page.Records
	} else {
		c.records = append(c.records, page.Records...)
	}
	c.rejected = append(c.rejected, page.Rejected...)
	c.next, c.anchor, c.last = page.Next, page.Anchor, page.Next == ""
	c.total = max(c.total, page.Total)
	c.version = laterVersion(c.version, page.Version)
	for i := range page.Records {
		c.bytes += textBytes(page.Records[i].Values)
	}
}

// textBytes is about what the values of a record weigh.
func textBytes(values []kedge.Value) int {
	n := 8 * len(values)
	for i := range values {
		n += len(values[i].Str())
	}
	return n
}
