package trigger

import (
	"slices"
	"strings"

	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
)

// sqliteOrigin is who writes: a row that exists only inside of WriteTx.
const sqliteOrigin = "coalesce((SELECT name FROM kedge_origin), '')"

// SQLite returns the row triggers of a SQLite table.
func (s *Set) SQLite() []Trigger {
	if len(s.Listeners) == 0 {
		return nil
	}
	keyChanged := each(s.Key, " OR ", s.differs)
	list := []Trigger{
		s.row("insert", "AFTER INSERT", "", s.notes("NEW", Inserted, nil)),
		s.row("delete", "AFTER DELETE", "", s.notes("OLD", Deleted, nil)),
		s.row("update", "AFTER UPDATE", s.anyDiffers(), s.notes("NEW", Updated, s.listenerDiffers)),
		s.row("rekey", "AFTER UPDATE", keyChanged, s.notes("OLD", Deleted, nil)),
	}
	if len(s.Unique) > 0 {
		moved := each(slices.Concat(s.Unique...), " OR ", s.differs)
		list = append(list, s.row("replace", "BEFORE INSERT", "", s.replaced()), s.row("rereplace", "BEFORE UPDATE", moved, s.replaced()))
	}
	return list
}

// row writes a trigger.
func (s *Set) row(kind, event, when, body string) Trigger {
	name := Prefix(s.Entity) + "_" + kind
	cond := s.wanted(sqliteOrigin)
	if when != "" {
		cond += " AND (" + when + ")"
	}
	return Trigger{name, "CREATE TRIGGER " + name + " " + event + " ON " + s.Ref + " WHEN " + cond + " BEGIN\n" + body + "END"}
}

// notes writes an insert for each listener; its condition may depend on the
// listener.
func (s *Set) notes(row, op string, cond func(l *Listener) string) string {
	var b strings.Builder
	for i := range s.Listeners {
		l := &s.Listeners[i]
		b.WriteString("  INSERT INTO kedge_change (consumer, entity, key, op) SELECT " + s.literal(l.Consumer) + ", " +
			s.literal(s.Entity) + ", " + s.key(row, sqlitePart) + ", '" + op + "' WHERE " + s.hasKey(row))
		b.WriteString(s.butFor(l))
		if cond != nil && len(s.Listeners) > 1 {
			b.WriteString(" AND (" + cond(l) + ")")
		}
		b.WriteString(";\n")
	}
	return b.String()
}

// butFor is the condition that the writer is not the listener itself. Where
// there is one listener only, the trigger's own condition says so.
func (s *Set) butFor(l *Listener) string {
	if len(s.Listeners) == 1 {
		return ""
	}
	return " AND " + sqliteOrigin + " <> " + s.literal(l.Consumer)
}

// hasKey is the condition that no part of the key is null, which SQLite allows.
func (s *Set) hasKey(row string) string {
	return each(s.Key, " AND ", func(c int) string { return s.ref(row, c) + " IS NOT NULL" })
}

// differs is the condition that a column was changed, if only in its case.
func (s *Set) differs(c int) string {
	return s.ref("OLD", c) + " IS NOT " + s.ref("NEW", c) + " COLLATE BINARY"
}

func (s *Set) listenerDiffers(l *Listener) string {
	return each(append(s.watched(l), s.Key...), " OR ", s.differs)
}

// anyDiffers is the condition that somebody wants to know of an update.
func (s *Set) anyDiffers() string {
	all := Listener{}
	for c := range s.Columns {
		for _, l := range s.Listeners {
			if slices.Contains(l.Columns, c) {
				all.Columns = append(all.Columns, c)
				break
			}
		}
	}
	return s.listenerDiffers(&all)
}

// replaced notes the rows that OR REPLACE is about to delete because they have
// a unique value of the new row: SQLite fires no delete trigger for them
// (Language, ON CONFLICT). A row that stays is noted in vain.
func (s *Set) replaced() string {
	var b strings.Builder
	for _, u := range s.Unique {
		same := each(u, " AND ", func(c int) string { return s.ref("t", c) + " = " + s.ref("NEW", c) })
		other := each(s.Key, " OR ", func(c int) string { return s.ref("t", c) + " IS NOT " + s.ref("NEW", c) })
		for _, l := range s.Listeners {
			b.WriteString("  INSERT INTO kedge_change (consumer, entity, key, op) SELECT " + s.literal(l.Consumer) + ", " +
				s.literal(s.Entity) + ", " + s.key("t", sqlitePart) + ", '" + Deleted + "' FROM " + s.Ref + " AS t WHERE " + same +
				" AND (" + other + ") AND " + s.hasKey("t") + s.butFor(&l) + ";\n")
		}
	}
	return b.String()
}

// sqlitePart notes one value of a key with its storage class in front, since a
// column of any type may hold any.
func sqlitePart(ref string, _ *catalog.Column, escape bool) string {
	return "CASE typeof(" + ref + ") WHEN 'integer' THEN 'i' || " + ref + " WHEN 'real' THEN 'r' || printf('%!.20e', " + ref +
		") WHEN 'blob' THEN 'b' || hex(" + ref + ") ELSE 't' || " + escaped(ref, `'\'`, escape) + " END"
}
