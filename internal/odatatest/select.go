package odatatest

import (
	"strings"
)

// A selection is the part of an entity that is sent.
type selection struct {
	all     bool   // no $select
	mask    []bool // of the properties
	columns []column
	list    string // select list of the context URL
	keys    bool   // the whole key is in it
}

// An expansion is a navigation property that is sent inline.
type expansion struct {
	nav    *navigation
	target *table
	sel    selection
	expand []expansion
}

// parseSelect reads $select (URL Conventions 4.01, 5.1.4).
func (t *table) parseSelect(text string) (selection, error) {
	s := selection{mask: make([]bool, len(t.props)), all: text == ""}
	if s.all {
		text = "*"
	}
	var list []string
	for _, item := range strings.Split(text, ",") {
		name := strings.TrimSpace(item)
		list = append(list, name)
		found := name == "*" || t.navigation(name) != nil
		for i := range t.props {
			if p := t.props[i].Name; name == "*" || p == name || strings.HasPrefix(p, name+"/") {
				s.mask[i], found = true, true
			}
		}
		if !found {
			return s, badRequest("$select names an unknown property.")
		}
	}
	if !s.all {
		s.list = strings.Join(list, ",")
	}
	s.keys = true
	for _, k := range t.key {
		s.keys = s.keys && s.mask[k]
	}
	s.columns = t.columns(s.mask)
	return s, nil
}

// parseExpand reads $expand of single-valued navigation properties (URL
// Conventions 4.01, 5.1.3), with nested $select and $expand.
func (s *Service) parseExpand(t *table, text string) ([]expansion, error) {
	if text == "" {
		return nil, nil
	}
	var out []expansion
	for _, item := range splitOutside(text, ',') {
		name, nested, _ := cutPredicate(strings.TrimSpace(item))
		e := expansion{nav: t.navigation(name)}
		if e.nav == nil {
			return nil, badRequest("$expand names an unknown navigation property.")
		}
		e.target = s.table(e.nav.target)
		options := make(map[string]string)
		for _, o := range splitOutside(nested, ';') {
			if o == "" {
				continue
			}
			key, value, _ := strings.Cut(o, "=")
			if key = strings.TrimSpace(key); key != "$select" && key != "$expand" {
				return nil, notImplemented("$expand knows $select and $expand.")
			}
			options[key] = value
		}
		var err error
		if e.sel, err = e.target.parseSelect(options["$select"]); err != nil {
			return nil, err
		}
		if e.expand, err = s.parseExpand(e.target, options["$expand"]); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// contextList returns the list in parentheses after the set in a context URL
// (Protocol 4.01, 10.7 to 10.10).
func contextList(sel *selection, expand []expansion, version string) string {
	var items []string
	if !sel.all {
		items = append(items, sel.list)
	}
	for i := range expand {
		inner := contextList(&expand[i].sel, expand[i].expand, version)
		if inner == "" && version == V401 {
			inner = "()"
		}
		if inner != "" {
			items = append(items, expand[i].nav.name+inner)
		}
	}
	if len(items) == 0 {
		return ""
	}
	return "(" + strings.Join(items, ",") + ")"
}
