package odata

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"sync"
	"time"
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

// A firstSent remembers when a repeatable request was sent first, for a repeat
// has to say the same time. A repeat after a restart says another one.
type firstSent struct {
	mu sync.Mutex
	at map[string]time.Time // by id
}

// settle forgets a request that was answered for good. One that is made again
// for another reason, much later, is a new one: services reject old times.
func (f *firstSent) settle(r *request, a *reply) {
	if r.repeat.id == "" || a.status >= http.StatusInternalServerError {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.at, r.repeat.id)
}

// maxFirstSent is how many requests are remembered.
const maxFirstSent = 1000

func (f *firstSent) of(id string, now time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t, ok := f.at[id]; ok {
		return t
	}
	if f.at == nil {
		f.at = map[string]time.Time{}
	}
	if len(f.at) >= maxFirstSent { // each of them has a lost answer: the oldest goes
		oldest := id
		for other, t := range f.at {
			if oldest == id || t.Before(f.at[oldest]) {
				oldest = other
			}
		}
		delete(f.at, oldest)
	}
	f.at[id] = now
	return now
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
