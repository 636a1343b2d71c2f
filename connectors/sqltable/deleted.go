package sqltable

import (
	"slices"

	"github.com/kedge-sync/kedge"
)

// marking turns changes of a table whose deleted rows are marked into ones
// that mark: a delete sets the mark, an insert or upsert takes it away. The
// writer's results are still those of the changes as they came, see set and
// reject.
func (e *entity) marking(changes []kedge.Change) []kedge.Change {
	name := e.columns[e.deleted].Name
	mark := kedge.NewFields(name)
	wider := map[*kedge.Fields]*kedge.Fields{}
	out := slices.Clone(changes)
	for i := range out {
		c := &out[i]
		if c.Op == kedge.Delete {
			c.Op, c.Fields, c.Values = kedge.Update, mark, []kedge.Value{e.marked}
			continue
		}
		if c.Op == kedge.Update || c.Fields.Index(name) >= 0 {
			continue
		}
		if wider[c.Fields] == nil {
			wider[c.Fields] = kedge.NewFields(append(slices.Clone(c.Fields.Names()), name)...)
		}
		c.Fields, c.Values = wider[c.Fields], append(slices.Clone(c.Values), e.unmarked())
	}
	return out
}

// unmarked is the value of the deleted column in rows that are not deleted.
func (e *entity) unmarked() kedge.Value {
	switch {
	case e.marked.Type() == kedge.TypeBool:
		return kedge.Bool(!e.marked.Bool())
	case e.marked.Type() == kedge.TypeInt && e.marked.Int() != 0:
		return kedge.Int(0)
	}
	return kedge.Null()
}
