package api

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kedge-sync/kedge/internal/httpapi"
)

// limits are the rates of many callers, in this process.
type limits struct {
	now   func() time.Time
	rate  rate.Limit
	burst int

	mu     sync.Mutex
	byName map[string]*rate.Limiter
	swept  time.Time
}

func newLimits(now func() time.Time, perSecond float64, burst int) *limits {
	return &limits{now: now, rate: rate.Limit(perSecond), burst: burst, byName: map[string]*rate.Limiter{}, swept: now()}
}

// sweepEvery is how often limiters that are full again are forgotten.
const sweepEvery = 10 * time.Minute

// take lets a call of name through, or answers 429 and when to come again.
func (l *limits) take(name, text string) error {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) > sweepEvery {
		l.swept = now
		for n, x := range l.byName {
			if x.TokensAt(now) >= float64(l.burst) {
				delete(l.byName, n)
			}
		}
	}
	x := l.byName[name]
	if x == nil {
		x = rate.NewLimiter(l.rate, l.burst)
		l.byName[name] = x
	}
	if x.AllowN(now, 1) {
		return nil
	}
	wait := time.Duration((1 - x.TokensAt(now)) / float64(l.rate) * float64(time.Second))
	return &httpapi.Problem{Status: http.StatusTooManyRequests, Detail: text, RetryAfter: wait}
}
