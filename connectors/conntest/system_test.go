package conntest

import (
	"context"
	"errors"
	"flag"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/memory"
)

// The properties of the kit fail on purpose here: no files of them are kept,
// nobody reads the smallest case, and each run tries the same cases.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("rapid.nofailfile", "true")
	flag.Set("rapid.shrinktime", "0s")
	flag.Set("rapid.seed", "1")
	flag.Set("rapid.checks", "40")
	os.Exit(m.Run())
}

// A system is a memory store with everything that the kit can ask for: what a
// store cannot do is played by its drivers. Its hooks break it.
type system struct {
	*memory.Store
	mutation

	mu     sync.Mutex
	faults []Fault       // the last one counts
	born   int           // drivers
	losing bool          // the answers of writes
	ended  chan struct{} // closed when the test ends
}

// A mutation breaks a driver. Hooks that are nil break nothing.
type mutation struct {
	page   func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error)
	record func(r *kedge.Record)
	schema func(d *driver, s *kedge.Schema)
	keys   func(keys []kedge.Key)
	found  func(found []connectors.Found)
	ack    func(d *driver)
	fault  func(f Fault, err *kedge.Error) error
	open   func(d *driver)
	close  func(d *driver) error
	probe  func(d *driver, a *connectors.Account)
	write  func(d *driver, ctx context.Context, changes []kedge.Change) ([]connectors.Result, error)
	tx     func(d *driver, ctx context.Context, tx *undoing, changes []kedge.Change) ([]connectors.Result, error)
}

func newSystem(t testing.TB, m mutation) *system {
	s := &system{Store: memory.NewStore(Parts, Widgets), mutation: m, ended: make(chan struct{})}
	t.Cleanup(func() { close(s.ended) })
	return s
}

func (s *system) LoseReply() func() {
	s.losing = true
	return func() { s.losing = false }
}

// An undoing transaction writes at once, and takes that back to roll back.
type undoing struct {
	connectors.Tx // none: nobody asks for SQL
	undo          []func()
	aborted       bool
}

func (s *system) InTx(ctx context.Context, f func(context.Context, connectors.Tx) error) error {
	tx := new(undoing)
	err := f(ctx, tx)
	if err != nil {
		for _, undo := range slices.Backward(tx.undo) {
			undo()
		}
	}
	return err
}

func (s *system) Secrets() []string { return []string{"secret-7712"} }

func (s *system) Hold(ctx context.Context, entity string, r kedge.Record) (func() error, error) {
	return func() error { return s.Put(ctx, entity, r) }, nil
}

func (s *system) Fail(f Fault) (func(), bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = s.faults[:len(s.faults)-1]
	}, true
}

func (s *system) fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return nil
	}
	f := s.faults[len(s.faults)-1]
	kinds := map[int]kedge.Kind{400: kedge.Invalid, 401: kedge.Unauthorized, 403: kedge.Forbidden, 404: kedge.NotFound, 409: kedge.Conflict,
		412: kedge.Conflict, 413: kedge.TooLarge, 422: kedge.Invalid, 429: kedge.Throttled}
	kind, known := kinds[f.Status]
	if !known {
		kind = kedge.Transient
	}
	if f.RetryAfter > 0 {
		kind = kedge.Throttled
	}
	err := &kedge.Error{Op: "test.ReadPage", Kind: kind, RetryAfter: f.RetryAfter, Err: errors.New("the system failed")}
	if s.mutation.fault != nil {
		return s.mutation.fault(f, err)
	}
	return err
}

func (s *system) Driver() connectors.Driver {
	s.mu.Lock()
	s.born++
	d := &driver{Driver: memory.New(s.Store), sys: s, number: s.born}
	s.mu.Unlock()
	if s.open != nil {
		s.open(d)
	}
	return d
}

