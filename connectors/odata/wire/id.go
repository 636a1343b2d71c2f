package wire

import (
	"errors"
	"net/url"
	"strings"

	"github.com/kedge-sync/kedge"
)

var errID = errors.New("the entity id holds no key that fits the entity")

// ParseID returns the key in an entity-id of set. It reads a URL or path
// with a predicate, "…/Set('a')" or "…/Set(No=1,Line=2)", one with the key as a
// segment, "…/Set/a", a predicate alone, and a bare key, as services send them
// in deltas. The error does not hold the id.
func ParseID(id, set string, key []Column) (kedge.Key, error) {
	if inner, ok := predicate(id); ok {
		for _, text := range unescapings(inner) {
			if k, ok := parsePredicate(text, key); ok {
				return k, nil
			}
		}
	}
	if segments, ok := segmentsAfter(id, set); ok {
		for i, s := range segments {
			if plain, err := url.PathUnescape(s); err == nil {
				segments[i] = plain
			}
		}
		if k, ok := keyOf(segments, key); ok {
			return k, nil
		}
		return "", errID
	}
	bare := []string{id}
	if len(key) > 1 {
		bare = splitOutside(id, ',')
	}
	if k, ok := keyOf(bare, key); ok {
		return k, nil
	}
	return "", errID
}

// unescapings are the readings of a text that may be percent-encoded.
func unescapings(s string) []string {
	if text, err := url.PathUnescape(s); err == nil && text != s {
		return []string{text, s}
	}
	return []string{s}
}

// predicate returns what stands in the parentheses at the end of id.
func predicate(id string) (string, bool) {
	id = strings.TrimRight(id, "/")
	if !strings.HasSuffix(id, ")") {
		// A cast may follow: Set('a')/Ns.Type.
		i := strings.LastIndex(id, ")/")
		if i < 0 || !strings.Contains(id[i:], ".") || strings.ContainsAny(id[i+2:], "/'") {
			return "", false
		}
		id = id[:i+1]
	}
	quoted := false
	for i := len(id) - 2; i >= 0; i-- {
		switch {
		case id[i] == '\'':
			quoted = !quoted
		case strings.HasPrefix(id[i:], "%27"):
			quoted = !quoted
		case id[i] == '(' && !quoted:
			return id[i+1 : len(id)-1], true
		}
	}
	return "", false
}

// parsePredicate reads "1", "'a'" or "No=1,Line='b'" (ABNF rule keyPredicate).
func parsePredicate(s string, key []Column) (kedge.Key, bool) {
	parts := splitOutside(s, ',')
	if len(parts) != len(key) {
		return "", false
	}
	values := make([]kedge.Value, len(key))
	for _, part := range parts {
		at, text := 0, part
		if name, literal, ok := strings.Cut(part, "="); ok && !strings.Contains(name, "'") {
			at, text = columnOf(key, strings.TrimSpace(name)), literal
		} else if len(key) > 1 {
			return "", false
		}
		if at < 0 {
			return "", false
		}
		v, ok := ParseLiteral(&key[at], strings.TrimSpace(text))
		if !ok {
			return "", false
		}
		values[at] = v
	}
	k := kedge.NewKey(values...)
	return k, k != ""
}

func columnOf(key []Column, name string) int {
	for i := range key {
		if key[i].Path == name {
			return i
		}
	}
	return -1
}

// splitOutside splits s at sep outside of quotes.
func splitOutside(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts, start = append(parts, s[start:i]), i+1
		}
	}
	return append(parts, s[start:])
}

// ParseLiteral reads a literal of column c as [Literal] writes it.
func ParseLiteral(c *Column, s string) (kedge.Value, bool) {
	text := s
	if i := strings.IndexByte(s, '\''); i >= 0 { // 'a', duration'P1D', Ns.Enum'Red', guid'…' of old services
		inner, ok := unquote(s[i:])
		if !ok {
			return kedge.Value{}, false
		}
		text = inner
	} else if c.Type == kedge.TypeString && c.Format == kedge.FormatNone {
		return kedge.Value{}, false
	}
	return parseKeyText(c, text)
}

func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '\'' || s[len(s)-1] != '\'' {
		return "", false
	}
	s = s[1 : len(s)-1]
	if strings.Contains(strings.ReplaceAll(s, "''", ""), "'") {
		return "", false
	}
	return strings.ReplaceAll(s, "''", "'"), true
}

// parseKeyText reads the text of a value, without quotes and prefix.
func parseKeyText(c *Column, text string) (kedge.Value, bool) {
	var v kedge.Value
	var err error
	number := isNumber(text)
	switch {
	case c.Type == kedge.TypeBool:
		v, err = kedge.ParseText(c.Type, text)
	case number && (c.Type == kedge.TypeInt || c.Type == kedge.TypeDecimal || c.Type == kedge.TypeFloat):
		v, err = fromNumber(c, text)
	default:
		v, err = fromText(c, text)
	}
	return v, err == nil && v.Text() != ""
}

// segmentsAfter returns the segments behind the last segment set of a URL,
// which is the key in the key-as-segment convention (URL Conventions 4.01, 4.3.6).
func segmentsAfter(id, set string) ([]string, bool) {
	path, _, _ := strings.Cut(id, "?")
	segments := strings.Split(strings.Trim(path, "/"), "/")
	for i := len(segments) - 2; i >= 0; i-- {
		if name, err := url.PathUnescape(segments[i]); err == nil && name == set {
			return segments[i+1:], true
		}
	}
	return nil, false
}

// keyOf makes a key of bare texts.
func keyOf(texts []string, key []Column) (kedge.Key, bool) {
	if len(texts) != len(key) {
		return "", false
	}
	values := make([]kedge.Value, len(key))
	for i, text := range texts {
		v, ok := parseKeyText(&key[i], text)
		if !ok {
			return "", false
		}
		values[i] = v
	}
	k := kedge.NewKey(values...)
	return k, k != ""
}
