package odata

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/kedge-sync/kedge/internal/store"
)

// An answer is what a probe found.
type answer string

const (
	unasked answer = ""
	found   answer = "yes"
	failed  answer = "no"
)

// A finding is what probes found about one entity.
type finding struct {
	Delta        answer `json:"delta,omitempty"`
	Watermark    answer `json:"watermark,omitempty"`
	WatermarkWhy string `json:"watermarkWhy,omitempty"`
	Keyset       answer `json:"keyset,omitempty"`
	KeysetWhy    string `json:"keysetWhy,omitempty"`
	ETag         answer `json:"etag,omitempty"`  // rows come with ETags
	Batch        answer `json:"batch,omitempty"` // of the entity wholeService
	BatchWhy     string `json:"batchWhy,omitempty"`
	Repeatable   answer `json:"repeatable,omitempty"` // of the entity wholeService: it knows repeated requests

	Hash string    `json:"hash"` // of the schema that was probed
	At   time.Time `json:"at"`
}

// findingsLife is how long findings are believed.
const findingsLife = 7 * 24 * time.Hour

// findings keeps what probes found, in memory and, where there is one, in the
// connection's sealed state. They are only a cache: if the state cannot be read
// or written, the service is asked again.
type findings struct {
	state *store.State // nil: memory only

	mu     sync.Mutex
	loaded bool
	all    map[string]finding // by entity
}

// wholeService is the name under which findings about all entities are kept. No
// entity set has it.
const wholeService = "$batch"

const findingsName = "odata.findings"

// get returns what is known about an entity under the schema hash.
func (f *findings) get(ctx context.Context, hash, entity string, now time.Time) finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.loaded {
		f.all, f.loaded = f.load(ctx), true
	}
	got, ok := f.all[entity]
	if !ok || got.Hash != hash || now.Sub(got.At) > findingsLife {
		return finding{Hash: hash, At: now}
	}
	return got
}

func (f *findings) load(ctx context.Context) map[string]finding {
	all := map[string]finding{}
	if f.state == nil {
		return all
	}
	value, _, err := f.state.Get(ctx, findingsName)
	if err != nil || value == nil || json.Unmarshal(value, &all) != nil {
		return map[string]finding{}
	}
	return all
}

// update changes what is known about an entity.
func (f *findings) update(ctx context.Context, hash, entity string, now time.Time, change func(*finding)) {
	got := f.get(ctx, hash, entity, now)
	before := got
	change(&got)
	if got == before {
		return
	}
	f.mu.Lock()
	f.all[entity] = got
	mine := maps.Clone(f.all)
	f.mu.Unlock()
	if f.state == nil {
		return
	}
	for range 3 { // another replica may store its own at the same time
		value, rev, err := f.state.Get(ctx, findingsName)
		if err != nil {
			return
		}
		all := map[string]finding{}
		if value != nil && json.Unmarshal(value, &all) != nil {
			clear(all)
		}
		all[entity] = mine[entity]
		text, err := json.Marshal(all)
		if err != nil || f.state.Put(ctx, findingsName, text, rev) == nil {
			return
		}
	}
}
