package odatatest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// A model is what the metadata says about a set.
type model struct {
	set        Set
	ent        *kedge.Entity
	typeName   string // without namespace
	props      []property
	fields     *kedge.Fields
	index      map[string]int // of props, by path
	key        []int
	alt        [][]int
	navs       []navigation
	versionAt  int // of props, or -1
	modifiedAt int // of props, or -1
}

// A property is a primitive property, in a complex one if its path has
// several parts, or one that holds raw JSON.
type property struct {
	kedge.Field
	path   []string
	edm    string // "Edm.Int64", or the qualified name of an enumeration
	quoted bool   // a string in JSON under IEEE754Compatible
	enum   string // name of the enumeration, without namespace
}

// A navigation is a single-valued navigation property.
type navigation struct {
	name     string
	target   string // set
	from, to []int  // dependent properties, and those of the target that they equal
}

// newTables makes the tables with their models, and links them.
func newTables(sets []Set, ns string, noVersion bool) []*table {
	tables := make([]*table, len(sets))
	byName := make(map[string]*model, len(sets))
	taken := make(map[string]bool)
	for i, set := range sets {
		if noVersion {
			set = set.withoutVersion()
		}
		m := newModel(set, ns)
		for taken[m.typeName] {
			m.typeName += "_"
		}
		taken[m.typeName] = true
		byName[set.Entity.Name] = m
		tables[i] = newTable(m)
	}
	for _, t := range tables {
		t.link(byName)
	}
	return tables
}

func newModel(set Set, ns string) *model {
	m := &model{set: set, ent: &set.Entity, index: make(map[string]int), versionAt: -1, modifiedAt: -1}
	m.typeName = strings.TrimSuffix(set.Entity.Name, "s")
	if m.typeName == set.Entity.Name {
		m.typeName += "Type"
	}
	names := make([]string, len(set.Entity.Fields))
	for i, f := range set.Entity.Fields {
		p := property{Field: f, path: strings.Split(f.Name, "/"), edm: edmType(&f)}
		if f.Format == kedge.FormatEnum {
			p.enum = m.typeName + "_" + strings.ReplaceAll(f.Name, "/", "_")
			p.edm = ns + "." + p.enum
		}
		p.quoted = p.edm == "Edm.Int64" || p.edm == "Edm.Decimal"
		m.props = append(m.props, p)
		m.index[f.Name], names[i] = i, f.Name
	}
	m.fields = kedge.NewFields(names...)
	m.key = m.indexes(set.Entity.Key)
	for _, alt := range set.Entity.AlternateKeys {
		m.alt = append(m.alt, m.indexes(alt))
	}
	if i, ok := m.index[set.Entity.Version]; ok {
		m.versionAt = i
	}
	if i, ok := m.index[set.Modified]; ok {
		m.modifiedAt = i
	}
	if m.set.Row == nil {
		m.set.Rows = 0
	}
	return m
}

func (m *model) indexes(names []string) []int {
	out := make([]int, len(names))
	for i, n := range names {
		j, ok := m.index[n]
		if !ok {
			panic("odatatest: key of " + m.ent.Name + " names a field that is not there")
		}
		out[i] = j
	}
	return out
}

// edmType returns the type of f: its NativeType, or what follows from its type.
func edmType(f *kedge.Field) string {
	if strings.HasPrefix(f.NativeType, "Edm.") || strings.HasPrefix(f.NativeType, "Collection(Edm.") {
		return f.NativeType
	}
	switch f.Format {
	case kedge.FormatGUID:
		return "Edm.Guid"
	case kedge.FormatClock:
		return "Edm.TimeOfDay"
	case kedge.FormatDuration:
		return "Edm.Duration"
	}
	switch f.Type {
	case kedge.TypeBool:
		return "Edm.Boolean"
	case kedge.TypeInt:
		return "Edm.Int64"
	case kedge.TypeFloat:
		return "Edm.Double"
	case kedge.TypeDecimal:
		return "Edm.Decimal"
	case kedge.TypeTime:
		return "Edm.DateTimeOffset"
	case kedge.TypeDate:
		return "Edm.Date"
	case kedge.TypeBytes:
		return "Edm.Binary"
	case kedge.TypeJSON:
		return "Edm.Untyped"
	}
	return "Edm.String"
}

// link makes the navigation properties of m. A lookup field joins the last
// navigation to the same entity if that does not name the same field of it.
func (m *model) link(models map[string]*model) {
	type group struct {
		navigation
		given  string
		target *model
	}
	var groups []*group
	for i := range m.props {
		for _, l := range m.props[i].Lookup {
			target := models[l.Entity]
			if target == nil {
				continue
			}
			to, ok := target.index[l.Field]
			if !ok {
				continue
			}
			var g *group
			for _, old := range groups {
				if old.target == target && old.given == l.Navigation && !slices.Contains(old.to, to) {
					g = old
				}
			}
			if g == nil {
				g = &group{given: l.Navigation, target: target, navigation: navigation{target: l.Entity}}
				groups = append(groups, g)
			}
			g.from, g.to = append(g.from, i), append(g.to, to)
		}
	}
	taken := make(map[string]bool)
	for _, g := range groups {
		g.name = g.given
		if g.name == "" {
			g.name = m.navigationName(&g.navigation)
		}
		for m.has(g.name) || taken[g.name] {
			g.name += "Nav"
		}
		taken[g.name] = true
		m.navs = append(m.navs, g.navigation)
	}
}

func (m *model) has(name string) bool {
	_, ok := m.index[name]
	return ok || m.hasComplex(name)
}

// navigationName derives "PrimaryContact" from the property PrimaryContactNo,
// and takes the target's name for a lookup of several properties.
func (m *model) navigationName(n *navigation) string {
	if len(n.from) > 1 {
		return n.target
	}
	name := strings.ReplaceAll(m.props[n.from[0]].Name, "/", "_")
	for _, suffix := range []string{"No", "Id", "ID"} {
		if s := strings.TrimSuffix(name, suffix); s != name && s != "" {
			return s
		}
	}
	return name + "Nav"
}

func (m *model) navigation(name string) *navigation {
	for i := range m.navs {
		if m.navs[i].name == name {
			return &m.navs[i]
		}
	}
	return nil
}

// hasComplex reports whether name is a complex property of the set.
func (m *model) hasComplex(name string) bool {
	for i := range m.props {
		if strings.HasPrefix(m.props[i].Name, name+"/") {
			return true
		}
	}
	return false
}

// etag returns the entity tag of a row version, without the quotes around it
// in JSON. Tags are opaque (RFC 9110, 8.8.3), so they hold what is easily
// broken by clients: quotes, commas and a backslash.
func etag(number int64) string {
	return `W/"JzE5O;,` + strconv.FormatInt(number, 36) + `\='"`
}
