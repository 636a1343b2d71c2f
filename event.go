package kedge

import "time"

// An Operation says what happened to a local record.
type Operation string

// The operations of an [Event].
const (
	OpCreate Operation = "create"
	OpUpdate Operation = "update"
	OpDelete Operation = "delete"
)

// Origins of events that are no integration's name. Events of origin
// OriginDSR are never uploaded.
const (
	OriginIngest = "ingest"
	OriginDSR    = "dsr"
	OriginAPI    = "api"
)

// An Event tells what happened to a local record. The package that wrote the
// record builds it and hands it to a publisher in the same transaction, after
// the rows.
type Event struct {
	ID       string // UUIDv7 text; empty: the publisher makes one
	Entity   string // local entity: a table, an ingest table by its full name, or the name that a workflow uses
	Key      Key
	KeyNames []string // names of the key's parts, in order; shared between events, never changed
	Op       Operation

	// Changed names the fields that an update changed; nil means not known.
	Changed []string

	// After has the values after the event, of a delete the last known ones;
	// Before those before it. They hold at least the fields that the
	// [Interest] asked for. A nil Before means not known.
	After, Before *Record

	Origin string // an integration's name, or one of the Origin constants
	At     time.Time
}

// An Interest says which fields of an entity the publisher needs in events.
// The zero Interest means that nobody listens: build no events.
type Interest struct {
	Any    bool     // somebody listens, maybe without needing a field
	After  []string // fields needed in Event.After
	Before []string // fields needed in Event.Before
}
