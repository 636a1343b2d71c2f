package mapping

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
)

func plain(s string) *node      { return &node{text: s} }
func quotedText(s string) *node { return &node{text: s, quoted: true} }

// text is the codec of a text of at least one byte, and at most limit if that is not 0.
func text(limit int) codec[string] {
	s := schema{"type": []string{"string", "number", "boolean"}, "minLength": 1}
	if limit > 0 {
		s["maxLength"] = limit
	}
	return codec[string]{
		read: func(r *reader, n *node) string {
			switch {
			case n.kind != scalarNode || n.text == "" || !n.quoted && isNull(n.text):
				r.problem(n, "must be a text")
			case limit > 0 && len(n.text) > limit:
				r.problem(n, "longer than %d bytes", limit)
			case strings.ContainsFunc(n.text, isControl):
				r.problem(n, "holds control characters")
			}
			return n.text
		},
		write: func(v string) *node {
			if v == "" {
				return nil
			}
			return quotedText(v)
		},
		schema: s,
	}
}

func isControl(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == utf8.RuneError
}

func isNull(s string) bool {
	return s == "" || s == "~" || s == "null" || s == "Null" || s == "NULL"
}

// flag is the codec of a bool that is left out when it has the value def.
func flag(def bool) codec[bool] {
	return codec[bool]{
		read: func(r *reader, n *node) bool {
			if n.kind != scalarNode || n.quoted || n.text != "true" && n.text != "false" {
				r.problem(n, "must be true or false")
				return def
			}
			return n.text == "true"
		},
		write: func(v bool) *node {
			if v == def {
				return nil
			}
			return plain(strconv.FormatBool(v))
		},
		schema: schema{"type": "boolean", "default": def},
	}
}

// integer is the codec of a number from lowest to highest that is left out when it is def.
func integer(lowest, highest, def int) codec[int] {
	return codec[int]{
		read: func(r *reader, n *node) int {
			i, err := strconv.Atoi(n.text)
			if n.kind != scalarNode || n.quoted || err != nil || strconv.Itoa(i) != n.text || i < lowest || i > highest {
				r.problem(n, "must be a number from %d to %d", lowest, highest)
				return def
			}
			return i
		},
		write: func(v int) *node {
			if v == def {
				return nil
			}
			return plain(strconv.Itoa(v))
		},
		schema: schema{"type": "integer", "minimum": lowest, "maximum": highest, "default": def},
	}
}

// choice is the codec of one of a few names; def is left out. aliases are
// other spellings that are accepted, in any case, and never written.
func choice[S ~string](def S, aliases map[string]S, names ...S) codec[S] {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	s := schema{"enum": texts}
	if def != "" {
		s["default"] = string(def)
	}
	if len(aliases) > 0 {
		s = schema{"anyOf": []schema{s, {"type": "string", "pattern": aliasPattern(aliases)}}}
	}
	return codec[S]{
		read: func(r *reader, n *node) S {
			if n.kind == scalarNode && slices.Contains(names, S(n.text)) {
				return S(n.text)
			}
			if a, ok := aliases[strings.ToLower(n.text)]; ok && n.kind == scalarNode {
				return a
			}
			r.problem(n, "must be one of %s", strings.Join(texts, ", ")).Suggestion = nearest.Name(n.text, texts)
			return def
		},
		write: func(v S) *node {
			if v == def || v == "" {
				return nil
			}
			return quotedText(string(v))
		},
		schema: s,
	}
}

func aliasPattern[S ~string](aliases map[string]S) string {
	var names []string
	for a := range aliases {
		var b strings.Builder
		for _, r := range a {
			if isLetter(r) && r != '_' {
				fmt.Fprintf(&b, "[%c%c]", r, r-'a'+'A')
			} else {
				b.WriteString(regexp.QuoteMeta(string(r)))
			}
		}
		names = append(names, b.String())
	}
	slices.Sort(names)
	return "^(" + strings.Join(names, "|") + ")$"
}

// value is the codec of a typed value: a text, a number, true, false or null.
// The missing value is left out.
func value() codec[kedge.Value] {
	return codec[kedge.Value]{
		read: func(r *reader, n *node) kedge.Value {
			v, message := scalarValue(n)
			if message != "" {
				r.problem(n, "%s", message)
			}
			return v
		},
		write: func(v kedge.Value) *node {
			switch v.Type() {
			case kedge.TypeMissing:
				return nil
			case kedge.TypeNull:
				return plain("null")
			case kedge.TypeBool, kedge.TypeInt, kedge.TypeDecimal:
				return plain(v.Text())
			}
			return quotedText(v.Text())
		},
		schema: schema{"type": []string{"string", "number", "boolean", "null"}},
	}
}

var numberPattern = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// numberLike matches plain scalars that some YAML reader takes as a number.
var numberLike = regexp.MustCompile(`^[-+.]?[0-9][0-9a-zA-Z_.+]*$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$`)

func scalarValue(n *node) (kedge.Value, string) {
	switch {
	case n.kind != scalarNode:
		return kedge.Value{}, "must be a text, a number, true, false or null"
	case strings.ContainsFunc(n.text, isControl):
		return kedge.Value{}, "holds control characters"
	case n.quoted:
		return kedge.String(n.text), ""
	case isNull(n.text):
		return kedge.Null(), ""
	case n.text == "true" || n.text == "false":
		return kedge.Bool(n.text == "true"), ""
	case numberPattern.MatchString(n.text):
		if i, err := strconv.ParseInt(n.text, 10, 64); err == nil && n.text != "-0" {
			return kedge.Int(i), ""
		}
		if kedge.ValidDecimal(n.text) {
			return kedge.Decimal(n.text), ""
		}
		return kedge.Value{}, "has too many digits"
	case numberLike.MatchString(n.text), isPlainBool(n.text):
		return kedge.Value{}, "means different things to different YAML readers; put text in quotes, write numbers like -12 or 0.50"
	}
	return kedge.String(n.text), ""
}

func isPlainBool(s string) bool {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n":
		return true
	}
	return false
}

// duration is the codec of a length of time like 90s, 15m, 168h, 7d or 10y. def is left out.
func duration(def time.Duration) codec[time.Duration] {
	return codec[time.Duration]{
		read: func(r *reader, n *node) time.Duration {
			d, ok := parseDuration(n.text)
			if n.kind != scalarNode || !ok {
				r.problem(n, "must be a duration like 90s, 15m, 168h, 7d or 10y")
				return def
			}
			return d
		},
		write: func(v time.Duration) *node {
			if v == def {
				return nil
			}
			return plain(formatDuration(v))
		},
		schema: schema{"type": "string", "pattern": "^(0|[1-9][0-9]*)(ms|s|m|h|d|y)$"},
	}
}

// Units of durations, largest first. A year has 365 days.
var durationUnits = []struct {
	name string
	unit time.Duration
}{{"y", 365 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

func parseDuration(s string) (time.Duration, bool) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != digits {
		return 0, false
	}
	for _, u := range durationUnits {
		if u.name == s[len(digits):] {
			d := time.Duration(n) * u.unit
			return d, d/u.unit == time.Duration(n)
		}
	}
	return 0, false
}

// formatDuration returns d in hours if they are whole, else in the largest
// unit that makes it whole. Hours, not days, so that 168h stays 168h.
func formatDuration(d time.Duration) string {
	for _, u := range durationUnits[2:] {
		if d%u.unit == 0 && (d != 0 || u.name == "s") {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}
