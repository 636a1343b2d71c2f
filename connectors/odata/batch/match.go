package batch

// A State says what an answer tells about a request.
type State uint8

// The states.
const (
	Answered State = iota + 1
	// Skipped: the service stopped at an error before it and did nothing.
	Skipped
	// Unanswered: it may have been done or not.
	Unanswered
)

// A Match is what became of one request.
type Match struct {
	State State
	Part  Part // if Answered
	ByID  bool // the part has the id of the request, not only its place
}

// Single tells what became of each of n requests that are no group. stops says
// that the service may have stopped at the first error, as multipart services
// do that were not asked to go on, or did not listen.
func (a *Answer) Single(n int, stops bool) []Match {
	all := a.match(n)
	if stops && !a.Cut && !a.GoesOn {
		skip(all)
	}
	return all
}

// match gives each request its part: by id, and the parts without a known id
// by order, if that leaves no doubt.
func (a *Answer) match(n int) []Match {
	all := make([]Match, n)
	at := make(map[string]int, n)
	for i := range all {
		all[i].State, at[id(i)] = Unanswered, i
	}
	var rest []Part
	for _, p := range a.Parts {
		i, known := at[p.ID]
		switch {
		case !known:
			rest = append(rest, p)
		case all[i].State == Unanswered && p.Status != 0:
			all[i] = Match{State: Answered, Part: p, ByID: true}
		}
	}
	var open []int
	for i := range all {
		if all[i].State == Unanswered {
			open = append(open, i)
		}
	}
	if !inOrder(rest, len(open), a.Cut) {
		return all
	}
	for k, p := range rest {
		if p.Status != 0 {
			all[open[k]] = Match{State: Answered, Part: p}
		}
	}
	return all
}

// inOrder reports whether parts can only belong to the first of n requests, in
// order: there are as many, or the answer ends at an error or in its middle.
func inOrder(parts []Part, n int, cut bool) bool {
	if len(parts) == n || len(parts) == 0 || len(parts) > n {
		return len(parts) == n
	}
	if cut {
		return true
	}
	for i := range parts[:len(parts)-1] {
		if parts[i].Failed() {
			return false
		}
	}
	return parts[len(parts)-1].Failed()
}

// skip marks the requests behind an error as skipped, if that error is the only
// one and the last request that is answered.
func skip(all []Match) {
	last := -1
	for i := range all {
		if all[i].State != Answered {
			continue
		}
		if i != last+1 || i > 0 && all[i-1].Part.Failed() {
			return
		}
		last = i
	}
	if last < 0 || !all[last].Part.Failed() {
		return
	}
	for i := last + 1; i < len(all); i++ {
		all[i].State = Skipped
	}
}

// A Verdict says what became of a group.
type Verdict uint8

// The verdicts.
const (
	Done       Verdict = iota + 1 // all of it
	RolledBack                    // nothing of it, whatever single answers say
	Unknown
)

// Group tells what became of n requests that are one group. If it was rolled
// back, culprit is the request that failed, or -1 if nobody says which, and
// cause is the answer that says so.
func (a *Answer) Group(n int) (verdict Verdict, all []Match, culprit int, cause Part) {
	all = a.match(n)
	for i := range all {
		if all[i].State == Answered && all[i].Part.Failed() && !rolledBackOnly(&all[i].Part) {
			if n > 1 && len(a.Parts) == 1 && !all[i].ByID {
				return RolledBack, all, -1, all[i].Part // one answer for the whole group
			}
			return RolledBack, all, i, all[i].Part
		}
	}
	for _, p := range a.Parts { // also of a part with the id of the group
		if p.Failed() {
			return RolledBack, all, -1, p
		}
	}
	for i := range all {
		if all[i].State != Answered {
			return Unknown, all, -1, Part{}
		}
	}
	return Done, all, -1, Part{}
}

// rolledBackOnly reports whether a part failed because another one did
// (RFC 4918, 11.4: Failed Dependency).
func rolledBackOnly(p *Part) bool { return p.Status == 424 }
