package csdl

import "strings"

// navigation adds a navigation property that t declares.
func (b *builder) navigation(t *typeDef, in *navigation) {
	if _, taken := b.at[in.name]; taken || in.name == "" {
		b.doc.notice("set %s: navigation %s is left out: it has no name of its own", b.in.name, in.name)
		return
	}
	b.at[in.name] = noProperty
	n := Navigation{Name: in.name, TargetType: b.doc.qualify(in.typ), Collection: in.many, Nullable: in.nullable || in.many}
	target := b.doc.types[n.TargetType]
	if target != nil && target.kind == entityType {
		for _, base := range b.doc.chain(target) {
			if base.key != nil {
				n.TargetKey = base.key
			}
		}
	}
	if !in.contains {
		n.Target = b.target(in.name, n.TargetType)
	}
	if in.odd > 0 {
		b.oddConstraint(&n, "malformed")
	}
	for _, c := range in.constraints {
		if why := b.odd(c, &n, target); why != "" {
			b.oddConstraint(&n, why)
			continue
		}
		n.Constraints = append(n.Constraints, c)
	}
	b.out.Navigations = append(b.out.Navigations, n)
}

// noProperty is the position of a name that is taken by a navigation.
const noProperty = -1

func (b *builder) oddConstraint(n *Navigation, why string) {
	b.doc.notice("set %s: a referential constraint of %s is left out: %s", b.in.name, n.Name, why)
}

// odd tells why a constraint cannot be used, or "".
func (b *builder) odd(c Constraint, n *Navigation, target *typeDef) string {
	if n.Collection {
		return "the navigation is a collection"
	}
	own := b.property(c.Property)
	switch {
	case target == nil:
		return "its type is not in the metadata"
	case own != nil && !own.Complex && b.doc.declares(target, c.Referenced):
		return ""
	case b.property(c.Referenced) != nil && b.doc.declares(target, c.Property):
		return "it is the wrong way round"
	}
	return "it names a property that does not exist"
}

// declares reports whether t or a type that it is based on has that property.
func (d *document) declares(t *typeDef, name string) bool {
	for _, base := range d.chain(t) {
		for i := range base.properties {
			if base.properties[i].name == name && !base.properties[i].many {
				return true
			}
		}
	}
	return false
}

// target returns the set that the navigation property leads to: the one that
// it is bound to, else the only one of its type, else "".
func (b *builder) target(name, typ string) string {
	for _, bind := range b.in.bindings {
		path := bind[0][strings.LastIndexByte(bind[0], '/')+1:]
		if path != name || strings.Count(bind[0], "/") > 0 && !b.isCast(bind[0]) {
			continue
		}
		set := bind[1]
		if c, rest, ok := strings.Cut(set, "/"); ok && b.doc.qualify(c) == b.container.name {
			set = rest
		}
		if b.sets.byName[set] != nil {
			return set
		}
	}
	if of := b.sets.byType[typ]; len(of) == 1 {
		return of[0].name
	}
	return ""
}

// isCast reports whether path is "Ns.Type/Name" with a type of the set.
func (b *builder) isCast(path string) bool {
	head, _, _ := strings.Cut(path, "/")
	for _, t := range b.types {
		if b.doc.qualify(head) == t.name {
			return strings.Count(path, "/") == 1
		}
	}
	return false
}
