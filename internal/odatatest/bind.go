package odatatest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// bind reads Nav@odata.bind, the URL of an entity (JSON Format 4.0, 8.5).
// null takes the link away.
func (in *input) bind(name, target string, raw json.RawMessage) {
	nav := in.t.navigation(name)
	if nav == nil {
		in.problem(target, "The navigation property does not exist.")
		return
	}
	var link *string
	if err := json.Unmarshal(raw, &link); err != nil {
		in.problem(target, "The value is not the URL of an entity.")
		return
	}
	in.link(nav, target, link)
}

// reference reads Nav: {"@id": URL}, as 4.01 has it (JSON Format 4.01, 8.5).
func (in *input) reference(name string, raw json.RawMessage) {
	nav := in.t.navigation(name)
	if string(raw) == "null" {
		in.link(nav, name, nil)
		return
	}
	var id string
	members, err := readObject(raw)
	for _, m := range members {
		if (m.name == "@id" || m.name == "@odata.id") && json.Unmarshal(m.raw, &id) == nil && len(members) == 1 {
			in.link(nav, name, &id)
			return
		}
	}
	if err != nil {
		in.problem(name, "The value is not a reference to an entity.")
		return
	}
	in.problem(name, "Entities are not made or changed within others; bind them.")
}

// link sets the dependent properties of a navigation.
func (in *input) link(nav *navigation, target string, link *string) {
	if link == nil {
		for _, i := range nav.from {
			if !in.t.props[i].Nullable {
				in.problem(target, "The link must not be taken away.")
				return
			}
			in.values[i] = kedge.Null()
		}
		return
	}
	t := in.s.table(nav.target)
	res, wrong := in.s.follows(in.rq, t, *link)
	if wrong != "" {
		in.problem(target, wrong)
		return
	}
	props := res.alt
	if props == nil {
		props = t.key
	}
	r, values := in.s.lookUp(t, props, res.keys)
	if r == nil {
		in.astray = true
		in.problem(target, "The entity that is linked to does not exist.")
		return
	}
	for n, i := range nav.from {
		in.values[i] = values[nav.to[n]]
	}
}

// follows finds the entity of t that a URL in a body leads to.
func (s *Service) follows(rq *request, t *table, link string) (*resource, string) {
	if strings.HasPrefix(link, "$") {
		var ok bool
		if link, ok = rq.expandReference(link); !ok {
			return nil, "The request that is referred to is unknown or has failed."
		}
	}
	if rest, ok := strings.CutPrefix(link, rq.base); ok {
		link = rest
	} else if rest, ok := strings.CutPrefix(link, s.root); ok {
		link = rest
	} else if strings.Contains(link, "://") {
		return nil, "The URL is of another service."
	} else {
		link = strings.TrimPrefix(link, "/") // Dataverse takes it for the service root
	}
	link = strings.TrimPrefix(link, rq.prefix)
	segment, err := url.PathUnescape(link)
	if err != nil {
		return nil, "The URL is malformed."
	}
	name, predicate, ok := cutPredicate(segment)
	if !ok || name != t.ent.Name {
		return nil, "The URL is not that of an entity in " + t.ent.Name + "."
	}
	res := &resource{kind: entity, table: t}
	if err := res.parseKey(predicate); err != nil {
		return nil, "The key in the URL is malformed."
	}
	return res, ""
}

// linked refuses dependent properties that were sent and lead nowhere, if the
// service looks at that (Protocol 4.01, 11.4.3).
func (s *Service) linked(t *table, in *input, values []kedge.Value) error {
	if !s.opts.Referential {
		return nil
	}
	for n := range t.navs {
		nav := &t.navs[n]
		want := pick(values, nav.from)
		sent := slices.ContainsFunc(nav.from, func(i int) bool { _, ok := in.values[i]; return ok })
		if !sent || slices.ContainsFunc(want, kedge.Value.IsEmpty) {
			continue
		}
		if r, _ := s.lookUp(s.table(nav.target), nav.to, want); r == nil {
			in.astray = true
			in.problem(t.props[nav.from[0]].Name, "The entity that is linked to does not exist.")
		}
	}
	return in.err()
}
