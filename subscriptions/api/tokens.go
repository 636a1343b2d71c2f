package api

import (
	"net/http"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

func (a *API) tokenRoutes(r *mux.Router) {
	handle := func(method, path string, h func(*call) error) {
		r.Handle("/push-tokens"+path, a.operator(h)).Methods(method)
	}
	handle(http.MethodGet, "", (*call).listTokens)
	handle(http.MethodPost, "", (*call).issueToken)
	handle(http.MethodDelete, "/{id}", (*call).revokeToken)
	handle(http.MethodPost, "/{id}/rotate", (*call).rotateToken)
}

// listTokens serves "GET /push-tokens".
func (c *call) listTokens() error {
	p, q, err := c.page("account")
	if err != nil {
		return err
	}
	items, err := c.service.Tokens(c.r.Context(), q.Get("account"), p.cursor, p.limit)
	if err != nil {
		return err
	}
	next := ""
	if len(items) == p.limit {
		next = items[len(items)-1].ID
	}
	return answerList(c, items, next)
}

// withToken is a token as it is answered once.
type withToken struct {
	*subscriptions.Token
	Value string `json:"token"`
}

// issueToken serves "POST /push-tokens".
func (c *call) issueToken() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	var in subscriptions.TokenRequest
	if err := httpapi.ReadJSON(c.w, c.r, spec.MaxBody, &in); err != nil {
		return err
	}
	t, value, err := c.service.IssueToken(c.r.Context(), in)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusCreated, withToken{t, value})
}

// revokeToken serves "DELETE /push-tokens/{id}".
func (c *call) revokeToken() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	if err := c.service.RevokeToken(c.r.Context(), c.id()); err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, map[string]any{"id": c.id(), "revoked": true})
}

// rotateToken serves "POST /push-tokens/{id}/rotate".
func (c *call) rotateToken() error {
	in := struct {
		Overlap string `json:"overlap"`
	}{subscriptions.DefaultTokenOverlap.String()}
	if err := c.readOptional(&in); err != nil {
		return err
	}
	overlap, err := duration("/overlap", in.Overlap)
	if err != nil {
		return err
	}
	value, until, err := c.service.RotateToken(c.r.Context(), c.id(), overlap)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, map[string]any{"id": c.id(), "token": value, "previousValidUntil": until.UTC()})
}
