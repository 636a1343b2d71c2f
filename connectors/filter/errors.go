package filter

import (
	"errors"
	"strconv"
	"strings"
)

// ErrMissing is returned by [Expr.Match] if the record lacks a field without
// which the answer is not known. Reading the whole record helps.
var ErrMissing = errors.New("a field that the filter needs was not sent")

// A SyntaxError says what is wrong with a filter, and where. It names fields
// and types but never repeats a literal, which may be personal data.
type SyntaxError struct {
	Column int // in runes, from 1
	Msg    string
	Hint   string // what to write instead, or ""
}

// Error formats e as "column N: message; hint".
func (e *SyntaxError) Error() string {
	s := "column " + strconv.Itoa(e.Column) + ": " + e.Msg
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// didYouMean returns a hint that names the candidate nearest to name, or "".
func didYouMean(name string, candidates []string) string {
	best, limit := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		d := distance(strings.ToLower(name), strings.ToLower(c), limit)
		if d < limit {
			best, limit = c, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + strconv.Quote(best) + "?"
}

// distance returns the number of runes to insert, remove, replace or swap with
// the next one to make a into b, or limit if it is not less.
func distance(a, b string, limit int) int {
	s, t := []rune(a), []rune(b)
	if len(s) > 64 || len(t) > 64 || len(s)-len(t) >= limit || len(t)-len(s) >= limit {
		return limit
	}
	var before []int
	above, row := make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range above {
		above[j] = j
	}
	for i := range s {
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, make([]int, len(t)+1)
	}
	return min(above[len(t)], limit)
}
