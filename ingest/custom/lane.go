package custom

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// A request is a push that waits for its answer.
type request struct {
	*Push
	elements []element // of events and bulks, in payload order
	size     int       // bytes, for the limits of the queue
	replayed bool      // answered from ingest_idempotency
	done     chan struct{}
	result   *Result
	err      error
}

// alone tells whether the request needs a transaction of its own: bulks,
// because they read their scope, and dry runs, because they are rolled back.
func (r *request) alone() bool { return r.Op == Bulk || r.DryRun }

// A lane stores requests one transaction after the other. It has a goroutine
// only while something waits.
type lane struct {
	c *Custom

	mu      sync.Mutex
	queue   []*request
	running bool

	same bool // most events of the last batch changed nothing
}

// load is what waits in all lanes.
type load struct {
	mu    sync.Mutex
	n     int
	bytes int
}

func (l *load) add(size int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n >= maxQueued || l.bytes+size > maxQueuedBytes {
		return false
	}
	l.n++
	l.bytes += size
	return true
}

func (l *load) remove(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n--
	l.bytes -= size
}

// store queues r and waits until it is stored or refused, also if the sender
// does not wait any more: what it sent is then stored all the same.
func (c *Custom) storeRequest(r *request) (*Result, error) {
	if !c.load.add(r.size) {
		return nil, busy("too much waits to be stored; send it again")
	}
	c.opts.Queued(1)
	defer func() {
		c.load.remove(r.size)
		c.opts.Queued(-1)
	}()
	r.done = make(chan struct{})
	l := c.lanes[int(r.Table.No)%len(c.lanes)]
	l.mu.Lock()
	l.queue = append(l.queue, r)
	if !l.running {
		l.running = true
		go l.run()
	}
	l.mu.Unlock()
	<-r.done
	return r.result, r.err
}

// run stores what waits, until nothing does.
func (l *lane) run() {
	for {
		batch := l.take()
		if batch == nil {
			return
		}
		if l.same {
			batch = l.c.answerSame(context.Background(), batch)
		}
		if len(batch) > 0 {
			l.c.commit(context.Background(), batch)
			l.same = mostlySame(batch)
		}
	}
}

// mostlySame tells whether most requests of a batch were events that changed
// nothing.
func mostlySame(batch []*request) bool {
	n := 0
	for _, r := range batch {
		if r.err == nil && r.Op == Event && r.result.Event.Result == Unchanged {
			n++
		}
	}
	return 2*n > len(batch)
}

// take removes the requests of the next transaction from the queue.
func (l *lane) take() []*request {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.queue, l.running = nil, false
		return nil
	}
	n, size := 0, 0
	table := l.queue[0].Table.No
	for _, r := range l.queue {
		size += r.size
		if n > 0 && (r.alone() || size > maxBatchBytes || len(l.c.lanes) > 1 && r.Table.No != table) || n == maxBatch {
			break
		}
		n++
		if r.alone() {
			break
		}
	}
	batch := l.queue[:n:n]
	l.queue = l.queue[n:]
	return batch
}

// commit stores a batch in one transaction. If that fails, the requests are
// stored one by one, so that only those fail that must.
func (c *Custom) commit(ctx context.Context, batch []*request) {
	began := time.Now()
	err := c.tryBatch(ctx, batch)
	switch {
	case err == nil:
	case len(batch) == 1:
		batch[0].result, batch[0].err = nil, c.commitError(batch[0], err)
	default:
		for _, r := range batch {
			r.result, r.err = nil, nil
			if err := c.tryBatch(ctx, []*request{r}); err != nil {
				r.result, r.err = nil, c.commitError(r, err)
			}
		}
	}
	c.opts.Committed(time.Since(began))
	for _, r := range batch {
		close(r.done)
	}
}

// commitError is what the sender is told when a transaction failed: nothing
// was stored, and the same request may be sent again. Why it failed is for the
// operator.
func (c *Custom) commitError(r *request, err error) error {
	if _, ok := errors.AsType[*httpapi.Problem](err); ok {
		return err
	}
	if e, ok := errors.AsType[*busyError](err); ok && e.err == nil {
		return busyKind(e)
	}
	c.opts.Logger.Error("request not stored", "table", r.Table.Full, "op", string(r.Op), "request", r.RequestID, "err", err)
	if kedge.KindOf(err) == kedge.OutcomeUnknown {
		// The same request again is answered "unchanged", or does it now.
		return busy("the connection to the database was lost while it was stored; send it again")
	}
	return busy("it could not be stored, and nothing was; send it again")
}
