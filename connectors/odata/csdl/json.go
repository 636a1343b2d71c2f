package csdl

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A node is a JSON value. Members keep their order, which is the order of
// properties.
type node struct {
	kind    jsontext.Kind // '{', '[', '"', '0', 't', 'f' or 'n'
	text    string        // of a string, number or bool
	names   []string      // of an object
	members []node        // of an object or array
}

// get returns the member of that name; of an object that lacks it, null.
func (n *node) get(name string) *node {
	for i := range n.names {
		if n.names[i] == name {
			return &n.members[i]
		}
	}
	return &node{kind: 'n'}
}

func (n *node) isTrue(name string) bool { return n.get(name).kind == 't' }

// str returns the text of a string member, or "".
func (n *node) str(name string) string {
	if m := n.get(name); m.kind == '"' {
		return m.text
	}
	return ""
}

// readJSON reads CSDL JSON 4.01.
func readJSON(body []byte) (*document, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	root, err := readNode(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errors.New("metadata goes on after its end")
	}
	if root.get("$Version").kind == 'n' {
		return nil, errNoMetadata
	}
	r := &jsonReader{doc: newDocument()}
	r.doc.version = root.get("$Version").text
	for i, name := range root.names {
		m := &root.members[i]
		switch {
		case name == "$Reference":
			for j := range m.members {
				for k := range m.members[j].get("$Include").members {
					inc := &m.members[j].get("$Include").members[k]
					r.alias(inc.str("$Alias"), inc.str("$Namespace"))
				}
			}
		case !strings.HasPrefix(name, "$") && m.kind == '{':
			r.schema(name, m)
		}
	}
	return r.doc, nil
}

func readNode(dec *jsontext.Decoder) (node, error) {
	tok, err := dec.ReadToken()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return node{}, errors.New("metadata is not valid JSON")
	}
	n := node{kind: tok.Kind()}
	switch n.kind {
	case '"', '0', 't', 'f':
		n.text = tok.String()
		return n, nil
	case '{', '[':
		if dec.StackDepth() > MaxDepth {
			return n, errDepth()
		}
	}
	for (n.kind == '{' || n.kind == '[') && dec.PeekKind() != n.kind+2 { // the closing bracket
		if n.kind == '{' {
			name, err := readNode(dec)
			if err != nil {
				return n, err
			}
			n.names = append(n.names, name.text)
		}
		m, err := readNode(dec)
		if err != nil {
			return n, err
		}
		n.members = append(n.members, m)
	}
	if n.kind == '{' || n.kind == '[' {
		if _, err := dec.ReadToken(); err != nil {
			return n, errors.New("metadata is not valid JSON")
		}
	}
	return n, nil
}

type jsonReader struct {
	doc *document
}

func (r *jsonReader) alias(alias, namespace string) {
	if alias != "" {
		r.doc.aliases[alias] = namespace
	}
}

func (r *jsonReader) schema(ns string, schema *node) {
	r.alias(schema.str("$Alias"), ns)
	for i, name := range schema.names {
		m := &schema.members[i]
		switch {
		case name == "$Annotations":
			for j, target := range m.names {
				r.annotations(target, &m.members[j])
			}
		case m.kind == '{' && !strings.HasPrefix(name, "$") && !strings.Contains(name, "@"):
			r.element(ns+"."+name, m)
		}
	}
}

