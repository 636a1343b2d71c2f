package spec

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/kedge-sync/kedge"
)

// An Entity is what the config offers of an entity. Nothing can be subscribed
// that is not offered.
type Entity struct {
	Title      string            // field that names a record to people
	Search     []string          // fields that GET /resources searches
	Fields     []string          // fields that may be pushed; nil means all of the table's
	Parents    map[string]string // lookup field: entity of the parent
	Account    string            // field that holds the account a record belongs to; "" means all see all
	Operations []kedge.Operation // nil means all three
}

// A Catalog is the entities that can be subscribed, with their fields. It is
// safe for concurrent use.
type Catalog struct {
	offered map[string]Entity
	entries atomic.Pointer[map[string]*Entry]
}

// An Entry is one entity of a [Catalog].
type Entry struct {
	Name string
	Entity
	Schema *kedge.Entity // of its table; of a name that is no table: text fields as configured
	Table  bool          // its records can be listed
	// Pushed: a table of pushed data. The key of its records is the id alone in
	// the group that has no name, and else group key and id.
	Pushed bool
}

// NewCatalog checks what the config offers against the tables of schema; those
// for which pushed, if not nil, reports true hold pushed data. Names that are no
// table are names that workflows use, or of tables that are still to be made:
// their events can be subscribed, but not their records.
func NewCatalog(offered map[string]Entity, schema *kedge.Schema, pushed func(entity string) bool) (*Catalog, error) {
	c := &Catalog{offered: offered}
	_, err := c.Load(schema, pushed)
	return c, err
}

// Load takes tables over as they are now, and reports whether anything has
// changed. After an error everything is as before.
func (c *Catalog) Load(schema *kedge.Schema, pushed func(entity string) bool) (changed bool, err error) {
	entries := map[string]*Entry{}
	for name, e := range c.offered {
		entry := &Entry{Name: name, Entity: e, Schema: schema.Entity(name)}
		entry.Table = entry.Schema != nil
		entry.Pushed = entry.Table && pushed != nil && pushed(name)
		if !entry.Table {
			entry.Schema = textEntity(name, e)
		}
		if entry.Operations == nil {
			entry.Operations = []kedge.Operation{kedge.OpCreate, kedge.OpUpdate, kedge.OpDelete}
		}
		if entry.Fields == nil {
			for _, f := range entry.Schema.Fields {
				entry.Fields = append(entry.Fields, f.Name)
			}
		}
		if err := entry.check(c.offered); err != nil {
			return false, &kedge.Error{Op: "subscriptions.entities." + name, Kind: kedge.Invalid, Err: err}
		}
		entries[name] = entry
	}
	if old := c.entries.Load(); old != nil && reflect.DeepEqual(*old, entries) {
		return false, nil
	}
	c.entries.Store(&entries)
	return true, nil
}

// textEntity describes an entity of which only the names of fields are known.
func textEntity(name string, e Entity) *kedge.Entity {
	out := &kedge.Entity{Name: name}
	names := slices.Concat(e.Fields, slices.Collect(maps.Keys(e.Parents)))
	if e.Account != "" {
		names = append(names, e.Account)
	}
	slices.Sort(names)
	for _, f := range slices.Compact(names) {
		out.Fields = append(out.Fields, kedge.Field{Name: f, Type: kedge.TypeString, Nullable: true})
	}
	return out
}

func (e *Entry) check(offered map[string]Entity) error {
	fields := slices.Concat(e.Fields, e.Search, slices.Sorted(maps.Keys(e.Parents)))
	for _, f := range []string{e.Title, e.Account} {
		if f != "" {
			fields = append(fields, f)
		}
	}
	for _, f := range fields {
		if e.Schema.Field(f) == nil {
			return fmt.Errorf("there is no field %s", f)
		}
	}
	for _, f := range slices.Concat(e.Search, []string{e.Title}) {
		if f != "" && !slices.Contains(e.Fields, f) {
			return fmt.Errorf("%s is used by title or search but is not in fields", f)
		}
	}
	for field, parent := range e.Parents {
		if _, ok := offered[parent]; !ok {
			return fmt.Errorf("parents.%s: %s is not in subscriptions.entities", field, parent)
		}
	}
	for _, op := range e.Operations {
		if !slices.Contains(operations, op) {
			return fmt.Errorf("operations: %q is not create, update or delete", op)
		}
	}
	return nil
}

