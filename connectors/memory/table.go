package memory

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A row is one record as of one write. It never changes; a write replaces it.
type row struct {
	key     kedge.Key
	seq     int64 // number of the write
	values  []kedge.Value
	deleted bool // a tombstone
}

// A table holds the present rows, and the log of writes that nobody has
// acknowledged yet.
type table struct {
	entity    *kedge.Entity
	fields    *kedge.Fields
	rows      map[kedge.Key]*row
	keys      []kedge.Key          // of rows, sorted
	log       []*row               // in the order of seq; a row that is no longer in rows was replaced
	seq       int64                // of the last write
	forgotten int64                // writes up to here are no longer in the log
	inserts   map[string]kedge.Key // by idempotency key
}

func newTable(e *kedge.Entity) *table {
	names := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		names[i] = f.Name
	}
	return &table{entity: e, fields: kedge.NewFields(names...), rows: map[kedge.Key]*row{}, inserts: map[string]kedge.Key{}}
}

// live returns the row with key k, or nil.
func (t *table) live(k kedge.Key) *row {
	if r := t.rows[k]; r != nil && !r.deleted {
		return r
	}
	return nil
}

func (t *table) put(r *row) {
	t.seq++
	r.seq = t.seq
	if _, known := t.rows[r.key]; !known {
		i, _ := slices.BinarySearch(t.keys, r.key)
		t.keys = slices.Insert(t.keys, i, r.key)
	}
	t.rows[r.key] = r
	t.log = append(t.log, r)
}

// scan gives the rows after at.Key to yield until it has taken size of them,
// moves at on, and reports whether there are more.
func (t *table) scan(at *position, size int, yield func(*row) (bool, error)) (more bool, err error) {
	i, found := slices.BinarySearch(t.keys, at.Key)
	if found {
		i++
	}
	for taken := 0; i < len(t.keys); i++ {
		r := t.live(t.keys[i])
		if r == nil {
			continue
		}
		if taken == size {
			return true, nil
		}
		took, err := yield(r)
		if err != nil {
			return false, err
		}
		if took {
			taken++
		}
		at.Key = r.key
	}
	return false, nil
}

// changes gives the rows written after at.Seq and up to at.Bound to yield, at
// most size, moves at on, and reports whether there are more.
func (t *table) changes(at *position, size int, yield func(*row)) (more bool) {
	i, _ := slices.BinarySearchFunc(t.log, at.Seq+1, func(r *row, seq int64) int { return cmp.Compare(r.seq, seq) })
	for taken := 0; i < len(t.log) && t.log[i].seq <= at.Bound; i++ {
		r := t.log[i]
		if t.rows[r.key] != r {
			continue // written again: comes later in the log
		}
		if taken == size {
			return true
		}
		yield(r)
		taken++
		at.Seq = r.seq
	}
	return false
}

// forget drops the log and the tombstones up to write seq.
func (t *table) forget(seq int64) {
	i := 0
	for ; i < len(t.log) && t.log[i].seq <= seq; i++ {
		if r := t.log[i]; r.deleted && t.rows[r.key] == r {
			delete(t.rows, r.key)
			at, _ := slices.BinarySearch(t.keys, r.key)
			t.keys = slices.Delete(t.keys, at, at+1)
		}
	}
	t.log = slices.Clone(t.log[i:])
	t.forgotten = max(t.forgotten, seq)
}

// write applies one change.
func (t *table) write(c *kedge.Change) connectors.Result {
	key := c.Key
	if k, replay := t.inserts[c.IdempotencyKey]; replay && c.IdempotencyKey != "" {
		key = k
		if old := t.live(k); old != nil {
			return t.result(connectors.Unchanged, old)
		}
	}
	reject := func(kind kedge.Kind, text string) connectors.Result {
		e := fail("Write", kind, c.Entity, text)
		e.Key = key
		return connectors.Result{State: connectors.Rejected, Key: key, Err: e}
	}
	old := t.live(key)
	switch {
	case key == "" && c.Op != kedge.Insert:
		return reject(kedge.Invalid, "no key")
	case old != nil && c.Op == kedge.Insert:
		return reject(kedge.Conflict, "the key exists")
	case old == nil && c.Op == kedge.Update:
		return reject(kedge.NotFound, "no such record")
	case old == nil && c.Op == kedge.Delete:
		return connectors.Result{State: connectors.Unchanged, Key: key}
	case c.Version != "" && (old == nil || strconv.FormatInt(old.seq, 10) != c.Version):
		return reject(kedge.Conflict, "the record has another version")
	case c.Op == kedge.Delete:
		t.put(&row{key: key, deleted: true})
		return connectors.Result{State: connectors.Removed, Key: key}
	}
	next, err := t.merge(old, key, c)
	if err != nil {
		err.Key = key
		return connectors.Result{State: connectors.Rejected, Key: key, Err: err}
	}
	if old != nil && slices.EqualFunc(old.values, next.values, kedge.Equal) {
		return t.result(connectors.Unchanged, old)
	}
	t.put(next)
	if old != nil {
		return t.result(connectors.Updated, next)
	}
	if c.IdempotencyKey != "" {
		t.inserts[c.IdempotencyKey] = next.key
	}
	return t.result(connectors.Inserted, next)
}

func (t *table) result(state connectors.State, r *row) connectors.Result {
	return connectors.Result{State: state, Key: r.key, Version: strconv.FormatInt(r.seq, 10)}
}

// merge returns the row that c makes of old, which may be nil.
func (t *table) merge(old *row, key kedge.Key, c *kedge.Change) (*row, *kedge.Error) {
	if key == "" { // the system makes the key, as many do
		key = kedge.Key(strconv.FormatInt(t.seq+1, 10))
	}
	r := &row{key: key, values: make([]kedge.Value, t.fields.Len())}
	for i := range r.values {
		if r.values[i] = kedge.Null(); old != nil {
			r.values[i] = old.values[i]
		}
	}
	parts, err := t.entity.Values(key)
	if err != nil {
		return nil, fail("Write", kedge.Invalid, c.Entity, "the key does not fit the entity")
	}
	for i, name := range t.entity.Key {
		r.values[t.fields.Index(name)] = parts[i]
	}
	for i, v := range c.Values {
		name := c.Fields.Name(i)
		f := t.entity.Field(name)
		switch {
		case v.IsMissing() || slices.Contains(t.entity.Key, name):
			continue
		case v.IsNull() && !f.Nullable, !v.IsNull() && v.Type() != f.Type:
			return nil, fail("Write", kedge.Invalid, c.Entity, "field "+name+": "+v.Type().String()+" where "+f.Type.String()+" is wanted")
		}
		r.values[t.fields.Index(name)] = v
	}
	return r, nil
}
