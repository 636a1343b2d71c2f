package odatatest

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// metadataXML renders the model (CSDL XML 4.01).
func (s *Service) metadataXML() []byte {
	x := &xmlWriter{}
	x.open("edmx:Edmx", "xmlns:edmx", "http://docs.oasis-open.org/odata/ns/edmx", "Version", s.opts.Version)
	for _, v := range s.vocabularies() {
		x.open("edmx:Reference", "Uri", "https://oasis-tcs.github.io/odata-vocabularies/vocabularies/Org.OData."+v+".V1.xml")
		x.leaf("edmx:Include", "Namespace", "Org.OData."+v+".V1")
		x.close()
	}
	x.open("edmx:DataServices")
	x.open("Schema", "xmlns", "http://docs.oasis-open.org/odata/ns/edm", "Namespace", s.ns)
	models := s.models()
	for _, m := range models {
		s.typesXML(x, m)
	}
	x.open("EntityContainer", "Name", "Container")
	for _, m := range models {
		x.open("EntitySet", "Name", m.ent.Name, "EntityType", s.ns+"."+m.typeName)
		for i := range m.navs {
			x.leaf("NavigationPropertyBinding", "Path", m.navs[i].name, "Target", m.navs[i].target)
		}
		x.annotations(s.setAnnotations(m))
		if props, ok := s.concurrency(m); ok {
			x.open("Annotation", "Term", coreTerms+"OptimisticConcurrency")
			x.open("Collection")
			for _, p := range props {
				x.text("PropertyPath", p)
			}
			x.close()
			x.close()
		}
		x.close()
	}
	x.annotations(s.containerAnnotations())
	x.close()
	x.close()
	x.close()
	x.close()
	return []byte(x.String())
}

func (s *Service) typesXML(x *xmlWriter, m *model) {
	for i, st := range m.structures() {
		tag := "ComplexType"
		if i == 0 {
			tag = "EntityType"
		}
		x.open(tag, "Name", st.name)
		if i == 0 {
			x.open("Key")
			for _, k := range m.ent.Key {
				ref := []string{"Name", k}
				if alias(k) != k { // a path needs one
					ref = append(ref, "Alias", alias(k))
				}
				x.leaf("PropertyRef", ref...)
			}
			x.close()
		}
		for j := range st.members {
			s.memberXML(x, &st.members[j])
		}
		if i == 0 {
			s.navigationsXML(x, m)
			alternateKeysXML(x, m)
		}
		x.close()
	}
	for i := range m.props {
		if m.props[i].enum == "" {
			continue
		}
		x.open("EnumType", "Name", m.props[i].enum)
		for n, name := range enumMembers(&m.props[i]) {
			x.leaf("Member", "Name", name, "Value", fmt.Sprint(n))
		}
		x.close()
	}
}

func (s *Service) memberXML(x *xmlWriter, m *member) {
	typeName := s.ns + "." + m.typeName
	if m.property != nil {
		typeName = m.property.edm
	}
	attrs := []string{"Name", m.name, "Type", typeName}
	if !m.nullable {
		attrs = append(attrs, "Nullable", "false")
	}
	if m.property == nil {
		x.leaf("Property", attrs...)
		return
	}
	for _, f := range m.property.facets() {
		attrs = append(attrs, f[0], f[1])
	}
	annotations := m.property.annotations()
	if len(annotations) == 0 {
		x.leaf("Property", attrs...)
		return
	}
	x.open("Property", attrs...)
	x.annotations(annotations)
	x.close()
}

func (s *Service) navigationsXML(x *xmlWriter, m *model) {
	for i := range m.navs {
		n := &m.navs[i]
		attrs := []string{"Name", n.name, "Type", s.ns + "." + s.table(n.target).typeName}
		if !n.nullable(m) {
			attrs = append(attrs, "Nullable", "false")
		}
		x.open("NavigationProperty", attrs...)
		for _, c := range s.constraints(m, n) {
			x.leaf("ReferentialConstraint", "Property", c.property, "ReferencedProperty", c.referenced)
		}
		x.close()
	}
	if s.quirk(OddConstraint) && len(m.navs) > 0 { // a collection that claims a constraint
		x.open("NavigationProperty", "Name", "OddNav", "Type", "Collection("+s.ns+"."+m.typeName+")")
		x.leaf("ReferentialConstraint", "Property", m.ent.Key[0], "ReferencedProperty", m.ent.Key[0])
		x.close()
	}
}

// alternateKeysXML writes Core.AlternateKeys (URL Conventions 4.01, 4.3.3).
func alternateKeysXML(x *xmlWriter, m *model) {
	if len(m.ent.AlternateKeys) == 0 {
		return
	}
	x.open("Annotation", "Term", coreTerms+"AlternateKeys")
	x.open("Collection")
	for _, alt := range m.ent.AlternateKeys {
		x.open("Record")
		x.open("PropertyValue", "Property", "Key")
		x.open("Collection")
		for _, name := range alt {
			x.open("Record")
			x.leaf("PropertyValue", "Property", "Name", "PropertyPath", name)
			x.leaf("PropertyValue", "Property", "Alias", "String", alias(name))
			x.close()
		}
		x.close()
		x.close()
		x.close()
	}
	x.close()
	x.close()
}

// An xmlWriter writes elements, one per line.
type xmlWriter struct {
	strings.Builder
	stack []string
}

func (x *xmlWriter) tag(name string, attrs []string, end string) {
	if x.Len() == 0 {
		x.WriteString(xml.Header)
	}
	x.WriteString(strings.Repeat("  ", len(x.stack)) + "<" + name)
	for i := 0; i+1 < len(attrs); i += 2 {
		x.WriteString(" " + attrs[i] + `="`)
		xml.EscapeText(x, []byte(attrs[i+1])) // a Builder does not fail
		x.WriteString(`"`)
	}
	x.WriteString(end + "\n")
}

func (x *xmlWriter) open(name string, attrs ...string) {
	x.tag(name, attrs, ">")
	x.stack = append(x.stack, name)
}

func (x *xmlWriter) leaf(name string, attrs ...string) { x.tag(name, attrs, "/>") }

func (x *xmlWriter) text(name, text string) {
	x.WriteString(strings.Repeat("  ", len(x.stack)) + "<" + name + ">")
	xml.EscapeText(x, []byte(text)) // a Builder does not fail
	x.WriteString("</" + name + ">\n")
}

func (x *xmlWriter) close() {
	name := x.stack[len(x.stack)-1]
	x.stack = x.stack[:len(x.stack)-1]
	x.WriteString(strings.Repeat("  ", len(x.stack)) + "</" + name + ">\n")
}

func (x *xmlWriter) annotations(list []annotation) {
	for _, a := range list {
		switch v := a.value.(type) {
		case bool:
			x.leaf("Annotation", "Term", a.term, "Bool", fmt.Sprint(v))
		case string:
			x.leaf("Annotation", "Term", a.term, "String", v)
		case [][2]any:
			x.open("Annotation", "Term", a.term)
			x.open("Record")
			for _, p := range v {
				if list, ok := p[1].([]string); ok {
					x.open("PropertyValue", "Property", p[0].(string))
					x.open("Collection")
					for _, text := range list {
						x.text("String", text)
					}
					x.close()
					x.close()
					continue
				}
				x.leaf("PropertyValue", "Property", p[0].(string), "Bool", fmt.Sprint(p[1]))
			}
			x.close()
			x.close()
		}
	}
}
