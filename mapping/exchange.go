package mapping

import (
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
)

// Only returns a mapping of nothing but the named entity, to export it.
func (m *Mapping) Only(entity string) (*Mapping, error) {
	e := m.Entity(entity)
	if e == nil {
		return nil, &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("the mapping has no entity %q", entity)}
	}
	return &Mapping{Drift: DriftWarn, FirstSync: FirstMerge, Entities: []Entity{*e}}, nil
}

// Merge returns a copy of m with the entities of other in the place of those
// of the same name, or at the end. Everything else of m stays.
func (m *Mapping) Merge(other *Mapping) (*Mapping, error) {
	out := m.clone()
	for _, e := range other.Entities {
		if i := slices.IndexFunc(out.Entities, func(o Entity) bool { return o.Name == e.Name }); i >= 0 {
			out.Entities[i] = e
		} else {
			out.Entities = append(out.Entities, e)
		}
	}
	if len(out.Entities) > MaxEntities {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("the mapping would have more than %d entities", MaxEntities)}
	}
	return out, nil
}
