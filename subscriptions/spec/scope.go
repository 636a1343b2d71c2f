package spec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// The messages of kedge itself that a subscription may ask for.
const (
	EventGap      = "kedge.gap"
	EventExpiring = "kedge.expiring"
)

// A Selector is one of [Doc.Events].
type Selector struct {
	Entity string          // "" means the resource's own, "kedge" a message of kedge itself
	Op     kedge.Operation // or "*" for all
}

// ParseSelector reads "update", "tasks.update", "tasks.*" or "kedge.gap".
func ParseSelector(text string) (Selector, error) {
	if text == EventGap || text == EventExpiring {
		return Selector{"kedge", kedge.Operation(strings.TrimPrefix(text, "kedge."))}, nil
	}
	i := strings.LastIndexByte(text, '.')
	s := Selector{Op: kedge.Operation(text[i+1:])}
	if i >= 0 {
		s.Entity = text[:i]
	}
	if i == 0 || s.Op == "" || s.Op == "*" && i < 0 {
		return Selector{}, errors.New("write operation, entity.operation or entity.*")
	}
	return s, nil
}

// A Scope is a part of a subscription: which events of one entity it wants,
// and what of them.
type Scope struct {
	Entity string
	Record kedge.Key // only this record; "" means all
	Via    string    // only records whose lookup field Via holds Parent; "" means all
	Parent string

	Account    string            // field that must hold the subscription's account; "" means none
	Operations []kedge.Operation // selected, offered and granted
	Fields     []string          // selected, offered and granted; in the config's order
	Filter     *filter.Expr      // bound; nil means all
	FilterText string            // as written
	Schema     *kedge.Entity     // what Filter was bound to, and is again for each event if it uses now()
}

// Needs returns the fields that the scope is matched and rendered with.
func (s *Scope) Needs() []string { return slices.Concat(s.Fields, s.Tests()) }

// Tests returns the fields that the scope is matched with.
func (s *Scope) Tests() []string {
	var out []string
	for _, f := range []string{s.Via, s.Account} {
		if f != "" {
			out = append(out, f)
		}
	}
	if s.Filter != nil {
		out = append(out, s.Filter.Fields()...)
	}
	return out
}

// Scopes returns what a valid document selects within g, in order of entity,
// and what is wrong with it otherwise.
func (d *Doc) Scopes(c *Catalog, g Grants, now time.Time) ([]Scope, []Problem) {
	p := &Problems{}
	r, err := c.ResolveText(d.Resource)
	if err != nil {
		p.add("/resource", d.Resource+": "+err.Error())
		return nil, p.List
	}
	own := c.Entry(r.Entity)
	byEntity := map[string]*Scope{}
	var order []string
	for i, text := range d.Events {
		at := "/events/" + itoa(i)
		s, err := ParseSelector(text)
		if err != nil {
			p.add(at, err.Error())
			continue
		}
		if s.Entity == "kedge" {
			continue
		}
		if s.Entity == "" {
			s.Entity = own.Name
		}
		scope := byEntity[s.Entity]
		if scope == nil {
			var a Access
			var problem string
			if scope, a, problem = d.scope(c, g, own, r, s.Entity); problem != "" {
				if a.None() && s.Entity == own.Name {
					at = "/resource"
				}
				p.add(at, problem)
				continue
			}
			scope.Fields, scope.Operations = a.Fields, nil
			byEntity[s.Entity] = scope
			order = append(order, s.Entity)
		}
		e := c.Entry(s.Entity)
		offered := d.access(c, g, own, r, e)
		switch {
		case s.Op == "*":
			scope.Operations = offered.Operations
		case !slices.Contains(e.Operations, s.Op):
			p.add(at, fmt.Sprintf("%s has no event %q; use %s", e.Name, s.Op, opNames(offered.Operations)))
		case !slices.Contains(offered.Operations, s.Op):
			p.add(at, fmt.Sprintf("%s is not granted for %s; use %s", s.Op, e.Name, opNames(offered.Operations)))
		case !slices.Contains(scope.Operations, s.Op):
			scope.Operations = append(scope.Operations, s.Op)
		}
	}
	for entity, sel := range d.Select {
		scope := byEntity[entity]
		if scope == nil {
			p.add("/select/"+pointer(entity), "no selected event is of this entity")
			continue
		}
		sel.apply(c.Entry(entity), scope, now, p)
	}
	slices.Sort(order)
	out := make([]Scope, len(order))
	for i, entity := range order {
		out[i] = *byEntity[entity]
	}
	return out, p.List
}

