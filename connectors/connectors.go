// Package connectors says what a remote system must offer to be synced, and
// gives callers one concrete [Conn] over it.
//
// A new kind of system is a folder with a [Driver], one line in a [Registry],
// and a test that calls conntest.Run. What a driver can do beyond reading is
// said by the optional interfaces it implements; what one entity can do is
// said by the fields of [kedge.Entity]; what one call cannot do is answered
// with kind Unsupported.
package connectors

import (
	"context"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/uptrace/bun"
)

// A Token marks a page inside one read. It is opaque and storable, and at most
// [MaxToken] bytes long.
type Token string

// MaxToken is the greatest length of a [Token], in bytes.
const MaxToken = 16 << 10

// A Driver is implemented by each kind of system.
//
// Its methods may run concurrently. It classifies errors as *[kedge.Error] and
// neither retries, logs nor sleeps: the HTTP client already does. Making one
// does no I/O. A driver that holds resources is an io.Closer.
type Driver interface {
	// Schema reads metadata, never records; entities are sorted by name.
	// Conn caches the answer until Refresh.
	Schema(ctx context.Context) (*kedge.Schema, error)

	// ReadPage returns one page of one read: the first with Token "", the
	// others with the Next of the page before, in any process. Values[i] of a
	// record belongs to Fields[i]. A key is at most once in a page and may
	// return in a later page, where the later one wins.
	//
	// In a full read (Anchor "") each record that exists during the whole read
	// comes at least once, even if it is edited meanwhile. In an incremental
	// read each record changed or deleted after Anchor comes at least once.
	// The last page has Next "" and, if the entity has Delta, an Anchor that
	// was fixed before the first row was read and travelled in the token; a full
	// read that finds that changes cannot be read after all leaves it "". A
	// read that failed never ends in a page with Next "".
	//
	// Kinds of errors: NotFound for the entity; Invalid for a field, a filter
	// or a foreign token or anchor; AnchorExpired with a token: the token is
	// forgotten, the caller restarts this read; AnchorExpired without a token:
	// the anchor is forgotten, the caller starts a full read.
	ReadPage(ctx context.Context, req ReadRequest) (*Page, error)
}

// A ReadRequest asks for one page.
type ReadRequest struct {
	Entity string
	Fields []string     // fields wanted; key and version come in the Record anyway
	Filter *filter.Expr // bound to the entity, or nil. May be pushed on full reads only
	Anchor kedge.Anchor // "" for a full read
	Token  Token        // "" for the first page
	Size   int          // records wanted; fewer, also none, is legal, more than twice is not
}

// A Page is one page of a read. Its values may alias the page's buffer;
// nothing in it is reused for another page.
type Page struct {
	Records  []kedge.Record
	Rejected []BadRecord // records that could not be decoded
	Next     Token       // "" on the last page
	Anchor   kedge.Anchor
	Exact    bool   // the filter was fully applied; the caller need not test it
	Approx   bool   // the anchor can miss late commits; a reconcile is wanted
	Total    int64  // records in the whole read, 0 if unknown
	Version  string // greatest value of Entity.Version among the records; "": none, or the versions of the records are that
}

// A BadRecord is a record that could not be decoded. The rest of its page is fine.
type BadRecord struct {
	Key   kedge.Key // "" if not even the key could be read
	Field string    // the field that did not fit, or ""
	Err   error     // names the types, never the value
	Raw   string    // what was read, at most [MaxRaw] bytes of it, for a person to look at; "" if unknown
}

// MaxRaw is how much of a record that could not be decoded is kept.
const MaxRaw = 64 << 10

// A Writer writes to a system.
type Writer interface {
	// Write returns one Result per change, in the same order; a refused record
	// is a Result and not an error. An error means that the batch stopped:
	// results still Unset were not sent, or may be applied if the kind is
	// OutcomeUnknown. Conn passes changes of one entity with distinct keys, at
	// most Entity.WriteBatch. An update sends only the values that are not
	// missing; a delete of a missing record is Unchanged; a stale Version is
	// refused with Conflict.
	Write(ctx context.Context, changes []kedge.Change) ([]Result, error)
}

// A TxWriter writes to tables of kedge's own database, in the caller's
// transaction. Results are as for [Writer]; a refused record leaves the
// transaction usable.
type TxWriter interface {
	WriteTx(ctx context.Context, tx Tx, changes []kedge.Change) ([]Result, error)
}

// A Tx is an open transaction on kedge's own database, and the connection it
// runs on, which COPY needs.
type Tx interface {
	bun.IDB
	Conn() bun.Conn
}

// A KeyReader reads records by key, in the order of keys.
type KeyReader interface {
	ReadKeys(ctx context.Context, entity string, fields []string, keys []kedge.Key) ([]Found, error)
}

// A Found is the answer for one key: the record, or OK false if there is none.
type Found struct {
	Record kedge.Record
	OK     bool
}

// A TxGetter reads and locks rows in the caller's transaction: all rows whose
// fields named in by (nil means the primary key) equal one of keys. The rows
// come in any order, with their primary key.
type TxGetter interface {
	GetTx(ctx context.Context, tx Tx, entity string, fields, by []string, keys []kedge.Key) ([]kedge.Record, error)
}