var operations = []kedge.Operation{kedge.OpCreate, kedge.OpUpdate, kedge.OpDelete}

// Entry returns an entity, or nil.
func (c *Catalog) Entry(name string) *Entry { return (*c.entries.Load())[name] }

// Complete reports whether all entities are tables.
func (c *Catalog) Complete() bool {
	for _, e := range *c.entries.Load() {
		if !e.Table {
			return false
		}
	}
	return true
}

// Names returns the names of the entities, sorted.
func (c *Catalog) Names() []string { return slices.Sorted(maps.Keys(*c.entries.Load())) }

// Resolve returns r as events name it: values in their canonical text, names
// in the order of the table's key and only if it has several parts.
func (c *Catalog) Resolve(r Resource) (Resource, error) {
	e := c.Entry(r.Entity)
	if e == nil {
		return Resource{}, errors.New("not found or not granted")
	}
	if e.Pushed && r.IsRecord() {
		return pushedRecord(r)
	}
	if !r.IsRecord() || len(e.Schema.Key) == 0 {
		return r, nil
	}
	texts := r.Values
	if r.Names != nil {
		texts = nil
		for _, name := range e.Schema.Key {
			if i := slices.Index(r.Names, name); i >= 0 {
				texts = append(texts, r.Values[i])
			}
		}
	}
	if len(texts) != len(e.Schema.Key) || len(texts) != len(r.Values) {
		return Resource{}, fmt.Errorf("the key of %s is %v", e.Name, e.Schema.Key)
	}
	out := Resource{Entity: r.Entity, Values: make([]string, len(texts))}
	if len(texts) > 1 {
		out.Names = e.Schema.Key
	}
	for i, name := range e.Schema.Key {
		v, err := kedge.ParseText(e.Schema.Field(name).Type, texts[i])
		if err != nil {
			return Resource{}, errors.New("not found or not granted") // nothing has such a key
		}
		out.Values[i] = string(kedge.NewKey(v))
	}
	return out, nil
}

// pushedKey names the parts of the key of pushed data.
var pushedKey = []string{"groupKey", "id"}

// pushedRecord returns a record of pushed data as events name it.
func pushedRecord(r Resource) (Resource, error) {
	if r.Names == nil {
		return r, nil
	}
	id, group := slices.Index(r.Names, "id"), slices.Index(r.Names, "groupKey")
	switch {
	case len(r.Names) == 1 && id == 0:
		return Resource{Entity: r.Entity, Values: r.Values}, nil
	case len(r.Names) == 2 && id >= 0 && group >= 0:
		return Resource{Entity: r.Entity, Names: pushedKey, Values: []string{r.Values[group], r.Values[id]}}, nil
	}
	return Resource{}, fmt.Errorf("write %s/ID, or %s/groupKey=G,id=ID", r.Entity, r.Entity)
}

// Resource returns the resource of a record of e.
func (e *Entry) Resource(key kedge.Key) Resource {
	if !e.Pushed {
		return ResourceOf(e.Name, key, e.Schema.Key)
	}
	if parts, err := key.Parts(2); err == nil {
		return Resource{Entity: e.Name, Names: pushedKey, Values: parts}
	}
	parts, err := key.Parts(1)
	if err != nil {
		parts = []string{string(key)}
	}
	return Resource{Entity: e.Name, Values: parts}
}

// Via returns the lookup fields of e that point to parent, sorted.
func (e *Entry) Via(parent string) []string {
	var out []string
	for field, to := range e.Parents {
		if to == parent {
			out = append(out, field)
		}
	}
	slices.Sort(out)
	return out
}
