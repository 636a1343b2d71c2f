package lanes

// A ring is a first-in, first-out list of lanes.
type ring struct {
	list []*lane
	head int
}

func (r *ring) len() int { return len(r.list) - r.head }

func (r *ring) push(l *lane) { r.list = append(r.list, l) }

func (r *ring) pop() *lane {
	if r.len() == 0 {
		return nil
	}
	l := r.list[r.head]
	r.list[r.head] = nil
	r.head++
	if r.head == len(r.list) {
		r.list, r.head = r.list[:0], 0
	} else if r.head > 1024 && r.head > len(r.list)/2 {
		r.list, r.head = append(r.list[:0], r.list[r.head:]...), 0
	}
	return l
}

// A laneHeap has the lane that is due first at its top.
type laneHeap []*lane

// Len is the number of lanes.
func (h laneHeap) Len() int { return len(h) }

// Less orders by due time.
func (h laneHeap) Less(i, j int) bool { return h[i].due < h[j].due }

// Swap swaps two lanes.
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push adds a lane.
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop removes the last lane.
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.index = -1
	return l
}