// An Acker is told that an anchor is durable, so that the source may forget
// what lies before it. Calls repeat and never go backwards.
type Acker interface {
	Ack(ctx context.Context, entity string, a kedge.Anchor) error
}

// A Capturer notes changes of tables for those who listen to them. The notes
// are read by ReadPage and removed by Ack.
type Capturer interface {
	// SetListeners says which fields of an entity integrations listen to.
	// One without fields is removed, those that are not named stay. It is
	// called at the start of a run and does nothing if nothing changed, or if
	// the entity's changes are found in another way. In tables of kedge's own
	// database it works in tx; tx may be nil for others.
	//
	// A new listener's first read is a full one. The schema says that the
	// entity has Delta once tx is committed and the schema is read again.
	SetListeners(ctx context.Context, tx Tx, entity string, listeners map[string][]string) error
}

// A Prober asks a system who we are and what it can do. It only reads.
type Prober interface {
	Probe(ctx context.Context) (Account, error)
}

// A Presetter knows which mapping fits its system.
type Presetter interface {
	Preset() string // name of a preset, "" if there is none
}

// An Account is what a [Prober] found.
type Account struct {
	User         string   `json:"user,omitempty"`
	Organization string   `json:"organization,omitempty"`
	Version      string   `json:"version,omitempty"`  // of the system
	Epoch        string   `json:"epoch,omitempty"`    // changes when the system was restored from a backup; "" if unknown
	Features     []string `json:"features,omitempty"` // for people
	Problems     []string `json:"problems,omitempty"` // what is missing and how to fix it
}

// A Checker proves what an entity can do by asking the system, for
// "kedge connections test". It only reads.
type Checker interface {
	Check(ctx context.Context, entity string) ([]Proof, error)
}

// A WriteChecker proves what an entity can do by writing a record of its own and
// deleting it again, for "kedge connections test --write".
type WriteChecker interface {
	CheckWrite(ctx context.Context, entity string) ([]Proof, error)
}

// A Proof is one tested ability.
type Proof struct {
	Name   string `json:"name"` // "paging", "tracking", "batch", "etag", …
	OK     bool   `json:"ok"`
	Result string `json:"result,omitempty"` // what was chosen: "server", "watermark on modifiedAt"
	Reason string `json:"reason,omitempty"` // why
}

// A SchemaEditor can add tables and columns. It never drops or narrows.
type SchemaEditor interface {
	// PlanSchema tells what is missing for want. It has no effect.
	PlanSchema(ctx context.Context, want []kedge.Entity) ([]SchemaStep, error)
	// ApplySchema does the steps; doing them twice has no further effect.
	ApplySchema(ctx context.Context, steps []SchemaStep) error
}

// A SchemaStep is one addition, with the text that is shown to the user and
// carried out.
type SchemaStep struct {
	Entity string
	Field  string // "" if the step makes the whole entity
	Text   string
}

// A Preparer knows from its config what a run may add by itself, before it
// stores anything.
type Preparer interface {
	SchemaEditor
	// Prepare sorts what is missing for want. It has no effect; give Allowed to
	// ApplySchema.
	Prepare(ctx context.Context, want []kedge.Entity) (Preparation, error)
}

// A Preparation is what a [Preparer] found missing. Entities that may not be
// made are not in it: a check of the mapping finds them.
type Preparation struct {
	Allowed []SchemaStep            // a run does these
	After   []kedge.Entity          // the entities of Allowed, as they will be
	Ignored []SchemaStep            // a run leaves these fields out
	Refused map[string]*kedge.Error // by entity: why it cannot run, with what a person can do
}

// A State says what became of a [kedge.Change].
type State uint8

// The states. Unset: not sent, or unknown if the call's error says so.
const (
	Unset State = iota
	Inserted
	Updated
	Unchanged
	Removed
	Rejected
)

// String returns the lower-case name of s.
func (s State) String() string {
	return [...]string{"unset", "inserted", "updated", "unchanged", "deleted", "rejected"}[min(s, Rejected)]
}

// A Result is what became of one change.
type Result struct {
	State   State
	Key     kedge.Key
	Version string  // "" means unknown, the caller reads again
	Values  []Named // made by the system
	// Stored is the record as the system has it now, with the fields of the
	// change: of one with Return, if the answer to it tells all of them.
	Stored *kedge.Record
	Err    *kedge.Error // set if and only if State is Rejected
	Remote string       // the system's own words, at most 4 KiB; stored, never logged
}

// A Named is a value with its field name.
type Named struct {
	Name  string
	Value kedge.Value
}

// A FilterExplainer tells which part of a filter its system evaluates, for
// "kedge filter explain".
type FilterExplainer interface {
	// ExplainFilter returns the pushed part in the languages the driver
	// renders, and whether it is the whole filter. f is bound to the entity.
	ExplainFilter(ctx context.Context, entity string, f *filter.Expr) (r []FilterRendering, exact bool, err error)
}

// A FilterRendering is the part of a filter that a system evaluates.
type FilterRendering struct {
	Language string `json:"language"` // "odata", "sqlite", "postgres"
	Text     string `json:"text"`     // "" if nothing is pushed; values may be shown as ?
}