func (r *jsonReader) element(name string, m *node) {
	t := &typeDef{name: name, base: m.str("$BaseType"), open: m.isTrue("$OpenType"), flags: m.isTrue("$IsFlags")}
	switch m.str("$Kind") {
	case "EntityType":
		t.kind = entityType
	case "ComplexType":
		t.kind = complexType
	case "EnumType":
		t.kind = enumType
	case "TypeDefinition":
		t.kind, t.underlying, t.facets = typeDefinition, m.str("$UnderlyingType"), jsonFacets(m)
	case "EntityContainer":
		r.container(name, m)
		return
	default: // terms
		return
	}
	r.doc.types[name] = t
	r.annotations(name, m)
	if key := m.get("$Key"); key.kind == '[' {
		t.key = []string{}
		for i := range key.members {
			part := &key.members[i]
			if part.kind == '{' && len(part.members) == 1 { // {"alias": "path"}
				part = &part.members[0]
			}
			t.key = append(t.key, part.text)
		}
	}
	for i, child := range m.names {
		if strings.HasPrefix(child, "$") || strings.Contains(child, "@") {
			continue
		}
		if c := &m.members[i]; t.kind == enumType {
			t.members = append(t.members, child)
		} else if c.kind == '{' {
			r.property(t, child, c)
		}
	}
}

func (r *jsonReader) property(t *typeDef, name string, m *node) {
	typ := m.str("$Type")
	if m.str("$Kind") == "NavigationProperty" {
		n := navigation{name: name, typ: typ, many: m.isTrue("$Collection"), contains: m.isTrue("$ContainsTarget")}
		n.nullable = m.isTrue("$Nullable")
		constraints := m.get("$ReferentialConstraint")
		for i, dependent := range constraints.names {
			if strings.Contains(dependent, "@") {
				continue
			}
			if c := &constraints.members[i]; c.kind != '"' || c.text == "" || dependent == "" {
				n.odd++
			} else {
				n.constraints = append(n.constraints, Constraint{Property: dependent, Referenced: c.text})
			}
		}
		t.navs = append(t.navs, n)
	} else {
		if typ == "" {
			typ = "Edm.String"
		}
		p := property{name: name, typ: typ, many: m.isTrue("$Collection"), nullable: m.isTrue("$Nullable"), facets: jsonFacets(m)}
		t.properties = append(t.properties, p)
	}
	r.annotations(t.name+"/"+name, m)
}

func jsonFacets(m *node) facets {
	var f facets
	for i, name := range m.names {
		if facet, ok := strings.CutPrefix(name, "$"); ok && m.members[i].text != "" {
			f.set(facet, m.members[i].text)
		}
	}
	return f
}

func (r *jsonReader) container(name string, m *node) {
	c := &container{name: name, extends: m.str("$Extends")}
	r.doc.containers = append(r.doc.containers, c)
	r.annotations(name, m)
	for i, child := range m.names {
		set := &m.members[i]
		if set.kind != '{' || strings.HasPrefix(child, "$") || strings.Contains(child, "@") {
			continue
		}
		if !set.isTrue("$Collection") || set.get("$Action").kind != 'n' || set.get("$Function").kind != 'n' {
			continue // singletons and imports
		}
		s := entitySet{name: child, typ: set.str("$Type")}
		bindings := set.get("$NavigationPropertyBinding")
		for j, path := range bindings.names {
			s.bindings = append(s.bindings, [2]string{path, bindings.members[j].text})
		}
		c.sets = append(c.sets, s)
		r.annotations(name+"/"+child, set)
	}
}

// annotations reads the members "@Term" of m as annotations of target.
// Qualified ones, "@Term#Qualifier", and those of annotations are left out.
func (r *jsonReader) annotations(target string, m *node) {
	for i, name := range m.names {
		term, ok := strings.CutPrefix(name, "@")
		if !ok || strings.ContainsAny(term, "@#") || !wanted(term) {
			continue
		}
		r.doc.notes[target] = append(r.doc.notes[target], annotation{term: term, value: m.members[i].expression()})
	}
}

func (n *node) expression() expression {
	v := expression{text: n.text}
	switch n.kind {
	case 'n':
		v.dynamic = true
	case '[':
		for i := range n.members {
			v.list = append(v.list, n.members[i].expression())
		}
	case '{':
		for i, name := range n.names {
			if strings.HasPrefix(name, "$") { // $Path, $If, $Apply, …
				return expression{dynamic: true}
			}
			if !strings.Contains(name, "@") {
				v.fields = append(v.fields, fieldValue{name: name, value: n.members[i].expression()})
			}
		}
	}
	return v
}
