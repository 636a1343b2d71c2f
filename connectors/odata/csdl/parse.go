package csdl

import "github.com/kedge-sync/kedge"

// Parse reads a metadata document: JSON if its first byte that is not white
// space is "{", else XML. Errors have kind Invalid.
func Parse(body []byte) (*Model, error) { panic("not written yet") }

// Entity returns s as an entity, with what the metadata knows: name, title,
// fields, lookups, keys, and the abilities to write. The caller sets the rest.
func (m *Model) Entity(s *Set) kedge.Entity { panic("not written yet") }
