package odatatest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Fault is a failure that comes now and then.
type Fault struct {
	Name  string
	P     float64       // probability, of 429, part-429, 500, cut and lose-reply
	N     int           // of dup-next, anchor-expiry and auth-expiry: every how many
	Delay time.Duration // of slow: before each answer; of 429 and part-429: the Retry-After
}

// FaultNames returns the faults that a service can have.
func FaultNames() []Name {
	return []Name{
		{"429", "429=p[,s]: with probability p, 429 with Retry-After of s seconds (default 1)"},
		{"500", "500=p: with probability p, 500"},
		{"part-429", "part-429=p[,s]: with probability p, a request in a batch is answered with 429 and not carried out"},
		{"cut", "cut=p: with probability p, the connection breaks in the middle of the answer"},
		{"lose-reply", "lose-reply=p: with probability p, the connection breaks after a write was applied and before it is answered"},
		{"slow", "slow=d: each answer waits for the duration d first"},
		{"dup-next", "dup-next=n: every n-th next link leads to the page it is on"},
		{"anchor-expiry", "anchor-expiry=n: every n-th use of a delta link is answered with 410"},
		{"auth-expiry", "auth-expiry=n: an access token is good for n requests"},
	}
}

// ParseFault reads a fault as it is written on the command line: "cut=0.2".
func ParseFault(text string) (Fault, error) {
	name, value, ok := strings.Cut(text, "=")
	f := Fault{Name: name}
	if !ok {
		return f, fmt.Errorf("fault %q has no value; write it as name=value", name)
	}
	var err error
	switch name {
	case "429", "part-429":
		p, seconds, has := strings.Cut(value, ",")
		f.P, err = probability(p)
		f.Delay = time.Second
		if n, e := strconv.Atoi(seconds); has && (e != nil || n < 0) {
			err = fmt.Errorf("%q is not a number of seconds", seconds)
		} else if has {
			f.Delay = time.Duration(n) * time.Second
		}
	case "500", "cut", "lose-reply":
		f.P, err = probability(value)
	case "slow":
		if f.Delay, err = time.ParseDuration(value); err == nil && f.Delay < 0 {
			err = fmt.Errorf("%q is less than nothing", value)
		}
	case "dup-next", "anchor-expiry", "auth-expiry":
		if f.N, err = strconv.Atoi(value); err != nil || f.N < 1 {
			err = fmt.Errorf("%q is not a number of 1 or more", value)
		}
	default:
		return f, fmt.Errorf("unknown fault %q; there are: %s", name, strings.Join(names(FaultNames()), ", "))
	}
	if err != nil {
		return f, fmt.Errorf("fault %s: %w", name, err)
	}
	return f, nil
}

func probability(text string) (float64, error) {
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || !(p >= 0 && p <= 1) {
		return 0, fmt.Errorf("%q is not a probability between 0 and 1", text)
	}
	return p, nil
}

// A Failure is what all requests for rows are answered with while it is set.
// With a status, writes are refused before they are applied.
type Failure struct {
	Status     int           // 0 means the answer is the true one, cut or garbled
	RetryAfter time.Duration // header of the answer, if not 0
	Text       string        // error message
	Cut        bool          // the connection breaks in the middle of the answer
	CutAt      int           // with Cut: bytes of the body that still come; 0 means half
	Garbage    bool          // the body is not JSON
}

// faults decides which requests go wrong.
type faults struct {
	mu      sync.Mutex
	rand    *rand.Rand
	set     map[string]Fault
	count   map[string]int
	failure *Failure
}

func newFaults(seed uint64) *faults {
	return &faults{rand: rand.New(rand.NewPCG(seed, 0x6b65646765)), set: map[string]Fault{}, count: map[string]int{}}
}

// SetFaults replaces the faults by those written in texts.
func (s *Service) SetFaults(texts ...string) error {
	set := make(map[string]Fault)
	for _, text := range texts {
		f, err := ParseFault(text)
		if err != nil {
			return err
		}
		set[f.Name] = f
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.set, s.faults.count = set, map[string]int{}
	return nil
}

// Fail answers all requests for rows with f until stop is called.
func (s *Service) Fail(f Failure) (stop func()) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.failure = &f
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		if s.faults.failure == &f {
			s.faults.failure = nil
		}
	}
}

// hit reports whether the fault comes now, by its probability.
func (f *faults) hit(name string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault, ok := f.set[name]
	return fault, ok && f.rand.Float64() < fault.P
}

// nth reports whether this is the n-th time that the fault could come.
func (f *faults) nth(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault, ok := f.set[name]
	if !ok {
		return false
	}
	f.count[name]++
	return f.count[name]%fault.N == 0
}

func (f *faults) get(name string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set[name]
}

func (f *faults) current() *Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failure
}

// throttle returns the failure of the fault with that name, if it comes, or nil.
func (f *faults) throttle(name string) error {
	fault, ok := f.hit(name)
	if !ok {
		return nil
	}
	e := fail(http.StatusTooManyRequests, "TooManyRequests", "Too many requests.")
	e.retryAfter = seconds(fault.Delay)
	return e
}

// refuse returns the failure of a request before it is looked at, or nil.
func (f *faults) refuse() error {
	if err := f.throttle("429"); err != nil {
		return err
	}
	if _, ok := f.hit("500"); ok {
		return fail(http.StatusInternalServerError, "InternalServerError", "An internal error occurred.")
	}
	return nil
}

func seconds(d time.Duration) string {
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}
