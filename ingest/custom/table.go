// Package custom stores the resources that senders push into the tables of
// package ingest: it checks them, keeps them with their history, and reads
// them again. It knows nothing of keys and rights.
//
// What a request does is in apply.go (events and deletes) and bulk.go; how
// requests become transactions is in commit.go.
package custom

import (
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
)

// A Table is a schema that is attached to an integration, with its active
// version. It is immutable once
// [Table.Describe] was called.
type Table struct {
	No          int64
	Full        string // full name: the group's prefix, "_", the name
	Name        string
	Group       string
	Integration string // its id; "" if the table is attached to none
	Active      bool   // senders may push
	Version     int
	Schema      *schema.Schema
	Settings    Settings

	// Set by Describe:
	Columns []schema.Column
	entity  *kedge.Entity
	fields  *kedge.Fields
}

// Settings are what a schema's definition says beside its document.
type Settings struct {
	History    time.Duration // how long changes are kept; 0 means for ever
	AllowEmpty bool          // an empty bulk empties the scope without allowEmpty=true
	MaxPercent int           // breaker: a bulk that removes more percent of the live resources
	MinRemoved int           // and more than this many is refused; both 0 means no breaker
	Mapping    string        // mapping file in YAML, or ""
}

// HasBreaker tells whether removals of bulks are limited.
func (s Settings) HasBreaker() bool { return s.MaxPercent > 0 || s.MinRemoved > 0 }
