package odatatest

import (
	"errors"
	"time"

	"github.com/kedge-sync/kedge"
)

// Omit is a value that answers leave out, as if the row did not have the
// property. Values of type json are sent as they are whatever the type of the
// field, so that tests can serve rows that are wrong.
var Omit = kedge.JSON("")

// Row returns a record for the edits below, of alternating field names and values.
func Row(namesAndValues ...any) kedge.Record {
	var names []string
	var values []kedge.Value
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		names = append(names, namesAndValues[i].(string))
		values = append(values, namesAndValues[i+1].(kedge.Value))
	}
	return kedge.Record{Fields: kedge.NewFields(names...), Values: values}
}

// Put writes whole rows in one commit: fields that a record does not have
// become null. Each row gets a new version and modification time.
func (s *Service) Put(set string, records ...kedge.Record) error {
	return s.edit(set, records, true)
}

// Patch changes the fields that the records have, of rows that exist, in one
// commit.
func (s *Service) Patch(set string, records ...kedge.Record) error {
	return s.edit(set, records, false)
}

func (s *Service) edit(set string, records []kedge.Record, whole bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(set)
	if t == nil {
		return noSet(set)
	}
	all := make([][]kedge.Value, len(records))
	for i := range records {
		values, err := s.newValues(t, &records[i], whole)
		if err != nil {
			return err
		}
		all[i] = values
		if s.quirk(CaseInsensitive) && t.hasOtherCase(pick(values, t.key), all[:i]) {
			return &kedge.Error{Op: "odatatest.Edit", Kind: kedge.Unsupported, Entity: set, Err: errors.New("keys that differ only in case")}
		}
	}
	s.seq++
	now := s.opts.Now()
	for _, values := range all {
		t.version++
		t.stamp(values, t.version, now)
		t.write(s.seq, t.version, pick(values, t.key), values)
	}
	s.bench.drop()
	return nil
}

// newValues returns the values of a row after an edit, without stamps.
func (s *Service) newValues(t *table, r *kedge.Record, whole bool) ([]kedge.Value, error) {
	for _, name := range r.Fields.Names() {
		if _, ok := t.index[name]; !ok {
			return nil, &kedge.Error{Op: "odatatest.Edit", Kind: kedge.Invalid, Entity: t.ent.Name, Err: errors.New("no field " + name)}
		}
	}
	keys := make([]kedge.Value, len(t.key))
	for i, k := range t.key {
		if keys[i] = r.Get(t.props[k].Name); keys[i].IsEmpty() {
			return nil, &kedge.Error{Op: "odatatest.Edit", Kind: kedge.Invalid, Entity: t.ent.Name, Err: errors.New("key is missing")}
		}
	}
	var values []kedge.Value
	if at, ok := t.find(keys); ok && !whole {
		values = t.values(t.rows[at], s.seq)
	}
	if !whole && values == nil {
		return nil, &kedge.Error{Op: "odatatest.Patch", Kind: kedge.NotFound, Entity: t.ent.Name}
	}
	values = append(make([]kedge.Value, 0, len(t.props)), values...)
	for i := range t.props {
		v := r.Get(t.props[i].Name)
		switch {
		case i == len(values) && v.IsMissing():
			values = append(values, kedge.Null())
		case i == len(values):
			values = append(values, v)
		case !v.IsMissing():
			values[i] = v
		}
	}
	return values, nil
}

// stamp sets the fields that every edit sets.
func (t *table) stamp(values []kedge.Value, number int64, now time.Time) {
	if t.modifiedAt >= 0 {
		values[t.modifiedAt] = kedge.Time(now)
	}
	if t.versionAt < 0 {
		return
	}
	switch t.props[t.versionAt].Type {
	case kedge.TypeInt:
		values[t.versionAt] = kedge.Int(number)
	case kedge.TypeTime:
		values[t.versionAt] = kedge.Time(now)
	}
}

// Delete removes rows in one commit. Keys that do not exist are passed over.
func (s *Service) Delete(set string, keys ...kedge.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(set)
	if t == nil {
		return noSet(set)
	}
	s.seq++
	for _, k := range keys {
		values, err := t.ent.Values(k)
		if err != nil {
			return &kedge.Error{Op: "odatatest.Delete", Kind: kedge.Invalid, Entity: set, Err: err}
		}
		t.version++
		t.write(s.seq, t.version, values, nil)
	}
	s.bench.drop()
	return nil
}

// Hold gives a whole row its version and modification time now, but writes it
// only when commit is called, as a transaction that stays open would.
func (s *Service) Hold(set string, r kedge.Record) (commit func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table(set)
	if t == nil {
		return nil, noSet(set)
	}
	values, err := s.newValues(t, &r, true)
	if err != nil {
		return nil, err
	}
	t.version++
	number := t.version
	t.stamp(values, number, s.opts.Now())
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seq++
		t.write(s.seq, number, pick(values, t.key), values)
		s.bench.drop()
	}, nil
}

// Records returns the rows of a set in the order of their keys, with all
// fields.
func (s *Service) Records(set string) []kedge.Record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.table(set)
	if t == nil {
		return nil
	}
	out := make([]kedge.Record, 0, t.live)
	for _, r := range t.rows {
		if values := t.values(r, s.seq); values != nil {
			out = append(out, kedge.Record{Fields: t.fields, Values: values, Key: kedge.NewKey(r.keys()...)})
		}
	}
	return out
}

// Entities returns the entities that are served, in order.
func (s *Service) Entities() []kedge.Entity {
	out := make([]kedge.Entity, len(s.tables))
	for i, t := range s.tables {
		out[i] = *t.ent
	}
	return out
}

// Expire forgets the history: delta links given out so far, and the next links
// of deltas, are answered with 410 Gone from now on.
func (s *Service) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	s.epoch = s.seq
	s.bench.drop()
}

// table returns the set with that name, or nil.
func (s *Service) table(name string) *table {
	for _, t := range s.tables {
		if t.ent.Name == name {
			return t
		}
	}
	if s.companyTable != nil && name == s.companyTable.ent.Name {
		return s.companyTable
	}
	return nil
}

func noSet(name string) error {
	return &kedge.Error{Op: "odatatest", Kind: kedge.NotFound, Entity: name}
}
