package csdl

import (
	"slices"

	"github.com/kedge-sync/kedge"
)

// Entity returns s as an entity, with what the metadata knows: name, title,
// fields, lookups, keys, and whether records can be inserted, updated and
// deleted. Complex properties are there in parts where they have any. The
// caller sets the rest.
//
// The dependent property of a referential constraint is a lookup. It counts as
// writable even if the property is read-only, because it can be set by binding
// the navigation; [Property.ReadOnly] tells which way is needed. A single-valued
// navigation without constraint, whose target set and key are known, becomes a
// read-only field "Navigation/Key".
func (m *Model) Entity(s *Set) kedge.Entity {
	e := kedge.Entity{Name: s.Name, Title: s.Title, Key: s.Key}
	at := make(map[string]int, len(s.Properties))
	for i := range s.Properties {
		p := &s.Properties[i]
		if p.Parts || p.WriteOnly {
			continue
		}
		at[p.Path] = len(e.Fields)
		e.Fields = append(e.Fields, p.Field())
	}
	for i := range s.Navigations {
		n := &s.Navigations[i]
		if n.Collection || n.Target == "" {
			continue
		}
		if len(n.Constraints) == 0 {
			e.Fields = append(e.Fields, m.navigationFields(n, at)...)
		}
		for _, c := range n.Constraints {
			if j, ok := at[c.Property]; ok && j >= 0 {
				e.Fields[j].ReadOnly = false
				e.Fields[j].Lookup = append(e.Fields[j].Lookup, kedge.LookupTarget{Entity: n.Target, Field: c.Referenced, Navigation: n.Name})
			}
		}
	}
	for _, key := range s.AlternateKeys {
		if !slices.ContainsFunc(key, func(name string) bool { _, ok := at[name]; return !ok }) {
			e.AlternateKeys = append(e.AlternateKeys, key)
		}
	}
	if len(s.Key) > 0 {
		e.Insert, e.Update, e.Delete = s.Hints.Insertable.Or(true), s.Hints.Updatable.Or(true), s.Hints.Deletable.Or(true)
	}
	return e
}

// Field returns p as a field.
func (p *Property) Field() kedge.Field {
	return kedge.Field{
		Name: p.Path, Title: p.Title, Type: p.Type, Format: p.Format, Nullable: p.Nullable,
		MaxLength: p.MaxLength, Precision: p.Precision, Scale: p.Scale,
		ReadOnly: p.ReadOnly, Computed: p.Computed, Immutable: p.Immutable, Enum: p.Enum, NativeType: p.Declared,
	}
}

// navigationFields returns the key of the target of n as fields, but for names
// that are taken in at.
func (m *Model) navigationFields(n *Navigation, at map[string]int) []kedge.Field {
	target := m.Set(n.Target)
	if target == nil {
		return nil
	}
	var fields []kedge.Field
	for _, key := range n.TargetKey {
		name := n.Name + "/" + key
		p := target.Property(key)
		if _, taken := at[name]; taken || p == nil || p.Complex {
			return nil
		}
		at[name] = -1 // not a lookup by constraint
		f := p.Field()
		f.Name, f.Title, f.Nullable = name, "", n.Nullable
		f.ReadOnly, f.Computed, f.Immutable = true, false, false
		f.Lookup = []kedge.LookupTarget{{Entity: n.Target, Field: key, Navigation: n.Name}}
		fields = append(fields, f)
	}
	return fields
}
