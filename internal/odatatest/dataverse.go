package odatatest

import (
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// dataverse returns the sets with lookups as Dataverse has them: the property
// of a lookup is read-only and named _x_value after its navigation x, and
// beside it is a text xname that only shows which row is meant.
func dataverse(sets []Set) []Set {
	out := make([]Set, len(sets))
	for i, s := range sets {
		fields := slices.Clone(s.Entity.Fields)
		var shown []int
		for j := range fields {
			f := &fields[j]
			if len(f.Lookup) != 1 || slices.Contains(s.Entity.Key, f.Name) {
				continue
			}
			shown = append(shown, j)
			nav := strings.ToLower(strings.ReplaceAll(f.Name, "/", "_"))
			f.Name, f.ReadOnly = "_"+nav+"_value", true
			f.Lookup = []kedge.LookupTarget{{Entity: f.Lookup[0].Entity, Field: f.Lookup[0].Field, Navigation: nav}}
			fields = append(fields, kedge.Field{Name: nav + "name", Type: kedge.TypeString, Nullable: true, ReadOnly: true})
		}
		own := len(s.Entity.Fields)
		s.Entity.Fields = fields
		s.derive = func(values []kedge.Value) {
			for n, j := range shown {
				values[own+n] = displayed(values[j])
			}
		}
		if row := s.Row; row != nil {
			s.Row = func(i int) []kedge.Value {
				values := row(i)
				for _, j := range shown {
					values = append(values, displayed(values[j]))
				}
				return values
			}
		}
		out[i] = s
	}
	return out
}

// displayed returns the text that shows which row a lookup means.
func displayed(lookup kedge.Value) kedge.Value {
	if lookup.IsEmpty() {
		return kedge.Null()
	}
	return kedge.String("The one with number " + lookup.Text())
}
