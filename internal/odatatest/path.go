package odatatest

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/kedge-sync/kedge"
)

// A resource is what a path leads to.
type resource struct {
	kind  resourceKind
	table *table
	keys  []kedge.Value // of an entity addressed by its key
	alt   []int         // properties of an alternate key, with values in keys
	empty bool          // of a company without data
}

type resourceKind int

const (
	serviceDocument resourceKind = iota
	metadataDocument
	collection
	countOnly
	entity
)

// rows reports whether the resource consists of rows.
func (r *resource) rows() bool { return r.kind >= collection }

// resolve finds the resource of a request and sets its company prefix.
func (s *Service) resolve(rq *request) (*resource, error) {
	path, ok := strings.CutPrefix(rq.URL.EscapedPath(), s.root)
	if !ok && rq.URL.Path+"/" != s.root {
		return nil, notFound()
	}
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for i, raw := range segments {
		text, err := url.PathUnescape(raw)
		if err != nil {
			return nil, badRequest("The path is malformed.")
		}
		segments[i] = text
	}
	res := &resource{}
	if s.opts.Flavor == BusinessCentral && segments[0] != "" && segments[0] != "$metadata" {
		rest, err := s.company(rq, res, segments)
		if err != nil || rest == nil {
			return res, err
		}
		segments = rest
	}
	switch {
	case segments[0] == "":
		return res, nil
	case segments[0] == "$metadata" && len(segments) == 1:
		res.kind = metadataDocument
		return res, nil
	}
	return res, s.resolveSet(res, segments)
}

func (s *Service) resolveSet(res *resource, segments []string) error {
	name, predicate, hasKey := cutPredicate(segments[0])
	if res.table = s.table(name); res.table == nil {
		return notFound()
	}
	res.kind = collection
	if hasKey {
		res.kind = entity
		if err := res.parseKey(predicate); err != nil {
			return err
		}
	}
	switch {
	case len(segments) == 1:
		return nil
	case len(segments) == 2 && segments[1] == "$count" && !hasKey:
		res.kind = countOnly
		return nil
	case len(segments) == 2 && hasKey && (res.table.has(segments[1]) || res.table.navigation(segments[1]) != nil):
		return notImplemented("Single properties and navigations are not served; use $select and $expand.")
	}
	return notFound()
}

// cutPredicate splits "Set(key)".
func cutPredicate(segment string) (name, predicate string, ok bool) {
	i := strings.IndexByte(segment, '(')
	if i < 0 || !strings.HasSuffix(segment, ")") {
		return segment, "", false
	}
	return segment[:i], segment[i+1 : len(segment)-1], true
}

var namedKey = regexp.MustCompile(`(?s)^([\pL_][\pL\pN_]*)=(.*)$`)

// parseKey reads a key predicate (URL Conventions 4.01, 4.3.1): a single value
// or name=value pairs of the key or of an alternate key (4.3.3).
func (r *resource) parseKey(predicate string) error {
	t := r.table
	parts := splitOutside(predicate, ',')
	if len(parts) == 1 && namedKey.FindStringSubmatch(parts[0]) == nil {
		if len(t.key) != 1 {
			return badRequest("The key has %d properties.", len(t.key))
		}
		v, ok := parseLiteral(&t.props[t.key[0]], parts[0])
		if !ok {
			return badRequest("The key is not a literal of type %s.", t.props[t.key[0]].edm)
		}
		r.keys = []kedge.Value{v}
		return nil
	}
	given := make(map[int]kedge.Value)
	for _, part := range parts {
		m := namedKey.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return badRequest("The key predicate is malformed.")
		}
		i, ok := t.keyProperty(m[1])
		if !ok {
			return badRequest("The key predicate names an unknown property.")
		}
		v, ok := parseLiteral(&t.props[i], m[2])
		if _, double := given[i]; !ok || double {
			return badRequest("The key predicate has a wrong value for %s.", t.props[i].Name)
		}
		given[i] = v
	}
	for n, candidate := range append([][]int{t.key}, t.alt...) {
		if values, ok := pickAll(given, candidate); ok {
			r.keys = values
			if n > 0 {
				r.alt = candidate
			}
			return nil
		}
	}
	return badRequest("The properties are neither the key nor an alternate key.")
}

// keyProperty returns the property that a key predicate calls name. One inside
// a complex property goes by its alias.
func (m *model) keyProperty(name string) (int, bool) {
	for i := range m.props {
		if alias(m.props[i].Name) == name {
			return i, true
		}
	}
	return 0, false
}

// alias returns the name that a path has in a key predicate.
func alias(path string) string { return strings.ReplaceAll(path, "/", "_") }

// pickAll returns the given values of props if they are all that is given.
func pickAll(given map[int]kedge.Value, props []int) ([]kedge.Value, bool) {
	if len(props) != len(given) {
		return nil, false
	}
	var values []kedge.Value
	for _, i := range props {
		v, ok := given[i]
		if !ok {
			return nil, false
		}
		values = append(values, v)
	}
	return values, true
}

// splitOutside splits text at sep outside of quotes and parentheses.
func splitOutside(text string, sep byte) []string {
	var parts []string
	depth, start, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == sep && depth == 0:
			parts, start = append(parts, text[start:i]), i+1
		}
	}
	return append(parts, text[start:])
}
