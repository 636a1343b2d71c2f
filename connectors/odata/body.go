package odata

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// A member is one member of the object that a change sends.
type member struct {
	name     string
	column   *wire.Column // nil for a link
	value    kedge.Value
	link     string // of a bound navigation
	children []member
}

// members returns what a change sends: no values that the service makes itself,
// on an update neither the key nor what cannot be changed.
func (w *writer) members(c *kedge.Change, insert bool) ([]member, error) {
	var root member
	for i, name := range c.Fields.Names() {
		v := c.Values[i]
		f := w.e.info.Field(name)
		isKey := slices.Contains(w.e.info.Key, name)
		switch {
		case f == nil:
			return nil, fmt.Errorf("there is no field %q", name)
		case v.IsMissing() || f.Computed || f.ReadOnly || !insert && (isKey || f.Immutable):
			continue
		case insert && slices.Contains(w.e.set.Hints.NotInsertable, name):
			continue
		}
		if err := w.addField(&root, c, f, v, insert); err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
	}
	if insert && c.Key != "" && !w.e.serverKey {
		values, err := w.e.info.Values(c.Key)
		if err != nil {
			return nil, err
		}
		for i, name := range w.e.info.Key {
			if root.find(name) == nil {
				column := w.e.columns[name]
				root.children = append(root.children, member{name: name, column: &column, value: values[i]})
			}
		}
	}
	w.e.foldNulls(&root)
	return root.children, nil
}

func (m *member) find(name string) *member {
	for i := range m.children {
		if m.children[i].name == name {
			return &m.children[i]
		}
	}
	return nil
}

func (w *writer) addField(root *member, c *kedge.Change, f *kedge.Field, v kedge.Value, insert bool) error {
	if binds, ok := w.e.binds[f.Name]; ok {
		bind, err := chooseBind(binds, c.Targets[f.Name], v)
		if err != nil {
			return err
		}
		link := member{name: bind.navigation + "@odata.bind", value: v}
		if v.IsNull() && insert {
			return nil
		}
		if !v.IsNull() {
			target := w.m.entity(bind.target)
			if target == nil {
				return errors.New("its target is not an entity set")
			}
			link.link = w.bindBase() + wire.Escape(bind.target) + wire.Predicate(target.key, []string{v.Text()})
		}
		root.children = append(root.children, link)
		return nil
	}
	column := w.e.columns[f.Name]
	if !fits(v, &column) {
		return fmt.Errorf("%v does not fit %s", v.Type(), column.Edm)
	}
	at, path := root, strings.Split(f.Name, "/")
	for _, part := range path[:len(path)-1] {
		next := at.find(part)
		if next == nil {
			at.children = append(at.children, member{name: part})
			next = &at.children[len(at.children)-1]
		}
		at = next
	}
	at.children = append(at.children, member{name: path[len(path)-1], column: &column, value: v})
	return nil
}

// bindBase is what stands before the link to another entity. Links are relative
// to the request, whose last segment is replaced; with a cast there is one more.
func (w *writer) bindBase() string {
	if w.e.opts.Cast != "" {
		return w.d.root.String() + w.company
	}
	return ""
}

// foldNulls makes null of complex values all of whose parts are null, as they
// were read, if they can be null as a whole.
func (e *entity) foldNulls(root *member) {
	for i := range root.children {
		m := &root.children[i]
		if m.column != nil || m.children == nil {
			continue
		}
		whole := e.set.Property(m.name)
		parts := slices.ContainsFunc(m.children, func(c member) bool { return c.children != nil || !c.value.IsNull() })
		if whole != nil && whole.Complex && whole.Nullable && !parts && len(m.children) == e.partsOf(m.name) {
			m.children, m.value = nil, kedge.Null()
		}
	}
}

func (e *entity) partsOf(name string) int {
	n := 0
	for i := range e.info.Fields {
		if strings.HasPrefix(e.info.Fields[i].Name, name+"/") {
			n++
		}
	}
	return n
}

// fits reports whether v can be sent for a column.
func fits(v kedge.Value, c *wire.Column) bool {
	switch t := v.Type(); {
	case t == kedge.TypeNull || t == c.Type:
		return true
	case c.Type == kedge.TypeDecimal || c.Type == kedge.TypeFloat:
		return t == kedge.TypeInt || t == kedge.TypeDecimal || t == kedge.TypeFloat && c.Type == kedge.TypeFloat
	}
	return false
}

