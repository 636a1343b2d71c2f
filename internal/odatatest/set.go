package odatatest

import (
	"slices"

	"github.com/kedge-sync/kedge"
)

// A Set is an entity set to serve.
//
// The Edm type of a field is its NativeType ("Edm.Int32", "Edm.Guid",
// "Collection(Edm.String)"), or follows from Type and Format. A field named
// "Address/City" is part of a complex property. Lookups become navigation
// properties; several lookup fields to one entity are one navigation if they
// name different fields of it.
type Set struct {
	Entity   kedge.Entity
	Modified string // name of the time field that is set by every edit; "" if there is none

	// Rows is the number of rows at the start, and Row returns the values of
	// row i, aligned with Entity.Fields. Keys must ascend with i. Row is
	// called again and again from several goroutines.
	Rows int
	Row  func(i int) []kedge.Value

	// derive sets the values of a row that follow from others, when a client
	// has written it. nil if there are none.
	derive func(values []kedge.Value)
}

// The fields that an entity without a version field gets.
const (
	versionName  = "RowVersion"
	modifiedName = "ModifiedAt"
)

// setOf returns an empty set of entity e.
func (o *Options) setOf(e kedge.Entity) Set {
	s := Set{Entity: e}
	if e.Version != "" || o.NoVersion || e.Field(versionName) != nil || e.Field(modifiedName) != nil {
		return s
	}
	s.Entity.Fields = append(slices.Clone(e.Fields), versionFields()...)
	s.Entity.Version, s.Modified = versionName, modifiedName
	return s
}

func versionFields() []kedge.Field {
	return []kedge.Field{
		{Name: modifiedName, Type: kedge.TypeTime, Computed: true},
		{Name: versionName, Type: kedge.TypeInt, Computed: true},
	}
}

// withoutVersion returns s without the fields that tell of changes.
func (s Set) withoutVersion() Set {
	var keep []int
	fields := s.Entity.Fields
	s.Entity.Fields = nil
	for i, f := range fields {
		if f.Name != s.Entity.Version && f.Name != s.Modified {
			keep = append(keep, i)
			s.Entity.Fields = append(s.Entity.Fields, f)
		}
	}
	s.Entity.Version, s.Modified = "", ""
	if row := s.Row; row != nil {
		s.Row = func(i int) []kedge.Value {
			all := row(i)
			values := make([]kedge.Value, len(keep))
			for j, k := range keep {
				values[j] = all[k]
			}
			return values
		}
	}
	return s
}
