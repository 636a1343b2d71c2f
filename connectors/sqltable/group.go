package sqltable

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// A layout says where the values of records with one field list are.
type layout struct {
	fields  *kedge.Fields
	columns []int // of the entity, per field; -1 if there is none
	key     []int // per key column, its field; -1 if there is none
}

func (e *entity) layout(fields *kedge.Fields) *layout {
	l := &layout{fields: fields, key: make([]int, len(e.key))}
	for _, name := range fields.Names() {
		l.columns = append(l.columns, e.table.Column(name))
	}
	for i, c := range e.key {
		l.key[i] = slices.Index(l.columns, c)
	}
	return l
}

// group sorts the changes into groups. Changes that cannot be stored are
// rejected at once.
func (w *writer) group() {
	var l *layout
	var last *group
	var key []kedge.Value
	for at := range w.changes {
		ch := &w.changes[at]
		w.results[at].Key = ch.Key
		if l == nil || l.fields != ch.Fields {
			l = w.e.layout(ch.Fields)
		}
		var err error
		if key, err = w.keyOf(key[:0], ch, l); err != nil {
			w.rejectChange(at, kedge.Invalid, err)
			continue
		}
		if last == nil || !last.takes(ch, l, len(key)) {
			last = w.groupFor(ch, l, len(key))
		}
		if len(w.groups) == 1 && len(last.rows) == 0 { // most often the only group
			n := len(w.changes) - at
			last.rows, last.values = make([]int, 0, n), make([]kedge.Value, 0, n*len(last.columns))
		}
		if err := last.add(at, ch, l, key); err != nil {
			w.rejectChange(at, kedge.Invalid, err)
			continue
		}
		if ch.Key == "" && len(key) > 0 {
			w.results[at].Key = kedge.NewKey(key...)
		}
	}
}

// keyOf appends the values of the key of ch; none if the database makes them.
func (w *writer) keyOf(key []kedge.Value, ch *kedge.Change, l *layout) ([]kedge.Value, error) {
	e := w.e
	given := 0
	for i, c := range e.key {
		v := kedge.Value{}
		if at := l.key[i]; at >= 0 && at < len(ch.Values) && ch.Op != kedge.Delete {
			v = ch.Values[at]
		}
		if v.IsMissing() {
			key = append(key, v)
			continue
		}
		v, err := e.columns[c].fit(e.engine, v)
		if err != nil {
			return nil, fmt.Errorf("key field %s: %w", e.Key[i], err)
		}
		given++
		key = append(key, v)
	}
	switch {
	case given == len(key) && ch.Key == "" && (ch.Op == kedge.Insert || ch.Op == kedge.Upsert):
	case given == 0 && ch.Key == "" && ch.Op == kedge.Insert:
		return w.newKey(key)
	case ch.Key == "":
		return nil, errors.New("the key is missing")
	case given == len(key) && kedge.NewKey(key...) == ch.Key:
	default:
		parsed, ok := e.parseKey(e.key, ch.Key)
		if !ok {
			return nil, errors.New("the key does not fit the table")
		}
		for i, v := range key {
			if !v.IsMissing() && !kedge.Equal(v, parsed[i]) {
				return nil, errors.New("the key of a record cannot be changed")
			}
		}
		key = append(key[:0], parsed...)
	}
	if kedge.NewKey(key...) == "" {
		return nil, errors.New("the key is empty")
	}
	for i, c := range e.key {
		if e.engine == store.SQLite && e.columns[c].Storage == catalog.Decimal { // compared as text there
			key[i] = kedge.Decimal(kedge.CanonicalDecimal(key[i].Str()))
		}
	}
	return key, nil
}

// newKey makes a key, or leaves it to the database.
func (w *writer) newKey(key []kedge.Value) ([]kedge.Value, error) {
	for _, c := range w.e.key {
		if w.e.columns[c].Default {
			return key[:0], nil
		}
	}
	if len(key) != 1 || w.e.columns[w.e.key[0]].Type != kedge.TypeString {
		return nil, errors.New("the key is missing, and kedge makes only keys of one text")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	key[0] = kedge.String(id.String())
	return key, nil
}

// opOf is the operation that ch comes down to.
func opOf(ch *kedge.Change) (op kedge.Op, must bool) {
	if ch.Op == kedge.Upsert && ch.Version != "" {
		return kedge.Update, true
	}
	return ch.Op, false
}

// takes reports whether ch belongs into g.
func (g *group) takes(ch *kedge.Change, l *layout, keys int) bool {
	op, must := opOf(ch)
	if g.op != op || g.must != must || g.keys != keys {
		return false
	}
	if op == kedge.Delete {
		return true
	}
	n := g.keys
	for i, v := range ch.Values {
		c := l.columns[i]
		if v.IsMissing() || slices.Contains(g.e.key, c) && keys > 0 {
			continue
		}
		if n == len(g.columns) || g.columns[n] != c {
			return false
		}
		n++
	}
	return n == len(g.columns)
}

func (w *writer) groupFor(ch *kedge.Change, l *layout, keys int) *group {
	for _, g := range w.groups {
		if g.takes(ch, l, keys) {
			return g
		}
	}
	g := &group{e: w.e, keyed: keys > 0, keys: keys}
	g.op, g.must = opOf(ch)
	if keys > 0 {
		g.columns = append(g.columns, w.e.key...)
	}
	if g.op != kedge.Delete {
		for i, v := range ch.Values {
			if c := l.columns[i]; !v.IsMissing() && !(keys > 0 && slices.Contains(w.e.key, c)) {
				g.columns = append(g.columns, c)
			}
		}
	}
	w.groups = append(w.groups, g)
	return g
}

// add appends ch to g, or says why its values cannot be stored.
func (g *group) add(at int, ch *kedge.Change, l *layout, key []kedge.Value) error {
	start := len(g.values)
	err := g.addValues(ch, l, key)
	expected := kedge.Value{}
	if err == nil && ch.Version != "" {
		expected, err = g.e.expected(ch.Version)
	}
	if err != nil {
		g.values = g.values[:start]
		return err
	}
	if !expected.IsMissing() && g.version == nil {
		g.version = make([]kedge.Value, len(g.rows))
	}
	if g.version != nil {
		g.version = append(g.version, expected)
	}
	g.rows = append(g.rows, at)
	return nil
}

func (g *group) addValues(ch *kedge.Change, l *layout, key []kedge.Value) error {
	g.values = append(g.values, key...)
	if g.op == kedge.Delete {
		return nil
	}
	for i, v := range ch.Values {
		if v.IsMissing() {
			continue
		}
		c := l.columns[i]
		if c < 0 {
			return fmt.Errorf("field %s: the table has no such column", l.fields.Name(i))
		}
		if g.keys > 0 && slices.Contains(g.e.key, c) {
			continue
		}
		col := &g.e.columns[c]
		if col.Generated {
			return fmt.Errorf("field %s: %w", col.Name, errComputed)
		}
		fit, err := col.fit(g.e.engine, v)
		if err != nil {
			return fmt.Errorf("field %s: %w", col.Name, err)
		}
		g.values = append(g.values, fit)
	}
	return nil
}

// expected reads an expected version.
func (e *entity) expected(version string) (kedge.Value, error) {
	if e.version < 0 {
		return kedge.Value{}, errors.New("the table has no version column to compare the expected version with")
	}
	v, err := kedge.ParseText(e.columns[e.version].Type, version)
	if err != nil {
		return v, errors.New("the expected version is not one of this table")
	}
	return v, nil
}
