package csdl

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// model makes the model of d, whose names are settled.
func (d *document) model() (*Model, error) {
	m := &Model{Version: d.version, doc: d}
	if len(d.containers) == 0 {
		d.notice("there is no entity container, so there are no entity sets")
		m.finish()
		return m, nil
	}
	c := d.containers[0]
	if len(d.containers) > 1 {
		d.notice("only the first of %d entity containers is used: %s", len(d.containers), c.name)
	}
	m.Container = c.name
	d.containerHints(m, c)
	m.sets = d.index(c)
	total := 0
	for _, in := range m.sets.all {
		t := d.typeOf(in.typ)
		if t == nil || t.kind != entityType {
			d.notice("set %s is left out: entity type %s is not in the metadata", in.name, d.qualify(in.typ))
			continue
		}
		b := builder{doc: d, sets: m.sets, container: c, in: in, types: d.chain(t), at: map[string]int{}}
		s := b.set()
		m.Sets = append(m.Sets, s)
		if total += len(s.Properties) + len(s.Navigations); total > maxProperties {
			return nil, &kedge.Error{Op: "csdl.Parse", Kind: kedge.TooLarge, Err: fmt.Errorf("entity sets have more than %d properties", maxProperties)}
		}
	}
	m.finish()
	return m, nil
}

func (m *Model) finish() {
	slices.SortFunc(m.Sets, func(a, b Set) int { return cmp.Compare(a.Name, b.Name) })
	m.Notices = m.doc.notices
	m.Hash = m.hash()
}

func (d *document) notice(format string, args ...any) {
	d.notices = append(d.notices, fmt.Sprintf(format, args...))
}

// A setIndex finds the sets of a container, its own and inherited ones.
type setIndex struct {
	all    []*entitySet
	byName map[string]*entitySet
	byType map[string][]*entitySet // by qualified name
}

func (d *document) index(c *container) *setIndex {
	x := &setIndex{byName: map[string]*entitySet{}, byType: map[string][]*entitySet{}}
	for range MaxDepth {
		for i := range c.sets {
			s := &c.sets[i]
			if s.name == "" || x.byName[s.name] != nil {
				d.notice("set %s is left out: it has no name of its own", s.name)
				continue
			}
			x.all, x.byName[s.name] = append(x.all, s), s
			x.byType[d.qualify(s.typ)] = append(x.byType[d.qualify(s.typ)], s)
		}
		i := slices.IndexFunc(d.containers, func(o *container) bool { return c.extends != "" && o != c && o.name == d.qualify(c.extends) })
		if i < 0 {
			break
		}
		c = d.containers[i]
	}
	return x
}

// Cast returns the set with the properties of a type derived from its own, as
// Set/Ns.Type delivers it.
func (m *Model) Cast(s *Set, typeName string) (*Set, error) {
	t := m.doc.typeOf(typeName)
	if t == nil || t.kind != entityType {
		return nil, &kedge.Error{Op: "csdl.Cast", Kind: kedge.NotFound, Entity: s.Name, Err: errors.New("there is no such entity type")}
	}
	chain := m.doc.chain(t)
	if !slices.ContainsFunc(chain, func(b *typeDef) bool { return b.name == s.TypeName }) {
		return nil, &kedge.Error{Op: "csdl.Cast", Kind: kedge.Invalid, Entity: s.Name, Err: fmt.Errorf("%s is not derived from %s", t.name, s.TypeName)}
	}
	d := *m.doc // so that notices of the cast do not change the model's
	d.notices = nil
	b := builder{doc: &d, sets: m.sets, container: d.containers[0], in: m.sets.byName[s.Name], types: chain, at: map[string]int{}}
	cast := b.set()
	return &cast, nil
}

// A builder makes one set.
type builder struct {
	doc       *document
	sets      *setIndex
	container *container
	in        *entitySet
	types     []*typeDef     // of the set, the most general one first
	at        map[string]int // positions of properties, by path
	out       Set
}

func (b *builder) set() Set {
	t := b.types[len(b.types)-1]
	b.out = Set{Name: b.in.name, TypeName: t.name}
	for _, t := range b.types {
		b.out.Open = b.out.Open || t.open
		if t.key != nil {
			b.out.Key = t.key
		}
	}
	b.out.Title = b.title("", b.owners(""))
	b.hints()
	for i, t := range b.types {
		b.properties("", t, b.types[:i+1], nil, false)
	}
	b.key()
	for _, t := range b.types {
		for i := range t.navs {
			b.navigation(t, &t.navs[i])
		}
	}
	return b.out
}

