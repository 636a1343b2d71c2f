package odatatest

import (
	"sync"

	"github.com/kedge-sync/kedge"
)

// A Write is a change that a client asked for, in a request of its own or in a
// batch. Edits by Put, Patch and Delete are none.
type Write struct {
	Method string    `json:"method"`
	Set    string    `json:"set"`
	Key    kedge.Key `json:"key,omitempty"`  // of the row; "" if the request was refused before it was known
	Body   string    `json:"body,omitempty"` // as it was sent; "" with [Options.Bench]
	Status int       `json:"status"`

	IfMatch string `json:"ifMatch,omitempty"`
	Prefer  string `json:"prefer,omitempty"`

	Batch bool `json:"batch,omitempty"`

	Created bool `json:"created,omitempty"` // the row was new
	// Applied tells that the row was written, and that it was not taken back
	// with its group.
	Applied bool `json:"applied"`
	// Replayed tells that a repeatable request came again and got the answer
	// of the first time.
	Replayed bool `json:"replayed,omitempty"`
}

// A writeLog remembers the last writes, at most maxRequests.
type writeLog struct {
	mu    sync.Mutex
	list  []Write
	first int // number of list[0], from the start of the service
}

func (l *writeLog) add(w Write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == maxRequests {
		l.list = append(l.list[:0], l.list[maxRequests/2:]...)
		l.first += maxRequests / 2
	}
	l.list = append(l.list, w)
}

// next returns the number that the next write will have.
func (l *writeLog) next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first + len(l.list)
}

// takeBack marks the writes from number n on as not applied.
func (l *writeLog) takeBack(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := max(n-l.first, 0); i < len(l.list); i++ {
		l.list[i].Applied = false
	}
}

// Writes returns the changes that clients asked for so far, in order.
func (s *Service) Writes() []Write {
	s.wrote.mu.Lock()
	defer s.wrote.mu.Unlock()
	return append([]Write(nil), s.wrote.list...)
}

// ForgetWrites empties the list of writes.
func (s *Service) ForgetWrites() {
	s.wrote.mu.Lock()
	defer s.wrote.mu.Unlock()
	s.wrote.first += len(s.wrote.list)
	s.wrote.list = nil
}

// Inserted returns how often each row of a set was made by a client and not
// taken back.
func (s *Service) Inserted(set string) map[kedge.Key]int {
	s.wrote.mu.Lock()
	defer s.wrote.mu.Unlock()
	out := make(map[kedge.Key]int)
	for _, w := range s.wrote.list {
		if w.Applied && w.Set == set && w.Created {
			out[w.Key]++
		}
	}
	return out
}
