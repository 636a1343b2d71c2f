// Package resources lists what can be subscribed: the entities that the config
// offers and the records of their tables, as far as a token's grants reach.
package resources

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// A Viewer is who looks: an account and its grants. An empty account is an
// operator, who sees the records of all.
type Viewer struct {
	Account string
	Grants  spec.Grants
}

// A Reader lists resources.
type Reader struct {
	catalog *spec.Catalog
	source  connectors.Driver
	now     func() time.Time
}

// New returns a reader of the records of source, which has the tables of
// catalog. A nil now means time.Now.
func New(catalog *spec.Catalog, source connectors.Driver, now func() time.Time) *Reader {
	if now == nil {
		now = time.Now
	}
	return &Reader{catalog, source, now}
}

// An Entity is an entity that can be subscribed.
type Entity struct {
	Resource   string            `json:"resource"`
	Title      string            `json:"title"`
	Operations []kedge.Operation `json:"operations"`
	Fields     []string          `json:"fields"`
	Children   []Child           `json:"children"`
}

// A Child is an entity whose records can be subscribed below one record.
type Child struct {
	Entity string `json:"entity"`
	Via    string `json:"via"` // its lookup field
}

// A Resource is one record that can be subscribed.
type Resource struct {
	Resource string                     `json:"resource"`
	Key      map[string]json.RawMessage `json:"key"`
	Title    string                     `json:"title"`
	Children []Child                    `json:"children,omitempty"`
}

// Entities returns the entities that v may see, by name.
func (r *Reader) Entities(v Viewer) []Entity {
	out := []Entity{}
	for _, name := range r.catalog.Names() {
		if e, ok := r.entity(v, name); ok {
			out = append(out, *e)
		}
	}
	return out
}

func (r *Reader) entity(v Viewer, name string) (*Entity, bool) {
	e := r.catalog.Entry(name)
	if e == nil || !v.Grants.Sees(name) {
		return nil, false
	}
	a := v.Grants.Any(e)
	if a.None() {
		return nil, false
	}
	title := e.Schema.Title
	if title == "" {
		title = name
	}
	return &Entity{Resource: spec.Resource{Entity: name}.String(), Title: title, Operations: a.Operations, Fields: a.Fields, Children: r.children(v, name)}, true
}

// children returns the entities with a lookup to the named one that v may see.
func (r *Reader) children(v Viewer, parent string) []Child {
	out := []Child{}
	for _, name := range r.catalog.Names() {
		e := r.catalog.Entry(name)
		if v.Grants.Any(e).None() {
			continue
		}
		for _, via := range e.Via(parent) {
			out = append(out, Child{name, via})
		}
	}
	return out
}

func notFound(what string) error {
	return &kedge.Error{Op: "resources", Kind: kedge.NotFound, Err: errors.New(what + ": not found or not granted")}
}

// Get returns one record, by the text of its resource.
func (r *Reader) Get(ctx context.Context, v Viewer, text string) (*Resource, error) {
	parsed, err := spec.ParseResource(text)
	if err == nil {
		parsed, err = r.catalog.Resolve(parsed)
	}
	if err != nil || !parsed.IsRecord() {
		return nil, notFound(text)
	}
	e := r.catalog.Entry(parsed.Entity)
	if !e.Table || !v.Grants.Sees(e.Name) {
		return nil, notFound(text)
	}
	look := r.look(v, e)
	conn := connectors.New(r.source, nil)
	found, err := conn.ReadKeys(ctx, e.Name, look.fields, []kedge.Key{parsed.Key()})
	if err != nil {
		return nil, err
	}
	if !found[0].OK || !look.passes(&found[0].Record) {
		return nil, notFound(text)
	}
	out := look.resource(&found[0].Record)
	out.Children = r.children(v, e.Name)
	return &out, nil
}

// A Query selects records of an entity.
type Query struct {
	Search string // in the entity's search fields, without regard to case
	Filter string // in kedge's filter language, over granted fields
	Size   int
	Token  string // of the page before
}

// maxReads bounds the pages that are read for one page of the list, when few
// records pass.
const maxReads = 20

// List returns a page of records, and the token of the next one.
func (r *Reader) List(ctx context.Context, v Viewer, entity string, q Query) ([]Resource, string, error) {
	e := r.catalog.Entry(entity)
	if e == nil || v.Grants.Any(e).None() {
		return nil, "", notFound(entity)
	}
	if !e.Table {
		return []Resource{}, "", nil // a name that workflows use: there is nothing to list
	}
	look := r.look(v, e)
	if err := look.narrow(q); err != nil {
		return nil, "", err
	}
	token, err := look.open(q.Token)
	if err != nil {
		return nil, "", err
	}
	out := []Resource{}
	for range maxReads {
		page, err := r.source.ReadPage(ctx, connectors.ReadRequest{Entity: e.Name, Fields: look.fields, Filter: look.pushed, Token: token, Size: q.Size - len(out)})
		if err != nil {
			if kedge.KindOf(err) == kedge.Invalid && token != "" {
				err = errPage
			}
			return nil, "", err
		}
		for i := range page.Records {
			if rec := &page.Records[i]; look.passes(rec) {
				out = append(out, look.resource(rec))
			}
		}
		if token = page.Next; token == "" {
			return out, "", nil
		}
		if len(out) >= q.Size {
			break
		}
	}
	return out, look.seal(token), nil
}

// A look is a viewer's view of an entity's records.
type look struct {
	viewer Viewer
	entry  *spec.Entry
	reader *Reader
	fields []string // that are read
	search string   // in lower case
	filter *filter.Expr
	pushed *filter.Expr // what the source may apply: lets through all that passes
	tag    []byte       // of the query, for tokens
}

func (r *Reader) look(v Viewer, e *spec.Entry) *look {
	l := &look{viewer: v, entry: e, reader: r}
	l.fields = slices.Concat(e.Schema.Key, e.Search, slices.Sorted(maps.Keys(e.Parents)))
	for _, f := range []string{e.Title, e.Account} {
		if f != "" {
			l.fields = append(l.fields, f)
		}
	}
	slices.Sort(l.fields)
	l.fields = slices.Compact(l.fields)
	return l
}
