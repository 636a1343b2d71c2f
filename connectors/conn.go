package connectors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
)

// Options configure a [Conn]. The zero value is ready to use.
type Options struct {
	PageSize    int           // records per page; 0 means 1000
	ReadAhead   int           // pages read ahead; 0 means 3, -1 means none
	CallTimeout time.Duration // last resort above the HTTP retries; 0 means 30 min
}

func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.PageSize <= 0 {
		opts.PageSize = 1000
	}
	if opts.ReadAhead == 0 {
		opts.ReadAhead = 3
	}
	if opts.CallTimeout <= 0 {
		opts.CallTimeout = 30 * time.Minute
	}
	return opts
}

// A Conn is an open connection: what callers hold instead of a [Driver]. It
// checks what the driver returns, so that a broken driver gives an error of
// kind Internal and never silent damage. It is safe for concurrent use.
type Conn struct {
	driver Driver
	opts   Options
	close  func() error

	reading chan struct{} // holds one token while the schema is read, so that it is read once
	mu      sync.Mutex
	schema  *kedge.Schema // nil until it was read
}

// New returns a Conn over d. A nil opts means the defaults.
func New(d Driver, opts *Options) *Conn {
	c := &Conn{driver: d, opts: opts.withDefaults(), reading: make(chan struct{}, 1)}
	c.close = sync.OnceValue(func() error {
		if closer, ok := d.(io.Closer); ok {
			return closer.Close()
		}
		return nil
	})
	return c
}

// Driver returns the driver, to ask for optional interfaces that Conn has no
// method for.
func (c *Conn) Driver() Driver { return c.driver }

// Close closes the driver if it holds resources. Calling it again has no
// effect.
func (c *Conn) Close() error { return c.close() }

// Schema returns the system's schema, cached until Refresh.
func (c *Conn) Schema(ctx context.Context) (*kedge.Schema, error) {
	if s := c.cachedSchema(); s != nil {
		return s, nil
	}
	return c.readSchema(ctx, c.cachedSchema)
}

// Refresh reads the schema again. If that fails, the cached one stays.
func (c *Conn) Refresh(ctx context.Context) (*kedge.Schema, error) {
	return c.readSchema(ctx, func() *kedge.Schema { return nil })
}

func (c *Conn) cachedSchema() *kedge.Schema {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.schema
}

// readSchema waits for its turn to read, and then reads unless known already
// has an answer.
func (c *Conn) readSchema(ctx context.Context, known func() *kedge.Schema) (*kedge.Schema, error) {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return nil, canceled("connectors.Schema", "", ctx.Err())
	}
	if s := known(); s != nil {
		return s, nil
	}
	var schema *kedge.Schema
	err := c.call(ctx, "connectors.Schema", "", kedge.Transient, func(ctx context.Context) (err error) {
		schema, err = c.driver.Schema(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := checkSchema(schema); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schema = schema
	return schema, nil
}

// entity returns the named entity of the cached schema.
func (c *Conn) entity(ctx context.Context, op, name string) (*kedge.Entity, error) {
	schema, err := c.Schema(ctx)
	if err != nil {
		return nil, err
	}
	if e := schema.Entity(name); e != nil {
		return e, nil
	}
	return nil, &kedge.Error{Op: op, Kind: kedge.NotFound, Entity: name, Err: errors.New("no such entity")}
}

// Ack tells the driver that a is durable, if it is an [Acker].
func (c *Conn) Ack(ctx context.Context, entity string, a kedge.Anchor) error {
	acker, ok := c.driver.(Acker)
	if !ok {
		return nil
	}
	return c.call(ctx, "connectors.Ack", entity, kedge.Transient, func(ctx context.Context) error {
		return acker.Ack(ctx, entity, a)
	})
}

// Probe asks the system who we are. Kind Unsupported if the driver is not a
// [Prober].
func (c *Conn) Probe(ctx context.Context) (account Account, err error) {
	prober, ok := c.driver.(Prober)
	if !ok {
		return Account{}, &kedge.Error{Op: "connectors.Probe", Kind: kedge.Unsupported, Err: errors.New("this kind of system cannot tell who we are")}
	}
	err = c.call(ctx, "connectors.Probe", "", kedge.Transient, func(ctx context.Context) (err error) {
		account, err = prober.Probe(ctx)
		return err
	})
	return account, err
}

// call runs fn with the time limit of one call. A call that ran into that
// limit, and not into one of the caller, fails with kind late.
func (c *Conn) call(ctx context.Context, op, entity string, late kedge.Kind, fn func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return canceled(op, entity, err)
	}
	limited, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	err := fn(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return &kedge.Error{Op: op, Kind: late, Entity: entity, Err: fmt.Errorf("no answer after %v", c.opts.CallTimeout)}
	}
	return err
}

// canceled is the error for a call that the caller's context ended.
func canceled(op, entity string, err error) error {
	return &kedge.Error{Op: op, Kind: kedge.Transient, Entity: entity, Err: err}
}
