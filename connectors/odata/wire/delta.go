package wire

import (
	"errors"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
)

// reasonOf reads the reason out of {"reason":"changed"}, given as JSON.
func reasonOf(value string) string {
	d := decoder{scanner: scanner{s: value}}
	got := ""
	if value[0] != '{' {
		return ""
	}
	d.members(0, func(name string, i int) int {
		if name == "reason" && i < len(value) && value[i] == '"' {
			raw, flags, next := d.text(i)
			got, _ = plainText(raw, flags)
			return next
		}
		_, _, next := d.skip(i, 1)
		return next
	})
	return got
}

// rowContext splits the context of a row: "…#Customers/$deletedEntity" gives
// "Customers" and "$deletedEntity". The set of a path is its last segment
// that is neither a cast nor a key; select lists are left out.
func rowContext(url string) (set, kind string) {
	_, fragment, ok := strings.Cut(url, "#")
	if !ok {
		return "", ""
	}
	if i := strings.LastIndex(fragment, "/$"); i >= 0 {
		fragment, kind = fragment[:i], fragment[i+1:]
	}
	depth, end := 0, len(fragment)
	for i := len(fragment) - 1; i >= -1; i-- {
		switch {
		case i >= 0 && fragment[i] == ')':
			depth++
			continue
		case i >= 0 && fragment[i] == '(':
			if depth--; depth == 0 {
				end = i // what stands in parentheses is not part of the name
			}
			continue
		case depth > 0 || i >= 0 && fragment[i] != '/':
			continue
		}
		if name := fragment[i+1 : end]; name != "" && !strings.Contains(name, ".") {
			return name, kind
		}
		end = i
	}
	return "", kind
}

// endDelta adds a row of the answer to a delta link (JSON Format 4.0, 14 and
// 4.01, 15): a changed row, a deletion in one of its forms, or a link.
func (d *decoder) endDelta() {
	set, kind := rowContext(d.said(context))
	switch {
	case kind == "$link" || kind == "$deletedLink":
		d.endLink(set)
	case set != "" && set != d.plan.spec.Set:
		d.skipRow()
	case kind == "$deletedEntity":
		d.endRemoved(d.said(deletedID), d.said(entityID))
	case d.flags&isRemoved != 0:
		d.endRemoved(d.said(entityID), d.said(deletedID))
	default:
		d.endChanged()
	}
}

func (d *decoder) skipRow() {
	d.page.Skipped++
	clear(d.values)
}

// endRemoved adds a deletion, which is known by its key fields or by one of
// ids. In the form of 4.0, id is the entity-id and no property.
func (d *decoder) endRemoved(ids ...string) {
	_, kind := rowContext(d.said(context))
	var key kedge.Key
	ok := false
	if kind != "$deletedEntity" && len(d.bad) == 0 {
		key, ok = d.key()
	}
	for _, id := range ids {
		if !ok && id != "" {
			key, ok = d.keyFromID(id)
		}
	}
	why, said := kedge.Deleted, d.said(removed)
	if kind == "$deletedEntity" && said == "" {
		said = d.said(reason)
	}
	if said == "changed" {
		why = kedge.LeftFilter
	}
	clear(d.values)
	if !ok || key == "" {
		d.reject("", "", errors.New("a deletion without a key that can be read"))
		return
	}
	d.page.Records = append(d.page.Records, kedge.Record{Fields: d.plan.fields, Key: key, Removed: why})
}

// endChanged adds a changed row, whose key may be in its entity-id only.
func (d *decoder) endChanged() {
	key, ok := d.key()
	if id := d.said(entityID); !ok && id != "" {
		if key, ok = d.keyFromID(id); ok {
			d.setKey(key)
		}
	}
	if ok && d.flags&linksChanged != 0 {
		d.page.Reread = append(d.page.Reread, key)
	}
	d.add(key, ok)
}

// setKey sets the key columns that the row itself does not have.
func (d *decoder) setKey(key kedge.Key) {
	parts, err := key.Parts(len(d.plan.key))
	if err != nil {
		return
	}
	for i, col := range d.plan.key {
		if v, err := kedge.ParseText(d.plan.cols[col].Type, parts[i]); err == nil && d.values[col].IsMissing() {
			d.values[col] = v
		}
	}
}

// endLink notes the source row of a changed link, if its navigation matters.
func (d *decoder) endLink(set string) {
	defer d.skipRow()
	if set != "" && set != d.plan.spec.Set || !slices.Contains(d.plan.spec.Navigations, d.said(relationship)) {
		return
	}
	if key, ok := d.keyFromID(d.said(source)); ok {
		d.page.Reread = append(d.page.Reread, key)
	}
}

func (d *decoder) keyFromID(id string) (kedge.Key, bool) {
	if len(d.plan.key) == 0 {
		return "", false
	}
	key, err := ParseID(id, d.plan.spec.Set, d.plan.spec.Key)
	return key, err == nil
}
