package odatatest

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxRequests is the most requests that are remembered; older ones are forgotten.
const maxRequests = 100_000

// A Request is a request that the service has got.
type Request struct {
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Query  string    `json:"query"` // as it was sent
	Prefer string    `json:"prefer,omitempty"`
	Accept string    `json:"accept,omitempty"`
	Status int       `json:"status,omitempty"` // of the answer; 0 until there is one
}

type requestLog struct {
	mu    sync.Mutex
	list  []*Request
	calls int
}

func (l *requestLog) add(r *http.Request, at time.Time) *Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == maxRequests {
		l.list = append(l.list[:0], l.list[maxRequests/2:]...)
	}
	got := &Request{At: at, Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
		Prefer: strings.Join(r.Header.Values("Prefer"), ", "), Accept: strings.Join(r.Header.Values("Accept"), ", ")}
	l.list = append(l.list, got)
	return got
}

func (l *requestLog) answered(r *Request, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Status = status
}

func (l *requestLog) countRows() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
}

// Requests returns the requests that came so far, but for those to /_test/.
func (s *Service) Requests() []Request {
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	var list []Request
	for _, r := range s.requests.list {
		list = append(list, *r)
	}
	return list
}

// ForgetRequests empties the list of requests.
func (s *Service) ForgetRequests() {
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	s.requests.list = nil
}

// Calls returns how many requests for rows were answered, with rows or with
// an error about them.
func (s *Service) Calls() int {
	s.requests.mu.Lock()
	defer s.requests.mu.Unlock()
	return s.requests.calls
}

// control answers /_test/, which only this machine may use.
func (s *Service) control(w http.ResponseWriter, r *http.Request) {
	if !loopback(r.RemoteAddr) || !loopback(r.Host) {
		http.Error(w, "only for this machine", http.StatusForbidden)
		return
	}
	a, err := s.command(r)
	if err != nil {
		a = newAnswer("application/json", jsonText(map[string]string{"error": err.Error()}))
		a.status = http.StatusBadRequest
	}
	a.send(w, -1)
}

// loopback reports whether an address with or without port is of this machine.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