// A driver is a memory driver that can be broken.
type driver struct {
	*memory.Driver
	sys    *system
	number int // of the driver in its system

	schemas atomic.Int64 // calls
	closed  int

	mu   sync.Mutex
	last connectors.Token // that the driver gave out
}

func (d *driver) Schema(ctx context.Context) (*kedge.Schema, error) {
	s, err := d.Driver.Schema(ctx)
	if err != nil || d.sys.schema == nil {
		return s, err
	}
	d.schemas.Add(1)
	changed := &kedge.Schema{Hash: s.Hash}
	for _, e := range s.Entities {
		e.Fields = slices.Clone(e.Fields)
		changed.Entities = append(changed.Entities, e)
	}
	d.sys.schema(d, changed)
	return changed, nil
}

func (d *driver) ReadPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	read := (*driver).read
	if d.sys.page != nil {
		read = d.sys.page
	}
	page, err := read(d, ctx, req)
	if err == nil && d.sys.record != nil {
		for i := range page.Records {
			d.sys.record(&page.Records[i])
		}
	}
	return page, err
}

// read is ReadPage without the hooks that break it.
func (d *driver) read(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	if err := d.sys.fault(); err != nil {
		return nil, err
	}
	return d.Driver.ReadPage(ctx, req)
}

func (d *driver) ReadKeys(ctx context.Context, entity string, fields []string, keys []kedge.Key) ([]connectors.Found, error) {
	asked := slices.Clone(keys)
	if d.sys.keys != nil {
		d.sys.keys(asked)
	}
	found, err := d.Driver.ReadKeys(ctx, entity, fields, asked)
	for i := range found {
		if found[i].OK && d.sys.record != nil {
			d.sys.record(&found[i].Record)
		}
		if found[i].OK && d.sys.keys != nil {
			found[i].Record.Key = keys[i]
		}
	}
	if d.sys.found != nil {
		d.sys.found(found)
	}
	return found, err
}

func (d *driver) Write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	if d.sys.mutation.write != nil {
		return d.sys.mutation.write(d, ctx, changes)
	}
	return d.write(ctx, changes)
}

// write is Write without the hook that breaks it.
func (d *driver) write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	results, err := d.Driver.Write(ctx, changes)
	if d.sys.losing && err == nil {
		return nil, &kedge.Error{Op: "test.Write", Kind: kedge.OutcomeUnknown, Err: errors.New("no answer")}
	}
	return results, err
}

func (d *driver) WriteTx(ctx context.Context, tx connectors.Tx, changes []kedge.Change) ([]connectors.Result, error) {
	if d.sys.tx != nil {
		return d.sys.tx(d, ctx, tx.(*undoing), changes)
	}
	return d.writeTx(ctx, tx.(*undoing), changes)
}

// writeTx is WriteTx without the hook that breaks it.
func (d *driver) writeTx(ctx context.Context, tx *undoing, changes []kedge.Change) ([]connectors.Result, error) {
	for _, c := range changes {
		found, err := d.Driver.ReadKeys(ctx, c.Entity, widgetFields.Names(), []kedge.Key{c.Key})
		if err != nil {
			return nil, err
		}
		tx.undo = append(tx.undo, func() {
			if found[0].OK {
				d.sys.Put(ctx, c.Entity, found[0].Record)
			} else {
				d.sys.Delete(ctx, c.Entity, c.Key)
			}
		})
	}
	return d.Driver.Write(ctx, changes)
}

func (d *driver) Ack(ctx context.Context, entity string, a kedge.Anchor) error {
	if d.sys.ack != nil {
		d.sys.ack(d)
	}
	return d.Driver.Ack(ctx, entity, a)
}

func (d *driver) Probe(ctx context.Context) (connectors.Account, error) {
	a, err := d.Driver.Probe(ctx)
	if d.sys.probe != nil {
		d.sys.probe(d, &a)
	}
	return a, err
}

func (d *driver) Close() error {
	d.closed++
	if d.sys.close != nil {
		return d.sys.close(d)
	}
	return nil
}
