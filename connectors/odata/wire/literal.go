package wire

import (
	"strings"

	"github.com/kedge-sync/kedge"
)

// Literal writes text, a value of column c as the server or
// [kedge.Value.Text] writes it, as a literal of OData URLs (ABNF rule
// primitiveLiteral), not yet percent-encoded. Guids, dates and numbers are
// bare; the others are prefixed in the way that 4.0 and 4.01 both accept.
func Literal(c *Column, text string) string {
	switch {
	case c.Format == kedge.FormatGUID, c.Format == kedge.FormatClock:
		return text
	case c.Format == kedge.FormatDuration:
		return "duration" + quote(text)
	case c.EnumType != "":
		return c.EnumType + quote(text)
	case c.Type == kedge.TypeBytes:
		return "binary" + quote(text)
	case c.Type == kedge.TypeString, c.Type == kedge.TypeJSON:
		return quote(text)
	}
	return text
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// Predicate writes the key of an entity, "(1)" or "(No=1,Line=2)", percent-encoded.
func Predicate(key []Column, texts []string) string {
	var b strings.Builder
	b.WriteByte('(')
	for i := range key {
		if i > 0 {
			b.WriteByte(',')
		}
		if len(key) > 1 {
			b.WriteString(Escape(key[i].Path) + "=")
		}
		b.WriteString(Escape(Literal(&key[i], texts[i])))
	}
	b.WriteByte(')')
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// Escape percent-encodes everything that has a meaning in some part of a URL
// (RFC 3986, 2.3: all but the unreserved characters). A space becomes %20 and
// a plus sign %2B, for services disagree about a plus sign in a query; a colon
// is encoded too, because "a:1" alone would be a URL with a scheme.
func Escape(s string) string {
	return escape(s, func(byte) bool { return false })
}

// EscapeQuery percent-encodes an option of a query. It leaves what is harmless
// there and makes expressions readable.
func EscapeQuery(s string) string {
	return escape(s, func(c byte) bool { return c == '(' || c == ')' || c == ',' || c == '/' || c == '$' || c == '=' })
}

func escape(s string, keep func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; unreserved(c) || keep(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}
