package odata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"

	codec "github.com/kedge-sync/kedge/connectors/odata/batch"
)

const opWrite = "odata.Write"

// A writer is one call of Write. Each change takes steps of its own, one request
// each; the requests of one round go out together.
type writer struct {
	d       *Driver
	ctx     context.Context
	m       *metadata
	e       *entity
	company string     // path before the names of sets
	rows    *wire.Plan // of the fields that an answer to an insert can hold
	keys    *wire.Plan // of key and version only
	stored  *wire.Plan // of the fields of changes with Return; nil if an answer cannot hold them
	format  codec.Format
	repeats bool // the service knows repeatable requests

	tasks   []*task
	results []connectors.Result
	stopped error // why no further request is sent
	unknown error // why the outcome of at least one change is not known
}

// Write writes changes of one entity. See [connectors.Writer].
func (d *Driver) Write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	results := make([]connectors.Result, len(changes))
	for done := 0; done < len(changes); {
		n := 1
		for done+n < len(changes) && changes[done+n].Entity == changes[done].Entity {
			n++
		}
		if err := d.writeEntity(ctx, changes[done:done+n], results[done:done+n]); err != nil {
			return results, inEntity(err, opWrite, changes[done].Entity)
		}
		done += n
	}
	return results, nil
}

func (d *Driver) writeEntity(ctx context.Context, changes []kedge.Change, results []connectors.Result) error {
	w, err := d.newWriter(ctx, changes[0].Entity)
	if err != nil {
		return err
	}
	w.results = results
	if err := w.planStored(changes[0]); err != nil {
		return err
	}
	size := len(changes)
	if w.e.opts.atomic() {
		size = w.e.opts.BatchSize // a group does not span batches
	}
	for done := 0; done < len(changes); done += size {
		n := min(size, len(changes)-done)
		w.results = results[done : done+n]
		if err := w.run(changes[done : done+n]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) newWriter(ctx context.Context, name string) (*writer, error) {
	m, err := d.known(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{d: d, ctx: ctx, m: m, e: m.entity(name)}
	switch {
	case w.e == nil:
		return nil, &kedge.Error{Kind: kedge.NotFound, Err: errors.New("no such entity")}
	case len(w.e.key) == 0:
		return nil, &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("the entity has no key, so its records cannot be written")}
	}
	if w.keys, err = w.e.plan(nil, false); err != nil {
		return nil, err
	}
	if w.rows, err = w.e.plan(w.e.sentBack(), false); err != nil {
		return nil, err
	}
	if w.company, err = d.companyPath(ctx); err != nil {
		return nil, err
	}
	w.repeats = d.knowsRepeats(ctx, m, w.e)
	return w, d.sentFirst.load(ctx)
}

// planStored finds out whether answers can tell what is stored.
func (w *writer) planStored(c kedge.Change) (err error) {
	back := w.e.sentBack()
	unknown := func(name string) bool { return !slices.Contains(back, name) }
	if c.Return && !slices.ContainsFunc(c.Fields.Names(), unknown) {
		w.stored, err = w.e.plan(c.Fields.Names(), false)
	}
	return err
}

// sentBack are the fields that the answer to a write can hold: not those of
// navigations, which are not expanded there.
func (e *entity) sentBack() []string {
	var names []string
	for i := range e.info.Fields {
		name := e.info.Fields[i].Name
		if head, _, nested := strings.Cut(name, "/"); !nested || e.isComplex(head) {
			names = append(names, name)
		}
	}
	return names
}

// run writes changes: one group if the batches are atomic.
func (w *writer) run(changes []kedge.Change) error {
	var err error
	if w.format, err = w.d.batchFormat(w.ctx, w.m, w.e, len(changes)); err != nil {
		return err
	}
	atomic := w.e.opts.atomic()
	if atomic && w.format == 0 && len(changes) > 1 {
		return &kedge.Error{Kind: kedge.Unsupported, Err: errors.New("atomic: the service takes no batches")}
	}
	w.tasks = make([]*task, len(changes))
	for i := range changes {
		w.tasks[i] = &task{w: w, at: i, change: &changes[i], key: changes[i].Key, atomic: atomic && len(changes) > 1}
		w.tasks[i].start()
	}
	for w.stopped == nil {
		ready, group := w.ready()
		if len(ready) == 0 {
			break
		}
		if err := w.d.sentFirst.save(w.ctx); err != nil {
			w.stop(err)
			break
		}
		switch {
		case group:
			w.sendGroup(ready)
		case w.format != 0 && len(ready) > 1:
			w.sendBatches(ready)
		default:
			w.sendSingles(ready)
		}
	}
	return w.end()
}

// ready returns the tasks that have something to send. In an atomic batch they
// read first, each for itself; then all write as one group.
func (w *writer) ready() (ready []*task, group bool) {
	var writes []*task
	for _, t := range w.tasks {
		switch {
		case t.req == nil:
		case t.atomic && t.req.effect != httpclient.Read:
			writes = append(writes, t)
		default:
			ready = append(ready, t)
		}
	}
	if len(ready) > 0 {
		return ready, false
	}
	return writes, len(writes) > 0
}

// end returns the error of the call. If anything is unknown, that is what the
// caller has to know: it looks at all changes without a result.
func (w *writer) end() error {
	if w.unknown != nil {
		return &kedge.Error{Op: opWrite, Kind: kedge.OutcomeUnknown, Entity: w.e.info.Name, Err: w.unknown}
	}
	return w.stopped
}

// sendSingles sends the requests of tasks alone, a few at a time. Records that
// point to others of their own entity are sent in order.
func (w *writer) sendSingles(tasks []*task) {
	n := 4
	if w.d.cfg.Concurrency > 0 {
		n = w.d.cfg.Concurrency
	}
	if w.e.pointsToItself() {
		n = 1
	}
	replies := make([]*reply, len(tasks))
	next := make(chan int)
	stop := make(chan struct{})
	halt := sync.OnceFunc(func() { close(stop) })
	var wait sync.WaitGroup
	for range min(n, len(tasks)) {
		wait.Go(func() {
			for i := range next {
				a := w.d.send(w.ctx, opWrite, tasks[i].req, tasks[i].isPlain())
				if replies[i] = a; w.stops(tasks[i].req, a) != nil {
					halt()
				}
			}
		})
	}
feed:
	for i := range tasks {
		select {
		case next <- i:
		case <-stop:
			break feed
		}
	}
	close(next)
	wait.Wait()
	for i, a := range replies {
		if a != nil {
			tasks[i].take(a)
		}
	}
}

// pointsToItself reports whether a lookup of e has e as its target.
func (e *entity) pointsToItself() bool {
	for i := range e.info.Fields {
		for _, l := range e.info.Fields[i].Lookup {
			if l.Entity == e.info.Name {
				return true
			}
		}
	}
	return false
}

// stops returns the error of a reply that the other changes would get too, and
// nil for one that is about its own change.
func (w *writer) stops(r *request, a *reply) error {
	if a.status == 0 {
		switch kedge.KindOf(a.err) {
		case kedge.OutcomeUnknown, kedge.TooLarge, kedge.Invalid:
			return nil
		}
		return named(call{op: opWrite, entity: w.e.info.Name}, a.err, wire.ErrorBody{})
	}
	if a.part {
		if e := w.fault(r, a); e.Kind == kedge.Throttled {
			return e // it was not executed, and the others will not be either
		}
		return nil
	}
	switch a.status {
	case http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if e := w.fault(r, a); e.Kind != kedge.OutcomeUnknown {
			return e
		}
	}
	return nil
}

// fault returns the error that an answer with a status of 300 and above means.
func (w *writer) fault(r *request, a *reply) *kedge.Error {
	said := wire.ReadError(a.body)
	after, has := httpclient.ParseRetryAfter(a.header.Get("Retry-After"), w.d.env.Now())
	e := &kedge.Error{Op: opWrite, Kind: httpclient.KindOfStatus(a.status, has), Entity: w.e.info.Name}
	if a.status < 400 {
		e.Kind = kedge.Invalid
	}
	if e.Kind == kedge.Throttled {
		e.RetryAfter = after
	}
	if e.Kind == kedge.Transient && r.effect == httpclient.Once && mayBeDone(a.status) {
		e.Kind = kedge.OutcomeUnknown
	}
	e.Err = &httpclient.StatusError{Method: r.method, Origin: w.d.root.Scheme + "://" + w.d.root.Host, Status: a.status}
	if said.OData {
		e.Err = &remoteError{err: e.Err, code: said.Code, target: said.Target}
	}
	return e
}

// mayBeDone reports whether a request whose answer has a status of kind
// Transient can have been executed.
func mayBeDone(status int) bool {
	return status != http.StatusFailedDependency && status != http.StatusTooEarly
}

// learn stores what was found about an entity.
func (w *writer) learn(entity string, change func(*finding)) {
	w.d.findings.update(w.ctx, w.m.model.Hash, entity, w.d.env.Now(), change)
}

// setPath is the path of the entity set, with tail behind it.
func (w *writer) setPath(tail string, q *query) string {
	path := w.company + wire.Escape(w.e.info.Name) + tail
	if w.e.opts.Cast != "" {
		path += "/" + wire.Escape(w.e.opts.Cast)
	}
	if q != nil && q.text.Len() > 0 {
		path += "?" + q.text.String()
	}
	return path
}

// keyPath is the path of the record with key k.
func (w *writer) keyPath(k kedge.Key, q *query) (string, error) {
	texts, err := k.Parts(len(w.e.key))
	if err != nil || k == "" {
		return "", fmt.Errorf("the change has no key that fits the entity")
	}
	return w.setPath(wire.Predicate(w.e.key, texts), q), nil
}
