package custom

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// An Op is what a [Push] asks for.
type Op string

// The operations.
const (
	Event  Op = "event"  // create or update one resource
	Bulk   Op = "bulk"   // the list is the full state of (table, groupKey)
	Delete Op = "delete" // remove by ids
)

// A Push is one request of a sender. Its parameters were checked.
type Push struct {
	Op       Op
	Table    *Table
	GroupKey string
	Event    string // name of the event, "" if there is none
	Actor    string // JSON, "" if there is none
	DryRun   bool   // all steps, then rollback

	Body []byte   // of an event the object, of a bulk the array; without outer space
	IDs  []string // of a delete

	AllowEmpty     bool // an empty bulk removes all
	ConfirmRemoved int  // answers the breaker of a bulk; -1 if it was not given

	KeyID          string
	RequestID      string
	IdempotencyKey string
	RequestHash    []byte // of all that makes two requests the same one
	Session        string // bulk session that is committed, or ""
	Parts          int    // of the session

	sums [][sha256.Size]byte // of the parts that were checked, by number
}

// A Result is what became of a [Push].
type Result struct {
	Head
	Event  *EventResult  `json:"event,omitempty"`
	Bulk   *BulkResult   `json:"bulk,omitempty"`
	Delete *DeleteResult `json:"delete,omitempty"`
}

// A Head is what all answers begin with.
type Head struct {
	RequestID string `json:"requestId"`
	Table     string `json:"table"`
	GroupKey  string `json:"groupKey"`
	Seq       int64  `json:"seq"` // last number used, or the table's present one
	DryRun    bool   `json:"dryRun"`
}

// Answer returns what senders are shown as JSON: one flat object.
func (r *Result) Answer() any {
	switch {
	case r.Bulk != nil:
		return struct {
			Head
			*BulkResult
		}{r.Head, r.Bulk}
	case r.Delete != nil:
		return struct {
			Head
			*DeleteResult
		}{r.Head, r.Delete}
	}
	return struct {
		Head
		*EventResult
	}{r.Head, r.Event}
}

// An EventResult tells what became of one resource.
type EventResult struct {
	ID     string  `json:"id"`
	Result Outcome `json:"result"`
}

// A BulkResult counts the elements of a bulk.
type BulkResult struct {
	Received    int `json:"received"`
	Created     int `json:"created"`
	Updated     int `json:"updated"`
	Unchanged   int `json:"unchanged"`
	Stale       int `json:"stale"`
	Suppressed  int `json:"suppressed"`
	Removed     int `json:"removed"`
	Quarantined int `json:"quarantined"` // stored, but not in the local entity of the mapping
}

// A DeleteResult counts the ids of a delete.
type DeleteResult struct {
	Removed    int      `json:"removed"`
	Ignored    int      `json:"ignored"`
	IgnoredIDs []string `json:"ignoredIds"` // the first 100
}

const maxIgnored = 100

// An Outcome is what became of a resource.
type Outcome string

// The outcomes.
const (
	Created    Outcome = "created"
	Updated    Outcome = "updated"
	Unchanged  Outcome = "unchanged"
	Stale      Outcome = "stale"      // older than what is stored, or was deleted
	Suppressed Outcome = "suppressed" // about a person who must not be stored
)

// Push checks and stores what a sender sent. It returns when the transaction
// has committed, or nothing was stored.
func (c *Custom) Push(ctx context.Context, p *Push) (*Result, error) {
	if p.IdempotencyKey != "" && !p.DryRun {
		done, err := c.startKeyed(p)
		if err != nil {
			return nil, err
		}
		defer done()
		if res, err := c.Answered(ctx, p); res != nil || err != nil {
			return res, err
		}
	}
	if _, err := c.localPlan(ctx, p.Table, true); err != nil {
		return nil, err
	}
	r := &request{Push: p, size: len(p.Body)}
	for _, id := range p.IDs {
		r.size += len(id)
	}
	if p.Op != Delete {
		var err error
		if r.elements, err = c.prepare(ctx, p); err != nil {
			return nil, err
		}
	}
	return c.storeRequest(r)
}

// startKeyed refuses a request whose Idempotency-Key another one, that is not
// answered yet, has in this process. In others, the key's row makes it wait.
func (c *Custom) startKeyed(p *Push) (done func(), err error) {
	k := [2]string{p.KeyID, p.IdempotencyKey}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keyed[k] {
		return nil, conflict("a request with this Idempotency-Key is still running; ask again when it is done")
	}
	c.keyed[k] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.keyed, k)
	}, nil
}

// Answered returns the stored answer of a request that was sent before, nil if
// it was not.
func (c *Custom) Answered(ctx context.Context, p *Push) (*Result, error) {
	r := &request{Push: p}
	err := c.replay(ctx, c.store.DB().DB, r, c.now().UnixMilli())
	if err == nil {
		err = r.err
	}
	return r.result, err
}

func problem(status int, format string, args ...any) *httpapi.Problem {
	return &httpapi.Problem{Status: status, Detail: fmt.Sprintf(format, args...)}
}

func unprocessable(format string, args ...any) error {
	return problem(http.StatusUnprocessableEntity, format, args...)
}

func conflict(format string, args ...any) error {
	return problem(http.StatusConflict, format, args...)
}

// A busyError says that nothing was stored and that the same request may be
// sent again.
type busyError struct {
	text string
	err  error // the cause, for the log
}

func (e *busyError) Error() string {
	if e.err != nil {
		return e.text + ": " + e.err.Error()
	}
	return e.text
}

func (e *busyError) Unwrap() error { return e.err }

// busy is a 503.
func busy(format string, args ...any) error {
	return busyKind(&busyError{text: fmt.Sprintf(format, args...)})
}

func busyKind(e *busyError) error {
	return &kedge.Error{Kind: kedge.Transient, RetryAfter: time.Second, Err: e}
}
