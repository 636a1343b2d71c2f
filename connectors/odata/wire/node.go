package wire

import "encoding/json"

// An action says what is done with the value of a name.
type action uint8

const (
	doSkip      action = iota
	doColumn           // a value for a column
	doChild            // an object whose members are in another node
	doException        // the exact text of a column's value (Core.ValueException)
	doControl          // control information of a row
	doLinks            // changed links of a navigation (4.01)
)

// A control is a member of a row that is about the row itself.
type control uint8

const (
	noControl control = iota
	etag
	entityID
	context
	removed
	deletedID // plain members of 4.0 deletions and links
	reason
	source
	relationship
	numControls
)

// An entry is a name that is known at a node.
type entry struct {
	name   string
	quoted string // the name as JSON writes it, with a colon
	do     action
	also   control // of doControl, and of a doColumn with the name of one
	at     int     // column or node
	self   int     // place among the entries

	// Of doColumn.
	column *Column
	mark   int // of [Plan.marks]
}

// A node is an object of a row: the row itself, a complex value, or an
// expanded navigation.
type node struct {
	entries []entry
	columns []int   // all columns below this node, but for the row itself
	slots   []int16 // hash table of entries; -1 is free
}

func (n *node) find(name string) int {
	for i := range n.entries {
		if n.entries[i].name == name {
			return i
		}
	}
	return -1
}

// addControls adds the control information of rows, in the spellings of 4.0
// ("@odata.etag") and 4.01 ("@etag"; JSON Format 4.01, 4.6).
func (n *node) addControls(delta bool, navigations []string) {
	add := func(name string, c control) {
		if i := n.find(name); i >= 0 {
			n.entries[i].also = c
			return
		}
		n.entries = append(n.entries, entry{name: name, do: doControl, also: c})
	}
	for _, prefix := range [...]string{"@odata.", "@"} {
		add(prefix+"etag", etag)
		add(prefix+"id", entityID)
		add(prefix+"context", context)
		for _, name := range [...]string{"type", "editLink", "readLink"} {
			n.entries = append(n.entries, entry{name: prefix + name, do: doSkip})
		}
		if !delta {
			continue
		}
		add(prefix+"removed", removed)
		for _, nav := range navigations {
			at := nav + prefix + "delta"
			if prefix == "@" {
				at = nav + "@delta"
			}
			n.entries = append(n.entries, entry{name: at, do: doLinks})
		}
	}
	if delta {
		add("id", deletedID)
		add("reason", reason)
		add("source", source)
		add("relationship", relationship)
	}
}

// index builds the hash table, at most half full, and quotes the names.
func (n *node) index() {
	size := 4
	for size < 2*len(n.entries) {
		size *= 2
	}
	n.slots = make([]int16, size)
	for i := range n.slots {
		n.slots[i] = -1
	}
	for i := range n.entries {
		n.entries[i].self = i
		name := n.entries[i].name
		quoted, _ := json.Marshal(name) // cannot fail; a text that stands for the name, whatever is in it
		n.entries[i].quoted = string(quoted) + ":"
		at := hash(name)
		for n.slots[at&uint32(size-1)] >= 0 {
			at++
		}
		n.slots[at&uint32(size-1)] = int16(i)
	}
}

// lookup returns the entry of name, or nil.
func (n *node) lookup(name string) *entry {
	mask := uint32(len(n.slots) - 1)
	for at := hash(name); ; at++ {
		i := n.slots[at&mask]
		if i < 0 {
			return nil
		}
		if e := &n.entries[i]; e.name == name {
			return e
		}
	}
}

// hash is FNV-1a.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
