package odatatest

import (
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// A matcher says which rows are in a collection.
type matcher func(values []kedge.Value) bool

// parseFilter reads $filter and sets how it is evaluated.
func (s *Service) parseFilter(q *query, t *table, text string) error {
	expr, err := filter.Parse(text)
	if err != nil {
		return badFilter(text, err)
	}
	ent := *t.ent
	if s.quirk(TextTimeCompare) || s.quirk(CaseInsensitive) {
		text = s.rewrite(text)
		if expr, err = filter.Parse(text); err != nil {
			return badFilter(text, err)
		}
	}
	if s.quirk(TextTimeCompare) {
		ent.Fields = append([]kedge.Field(nil), ent.Fields...)
		for i := range ent.Fields {
			if ent.Fields[i].Type == kedge.TypeTime {
				ent.Fields[i].Type = kedge.TypeString
			}
		}
	}
	if q.filter, err = expr.Bind(&ent, s.opts.Now()); err != nil {
		return badFilter(text, err)
	}
	if (s.quirk(NoOr) || s.opts.Flavor == BusinessCentral) && mixedOr(q.filter.Root()) {
		return badRequest("An OR condition on different fields is not supported.")
	}
	q.match = func(values []kedge.Value) bool {
		r := kedge.Record{Fields: t.fields, Values: s.distort(t, values)}
		truth, err := q.filter.Match(&r)
		return err == nil && truth == filter.Yes
	}
	return nil
}

// badFilter tells a filter that is wrong from one that this service does not
// evaluate, which is 501 (Protocol 4.01, 9.3.1).
func badFilter(text string, err error) error {
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '(' || r == '/' }) {
		switch part {
		case "any", "all", "has", "add", "sub", "mul", "div", "divby", "mod", "cast", "isof", "indexof", "concat", "substring", "matchesPattern", "$it":
			return notImplemented("$filter: %v", err)
		}
	}
	return badRequest("$filter: %v", err)
}

// rewrite changes the literals of a filter as the quirks want it: times become
// strings, and strings lower case.
func (s *Service) rewrite(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] == '\'' {
			end := i + 1
			for end < len(text) && text[end] != '\'' {
				end++
			}
			part := text[i:min(end+1, len(text))]
			if s.quirk(CaseInsensitive) && (i == 0 || strings.ContainsRune(" (,'", rune(text[i-1]))) {
				part = strings.ToLower(part)
			}
			b.WriteString(part)
			i += len(part)
			continue
		}
		if n := timeLiteral(text[i:]); n > 0 && s.quirk(TextTimeCompare) && (i == 0 || strings.ContainsRune(" (,", rune(text[i-1]))) {
			b.WriteString("'" + text[i:i+n] + "'")
			i += n
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

// timeLiteral returns the length of the date and time at the start of text, or 0.
func timeLiteral(text string) int {
	if len(text) < len("2006-01-02T15:04Z") || text[4] != '-' || text[7] != '-' || text[10] != 'T' {
		return 0
	}
	if i := strings.IndexAny(text, " ),"); i >= 0 {
		return i
	}
	return len(text)
}

// distort returns the values as the quirks compare them. A time becomes the
// text that many SQL databases store: with a space, and without a zone.
func (s *Service) distort(t *table, values []kedge.Value) []kedge.Value {
	fold, texts := s.quirk(CaseInsensitive), s.quirk(TextTimeCompare)
	if !fold && !texts {
		return values
	}
	out := make([]kedge.Value, len(values))
	for i, v := range values {
		switch {
		case fold && v.Type() == kedge.TypeString && t.props[i].Format == kedge.FormatNone:
			v = kedge.String(strings.ToLower(v.Str()))
		case texts && v.Type() == kedge.TypeTime:
			v = kedge.String(v.Time().Format("2006-01-02 15:04:05.999999999"))
		}
		out[i] = v
	}
	return out
}

// mixedOr reports whether an "or" in n is over different fields.
func mixedOr(n filter.Node) bool {
	if n.Op == filter.Or {
		names := make(map[string]bool)
		fieldNames(&n, names)
		if len(names) > 1 {
			return true
		}
	}
	for i := range n.Args {
		if mixedOr(n.Args[i]) {
			return true
		}
	}
	return false
}

func fieldNames(n *filter.Node, names map[string]bool) {
	if n.Op == filter.Field {
		names[n.Name] = true
	}
	for i := range n.Args {
		fieldNames(&n.Args[i], names)
	}
}

// hasOtherCase reports whether a row, of the table or of more, has a key that
// is the same but for case, which a service without case cannot hold.
func (t *table) hasOtherCase(keys []kedge.Value, more [][]kedge.Value) bool {
	for _, r := range t.rows {
		if otherCase(r.keys(), keys) {
			return true
		}
	}
	for _, values := range more {
		if otherCase(pick(values, t.key), keys) {
			return true
		}
	}
	return false
}

func otherCase(a, b []kedge.Value) bool {
	for i := range a {
		if !strings.EqualFold(a[i].Text(), b[i].Text()) {
			return false
		}
	}
	return compareKeys(a, b) != 0
}

// lowerBound returns the values of the order before which no row can match:
// where a filter demands that the first property of the order is greater than
// a literal, reading can start there.
func lowerBound(q *query) []kedge.Value {
	if q.filter == nil || q.order.desc[0] {
		return nil
	}
	root := q.filter.Root()
	parts := []filter.Node{root}
	if root.Op == filter.And {
		parts = root.Args
	}
	for _, n := range parts {
		if (n.Op == filter.Gt || n.Op == filter.Ge || n.Op == filter.Eq) && n.Args[0].Op == filter.Field && n.Args[1].Op == filter.Literal &&
			n.Args[0].Index == q.order.props[0] && !n.Args[1].Value.IsEmpty() {
			return []kedge.Value{n.Args[1].Value}
		}
	}
	return nil
}