// key checks that each key property is there.
func (b *builder) key() {
	for _, path := range b.out.Key {
		if p := b.property(path); p == nil || p.Complex || p.WriteOnly {
			b.doc.notice("set %s is read-only: key property %s is not a readable property", b.in.name, path)
			b.out.Key = nil
			return
		}
	}
	if len(b.out.Key) == 0 {
		b.out.Key = nil
		b.doc.notice("set %s is read-only: its type has no key", b.in.name)
	}
}

// property returns the property with that path, or nil.
func (b *builder) property(path string) *Property {
	if i, ok := b.at[path]; ok && i != noProperty {
		return &b.out.Properties[i]
	}
	return nil
}

// properties adds those that t declares, under prefix. within are the complex
// types around t, and nullable tells that one of them may be null.
func (b *builder) properties(prefix string, t *typeDef, chain []*typeDef, within []string, nullable bool) {
	for i := range t.properties {
		in := &t.properties[i]
		p := Property{Path: prefix + in.name, Nullable: in.nullable || nullable, Declared: b.doc.qualify(in.typ), Collection: in.many}
		if in.many {
			p.Declared = "Collection(" + p.Declared + ")"
		}
		if p.Declared == "Edm.Stream" || p.Declared == "Collection(Edm.Stream)" {
			continue
		}
		complex := b.typed(&p, in)
		b.annotate(&p, in.name, chain)
		if p.ReadOnly && p.WriteOnly {
			continue // no permission at all
		}
		if _, twice := b.at[p.Path]; twice || in.name == "" {
			b.doc.notice("set %s: property %s is left out: it has no name of its own", b.in.name, p.Path)
			continue
		}
		parts := complex != nil && b.flattens(p.Path, complex, within)
		p.Parts = parts
		b.at[p.Path] = len(b.out.Properties)
		b.out.Properties = append(b.out.Properties, p)
		if !parts {
			continue
		}
		types, inner := b.doc.chain(complex), append(slices.Clone(within), complex.name)
		for j, part := range types {
			b.properties(p.Path+"/", part, types[:j+1], inner, p.Nullable)
		}
	}
}

// flattens reports whether the complex property at path is delivered in parts.
func (b *builder) flattens(path string, t *typeDef, within []string) bool {
	if strings.Count(path, "/")+1 >= MaxFlatten || slices.Contains(within, t.name) || len(b.out.Properties) >= maxSetProperties {
		return false
	}
	return slices.ContainsFunc(b.doc.chain(t), func(t *typeDef) bool { return len(t.properties) > 0 })
}

// typed gives p its type, and returns the complex type of a single complex property.
func (b *builder) typed(p *Property, in *property) *typeDef {
	name, f := b.doc.qualify(in.typ), in.facets
	t := b.doc.types[name]
	if t != nil && t.kind == typeDefinition {
		name, f = b.doc.qualify(t.underlying), f.over(t.facets)
		t = nil
	}
	switch {
	case in.many || t == nil && !p.primitive(name, f):
		p.Type, p.Complex = kedge.TypeJSON, true
	case t == nil:
	case t.kind == enumType:
		p.Edm, p.Type, p.Format = "Edm.String", kedge.TypeString, kedge.FormatEnum
		p.Enum, p.EnumType, p.EnumFlags = t.members, t.name, t.flags
	default:
		p.Type, p.Complex = kedge.TypeJSON, true
		if t.kind == complexType {
			return t
		}
	}
	return nil
}

// primitive gives p the primitive type of that name, if it is one that kedge
// reads as a value. All others are json.
func (p *Property) primitive(name string, f facets) bool {
	short, ok := strings.CutPrefix(name, "Edm.")
	if !ok {
		return false
	}
	switch short {
	case "Boolean":
		p.Type = kedge.TypeBool
	case "Byte", "SByte", "Int16", "Int32", "Int64":
		p.Type = kedge.TypeInt
	case "Double", "Single":
		p.Type = kedge.TypeFloat
	case "Decimal":
		p.Type, p.Precision, p.Scale = kedge.TypeDecimal, f.precision, f.scale-1
		if f.scale <= 0 { // variable, or not said: services that say nothing send fractions all the same
			p.Scale = -1
		}
	case "String":
		p.Type, p.MaxLength = kedge.TypeString, f.maxLength
	case "Guid":
		p.Type, p.Format = kedge.TypeString, kedge.FormatGUID
	case "DateTimeOffset":
		p.Type = kedge.TypeTime
	case "Date":
		p.Type = kedge.TypeDate
	case "TimeOfDay":
		p.Type, p.Format = kedge.TypeString, kedge.FormatClock
	case "Duration":
		p.Type, p.Format = kedge.TypeString, kedge.FormatDuration
	case "Binary":
		p.Type = kedge.TypeBytes
	default:
		return false
	}
	p.Edm = name
	return true
}
