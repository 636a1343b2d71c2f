package mapping

import (
	"fmt"
	"strings"
)

// A Problem is one thing that is wrong in a mapping file.
type Problem struct {
	File       string
	Line       int    // from 1
	Column     int    // in characters, from 1
	Path       string // "entities[2].fields[0].direction", or "" for the whole file
	Message    string
	Suggestion string // what was probably meant, or ""
}

// Error formats p as `file:line:col: path: message; did you mean "x"?`.
func (p *Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Path != "" {
		s += p.Path + ": "
	}
	s += p.Message
	if p.Suggestion != "" {
		s += fmt.Sprintf("; did you mean %q?", p.Suggestion)
	}
	return s
}

// Problems are the things that are wrong in a mapping file, in file order: the
// cause of the error that [Parse] returns.
type Problems []*Problem

// Error formats each problem on a line of its own.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}
