// Package trigger writes the triggers that note changes of a table in
// kedge_change, for each integration that listens. It runs no statements.
//
// The triggers use nothing but what SQLite and PostgreSQL bring along, because
// they run inside other programs, which know nothing of kedge.
package trigger

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// Erasure is the origin of writes that are noted for nobody.
const Erasure = "dsr"

// The operations that are noted.
const (
	Inserted  = "I"
	Updated   = "U"
	Deleted   = "D"
	Truncated = "T" // anything may have happened to the table
)

// A Set is what is to be noted of one table.
type Set struct {
	Engine    store.Engine
	Entity    string // what the notes call the table
	Ref       string // the table's name, quoted
	Control   string // PostgreSQL: schema of kedge's tables, quoted, with a dot
	Columns   []catalog.Column
	Key       []int
	Unique    [][]int // other unique indexes
	Listeners []Listener
}

// A Listener is an integration and the columns that it wants to know of.
type Listener struct {
	Consumer string
	Columns  []int // sorted
}

// A Trigger is one trigger with the statement that makes it.
type Trigger struct{ Name, SQL string }

// AnyPrefix begins the names of all triggers that this package makes.
const AnyPrefix = "kedge_capture_"

// Prefix begins the names of all triggers of the named entity. Names of tables
// may be as long as those of triggers, so it holds a hash instead.
func Prefix(entity string) string {
	sum := sha256.Sum256([]byte(entity))
	return AnyPrefix + hex.EncodeToString(sum[:6])
}

// OnInsert is the name of the entity's trigger for new rows.
func OnInsert(entity string) string { return Prefix(entity) + "_insert" }

// consumers lists the names of the listeners as SQL, and more.
func (s *Set) consumers(more ...string) string {
	var names []string
	for _, l := range s.Listeners {
		names = append(names, s.literal(l.Consumer))
	}
	for _, m := range more {
		names = append(names, s.literal(m))
	}
	return strings.Join(names, ", ")
}

// wanted is the condition under which a write of the given origin is noted for
// somebody.
func (s *Set) wanted(origin string) string {
	if len(s.Listeners) == 1 {
		return origin + " NOT IN (" + s.consumers(Erasure) + ")"
	}
	return origin + " <> " + s.literal(Erasure)
}

// literal quotes a text.
func (s *Set) literal(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if s.Engine == store.Postgres && strings.Contains(text, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// ref is a column of a row.
func (s *Set) ref(row string, column int) string {
	return row + "." + catalog.Quote(s.Engine, s.Columns[column].Name)
}

// each joins what f says of each column.
func each(columns []int, sep string, f func(c int) string) string {
	var parts []string
	for _, c := range columns {
		parts = append(parts, f(c))
	}
	return strings.Join(parts, sep)
}

// key is the key of a row as it is noted: its parts with backslashes and
// commas escaped, as in a kedge.Key. It is null if a part is.
func (s *Set) key(row string, part func(ref string, c *catalog.Column, escape bool) string) string {
	return each(s.Key, " || ',' || ", func(c int) string {
		return part(s.ref(row, c), &s.Columns[c], len(s.Key) > 1)
	})
}

// escaped writes the expression that escapes a text expression.
func escaped(text, backslash string, escape bool) string {
	if !escape {
		return text
	}
	return "replace(replace(" + text + ", " + backslash + ", " + backslash + " || " + backslash + "), ',', " + backslash + " || ',')"
}

// watched is the union of the columns that somebody listens to, without the key.
func (s *Set) watched(l *Listener) []int {
	return slices.DeleteFunc(slices.Clone(l.Columns), func(c int) bool { return slices.Contains(s.Key, c) })
}
