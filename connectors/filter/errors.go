package filter

import (
	"errors"
	"strconv"

	"github.com/kedge-sync/kedge/internal/nearest"
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
	if best := nearest.Name(name, candidates); best != "" {
		return "did you mean " + strconv.Quote(best) + "?"
	}
	return ""
}
