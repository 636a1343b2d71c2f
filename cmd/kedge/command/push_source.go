package command

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/ingest/custom"
)

// A pushSource is a driver of all records that can be subscribed: those of the
// connection local, and those that were pushed.
type pushSource struct {
	connectors.Driver // local
	local             *connectors.Conn
	ingest            *ingest.Service // reads only
	tables            atomic.Pointer[map[string]*custom.Table]
}

func newPushSource(local *connectors.Conn, in *ingest.Service) *pushSource {
	return &pushSource{Driver: local.Driver(), local: local, ingest: in}
}

// Pushed reports whether an entity of the last schema is a table of pushed
// data.
func (s *pushSource) Pushed(entity string) bool {
	tables := s.tables.Load()
	return tables != nil && (*tables)[entity] != nil
}

// Schema describes the local tables, and in place of their views those of
// pushed data.
func (s *pushSource) Schema(ctx context.Context) (*kedge.Schema, error) {
	local, err := s.Driver.Schema(ctx)
	if err != nil {
		return nil, err
	}
	tables, err := s.ingest.Tables(ctx)
	if err != nil {
		return nil, err
	}
	s.tables.Store(&tables)
	out := &kedge.Schema{}
	for _, e := range local.Entities {
		if tables[e.Name] == nil {
			out.Entities = append(out.Entities, e)
		}
	}
	for name, t := range tables {
		e := kedge.Entity{Name: name, Filter: true, Full: true}
		for _, c := range t.Columns {
			e.Fields = append(e.Fields, kedge.Field{Name: c.Name, Type: c.Type, Scale: -1, Nullable: true})
		}
		out.Entities = append(out.Entities, e)
	}
	slices.SortFunc(out.Entities, func(a, b kedge.Entity) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// ReadPage reads a page of either.
func (s *pushSource) ReadPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	if !s.Pushed(req.Entity) {
		return s.Driver.ReadPage(ctx, req)
	}
	t, err := s.ingest.Table(ctx, req.Entity)
	if err != nil {
		return nil, err
	}
	q := custom.Query{Limit: req.Size, Cursor: string(req.Token)}
	if req.Filter != nil {
		q.Filter = req.Filter.String()
	}
	items, next, err := s.ingest.Data().Resources(ctx, t, q)
	if err != nil {
		return nil, err
	}
	page := &connectors.Page{Next: connectors.Token(next)}
	for i := range items {
		r, err := pushedRecord(t, &items[i], req.Fields)
		if err != nil {
			return nil, err
		}
		page.Records = append(page.Records, *r)
	}
	return page, nil
}

// pushedRecord returns a resource as a record with the fields.
func pushedRecord(t *custom.Table, item *custom.Resource, fields []string) (*kedge.Record, error) {
	whole, err := t.Record(item)
	if err != nil {
		return nil, err
	}
	r := &kedge.Record{Fields: kedge.NewFields(fields...), Key: whole.Key}
	for _, f := range fields {
		v := whole.Get(f)
		if v.IsMissing() {
			v = kedge.Null()
		}
		r.Values = append(r.Values, v)
	}
	return r, nil
}

// ReadKeys reads records of either by key.
func (s *pushSource) ReadKeys(ctx context.Context, entity string, fields []string, keys []kedge.Key) ([]connectors.Found, error) {
	if !s.Pushed(entity) {
		return s.local.ReadKeys(ctx, entity, fields, keys)
	}
	t, err := s.ingest.Table(ctx, entity)
	if err != nil {
		return nil, err
	}
	out := make([]connectors.Found, len(keys))
	for i, key := range keys {
		group, id := "", string(key)
		if parts, err := key.Parts(2); err == nil {
			group, id = parts[0], parts[1]
		}
		item, err := s.ingest.Data().Resource(ctx, t, group, id)
		if kedge.KindOf(err) == kedge.NotFound || err == nil && item.Meta.Deleted {
			continue
		}
		if err != nil {
			return nil, err
		}
		r, err := pushedRecord(t, item, fields)
		if err != nil {
			return nil, err
		}
		out[i] = connectors.Found{Record: *r, OK: true}
	}
	return out, nil
}
