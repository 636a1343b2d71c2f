package odatatest

import (
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// The vocabularies of the annotations.
const (
	coreTerms          = "Org.OData.Core.V1."
	capabilitiesTerms  = "Org.OData.Capabilities.V1."
	repeatabilityTerms = "Org.OData.Repeatability.V1."
)

// metadata answers a request for $metadata.
func (s *Service) metadata(rq *request) *answer {
	if rq.xml {
		return newAnswer("application/xml", s.metadataXML())
	}
	return newAnswer("application/json", s.metadataJSON())
}

// A member is a property of an entity type or complex type as it is declared:
// a primitive one or a complex one.
type member struct {
	name     string
	property *property // nil if complex
	typeName string    // of the complex type
	nullable bool
}

// A structure is an entity type or complex type.
type structure struct {
	name    string
	members []member
}

// structures returns the entity type of m and then its complex types, the
// innermost last.
func (m *model) structures() []structure {
	all := make([]int, len(m.props))
	for i := range all {
		all[i] = i
	}
	return m.structuresAt(m.typeName, all, 0)
}

func (m *model) structuresAt(name string, props []int, depth int) []structure {
	own := structure{name: name}
	var inner []structure
	for _, c := range m.columnsAt(props, depth) {
		head := m.props[c.prop].path[depth]
		if c.children == nil {
			p := &m.props[c.prop]
			own.members = append(own.members, member{name: head, property: p, nullable: p.Nullable})
			continue
		}
		var below []int
		nullable := true
		for _, i := range props {
			if path := m.props[i].path; len(path) > depth+1 && path[depth] == head {
				below = append(below, i)
				nullable = nullable && m.props[i].Nullable
			}
		}
		own.members = append(own.members, member{name: head, typeName: name + "_" + head, nullable: nullable})
		inner = append(inner, m.structuresAt(name+"_"+head, below, depth+1)...)
	}
	return append([]structure{own}, inner...)
}

// facets returns the facets of a property in the order of CSDL, as names and
// values.
func (p *property) facets() [][2]string {
	var out [][2]string
	add := func(name, value string) { out = append(out, [2]string{name, value}) }
	if p.MaxLength > 0 && (p.edm == "Edm.String" || p.edm == "Edm.Binary") {
		add("MaxLength", strconv.Itoa(p.MaxLength))
	}
	if p.Type == kedge.TypeBool && !p.Nullable && !p.Computed {
		add("DefaultValue", "false")
	}
	switch p.edm {
	case "Edm.Decimal":
		if p.Precision > 0 {
			add("Precision", strconv.Itoa(p.Precision))
		}
		if p.Scale < 0 {
			add("Scale", "variable")
		} else {
			add("Scale", strconv.Itoa(p.Scale))
		}
	case "Edm.DateTimeOffset", "Edm.TimeOfDay", "Edm.Duration":
		add("Precision", strconv.Itoa(max(p.Precision, 9))) // digits of a second; kedge.Value holds nine
	}
	return out
}

// An annotation is a term with a value: a bool, a text, or a record of bools
// and lists of texts.
type annotation struct {
	term  string
	value any // bool, string or [][2]any
}

func (p *property) annotations() []annotation {
	var out []annotation
	if p.Title != "" {
		out = append(out, annotation{coreTerms + "Description", p.Title})
	}
	if p.Computed || p.ReadOnly {
		out = append(out, annotation{coreTerms + "Computed", true})
	}
	if p.Immutable {
		out = append(out, annotation{coreTerms + "Immutable", true})
	}
	return out
}

func (s *Service) setAnnotations(m *model) []annotation {
	writable := s.companyTable == nil || m != s.companyTable.model
	record := func(term, name string, value bool) annotation {
		return annotation{capabilitiesTerms + term, [][2]any{{name, value}}}
	}
	return []annotation{
		record("ChangeTracking", "Supported", !s.opts.NoDelta),
		record("FilterRestrictions", "Filterable", !s.opts.NoFilter),
		record("SortRestrictions", "Sortable", !s.opts.NoFilter),
		record("InsertRestrictions", "Insertable", writable),
		{capabilitiesTerms + "UpdateRestrictions", [][2]any{{"Updatable", writable}, {"Upsertable", writable && !s.opts.NoUpsert}}},
		record("DeleteRestrictions", "Deletable", writable),
	}
}

// containerAnnotations tell what the whole service can do.
func (s *Service) containerAnnotations() []annotation {
	formats := map[string][]string{"": {"application/json", "multipart/mixed"}, "json": {"application/json"}, "multipart": {"multipart/mixed"}}[s.opts.Batch]
	on := s.opts.Batch != "none"
	list := []annotation{
		{capabilitiesTerms + "BatchSupported", on},
		{capabilitiesTerms + "BatchContinueOnErrorSupported", on},
	}
	if on {
		list = append(list, annotation{capabilitiesTerms + "BatchSupport", [][2]any{
			{"Supported", true}, {"ContinueOnErrorSupported", true}, {"ReferencesInRequestBodiesSupported", true},
			{"ReferencesAcrossChangeSetsSupported", true}, {"EtagReferencesSupported", false},
			{"RequestDependencyConditionsSupported", false}, {"SupportedFormats", formats},
		}})
	}
	if s.opts.Repeatable {
		list = append(list, annotation{repeatabilityTerms + "Supported", true})
	}
	return list
}

// concurrency returns the properties that the entity tags of a set follow
// from, if a write must have If-Match (Core.OptimisticConcurrency).
func (s *Service) concurrency(m *model) (props []string, ok bool) {
	if m.versionAt >= 0 {
		props = []string{m.ent.Version}
	}
	return props, s.opts.NeedIfMatch && !s.opts.NoVersion
}

// vocabularies returns the names of the vocabularies that are used.
func (s *Service) vocabularies() []string {
	list := []string{"Core", "Capabilities"}
	if s.opts.Repeatable {
		list = append(list, "Repeatability")
	}
	return list
}

// A constraint is a referential constraint as it is declared.
type constraint struct{ property, referenced string }

// constraints returns the referential constraints of a navigation. Under the
// quirk odd-constraint they are the wrong way round, as some services have
// them.
func (s *Service) constraints(m *model, n *navigation) []constraint {
	target := s.table(n.target)
	var out []constraint
	for i := range n.from {
		c := constraint{m.props[n.from[i]].Name, target.props[n.to[i]].Name}
		if s.quirk(OddConstraint) {
			c.property, c.referenced = c.referenced, c.property+"/"+c.property
		}
		out = append(out, c)
	}
	return out
}

func (n *navigation) nullable(m *model) bool {
	for _, i := range n.from {
		if m.props[i].Nullable {
			return true
		}
	}
	return false
}

// models returns the models of all sets, with that of the companies.
func (s *Service) models() []*model {
	var out []*model
	for _, t := range s.tables {
		out = append(out, t.model)
	}
	if s.companyTable != nil {
		out = append(out, s.companyTable.model)
	}
	return out
}

func enumMembers(p *property) []string {
	if len(p.Enum) > 0 {
		return p.Enum
	}
	return strings.Fields("None")
}
