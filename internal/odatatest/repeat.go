package odatatest

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
)

// repeatableFor is how long a request is remembered.
const repeatableFor = 24 * time.Hour

// repeats remembers the answers to repeatable requests (Repeatable Requests
// 1.0). It is nil if they are not supported; their headers then mean nothing.
type repeats struct {
	done  map[string]*repeat
	order []string // ids, as they came
}

// A repeat is a request that was carried out.
type repeat struct {
	request string // method, URL, time and body
	answer  *answer
	key     kedge.Key
}

// once carries out a change unless it was carried out before; then it returns
// the answer of the first time. What has failed may come again.
func (r *repeats) once(c *change, now time.Time, apply func() (*answer, error)) (a *answer, replayed bool, err error) {
	h := c.rq.Header
	id, sent := strings.ToLower(h.Get("Repeatability-Request-ID")), h.Get("Repeatability-First-Sent")
	if r == nil || id == "" && sent == "" {
		a, err = apply()
		return a, false, err
	}
	first, err := http.ParseTime(sent)
	if err != nil || id == "" {
		return nil, false, rejected(badRequest("Repeatability-Request-ID and Repeatability-First-Sent go together, and the latter is an HTTP date."))
	}
	this := strings.Join([]string{c.rq.Method, c.rq.URL.RequestURI(), sent, string(c.rq.body)}, "\n")
	if old := r.done[id]; old != nil {
		if old.request != this {
			return nil, false, rejected(badRequest("The request is not the one that had this id before."))
		}
		c.key = old.key
		return old.answer.clone(), true, nil
	}
	if now.Sub(first) > repeatableFor {
		return nil, false, rejected(fail(http.StatusPreconditionFailed, "PreconditionFailed", "The request was first sent too long ago to know whether it was carried out."))
	}
	if a, err = apply(); err != nil {
		if f, ok := errors.AsType[*failure](err); ok {
			err = f.with("Repeatability-Result", "accepted")
		}
		return nil, false, err
	}
	a.header.Set("Repeatability-Result", "accepted")
	r.done[id] = &repeat{this, a.clone(), c.key}
	r.order = append(r.order, id)
	return a, false, nil
}

func rejected(f *failure) error { return f.with("Repeatability-Result", "rejected") }

// count returns how many requests are remembered.
func (r *repeats) count() int {
	if r == nil {
		return 0
	}
	return len(r.order)
}

// forget forgets all requests but the first n.
func (r *repeats) forget(n int) {
	if r == nil {
		return
	}
	for _, id := range r.order[n:] {
		delete(r.done, id)
	}
	r.order = r.order[:n]
}

func (a *answer) clone() *answer {
	return &answer{status: a.status, header: a.header.Clone(), body: a.body}
}
