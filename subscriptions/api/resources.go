package api

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/subscriptions/resources"
)

func (a *API) resourceRoutes(r *mux.Router, door door) {
	handle := func(path string, h func(*call) error) {
		r.Handle("/resources"+path, door(func(c *call) error {
			if err := c.look(); err != nil {
				return err
			}
			return h(c)
		})).Methods(http.MethodGet)
	}
	handle("", (*call).entities)
	handle("/{entity}", (*call).records)
	handle("/{entity}/$schema", (*call).schema)
	handle("/{entity}/$sample", (*call).sample)
	handle("/{entity}/{key}", (*call).record)
}

func (c *call) viewer() resources.Viewer {
	return resources.Viewer{Account: c.by.Account, Grants: c.by.Lists}
}

// entities serves "GET /resources".
func (c *call) entities() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	return answerList(c, c.resources.Entities(c.viewer()), "")
}

// records serves "GET /resources/{entity}".
func (c *call) records() error {
	p, q, err := c.page("search", "filter")
	if err != nil {
		return err
	}
	items, next, err := c.resources.List(c.r.Context(), c.viewer(), mux.Vars(c.r)["entity"],
		resources.Query{Search: q.Get("search"), Filter: q.Get("filter"), Size: p.limit, Token: p.cursor})
	if kedge.KindOf(err) == kedge.Invalid {
		return &httpapi.Problem{Status: http.StatusBadRequest, Detail: reason(err)}
	}
	if err != nil {
		return err
	}
	return answerList(c, items, next)
}

// record serves "GET /resources/{entity}/{key}".
func (c *call) record() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	// As it was written: the parts of a key may hold encoded commas.
	_, text, _ := strings.Cut(c.r.URL.EscapedPath(), "/resources/")
	item, err := c.resources.Get(c.r.Context(), c.viewer(), text)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, item)
}

// schema serves "GET /resources/{entity}/$schema".
func (c *call) schema() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	s, err := c.resources.Schema(c.viewer(), mux.Vars(c.r)["entity"])
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, s)
}

// sample serves "GET /resources/{entity}/$sample".
func (c *call) sample() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	s, err := c.resources.Sample(c.viewer(), mux.Vars(c.r)["entity"])
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, s)
}
