package mapping

import (
	"fmt"
	"slices"
)

// CleanUp takes the missing external items that findings name out of a copy of
// m, and nothing else: no local item, and not the key, because without it
// records would be created twice. Lookups to an entity that was taken out are
// kept and disabled. It returns the copy and what it did; if there is nothing
// to do, m itself and nil.
func CleanUp(m *Mapping, findings []Finding) (*Mapping, []Finding) {
	out := m.clone()
	var done []Finding
	for _, f := range findings {
		if f.Side != SideExternal {
			continue
		}
		switch f.Code {
		case ExternalEntityMissing:
			if i := slices.IndexFunc(out.Entities, func(e Entity) bool { return e.Name == f.Entity }); i >= 0 {
				out.Entities = slices.Delete(out.Entities, i, i+1)
				done = append(done, f)
				done = append(done, out.disableLookups(f.Entity)...)
			}
		case ExternalFieldMissing:
			if e := out.Entity(f.Entity); e != nil && e.dropExternal(f.Field) {
				done = append(done, f)
			}
		}
	}
	if len(done) == 0 {
		return m, nil
	}
	return out, done
}

// clone copies all that CleanUp, Drift and Merge change.
func (m *Mapping) clone() *Mapping {
	out := *m
	out.Entities = slices.Clone(m.Entities)
	for i := range out.Entities {
		e := &out.Entities[i]
		e.Fields, e.AlternateKeys = slices.Clone(e.Fields), slices.Clone(e.AlternateKeys)
	}
	return &out
}

func (m *Mapping) disableLookups(target string) []Finding {
	var done []Finding
	for i := range m.Entities {
		for j := range m.Entities[i].Fields {
			f := &m.Entities[i].Fields[j]
			if f.Lookup == nil || f.Lookup.Entity != target || f.Disabled {
				continue
			}
			f.Disabled = true
			done = append(done, Finding{Code: FieldSuspended, Severity: SeverityNote, Side: SideMapping, Entity: m.Entities[i].Name, Field: f.Local,
				Message: fmt.Sprintf("%s is disabled, because its lookup entity %s was taken out", f.Local, target)})
		}
	}
	return done
}

// dropExternal takes an external field out of e wherever it can be missed, and
// reports whether it was there. The stamp of newest_wins stays, because
// without it the policy would mean something else.
func (e *Entity) dropExternal(name string) bool {
	before := len(e.Fields) + len(e.AlternateKeys)
	e.Fields = slices.DeleteFunc(e.Fields, func(f Field) bool { return slices.Contains(f.External, name) })
	e.AlternateKeys = slices.DeleteFunc(e.AlternateKeys, func(pairs []NamePair) bool {
		return slices.ContainsFunc(pairs, func(p NamePair) bool { return p.External == name })
	})
	dropped := len(e.Fields)+len(e.AlternateKeys) < before
	if e.Version == name {
		e.Version, dropped = "", true
	}
	if e.Conflict.Modified.External == name && !e.comparesStamps() {
		e.Conflict.Modified, dropped = NamePair{}, true
	}
	return dropped
}

// comparesStamps reports whether any policy of e needs the time of the last change.
func (e *Entity) comparesStamps() bool {
	return e.Conflict.Policy == NewestWins || slices.ContainsFunc(e.Fields, func(f Field) bool { return f.Conflict == NewestWins })
}
