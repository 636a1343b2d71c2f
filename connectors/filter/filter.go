// Package filter is the one filter language of kedge: a subset of the OData
// $filter syntax that is parsed, checked against an entity, evaluated here
// and split into the part a remote system can evaluate and the rest.
package filter

import (
	"time"

	"github.com/kedge-sync/kedge"
)

// A Truth is the result of testing a record: three-valued, as null demands.
type Truth uint8

// The truth values. Only Yes passes a filter.
const (
	No Truth = iota
	Unknown
	Yes
)

// An Expr is a parsed filter. It is immutable and safe for concurrent use.
type Expr struct {
	root Node
}

// Parse parses src.
func Parse(src string) (*Expr, error) { panic("not written yet") }

// Bind checks e against the fields of ent, types each node and replaces now()
// by the given time.
func (e *Expr) Bind(ent *kedge.Entity, now time.Time) (*Expr, error) { panic("not written yet") }

// Match tests r.
func (e *Expr) Match(r *kedge.Record) (Truth, error) { panic("not written yet") }

// Split returns the part of e whose nodes can all be evaluated elsewhere, as
// decided by can, and whether it is all of e. push selects a superset of e; it
// is nil if nothing can be pushed.
func (e *Expr) Split(can func(Node) bool) (push *Expr, exact bool) { panic("not written yet") }

// Fields returns the names of the fields that e needs, sorted.
func (e *Expr) Fields() []string { panic("not written yet") }

// Volatile reports whether e uses now(), so that records leave it without being changed.
func (e *Expr) Volatile() bool { panic("not written yet") }

// Root returns the syntax tree, for renderers.
func (e *Expr) Root() Node { return e.root }

// String returns the canonical text of e; parsing it gives the same tree.
func (e *Expr) String() string { panic("not written yet") }
