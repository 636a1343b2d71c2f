package odatatest

import (
	"strconv"
	"strings"
)

// metadataJSON renders the model (CSDL JSON 4.01).
func (s *Service) metadataJSON() []byte {
	schema := map[string]any{}
	container := map[string]any{"$Kind": "EntityContainer"}
	annotateJSON(container, s.containerAnnotations())
	for _, m := range s.models() {
		s.typesJSON(schema, m)
		set := map[string]any{"$Collection": true, "$Type": s.ns + "." + m.typeName}
		bindings := map[string]any{}
		for i := range m.navs {
			bindings[m.navs[i].name] = m.navs[i].target
		}
		if len(bindings) > 0 {
			set["$NavigationPropertyBinding"] = bindings
		}
		annotateJSON(set, s.setAnnotations(m))
		if props, ok := s.concurrency(m); ok {
			set["@"+coreTerms+"OptimisticConcurrency"] = append([]string{}, props...)
		}
		container[m.ent.Name] = set
	}
	schema["Container"] = container
	reference := map[string]any{}
	for _, v := range s.vocabularies() {
		reference["https://oasis-tcs.github.io/odata-vocabularies/vocabularies/Org.OData."+v+".V1.json"] =
			map[string]any{"$Include": []any{map[string]any{"$Namespace": "Org.OData." + v + ".V1"}}}
	}
	return jsonText(map[string]any{"$Version": s.opts.Version, "$EntityContainer": s.ns + ".Container", "$Reference": reference, s.ns: schema})
}

func (s *Service) typesJSON(schema map[string]any, m *model) {
	for i, st := range m.structures() {
		t := map[string]any{"$Kind": "ComplexType"}
		if i == 0 {
			t["$Kind"], t["$Key"] = "EntityType", keyJSON(m)
			s.navigationsJSON(t, m)
			alternateKeysJSON(t, m)
		}
		for j := range st.members {
			t[st.members[j].name] = s.memberJSON(&st.members[j])
		}
		schema[st.name] = t
	}
	for i := range m.props {
		if m.props[i].enum == "" {
			continue
		}
		e := map[string]any{"$Kind": "EnumType"}
		for n, name := range enumMembers(&m.props[i]) {
			e[name] = n
		}
		schema[m.props[i].enum] = e
	}
}

// keyJSON returns the key: names, and paths with their aliases.
func keyJSON(m *model) []any {
	var out []any
	for _, k := range m.ent.Key {
		if alias(k) != k {
			out = append(out, map[string]any{alias(k): k})
			continue
		}
		out = append(out, k)
	}
	return out
}

// memberJSON returns a property. Its type is Edm.String unless it is said, and
// it is not nullable unless it is said.
func (s *Service) memberJSON(m *member) map[string]any {
	out := map[string]any{}
	if m.nullable {
		out["$Nullable"] = true
	}
	if m.property == nil {
		out["$Type"] = s.ns + "." + m.typeName
		return out
	}
	edm := m.property.edm
	if inner, ok := strings.CutPrefix(edm, "Collection("); ok {
		out["$Collection"], edm = true, strings.TrimSuffix(inner, ")")
	}
	if edm != "Edm.String" {
		out["$Type"] = edm
	}
	for _, f := range m.property.facets() {
		if n, err := strconv.Atoi(f[1]); err == nil {
			out["$"+f[0]] = n
		} else if f[0] == "DefaultValue" {
			out["$"+f[0]] = f[1] == "true"
		} else {
			out["$"+f[0]] = f[1]
		}
	}
	annotateJSON(out, m.property.annotations())
	return out
}

func (s *Service) navigationsJSON(t map[string]any, m *model) {
	for i := range m.navs {
		n := &m.navs[i]
		nav := map[string]any{"$Kind": "NavigationProperty", "$Type": s.ns + "." + s.table(n.target).typeName}
		if n.nullable(m) {
			nav["$Nullable"] = true
		}
		constraints := map[string]any{}
		for _, c := range s.constraints(m, n) {
			constraints[c.property] = c.referenced
		}
		nav["$ReferentialConstraint"] = constraints
		t[n.name] = nav
	}
	if s.quirk(OddConstraint) && len(m.navs) > 0 {
		t["OddNav"] = map[string]any{"$Kind": "NavigationProperty", "$Type": s.ns + "." + m.typeName, "$Collection": true,
			"$ReferentialConstraint": map[string]any{m.ent.Key[0]: m.ent.Key[0]}}
	}
}

func alternateKeysJSON(t map[string]any, m *model) {
	var keys []any
	for _, alt := range m.ent.AlternateKeys {
		var parts []any
		for _, name := range alt {
			parts = append(parts, map[string]any{"Name": name, "Alias": alias(name)})
		}
		keys = append(keys, map[string]any{"Key": parts})
	}
	if keys != nil {
		t["@"+coreTerms+"AlternateKeys"] = keys
	}
}

func annotateJSON(to map[string]any, list []annotation) {
	for _, a := range list {
		if record, ok := a.value.([][2]any); ok {
			value := map[string]any{}
			for _, p := range record {
				value[p[0].(string)] = p[1]
			}
			to["@"+a.term] = value
			continue
		}
		to["@"+a.term] = a.value
	}
}
