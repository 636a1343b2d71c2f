package memory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/kedge-sync/kedge"
)

// A Store is the remote system: tables with a history of writes. It is safe
// for concurrent use.
type Store struct {
	schema *kedge.Schema
	epoch  string // differs between stores, so that anchors of another one are refused

	mu     sync.Mutex
	tables map[string]*table
	calls  int
}

// NewStore returns an empty store with the given entities. What an entity can
// do is filled in.
func NewStore(entities ...kedge.Entity) *Store {
	s := &Store{schema: &kedge.Schema{}, epoch: rand.Text(), tables: map[string]*table{}}
	for _, e := range entities {
		e.Full, e.Delta, e.Deletes, e.Filter = true, true, true, true
		e.Insert, e.Update, e.Upsert, e.Delete, e.Concurrency, e.Idempotent = true, true, true, true, true, true
		e.Tracking = "log of writes"
		s.schema.Entities = append(s.schema.Entities, e)
	}
	slices.SortFunc(s.schema.Entities, func(a, b kedge.Entity) int { return strings.Compare(a.Name, b.Name) })
	text, _ := json.Marshal(s.schema.Entities) // cannot fail: no types that JSON does not know
	sum := sha256.Sum256(text)
	s.schema.Hash = hex.EncodeToString(sum[:])
	for i := range s.schema.Entities {
		e := &s.schema.Entities[i]
		s.tables[e.Name] = newTable(e)
	}
	return s
}

// Put writes whole records: missing values become null.
func (s *Store) Put(ctx context.Context, entity string, records ...kedge.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[entity]
	if t == nil {
		return fail("Put", kedge.NotFound, entity, "no such entity")
	}
	for _, r := range records {
		values := make([]kedge.Value, t.fields.Len())
		for i := range values {
			if values[i] = r.Get(t.fields.Name(i)); values[i].IsMissing() {
				values[i] = kedge.Null()
			}
		}
		t.put(&row{key: r.Key, values: values})
	}
	return nil
}

// Delete removes records.
func (s *Store) Delete(ctx context.Context, entity string, keys ...kedge.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[entity]
	if t == nil {
		return fail("Delete", kedge.NotFound, entity, "no such entity")
	}
	for _, k := range keys {
		if t.live(k) != nil {
			t.put(&row{key: k, deleted: true})
		}
	}
	return nil
}

// Calls returns how many pages were read.
func (s *Store) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Expire forgets the history of entity: no anchor and no token of an
// incremental read that was given out before is known any more.
func (s *Store) Expire(ctx context.Context, entity string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[entity]
	if t == nil {
		return fail("Expire", kedge.NotFound, entity, "no such entity")
	}
	t.seq++
	t.forget(t.seq)
	return nil
}
