package csdl

import (
	"slices"
	"strings"
)

// The namespaces of the vocabularies that are read.
const (
	core         = "Org.OData.Core.V1."
	capabilities = "Org.OData.Capabilities.V1."
	labels       = "com.sap.vocabularies.Common.v1."
	// The community's alternate keys came before those of Core.
	communityKeys = "OData.Community.Keys.V1."
)

// find returns the annotation of the first target that has one of the term,
// or nil.
func (d *document) find(term string, targets ...string) *expression {
	for _, target := range targets {
		notes := d.notes[target]
		for i := range notes {
			if notes[i].term == term {
				return &notes[i].value
			}
		}
	}
	return nil
}

// hint returns what the annotation, or a field of its record, says.
func (d *document) hint(targets []string, term, field string) Hint {
	v := d.find(term, targets...)
	if v == nil {
		return Unsaid
	}
	if field != "" {
		v = v.field(field)
	}
	return v.hint()
}

// owners returns the targets of annotations for a path of the set, the most
// special one first: the set, then its types; with path "" also the container.
func (b *builder) owners(path string) []string {
	owners := []string{b.container.name + "/" + b.in.name + path}
	for _, t := range slices.Backward(b.types) {
		owners = append(owners, t.name+path)
	}
	if path == "" {
		owners = append(owners, b.container.name)
	}
	return owners
}

func (d *document) containerHints(m *Model, c *container) {
	at := []string{c.name}
	m.Batch.Supported = firstHint(d.hint(at, capabilities+"BatchSupport", "Supported"), d.hint(at, capabilities+"BatchSupported", ""))
	m.Batch.ContinueOnError = firstHint(d.hint(at, capabilities+"BatchSupport", "ContinueOnErrorSupported"),
		d.hint(at, capabilities+"BatchContinueOnErrorSupported", ""))
	if v := d.find(capabilities+"BatchSupport", at...); v != nil {
		m.Batch.Formats = v.field("SupportedFormats").paths()
		if v.field("Supported").dynamic {
			m.Batch.Supported = Yes // its default
		}
	}
	m.KeyAsSegment = d.hint(at, capabilities+"KeyAsSegmentSupported", "")
}

func firstHint(a, b Hint) Hint {
	if a != Unsaid {
		return a
	}
	return b
}

func (b *builder) hints() {
	at, d := b.owners(""), b.doc
	ask := func(term, field string) Hint { return d.hint(at, capabilities+term, field) }
	list := func(term, field string) []string {
		if v := d.find(capabilities+term, at...); v != nil {
			return v.field(field).paths()
		}
		return nil
	}
	h := &b.out.Hints
	h.ChangeTracking = ask("ChangeTracking", "Supported")
	h.Filterable = ask("FilterRestrictions", "Filterable")
	h.Unfilterable = list("FilterRestrictions", "NonFilterableProperties")
	h.RequiredInFilter = list("FilterRestrictions", "RequiredProperties")
	h.Sortable = ask("SortRestrictions", "Sortable")
	h.Unsortable = list("SortRestrictions", "NonSortableProperties")
	h.Readable = ask("ReadRestrictions", "Readable")
	if v := d.find(capabilities+"ReadRestrictions", at...); v != nil {
		h.ReadableByKey = v.field("ReadByKeyRestrictions").field("Readable").hint()
	}
	h.Insertable = ask("InsertRestrictions", "Insertable")
	h.NotInsertable = list("InsertRestrictions", "NonInsertableProperties")
	h.Updatable = ask("UpdateRestrictions", "Updatable")
	h.NotUpdatable = list("UpdateRestrictions", "NonUpdatableProperties")
	h.Upsertable = ask("UpdateRestrictions", "Upsertable")
	h.Deletable = ask("DeleteRestrictions", "Deletable")
	h.Repeatability = d.hint(at, "Org.OData.Repeatability.V1.Supported", "")
	if v := d.find(core+"OptimisticConcurrency", at...); v != nil {
		h.OptimisticConcurrency, h.ConcurrencyFields = Yes, v.paths()
	}
	for _, term := range []string{core + "AlternateKeys", communityKeys + "AlternateKeys"} {
		if v := d.find(term, at...); v != nil && b.out.AlternateKeys == nil {
			b.alternateKeys(v)
		}
	}
}

func (b *builder) alternateKeys(v *expression) {
	for i := range v.list {
		var key []string
		parts := v.list[i].field("Key").list
		for j := range parts {
			if name := parts[j].field("Name").text; name != "" {
				key = append(key, name)
			}
		}
		if len(key) > 0 && len(key) == len(parts) {
			b.out.AlternateKeys = append(b.out.AlternateKeys, key)
		}
	}
}

// annotate sets what annotations say about p: those of its path from the set
// and its types, and those of its own type if it is inside a complex property.
func (b *builder) annotate(p *Property, name string, chain []*typeDef) {
	at := b.owners("/" + p.Path)
	if name != p.Path {
		for _, t := range slices.Backward(chain) {
			at = append(at, t.name+"/"+name)
		}
	}
	p.Title = b.title(name, at)
	p.Computed = b.doc.hint(at, core+"Computed", "") == Yes
	p.Immutable = b.doc.hint(at, core+"Immutable", "") == Yes
	if slices.Contains(b.out.Hints.NotUpdatable, p.Path) {
		p.Immutable = true
		p.ReadOnly = slices.Contains(b.out.Hints.NotInsertable, p.Path)
	}
	if v := b.doc.find(core+"Permissions", at...); v != nil && !v.dynamic {
		switch v.text {
		case "Read", "1":
			p.ReadOnly = true
		case "Write", "2":
			p.WriteOnly = true
		case "None", "0":
			p.ReadOnly, p.WriteOnly = true, true
		}
	}
}

// maxTitle is the length, in bytes, up to which a description serves as a title.
const maxTitle = 80

// title returns the label for people of what at are the targets of, unless it
// is the name again.
func (b *builder) title(name string, at []string) string {
	if len(at) > 1 && at[len(at)-1] == b.container.name {
		at = at[:len(at)-1]
	}
	for _, term := range []string{labels + "Label", core + "Description"} {
		v := b.doc.find(term, at...)
		if v == nil || v.dynamic {
			continue
		}
		if t := strings.TrimSpace(v.text); t != name && len(t) <= maxTitle {
			return t
		}
	}
	return ""
}
