package odatatest

import (
	"strings"

	"github.com/kedge-sync/kedge"
)

// appendRemoved appends a deleted entity: JSON Format 4.0, 14.2, or JSON
// Format 4.01, 15.3. Under mixed-removed every second one mixes the spellings.
func (s *Service) appendRemoved(b []byte, rq *request, t *table, c *changed) []byte {
	reason := "deleted"
	if c.values != nil {
		reason = "changed"
	}
	id := string(appendString(nil, s.removedID(rq, t, c.row)))
	mixed := s.quirk(MixedRemoved)
	if rq.version == V40 && !mixed {
		b = append(b, '{')
		if rq.metadata != "none" {
			b = append(b, `"@odata.context":`...)
			b = append(appendString(b, rq.base+"$metadata#"+rq.prefix+t.ent.Name+"/$deletedEntity"), ',')
		}
		b = append(append(b, `"id":`...), id...)
		if !s.opts.Delta.NoReason {
			b = append(b, `,"reason":"`+reason+`"`...)
		}
		return append(b, '}')
	}
	removed, idName := "@removed", "@id"
	switch {
	case mixed && c.at%2 == 0:
		removed = "@odata.removed"
	case mixed:
		idName = "@odata.id"
	}
	b = append(b, `{"`+removed+`":{`...)
	if !s.opts.Delta.NoReason {
		b = append(b, `"reason":"`+reason+`"`...)
	}
	b = append(b, "},"...)
	if s.opts.Delta.Keys {
		mask := make([]bool, len(t.props))
		keys := make([]kedge.Value, len(t.props))
		key := c.row.keys()
		for i, k := range t.key {
			mask[k], keys[k] = true, key[i]
		}
		return closeObject(t.appendColumns(b, rq, t.columns(mask), keys))
	}
	return append(b, `"`+idName+`":`+id+`}`...)
}

// removedID returns the id of a deleted entity.
func (s *Service) removedID(rq *request, t *table, r *row) string {
	switch {
	case s.quirk(BareID):
		keys := r.keys()
		texts := make([]string, len(keys))
		for i, k := range keys {
			texts[i] = k.Text()
		}
		return strings.Join(texts, ",")
	case s.opts.Delta.Predicate:
		return t.ent.Name + t.predicate(r.keys())
	}
	return rq.base + rq.prefix + t.ent.Name + t.predicate(r.keys())
}

// appendLinks appends a deleted and an added link for each lookup that has
// changed, each with a comma (JSON Format 4.0, 14.3 and 14.4).
func (s *Service) appendLinks(b []byte, rq *request, t *table, c *changed) []byte {
	source := rq.base + rq.prefix + t.ent.Name + t.predicate(c.row.keys())
	for i := range t.navs {
		nav := &t.navs[i]
		was, is := s.targetID(rq, nav, c.before), s.targetID(rq, nav, c.values)
		if was == is {
			continue
		}
		for _, l := range []struct{ kind, target string }{{"$deletedLink", was}, {"$link", is}} {
			if l.target == "" {
				continue
			}
			b = append(append(b, '{'), rq.control("context")...)
			b = appendString(b, rq.base+"$metadata#"+rq.prefix+t.ent.Name+"/"+l.kind)
			b = appendString(append(b, `,"source":`...), source)
			b = appendString(append(b, `,"relationship":`...), nav.name)
			b = append(appendString(append(b, `,"target":`...), l.target), '}', ',')
		}
	}
	return b
}

// appendNested appends Nav@delta for each lookup that has changed (JSON Format
// 4.01, 15.2), and the brace that closes the entity.
func (s *Service) appendNested(b []byte, rq *request, t *table, c *changed) []byte {
	b = append(b, ',')
	for i := range t.navs {
		nav := &t.navs[i]
		was, is := s.targetID(rq, nav, c.before), s.targetID(rq, nav, c.values)
		if was == is {
			continue
		}
		b = append(appendString(b, nav.name+"@delta"), ":["...)
		if was != "" {
			b = append(appendString(append(b, `{"@removed":{"reason":"changed"},"@id":`...), was), "},"...)
		}
		if is != "" {
			b = append(appendString(append(b, `{"@id":`...), is), "},"...)
		}
		b = append(closeArray(b), ',')
	}
	return closeObject(b)
}

// targetID returns the id of the entity that a navigation leads to, or "".
func (s *Service) targetID(rq *request, nav *navigation, values []kedge.Value) string {
	target := s.table(nav.target)
	r, _ := s.follow(nav, target, values)
	if r == nil {
		return ""
	}
	return rq.base + rq.prefix + target.ent.Name + target.predicate(r.keys())
}
