package odatatest

import (
	"net/http"
	"slices"
	"strings"
)

// precondition checks whether the row may be changed or, if there is none,
// made (Protocol 4.01, 8.2.4, 8.2.5 and 11.4.4).
func (s *Service) precondition(c *change) error {
	match, noneMatch := strings.TrimSpace(c.rq.Header.Get("If-Match")), strings.TrimSpace(c.rq.Header.Get("If-None-Match"))
	if c.row == nil {
		if c.rq.Method == http.MethodDelete || match == "*" || s.opts.NoUpsert || c.t.makesKeys() {
			return notFound()
		}
		if match != "" { // what is not there matches no tag (8.2.4)
			return changedSince()
		}
		return nil
	}
	switch {
	case noneMatch == "*":
		return fail(http.StatusPreconditionFailed, "PreconditionFailed", "The entity exists.")
	case match == "" && s.opts.NeedIfMatch:
		return fail(http.StatusPreconditionRequired, "PreconditionRequired", "The request must have If-Match.")
	case match != "" && !s.matches(match, c.row):
		return changedSince()
	}
	return nil
}

func changedSince() error {
	return fail(http.StatusPreconditionFailed, "PreconditionFailed", "The entity was changed since it was read.")
}

// makesKeys reports whether keys are made by the service, so that a client
// cannot choose one.
func (m *model) makesKeys() bool {
	return slices.ContainsFunc(m.key, func(i int) bool { return m.props[i].Computed })
}

// matches reports whether the value of If-Match allows to change r. Tags are
// compared weakly, that is without "W/" (Protocol 4.01, 8.2.4).
func (s *Service) matches(header string, r *row) bool {
	tags := []string{header}
	for rest := header; rest != ""; { // commas stand in tags too
		open := strings.IndexByte(rest, '"')
		if open < 0 {
			break
		}
		end := strings.IndexByte(rest[open+1:], '"')
		if end < 0 {
			break
		}
		end += open + 2
		tags = append(tags, strings.TrimLeft(rest[:end], ", \t"))
		rest = rest[end:]
	}
	for _, tag := range tags {
		if tag == "*" || !s.opts.NoVersion && strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag(r.number()), "W/") {
			return true
		}
	}
	return false
}
