package csdl

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// readXML reads CSDL XML. Elements are matched by their local names, because
// services disagree about prefixes.
func readXML(body []byte) (*document, error) {
	r := &xmlReader{dec: xml.NewDecoder(bytes.NewReader(body)), doc: newDocument()}
	found := false
	err := r.children("", func(e element) error {
		if e.name != "Edmx" || found {
			return errNoMetadata
		}
		found = true
		return r.edmx(e)
	})
	if err == nil && !found {
		err = errNoMetadata
	}
	return r.doc, err
}

type xmlReader struct {
	dec   *xml.Decoder
	doc   *document
	depth int
	text  []byte // of the element read last
}

// An element is a start tag whose content is not read yet.
type element struct {
	name string
	tag  xml.Name
	attr []xml.Attr
}

// get returns the attribute of that name, which has no prefix, or "".
func (e *element) get(name string) string {
	for i := range e.attr {
		if e.attr[i].Name.Local == name && e.attr[i].Name.Space == "" {
			return e.attr[i].Value
		}
	}
	return ""
}

func (e *element) is(name, value string) bool { return e.get(name) == value }

// content calls f for each child of e; f reads the child's own content. A nil
// f skips all.
func (r *xmlReader) content(e element, f func(element) error) error {
	if r.depth++; r.depth > MaxDepth {
		return errDepth()
	}
	defer func() { r.depth-- }()
	return r.children(e.tag.Local, f)
}

// children reads up to the end tag of that name; at the top, up to the end of
// the document.
func (r *xmlReader) children(name string, f func(element) error) error {
	r.text = r.text[:0]
	for {
		tok, err := r.dec.RawToken()
		if err == io.EOF {
			if name == "" {
				return nil
			}
			return errors.New("metadata ends early")
		}
		if err != nil {
			return err
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return errors.New("metadata with a document type definition is refused")
		case xml.CharData:
			r.text = append(r.text, tok...)
			if name == "" && len(bytes.TrimSpace(tok)) > 0 {
				return errNoMetadata
			}
		case xml.EndElement:
			if tok.Name.Local != name {
				return fmt.Errorf("end tag %.100q does not match", tok.Name.Local)
			}
			return nil
		case xml.StartElement:
			e := element{name: tok.Name.Local, tag: tok.Name, attr: tok.Attr}
			if f == nil {
				err = r.content(e, nil)
			} else {
				err = f(e)
			}
			if err != nil {
				return err
			}
		}
	}
}

func (r *xmlReader) skip(e element) error { return r.content(e, nil) }

func (r *xmlReader) edmx(e element) error {
	r.doc.version = e.get("Version")
	for _, a := range e.attr {
		if strings.HasPrefix(a.Value, "http://schemas.microsoft.com/ado/") && strings.HasPrefix(a.Name.Space+a.Name.Local, "xmlns") {
			return errV2
		}
	}
	return r.content(e, func(c element) error {
		switch c.name {
		case "Reference":
			return r.content(c, func(i element) error {
				if i.name == "Include" {
					r.alias(i)
				}
				return r.skip(i)
			})
		case "DataServices":
			return r.content(c, func(s element) error {
				if s.name != "Schema" {
					return r.skip(s)
				}
				return r.schema(s)
			})
		}
		return r.skip(c)
	})
}

// alias notes the alias of a Schema or an Include.
func (r *xmlReader) alias(e element) {
	if a := e.get("Alias"); a != "" {
		r.doc.aliases[a] = e.get("Namespace")
	}
}

func (r *xmlReader) schema(e element) error {
	if strings.HasPrefix(e.get("xmlns"), "http://schemas.microsoft.com/ado/") {
		return errV2
	}
	r.alias(e)
	ns := e.get("Namespace") + "."
	return r.content(e, func(c element) error {
		t := &typeDef{name: ns + c.get("Name"), base: c.get("BaseType"), open: c.is("OpenType", "true"), flags: c.is("IsFlags", "true")}
		switch c.name {
		case "EntityType":
			t.kind = entityType
		case "ComplexType":
			t.kind = complexType
		case "EnumType":
			t.kind = enumType
		case "TypeDefinition":
			t.kind, t.underlying, t.facets = typeDefinition, c.get("UnderlyingType"), facetsOf(c)
		case "EntityContainer":
			return r.container(ns, c)
		case "Annotations":
			return r.annotations(c.get("Target"), c)
		default: // actions, functions, terms
			return r.skip(c)
		}
		r.doc.types[t.name] = t
		return r.content(c, func(m element) error { return r.member(t, m) })
	})
}

// member reads a child of a type.
func (r *xmlReader) member(t *typeDef, e element) error {
	switch e.name {
	case "Member":
		t.members = append(t.members, e.get("Name"))
	case "Key":
		t.key = []string{}
		return r.content(e, func(c element) error {
			t.key = append(t.key, c.get("Name"))
			return r.skip(c)
		})
	case "Property":
		p := property{name: e.get("Name"), nullable: !e.is("Nullable", "false"), facets: facetsOf(e)}
		p.typ, p.many = splitType(e.get("Type"))
		t.properties = append(t.properties, p)
		return r.annotations(t.name+"/"+p.name, e)
	case "NavigationProperty":
		return r.navigation(t, e)
	case "Annotation":
		return r.annotation(t.name, e)
	}
	return r.skip(e)
}

func facetsOf(e element) facets {
	var f facets
	for i := range e.attr {
		if e.attr[i].Name.Space == "" {
			f.set(e.attr[i].Name.Local, e.attr[i].Value)
		}
	}
	return f
}

func (r *xmlReader) navigation(t *typeDef, e element) error {
	n := navigation{name: e.get("Name"), nullable: !e.is("Nullable", "false"), contains: e.is("ContainsTarget", "true")}
	n.typ, n.many = splitType(e.get("Type"))
	err := r.content(e, func(c element) error {
		switch c.name {
		case "ReferentialConstraint":
			return r.constraint(&n, c)
		case "Annotation":
			return r.annotation(t.name+"/"+n.name, c)
		}
		return r.skip(c)
	})
	t.navs = append(t.navs, n)
	return err
}

// constraint reads a ReferentialConstraint. One that holds another is
// malformed, and so are both.
func (r *xmlReader) constraint(n *navigation, e element) error {
	c, odd := Constraint{Property: e.get("Property"), Referenced: e.get("ReferencedProperty")}, false
	err := r.content(e, func(inner element) error {
		odd = odd || inner.name != "Annotation"
		return r.skip(inner)
	})
	if odd || c.Property == "" || c.Referenced == "" {
		n.odd++
	} else {
		n.constraints = append(n.constraints, c)
	}
	return err
}

func (r *xmlReader) container(ns string, e element) error {
	c := &container{name: ns + e.get("Name"), extends: e.get("Extends")}
	r.doc.containers = append(r.doc.containers, c)
	return r.content(e, func(m element) error {
		switch m.name {
		case "Annotation":
			return r.annotation(c.name, m)
		case "EntitySet":
			s := entitySet{name: m.get("Name"), typ: m.get("EntityType")}
			err := r.content(m, func(b element) error {
				switch b.name {
				case "NavigationPropertyBinding":
					s.bindings = append(s.bindings, [2]string{b.get("Path"), b.get("Target")})
				case "Annotation":
					return r.annotation(c.name+"/"+s.name, b)
				}
				return r.skip(b)
			})
			c.sets = append(c.sets, s)
			return err
		}
		return r.skip(m)
	})
}
