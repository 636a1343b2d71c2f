package schema

// bounds are those of a slice, RFC 9535 section 2.3.4. nil is one that was
// left out.
type bounds struct{ start, end, step *int }

// appendTo appends the elements of list between the bounds.
func (b bounds) appendTo(out, list []any) []any {
	n, step := len(list), 1
	if b.step != nil {
		step = *b.step
	}
	switch {
	case step > 0:
		start, end := clamp(b.start, 0, 0, n), clamp(b.end, n, 0, n)
		for i := start; i < end; i += min(step, n) { // n is far enough to end, and cannot overflow
			out = append(out, list[i])
		}
	case step < 0:
		start, end := clamp(b.start, n-1, -1, n-1), clamp(b.end, -1, -1, n-1)
		for i := start; i > end; i += max(step, -n) {
			out = append(out, list[i])
		}
	}
	return out
}

// clamp returns a bound, counted from the end if it is negative, within low
// and high. missing is the value of one that was left out.
func clamp(bound *int, missing, low, high int) int {
	if bound == nil {
		return missing
	}
	n := high
	if low < 0 {
		n++ // the length of the list
	}
	return min(max(fromEnd(*bound, n), low), high)
}

func fromEnd(i, n int) int {
	if i < 0 {
		return n + i
	}
	return i
}