// encodeBody writes members as a JSON object. Unless plain, numbers of 64 bits and
// decimals are texts (JSON Format 4.01, 3.2).
func encodeBody(members []member, plain bool) []byte { return appendMembers(nil, members, plain) }

func appendMembers(b []byte, members []member, plain bool) []byte {
	b = append(b, '{')
	for i := range members {
		m := &members[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, m.name), ':')
		switch {
		case m.children != nil:
			b = appendMembers(b, m.children, plain)
		case m.link != "":
			b = appendText(b, m.link)
		case m.column == nil:
			b = append(b, "null"...)
		default:
			b = appendValue(b, m.value, m.column, plain)
		}
	}
	return append(b, '}')
}

func appendValue(b []byte, v kedge.Value, c *wire.Column, plain bool) []byte {
	switch v.Type() {
	case kedge.TypeNull:
		return append(b, "null"...)
	case kedge.TypeBool:
		return v.AppendText(b)
	case kedge.TypeInt, kedge.TypeDecimal:
		text := numberText(v)
		if !plain && (c.Type == kedge.TypeDecimal || c.Edm == "Edm.Int64") {
			return append(append(append(b, '"'), text...), '"')
		}
		return append(b, text...)
	case kedge.TypeFloat:
		if text := v.Text(); text != "INF" && text != "-INF" && text != "NaN" {
			return append(b, text...)
		}
	case kedge.TypeJSON:
		return append(b, v.Str()...)
	}
	return appendText(b, v.Text())
}

// numberText writes a number as JSON wants it and without exponent, which
// services need not accept (JSON Format 4.01, 3.2: ExponentialDecimals).
func numberText(v kedge.Value) string {
	text := v.Text()
	if v.Type() == kedge.TypeDecimal && (strings.ContainsAny(text, "eE+") || !json.Valid([]byte(text))) {
		return plainDecimal(text)
	}
	return text
}

// plainDecimal writes a decimal with digits on both sides of its point and
// without exponent.
func plainDecimal(text string) string {
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign = "-"
	}
	text = strings.TrimLeft(text, "+-")
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa = text[:i]
		fmt.Sscanf(text[i+1:], "%d", &exponent)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	for ; exponent > 0; exponent-- {
		if fraction == "" {
			fraction = "0"
		}
		whole, fraction = whole+fraction[:1], fraction[1:]
	}
	for ; exponent < 0; exponent++ {
		if whole == "" {
			whole = "0"
		}
		whole, fraction = whole[:len(whole)-1], whole[len(whole)-1:]+fraction
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction
}

func appendText(b []byte, s string) []byte {
	quoted, _ := json.Marshal(s) // a text can always be written
	return append(b, quoted...)
}

// validText reports whether all texts of a change can be sent as they are.
func validText(c *kedge.Change) bool {
	return !slices.ContainsFunc(c.Values, func(v kedge.Value) bool {
		return v.Type() == kedge.TypeString && !utf8.ValidString(v.Str())
	})
}

// A bind says that a field is written by binding a navigation.
type bind struct{ navigation, target string }

// findBinds settles which lookups are written by binding their navigation:
// those whose own property is read-only, or that have none. One that can point
// to several sets has a navigation for each.
func (e *entity) findBinds(model *csdl.Model) {
	e.binds = map[string][]bind{}
	for i := range e.info.Fields {
		f := &e.info.Fields[i]
		p := e.set.Property(f.Name)
		if len(f.Lookup) == 0 || p != nil && !p.ReadOnly && !p.Computed {
			continue
		}
		var binds []bind
		for _, l := range f.Lookup {
			if target := model.Set(l.Entity); target != nil && len(target.Key) == 1 && target.Key[0] == l.Field {
				binds = append(binds, bind{navigation: l.Navigation, target: l.Entity})
			}
		}
		if f.ReadOnly = len(binds) == 0; !f.ReadOnly {
			f.Computed = false
			e.binds[f.Name] = binds
		}
	}
}

// chooseBind returns the bind for a value that is a key of target. Any of them
// takes the link away.
func chooseBind(binds []bind, target string, v kedge.Value) (bind, error) {
	if len(binds) == 1 && target == "" || v.IsNull() {
		return binds[0], nil
	}
	names := make([]string, len(binds))
	for i, b := range binds {
		if b.target == target {
			return b, nil
		}
		names[i] = b.target
	}
	if target == "" {
		return bind{}, fmt.Errorf("it can point to %s; map it as a lookup, which says to which", strings.Join(names, ", "))
	}
	return bind{}, fmt.Errorf("it cannot point to %s, only to %s", target, strings.Join(names, ", "))
}
