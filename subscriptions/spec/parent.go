package spec

import "github.com/kedge-sync/kedge"

// Grouped reports whether e's lookups to parent stay within a group key: both
// are tables of pushed data.
func (c *Catalog) Grouped(e *Entry, parent string) bool {
	p := c.Entry(parent)
	return e.Pushed && p != nil && p.Pushed
}

// ParentKey returns the key of the record that a lookup field of a record of e
// points to, of which v is the field's value.
func (c *Catalog) ParentKey(e *Entry, via string, key kedge.Key, v kedge.Value) kedge.Key {
	if group := c.Group(e, via, key); group != "" {
		return kedge.NewKey(kedge.String(group), v)
	}
	return kedge.NewKey(v)
}

// Group returns the group key that a lookup field of a record of e stays
// within, or "".
func (c *Catalog) Group(e *Entry, via string, key kedge.Key) string {
	if !c.Grouped(e, e.Parents[via]) {
		return ""
	}
	parts, err := key.Parts(2)
	if err != nil {
		return ""
	}
	return parts[0]
}
