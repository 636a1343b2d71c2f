package spec

import (
	"slices"

	"github.com/kedge-sync/kedge"
)

// A Grant allows a token to see events of an entity.
type Grant struct {
	Entity     string            `json:"entity"`
	Record     string            `json:"record,omitempty"`     // only this record: the text of its key in a resource
	Under      string            `json:"under,omitempty"`      // only children of this record: "projects/proj1"
	Operations []kedge.Operation `json:"operations,omitempty"` // nil means all that the config offers
	Fields     []string          `json:"fields,omitempty"`     // nil means all that the config offers
	Manage     bool              `json:"manage"`               // may create and change subscriptions, not only list resources
}

// Grants are all that a token may. [Everything] is for operators.
type Grants struct {
	all  bool
	list []Grant
}

// NewGrants returns the grants of a token. None allow nothing.
func NewGrants(list []Grant) Grants { return Grants{list: list} }

// Everything allows all that the config offers.
func Everything() Grants { return Grants{all: true} }

// Manages reports whether any grant allows to manage subscriptions.
func (g Grants) Manages() bool {
	return g.all || slices.ContainsFunc(g.list, func(x Grant) bool { return x.Manage })
}

// Managing returns the grants that allow to manage subscriptions.
func (g Grants) Managing() Grants {
	if g.all {
		return g
	}
	var list []Grant
	for _, x := range g.list {
		if x.Manage {
			list = append(list, x)
		}
	}
	return Grants{list: list}
}

// Access is what may be seen of an entity within a scope.
type Access struct {
	Operations []kedge.Operation
	Fields     []string
}

// None reports whether nothing may be seen.
func (a Access) None() bool { return len(a.Operations) == 0 }

// Check checks the grants of a token against the catalog.
func (g Grants) Check(c *Catalog) error {
	p := &Problems{}
	for i, x := range g.list {
		at := "/grants/" + itoa(i)
		e := c.Entry(x.Entity)
		if e == nil {
			p.add(at+"/entity", "is not in subscriptions.entities")
			continue
		}
		if x.Record != "" && x.Under != "" {
			p.add(at, "record and under exclude each other")
		}
		for _, op := range x.Operations {
			if !slices.Contains(e.Operations, op) {
				p.add(at+"/operations", string(op)+" is not offered; use "+opNames(e.Operations))
			}
		}
		for _, f := range x.Fields {
			if !slices.Contains(e.Fields, f) {
				p.add(at+"/fields", f+" is not offered")
			}
		}
		if x.Record != "" {
			if _, err := c.GrantRecord(x); err != nil {
				p.add(at+"/record", err.Error())
			}
		}
		if x.Under != "" {
			r, err := c.ResolveText(x.Under)
			switch {
			case err != nil:
				p.add(at+"/under", err.Error())
			case !r.IsRecord() || len(e.Via(r.Entity)) == 0:
				p.add(at+"/under", "write a record of an entity that "+x.Entity+" has as its parent")
			}
		}
	}
	return p.or()
}

// ResolveText reads the text of a resource and resolves it.
func (c *Catalog) ResolveText(text string) (Resource, error) {
	r, err := ParseResource(text)
	if err != nil {
		return r, err
	}
	return c.Resolve(r)
}

// GrantRecord returns the record that a grant with Record is about.
func (c *Catalog) GrantRecord(x Grant) (Resource, error) {
	return c.ResolveText(escape(x.Entity) + "/" + x.Record)
}

// OnEntity returns what may be seen of e as a whole (record nil) or of one
// record of it.
func (g Grants) OnEntity(c *Catalog, e *Entry, record *Resource) Access {
	return g.access(e, func(x Grant) bool {
		switch {
		case x.Under != "":
			return false
		case x.Record == "":
			return true
		case record == nil:
			return false
		}
		r, err := c.GrantRecord(x)
		return err == nil && r.String() == record.String()
	})
}

// OnChildren returns what may be seen of those records of e that are below
// parent.
func (g Grants) OnChildren(c *Catalog, e *Entry, parent Resource) Access {
	return g.access(e, func(x Grant) bool {
		switch {
		case x.Record != "":
			return false
		case x.Under == "":
			return true
		}
		r, err := c.ResolveText(x.Under)
		return err == nil && r.String() == parent.String()
	})
}

// Sees reports whether any grant is about the entity at all.
func (g Grants) Sees(entity string) bool {
	return g.all || slices.ContainsFunc(g.list, func(x Grant) bool { return x.Entity == entity })
}

// List returns the grants of the entity, and whether all of it is granted to
// an operator.
func (g Grants) List(entity string) (list []Grant, all bool) {
	for _, x := range g.list {
		if x.Entity == entity {
			list = append(list, x)
		}
	}
	return list, g.all
}

func (g Grants) access(e *Entry, covers func(Grant) bool) Access {
	if g.all {
		return Access{e.Operations, e.Fields}
	}
	var ops []kedge.Operation
	var fields []string
	for _, x := range g.list {
		if x.Entity != e.Name || !covers(x) {
			continue
		}
		ops = append(ops, orAll(x.Operations, e.Operations)...)
		fields = append(fields, orAll(x.Fields, e.Fields)...)
	}
	// In the order of the config, and nothing that it no longer offers.
	return Access{keep(e.Operations, ops), keep(e.Fields, fields)}
}

func orAll[T any](some, all []T) []T {
	if some == nil {
		return all
	}
	return some
}

// keep returns the elements of list that are in wanted, in list's order.
func keep[T comparable](list, wanted []T) []T {
	out := make([]T, 0, len(list))
	for _, x := range list {
		if slices.Contains(wanted, x) {
			out = append(out, x)
		}
	}
	return out
}

// Any returns what may be seen of e by any grant, of whichever records.
func (g Grants) Any(e *Entry) Access {
	return g.access(e, func(Grant) bool { return true })
}

// Where returns what may be seen of e by the grants that cover accepts.
func (g Grants) Where(e *Entry, cover func(Grant) bool) Access { return g.access(e, cover) }
