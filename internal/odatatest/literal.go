package odatatest

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"

	"github.com/kedge-sync/kedge"
)

var clockText = regexp.MustCompile(`^[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?$`)

var guidText = regexp.MustCompile(`^[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$`)

// parseLiteral reads the URL literal of a property (OData ABNF 4.01, 7).
func parseLiteral(p *property, text string) (kedge.Value, bool) {
	switch {
	case p.edm == "Edm.String":
		s, ok := unquote(text, "")
		return kedge.String(s), ok
	case p.edm == "Edm.Duration":
		s, ok := unquote(text, "duration")
		return kedge.String(s), ok
	case p.edm == "Edm.Binary":
		s, ok := unquote(text, "binary")
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
		return kedge.Bytes(b), ok && err == nil
	case p.edm == "Edm.Guid":
		return kedge.String(strings.ToLower(text)), guidText.MatchString(text)
	case p.enum != "":
		s, ok := unquote(text, p.edm)
		return kedge.String(s), ok
	}
	if p.edm == "Edm.TimeOfDay" && !clockText.MatchString(text) {
		return kedge.Value{}, false
	}
	v, err := kedge.ParseText(p.Type, text)
	return v, err == nil && p.Type != kedge.TypeJSON
}

// unquote returns the text in a prefix and quotes, with doubled quotes halved.
func unquote(text, prefix string) (string, bool) {
	text, ok := strings.CutPrefix(text, prefix)
	if !ok || len(text) < 2 || text[0] != '\'' || text[len(text)-1] != '\'' {
		return "", false
	}
	inner := text[1 : len(text)-1]
	if strings.Contains(strings.ReplaceAll(inner, "''", ""), "'") {
		return "", false
	}
	return strings.ReplaceAll(inner, "''", "'"), true
}

// literal returns the URL literal of v, not yet percent-encoded.
func literal(p *property, v kedge.Value) string {
	quoted := "'" + strings.ReplaceAll(v.Text(), "'", "''") + "'"
	switch {
	case p.edm == "Edm.String":
		return quoted
	case p.edm == "Edm.Duration":
		return "duration" + quoted
	case p.edm == "Edm.Binary":
		return "binary" + quoted
	case p.enum != "":
		return p.edm + quoted
	}
	return v.Text()
}

// predicate returns "('C1')" or "(No='C1',Line=1)", percent-encoded.
func (m *model) predicate(keys []kedge.Value) string {
	var b strings.Builder
	b.WriteByte('(')
	for i, k := range m.key {
		if i > 0 {
			b.WriteByte(',')
		}
		if len(m.key) > 1 {
			b.WriteString(alias(m.props[k].Name) + "=")
		}
		b.WriteString(escape(literal(&m.props[k], keys[i])))
	}
	b.WriteByte(')')
	return b.String()
}

// escape percent-encodes all but the unreserved characters and quotes.
func escape(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), "%27", "'")
}
