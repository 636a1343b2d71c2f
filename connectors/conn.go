package connectors

import (
	"context"
	"iter"
	"time"

	"github.com/kedge-sync/kedge"
)

// Options configure a [Conn]. The zero value is ready to use.
type Options struct {
	PageSize    int           // records per page; 0 means 1000
	ReadAhead   int           // pages read ahead; 0 means 3, -1 means none
	CallTimeout time.Duration // last resort above the HTTP retries; 0 means 30 min
}

// A Conn is an open connection: what callers hold instead of a [Driver]. It
// checks what the driver returns, so that a broken driver gives an error of
// kind Internal and never silent damage. It is safe for concurrent use.
type Conn struct {
	driver Driver
}

// New returns a Conn over d. A nil opts means the defaults.
func New(d Driver, opts *Options) *Conn { panic("not written yet") }

// Driver returns the driver, to ask for optional interfaces that Conn has no
// method for.
func (c *Conn) Driver() Driver { return c.driver }

// Schema returns the system's schema, cached until Refresh.
func (c *Conn) Schema(ctx context.Context) (*kedge.Schema, error) { panic("not written yet") }

// Refresh reads the schema again.
func (c *Conn) Refresh(ctx context.Context) (*kedge.Schema, error) { panic("not written yet") }

// Pages yields the pages of one read, from req.Token on, reading ahead in one
// goroutine that ends with the loop. After an error it yields nothing more.
func (c *Conn) Pages(ctx context.Context, req ReadRequest) iter.Seq2[*Page, error] {
	panic("not written yet")
}

// ReadKeys reads records by key: with the driver's KeyReader, else with
// filtered reads if the entity has Filter, else kind Unsupported.
func (c *Conn) ReadKeys(ctx context.Context, entity string, fields []string, keys []kedge.Key) ([]Found, error) {
	panic("not written yet")
}

// Write writes changes in batches of Entity.WriteBatch, halving a batch that
// is TooLarge. Kind Unsupported if the driver is not a Writer.
func (c *Conn) Write(ctx context.Context, changes []kedge.Change) ([]Result, error) {
	panic("not written yet")
}

// Ack calls the driver's Acker, if it is one.
func (c *Conn) Ack(ctx context.Context, entity string, a kedge.Anchor) error { panic("not written yet") }

// Probe calls the driver's Prober, if it is one.
func (c *Conn) Probe(ctx context.Context) (Account, error) { panic("not written yet") }

// Close closes the driver if it holds resources.
func (c *Conn) Close() error { panic("not written yet") }
