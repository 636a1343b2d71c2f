package odatatest

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// A column is a property as it is written: its name with quotes and colon, and
// its place in the row or, if it is complex, what is in it.
type column struct {
	name     string
	prop     int
	children []column
}

// columns arranges the selected properties as they are written.
func (m *model) columns(mask []bool) []column {
	var props []int
	for i, on := range mask {
		if on {
			props = append(props, i)
		}
	}
	return m.columnsAt(props, 0)
}

func (m *model) columnsAt(props []int, depth int) []column {
	var out []column
	done := make(map[string]bool)
	for _, i := range props {
		path := m.props[i].path
		head := path[depth]
		if done[head] {
			continue
		}
		done[head] = true
		c := column{name: string(appendString(nil, head)) + ":", prop: i}
		if len(path) > depth+1 {
			var inner []int
			for _, j := range props {
				if p := m.props[j].path; len(p) > depth+1 && p[depth] == head {
					inner = append(inner, j)
				}
			}
			c.children = m.columnsAt(inner, depth+1)
		}
		out = append(out, c)
	}
	return out
}

// appendColumns appends the members of an object, each with a comma after it.
func (m *model) appendColumns(b []byte, rq *request, columns []column, values []kedge.Value) []byte {
	for i := range columns {
		c := &columns[i]
		if c.children == nil {
			v := values[c.prop]
			if v == Omit || v.IsMissing() {
				continue
			}
			if rq.metadata == "full" {
				b = m.appendType(b, rq, c)
			}
			b = append(b, c.name...)
			b = append(m.appendValue(b, rq, &m.props[c.prop], v), ',')
			continue
		}
		b = append(b, c.name...)
		if allNull(c.children, values) {
			b = append(b, "null,"...)
			continue
		}
		b = append(b, '{')
		b = m.appendColumns(b, rq, c.children, values)
		b = append(closeObject(b), ',')
	}
	return b
}

// closeObject replaces the comma after the last member by a brace.
func closeObject(b []byte) []byte {
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return append(b, '}')
}

func allNull(columns []column, values []kedge.Value) bool {
	for i := range columns {
		if columns[i].children != nil && !allNull(columns[i].children, values) ||
			columns[i].children == nil && !values[columns[i].prop].IsNull() {
			return false
		}
	}
	return true
}

// appendType appends the type of a property that does not follow from its JSON
// form (JSON Format 4.01, 4.6.3).
func (m *model) appendType(b []byte, rq *request, c *column) []byte {
	edm := m.props[c.prop].edm
	switch edm {
	case "Edm.String", "Edm.Boolean", "Edm.Double", "Edm.Untyped":
		return b
	}
	edm = strings.Replace(strings.TrimPrefix(edm, "Edm."), "(Edm.", "(", 1)
	return append(b, c.name[:len(c.name)-2]+rq.control("type")[1:]+`"#`+edm+`",`...)
}

// appendValue appends a value as JSON (JSON Format 4.01, 7.1).
func (m *model) appendValue(b []byte, rq *request, p *property, v kedge.Value) []byte {
	switch v.Type() {
	case kedge.TypeMissing, kedge.TypeNull:
		return append(b, "null"...)
	case kedge.TypeJSON:
		return append(b, v.Str()...)
	case kedge.TypeBool:
		return v.AppendText(b)
	case kedge.TypeInt, kedge.TypeDecimal:
		if v.Type() == kedge.TypeDecimal && !jsonNumber(v.Str()) {
			v = kedge.Decimal(kedge.CanonicalDecimal(v.Str()))
		}
		if p.quoted && rq.ieee754 {
			b = append(b, '"')
			return append(v.AppendText(b), '"')
		}
		return v.AppendText(b)
	case kedge.TypeFloat:
		text := v.Text()
		if strings.ContainsAny(text, "NI") {
			return append(append(append(b, '"'), text...), '"')
		}
		return append(b, text...)
	case kedge.TypeBytes:
		b = append(b, '"')
		b = base64.URLEncoding.AppendEncode(b, []byte(v.Str()))
		return append(b, '"')
	case kedge.TypeString:
		return appendString(b, v.Str())
	}
	b = append(b, '"')
	return append(v.AppendText(b), '"')
}

// jsonNumber reports whether a valid decimal is also a number of JSON, which
// has no plus sign, no leading zeros, and digits on both sides of the point.
func jsonNumber(text string) bool {
	text = strings.TrimPrefix(text, "-")
	whole, rest, point := strings.Cut(text, ".")
	if !point {
		whole, _, _ = strings.Cut(strings.ToLower(text), "e")
	} else if rest == "" || rest[0] < '0' || rest[0] > '9' {
		return false
	}
	return whole != "" && whole[0] != '+' && (len(whole) == 1 || whole[0] != '0')
}

// appendString appends s as a JSON string. Invalid UTF-8 stays as it is, so
// that tests can serve it.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' || c >= utf8.RuneSelf {
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		start = i + 1
	}
	return append(append(b, s[start:]...), '"')
}
