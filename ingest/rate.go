package ingest

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A limit is a parsed [Rate]. Zero values do not limit.
type limit struct {
	requests float64 // a second
	burst    int
	bytes    float64 // a second
}

var timeUnits = map[string]float64{"s": 1, "m": 60, "h": 3600}

var sizeUnits = map[string]float64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

func (r *Rate) parse() (limit, error) {
	var l limit
	if r == nil {
		return l, nil
	}
	if r.Requests != "" {
		n, unit, err := per(r.Requests)
		if err != nil || unit != "" {
			return l, fmt.Errorf("rate.requests: write for example 1000/s; /m and /h work, too")
		}
		l.requests = n
	}
	if r.Bytes != "" {
		n, unit, err := per(r.Bytes)
		size, ok := sizeUnits[unit]
		if err != nil || !ok {
			return l, fmt.Errorf("rate.bytes: write for example 16MiB/s")
		}
		l.bytes = n * size
	}
	if r.Burst < 0 {
		return l, fmt.Errorf("rate.burst: must not be negative")
	}
	if l.burst = r.Burst; l.burst == 0 {
		l.burst = max(1, int(l.requests))
	}
	return l, nil
}

// per reads "16MiB/s" as a number a second, with the unit of what is counted.
func per(s string) (n float64, unit string, err error) {
	amount, interval, ok := strings.Cut(s, "/")
	seconds, known := timeUnits[interval]
	digits := len(amount) - len(strings.TrimLeft(amount, "0123456789"))
	count, err := strconv.ParseUint(amount[:digits], 10, 40)
	if !ok || !known || err != nil || count == 0 {
		return 0, "", fmt.Errorf("not a rate")
	}
	return float64(count) / seconds, strings.TrimSpace(amount[digits:]), nil
}

// buckets are the token buckets of keys, in this process.
type buckets struct {
	mu  sync.Mutex
	key map[string]*bucket
}

type bucket struct {
	limit    limit
	requests *rate.Limiter
	bytes    *rate.Limiter
}

func (b *buckets) of(key string, l limit) *bucket {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.key == nil {
		b.key = map[string]*bucket{}
	}
	found := b.key[key]
	if found == nil || found.limit != l {
		found = &bucket{limit: l}
		if l.requests > 0 {
			found.requests = rate.NewLimiter(rate.Limit(l.requests), l.burst)
		}
		if l.bytes > 0 {
			// One bulk must always fit.
			found.bytes = rate.NewLimiter(rate.Limit(l.bytes), max(int(l.bytes), maxBulkBody+maxSpace))
		}
		b.key[key] = found
	}
	return found
}

// request takes a request out of the bucket, or says how long to wait.
func (b *bucket) request(now time.Time) time.Duration { return take(b.requests, now, 1) }

// body takes n bytes out of the bucket, or says how long to wait.
func (b *bucket) body(now time.Time, n int) time.Duration { return take(b.bytes, now, n) }

func take(l *rate.Limiter, now time.Time, n int) time.Duration {
	if l == nil {
		return 0
	}
	r := l.ReserveN(now, n)
	if !r.OK() {
		return time.Minute
	}
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait
	}
	return 0
}

// failures counts failed authentications by address.
type failures struct {
	mu     sync.Mutex
	counts map[string]*failCount
	swept  time.Time
}

type failCount struct {
	n     int
	since time.Time
}

// More failed authentications than this in a minute from one address are
// answered 429.
const maxFailures = 20

// fail notes a failed authentication and reports whether there were too many.
func (f *failures) fail(address string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil || now.Sub(f.swept) > time.Minute {
		for a, c := range f.counts {
			if now.Sub(c.since) >= time.Minute {
				delete(f.counts, a)
			}
		}
		if f.counts == nil {
			f.counts = map[string]*failCount{}
		}
		f.swept = now
	}
	c := f.counts[address]
	if c == nil || now.Sub(c.since) >= time.Minute {
		c = &failCount{since: now}
		f.counts[address] = c
	}
	c.n++
	return c.n > maxFailures
}
