package lanes

// A Set is the queues that one worker holds. Requests go round over them, so
// that a large backlog does not starve the others. It is not safe for
// concurrent use.
type Set struct {
	Max int // requests at once over all queues

	queues   map[string]*Queue
	turn     []*Queue // queues that may have something to send, in turn
	inTurn   map[*Queue]bool
	inFlight int
}

// NewSet returns an empty set.
func NewSet(limit int) *Set {
	return &Set{Max: limit, queues: map[string]*Queue{}, inTurn: map[*Queue]bool{}}
}

// Put adds a queue.
func (s *Set) Put(q *Queue) {
	s.queues[q.ID] = q
	s.Offer(q)
}

// Remove takes a queue out. Rows of it that are in flight still count until
// they are finished.
func (s *Set) Remove(id string) { delete(s.queues, id) }

// Get returns a queue, or nil.
func (s *Set) Get(id string) *Queue { return s.queues[id] }

// Len returns the number of queues.
func (s *Set) Len() int { return len(s.queues) }

// InFlight returns the number of requests at once.
func (s *Set) InFlight() int { return s.inFlight }

// Each calls f with each queue.
func (s *Set) Each(f func(*Queue)) {
	for _, q := range s.queues {
		f(q)
	}
}

// Offer tells that q may have something to send.
func (s *Set) Offer(q *Queue) {
	if !s.inTurn[q] {
		s.inTurn[q] = true
		s.turn = append(s.turn, q)
	}
}

// Next returns a row to send and its queue, or nil.
func (s *Set) Next(now int64) (*Queue, *Row) {
	for len(s.turn) > 0 && s.inFlight < s.Max {
		q := s.turn[0]
		s.turn = s.turn[1:]
		delete(s.inTurn, q)
		if s.queues[q.ID] != q {
			continue
		}
		share := max(1, s.Max/max(1, len(s.turn)+1))
		if r := q.Next(now, share); r != nil {
			s.inFlight++
			s.Offer(q)
			return q, r
		}
	}
	return nil, nil
}

// Finish tells that a row of q is no longer in flight; the caller also calls
// [Queue.Done] or [Queue.Retry].
func (s *Set) Finish(q *Queue) {
	s.inFlight--
	if s.queues[q.ID] == q {
		s.Offer(q)
	}
}

// Ripe offers the queues that have something to send at now, and returns when
// the next one has.
func (s *Set) Ripe(now int64) int64 {
	next := never
	for _, q := range s.queues {
		switch at := q.NextAt(now); {
		case at <= now:
			s.Offer(q)
		case at < next:
			next = at
		}
	}
	return next
}
