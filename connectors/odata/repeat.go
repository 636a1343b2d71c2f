package odata

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/store"
)

// A repeatability makes a request repeatable (OASIS Repeatable Requests 1.0):
// the service does it once, and answers a repeat as it answered the first.
type repeatability struct {
	id    string // "" if the request is not repeatable
	first time.Time
}

func (r repeatability) set(h http.Header) {
	if r.id != "" {
		h.Set("Repeatability-Request-ID", r.id)
		h.Set("Repeatability-First-Sent", r.first.UTC().Format(http.TimeFormat))
	}
}

// repeatable returns what makes the insert with the idempotency key repeatable,
// or the zero value if the service does not know repeated requests.
func (w *writer) repeatable(key string) repeatability {
	if key == "" || !w.repeats {
		return repeatability{}
	}
	id := requestID(key)
	return repeatability{id: id, first: w.d.sentFirst.of(id, w.d.env.Now())}
}

var uuidText = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// requestID makes a UUID of an idempotency key, always the same one.
func requestID(key string) string {
	if uuidText.MatchString(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // version 8, as RFC 9562 has it for own hashes
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// A firstSent remembers when repeatable requests were sent first, until they are
// answered: a repeat has to say the same time, also after a restart. So the
// times are stored before anything is sent.
type firstSent struct {
	state *store.State // nil: memory only
	name  string       // of the value in state

	mu      sync.Mutex
	at      map[string]time.Time // by id; nil until it was loaded
	unsaved bool
}

// maxFirstSent is how many requests are remembered.
const maxFirstSent = 1000

// load reads what an earlier process has stored.
func (f *firstSent) load(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at != nil {
		return nil
	}
	at := map[string]time.Time{}
	if f.state != nil {
		value, _, err := f.state.Get(ctx, f.name)
		switch {
		case kedge.KindOf(err) == kedge.Invalid: // there is no key to seal it with
			f.state = nil
		case err != nil:
			return err
		}
		if value != nil && json.Unmarshal(value, &at) != nil {
			clear(at)
		}
	}
	f.at = at
	return nil
}

// save stores the times that are not stored yet.
func (f *firstSent) save(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil || !f.unsaved {
		return nil
	}
	value, err := json.Marshal(f.at)
	if err != nil {
		return err
	}
	for range 3 { // the lease of the run makes us the only writer, but for a paused one
		var rev int64
		if _, rev, err = f.state.Get(ctx, f.name); err == nil {
			if err = f.state.Put(ctx, f.name, value, rev); err == nil {
				f.unsaved = false
				return nil
			}
		}
	}
	return err
}

// of returns when the request with the id was sent first, which is now if it
// was not.
func (f *firstSent) of(id string, now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t, ok := f.at[id]; ok {
		return t
	}
	if len(f.at) >= maxFirstSent { // each of them has a lost answer: the oldest goes
		oldest := ""
		for other, t := range f.at {
			if oldest == "" || t.Before(f.at[oldest]) {
				oldest = other
			}
		}
		delete(f.at, oldest)
	}
	f.at[id], f.unsaved = now, true
	return now
}

// settle forgets a request that was answered for good. One that is made again
// for another reason, much later, is a new one: services reject old times.
func (f *firstSent) settle(r *request, a *reply) {
	if a.status < http.StatusInternalServerError && !rejectsRepeat(r, a) {
		f.forget(r)
	}
}

func (f *firstSent) forget(r *request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.at, r.repeat.id) // stored with the next that is new
}

// rejectsRepeat reports whether the service cannot tell any more whether it has
// done a repeatable request before.
func rejectsRepeat(r *request, a *reply) bool {
	return r.repeat.id != "" && strings.EqualFold(a.header.Get("Repeatability-Result"), "rejected")
}

// rejectedRepeat goes on after that. A record that is not there was not made, so
// the next try is a first one; one that is there is for the caller to look at.
func (t *task) rejectedRepeat(r *request) {
	if t.key == "" {
		t.lose(errForgotten)
		return
	}
	t.look(func(*wire.Page, string) { t.lose(errForgotten) }, func() {
		t.w.d.sentFirst.forget(r)
		t.reject(kedge.Transient, errForgotten, "")
	})
}

// knowsRepeats reports whether the service announces repeatable requests, or was
// seen to know them.
func (d *Driver) knowsRepeats(ctx context.Context, m *metadata, e *entity) bool {
	return e.set.Hints.Repeatability.Or(d.findings.get(ctx, m.model.Hash, wholeService, d.env.Now()).Repeatable == found)
}

// seeRepeats notes from an answer that the service knows repeatable requests.
func (w *writer) seeRepeats(a *reply) {
	if !w.repeats && a.header.Get("Repeatability-Result") != "" {
		w.repeats = true
		w.learn(wholeService, func(f *finding) { f.Repeatable = found })
	}
}