// access returns what of e's records within r is granted.
func (d *Doc) access(c *Catalog, g Grants, own *Entry, r Resource, e *Entry) Access {
	switch {
	case e != own:
		return g.OnChildren(c, e, r)
	case r.IsRecord():
		return g.OnEntity(c, e, &r)
	}
	return g.OnEntity(c, e, nil)
}

// scope returns the scope of r for events of the named entity, or what is
// wrong with it.
func (d *Doc) scope(c *Catalog, g Grants, own *Entry, r Resource, entity string) (*Scope, Access, string) {
	e := c.Entry(entity)
	s := &Scope{Entity: entity}
	if e == nil || entity != own.Name && len(e.Via(own.Name)) == 0 {
		return nil, Access{}, fmt.Sprintf("%s is neither %s nor a child of it", entity, own.Name)
	}
	if entity != own.Name && !r.IsRecord() {
		return nil, Access{}, fmt.Sprintf("events of %s can be had only below one record: %s/…", entity, own.Name)
	}
	a := d.access(c, g, own, r, e)
	if a.None() {
		return nil, a, fmt.Sprintf("%s: not found or not granted", d.Resource)
	}
	s.Account, s.Schema = e.Account, e.Schema
	if entity == own.Name {
		if r.IsRecord() {
			s.Record = r.Key()
		}
		return s, a, ""
	}
	via := e.Via(own.Name)
	s.Via, s.Parent = via[0], string(r.Key())
	if chosen := d.Select[entity].Via; chosen != "" {
		if !slices.Contains(via, chosen) {
			return nil, a, fmt.Sprintf("%s has no lookup %q to %s; use %s", entity, chosen, own.Name, strings.Join(via, ", "))
		}
		s.Via = chosen
	} else if len(via) > 1 {
		return nil, a, fmt.Sprintf("%s has several lookups to %s; choose one in select.%s.via: %s", entity, own.Name, entity, strings.Join(via, ", "))
	}
	return s, a, ""
}

// apply narrows a scope.
func (sel Select) apply(e *Entry, s *Scope, now time.Time, p *Problems) {
	at := "/select/" + pointer(e.Name)
	granted := s.Fields
	if sel.Fields != nil {
		for i, f := range sel.Fields {
			if !slices.Contains(granted, f) {
				p.add(at+"/fields/"+itoa(i), fmt.Sprintf("%q is not a field that is granted; use %s", f, strings.Join(granted, ", ")))
			}
		}
		s.Fields = keep(granted, sel.Fields)
	}
	if sel.Via != "" && s.Via == "" {
		p.add(at+"/via", "the events are not of a child entity")
	}
	if sel.Filter == "" {
		return
	}
	if len(sel.Filter) > MaxFilter {
		p.add(at+"/filter", "is longer than 2000 bytes")
		return
	}
	expr, err := filter.Parse(sel.Filter)
	if err == nil {
		expr, err = expr.Bind(e.Schema, now)
	}
	if err != nil {
		p.add(at+"/filter", err.Error())
		return
	}
	for _, f := range expr.Fields() {
		if !slices.Contains(granted, f) {
			p.add(at+"/filter", fmt.Sprintf("%q is not a field that is granted; use %s", f, strings.Join(granted, ", ")))
			return
		}
	}
	s.Filter, s.FilterText = expr, sel.Filter
}

func opNames(ops []kedge.Operation) string {
	names := make([]string, len(ops))
	for i, op := range ops {
		names[i] = string(op)
	}
	return strings.Join(names, ", ")
}

func itoa(i int) string { return strconv.Itoa(i) }

// pointer escapes a name for a JSON Pointer (RFC 6901).
func pointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
