package command

import (
	"io"
	"net/http"
	"net/url"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/internal/sqllist"
)

func (p *api) configRoutes() []route {
	return []route{
		{"GET", "/openapi.yaml", p.openapi},
		{"POST", "/config/reload", p.reload},
		{"GET", "/tokens", p.listTokens},
		{"POST", "/tokens", p.createToken},
		{"DELETE", "/tokens/{name}", p.revokeToken},
	}
}

func (p *api) openapi(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	c.ResponseWriter.Header().Set("Content-Type", "application/yaml")
	_, _ = io.WriteString(c.ResponseWriter, kedge.OpenAPI) // the client may have gone
	return nil
}

func (p *api) reload(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	if err := p.live.reload(c.ctx()); err != nil {
		return err
	}
	cfg := p.app.Load().cfg
	return c.json(http.StatusOK, map[string]int{"integrations": len(cfg.Integrations), "connections": len(cfg.Connections)})
}

func (p *api) listTokens(c *call) error {
	return list(c, func(q sqllist.Query, _ url.Values) ([]server.Token, string, error) { return p.tokens.Page(c.ctx(), q) })
}

func (p *api) createToken(c *call) error {
	var in struct {
		Name  string       `json:"name"`
		Scope server.Scope `json:"scope"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	t, secret, err := p.tokens.Create(c.ctx(), in.Name, in.Scope, c.by())
	if err != nil {
		return usageIfInvalid(err)
	}
	return c.json(http.StatusCreated, map[string]any{"id": t.ID, "name": t.Name, "scope": t.Scope, "token": secret})
}

func (p *api) revokeToken(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	if _, err := p.tokens.Revoke(c.ctx(), c.name("name")); err != nil {
		return err
	}
	c.ResponseWriter.WriteHeader(http.StatusNoContent)
	return nil
}
