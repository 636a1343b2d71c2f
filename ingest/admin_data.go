package ingest

import (
	"context"
	"net/http"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// Table returns a table by its full name, or by its table name if only one has
// it.
func (s *Service) Table(ctx context.Context, name string) (*custom.Table, error) {
	snap, err := s.catalog.snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	if t := snap.tables[name]; t != nil {
		return t, nil
	}
	switch found := snap.byName[name]; len(found) {
	case 0:
		return nil, unknown("there is no table %q", name)
	case 1:
		return found[0], nil
	}
	return nil, badRequest("more than one table is named %q; use the full name, prefix_table", name)
}

// Tables returns all tables by full name.
func (s *Service) Tables(ctx context.Context) (map[string]*custom.Table, error) {
	snap, err := s.catalog.snapshot(ctx, true)
	if err != nil {
		return nil, err
	}
	return snap.tables, nil
}

// Views tells a sqltable connection to kedge's own database what the views of
// the tables are.
func (s *Service) Views(ctx context.Context) (map[string]sqltable.View, error) {
	tables, err := s.Tables(ctx)
	if err != nil {
		return nil, err
	}
	views := make(map[string]sqltable.View, 2*len(tables))
	for name, t := range tables {
		e := t.Entity()
		views[name] = sqltable.View{Fields: e.Fields, Key: e.Key}
		views[name+custom.FeedSuffix] = sqltable.View{Fields: e.Fields, Key: e.Key, Seq: "_seq", Deleted: "_deleted",
			Floor: func(ctx context.Context) (int64, error) { return s.custom.Floor(ctx, t.No) }}
	}
	return views, nil
}

// Data reads and maps what is stored.
func (s *Service) Data() *custom.Custom { return s.custom }

func (s *Service) listResources(w http.ResponseWriter, r *http.Request) error {
	p, q, err := httpapi.PageParams(r, "groupKey", "deleted")
	if err != nil {
		return err
	}
	t, err := s.known(r)
	if err != nil {
		return err
	}
	query := custom.Query{Filter: p.Filter, OrderBy: p.OrderBy, Limit: p.Limit, Cursor: p.Cursor}
	if q.Has("groupKey") {
		group := q.Get("groupKey")
		query.GroupKey = &group
	}
	if query.Deleted, err = flag(q, "deleted"); err != nil {
		return err
	}
	items, next, err := s.custom.Resources(r.Context(), t, query)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, httpapi.List[custom.Resource]{Items: items, Next: next})
}

func (s *Service) getResource(w http.ResponseWriter, r *http.Request) error {
	q, err := httpapi.OnlyParams(r, "groupKey")
	if err != nil {
		return err
	}
	t, err := s.known(r)
	if err != nil {
		return err
	}
	out, err := s.custom.Resource(r.Context(), t, q.Get("groupKey"), mux.Vars(r)["id"])
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) getHistory(w http.ResponseWriter, r *http.Request) error {
	q, err := httpapi.OnlyParams(r, "groupKey", "limit", "cursor")
	if err != nil {
		return err
	}
	p, err := plainPage(r, "groupKey")
	if err != nil {
		return err
	}
	t, err := s.known(r)
	if err != nil {
		return err
	}
	items, next, err := s.custom.History(r.Context(), t, q.Get("groupKey"), mux.Vars(r)["id"], p.Limit, p.Cursor)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, httpapi.List[custom.Change]{Items: items, Next: next})
}

// listChanges answers the change feed after a number; the cursor is a later
// one.
func (s *Service) listChanges(w http.ResponseWriter, r *http.Request) error {
	p, err := plainPage(r, "since")
	if err != nil {
		return err
	}
	since, err := number(r.URL.Query(), "since")
	if err != nil {
		return err
	}
	t, err := s.known(r)
	if err != nil {
		return err
	}
	if since, err = custom.After(since, p.Cursor); err != nil {
		return err
	}
	items, next, err := s.custom.Changes(r.Context(), t, since, p.Limit)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, httpapi.List[custom.Change]{Items: items, Next: next})
}

func (s *Service) postRemap(w http.ResponseWriter, r *http.Request) error {
	if _, err := httpapi.OnlyParams(r); err != nil {
		return err
	}
	t, err := s.known(r)
	if err != nil {
		return err
	}
	out, err := s.custom.Remap(r.Context(), t)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) listQuarantine(w http.ResponseWriter, r *http.Request) error {
	p, err := plainPage(r, "table")
	if err != nil {
		return err
	}
	name := r.URL.Query().Get("table")
	if name == "" {
		return badRequest("table is missing; name the table whose quarantined resources you want")
	}
	t, err := s.Table(r.Context(), name)
	if err != nil {
		return err
	}
	items, next, err := s.custom.Quarantine(r.Context(), t, p.Limit, p.Cursor)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, httpapi.List[custom.Quarantined]{Items: items, Next: next})
}
