package odata

import (
	"errors"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// A task is one change on its way. It has a request to send and what follows
// its answer, or it has ended.
type task struct {
	w      *writer
	at     int // position in results
	change *kedge.Change
	key    kedge.Key // of the record, once it is known
	atomic bool      // part of a group: all it writes is one request
	plain  bool      // sends this request without IEEE754Compatible
	done   bool      // the change is written and has its result; what follows only completes it

	req  *request     // to be sent; nil if the task has ended
	then func(*reply) // takes its answer
}

var (
	errGone      = errors.New("there is no record with this key")
	errStale     = errors.New("the record was changed since it was read")
	errNoKey     = errors.New("the service made the record and did not tell its key")
	errUndone    = errors.New("another change of the atomic batch was refused, so this one was undone")
	errForgotten = errors.New("the service does not know any more whether it has done this before")
	errNoWord    = errors.New("the answer to the batch says nothing about this change")
)

func (t *task) isPlain() bool { return t.plain || t.w.d.plainJSON.Load() }

// send makes r the next request; then takes its answer, whatever its status.
func (t *task) send(r *request, then func(*reply)) { t.req, t.then, t.plain = r, then, false }

// take takes the reply to the request.
func (t *task) take(a *reply) {
	if a.status == 0 {
		t.takeError(a.err)
		return
	}
	t.w.seeRepeats(a)
	switch {
	case a.refusesFormat() && !t.isPlain():
		t.plain = true // once, without IEEE754Compatible
		return
	case t.plain && !a.refusesFormat():
		t.w.d.plainJSON.Store(true)
	}
	if err := t.w.stops(t.req, a); err != nil {
		t.w.stop(err)
		return
	}
	then := t.then
	t.ended()
	then(a)
}

func (w *writer) stop(err error) {
	if w.stopped == nil {
		w.stopped = err
	}
}

// takeError takes a request that got no answer.
func (t *task) takeError(err error) {
	switch kind := kedge.KindOf(err); kind {
	case kedge.OutcomeUnknown:
		t.lose(err)
	case kedge.TooLarge, kedge.Invalid:
		t.reject(kind, cause(err), "")
	default:
		t.w.stop(named(call{op: opWrite, entity: t.w.e.info.Name}, err, wire.ErrorBody{}))
	}
}

// cause returns err without its frame.
func cause(err error) error {
	if e, ok := err.(*kedge.Error); ok && e.Err != nil {
		return e.Err
	}
	return err
}

func (t *task) ended() { t.req, t.then = nil, nil }

func (t *task) finish(r connectors.Result) {
	t.ended()
	if t.done && r.State == connectors.Rejected {
		return
	}
	if r.Key == "" {
		r.Key = t.key
	}
	t.w.results[t.at] = r
}

func (t *task) reject(kind kedge.Kind, err error, remote string) {
	e := &kedge.Error{Op: opWrite, Kind: kind, Entity: t.w.e.info.Name, Key: t.key, Err: err}
	t.finish(connectors.Result{State: connectors.Rejected, Err: e, Remote: remote})
}

// lose leaves the change without a result: nobody knows what became of it.
func (t *task) lose(err error) {
	t.ended()
	if t.w.unknown == nil && !t.done {
		t.w.unknown = cause(err)
	}
}

// refuse ends the task with the answer to r that refused it.
func (t *task) refuse(r *request, a *reply) {
	e := t.w.fault(r, a)
	if e.Kind == kedge.OutcomeUnknown {
		t.lose(e)
		return
	}
	e.Key = t.key
	t.finish(connectors.Result{State: connectors.Rejected, Err: e, Remote: remoteText(wire.ReadError(a.body))})
}
