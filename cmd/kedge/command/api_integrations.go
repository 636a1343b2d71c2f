package command

import (
	"net/http"
	"net/url"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/sqllist"
	"github.com/kedge-sync/kedge/syncer"
)

func (p *api) integrationRoutes() []route {
	return []route{
		{"GET", "/integrations", p.listIntegrations},
		{"POST", "/integrations", p.createIntegration},
		{"GET", "/integrations/{name}", p.getIntegration},
		{"PATCH", "/integrations/{name}", p.editIntegration},
		{"DELETE", "/integrations/{name}", p.deleteIntegration},
		{"GET", "/integrations/{name}/anchors", p.listAnchors},
		{"DELETE", "/integrations/{name}/anchors/{entity}", p.resetAnchor},
		{"GET", "/status", p.listStatus},
	}
}

func (p *api) listIntegrations(c *call) error {
	return list(c, func(q sqllist.Query, _ url.Values) ([]syncer.Integration, string, error) {
		return c.syncer.IntegrationPage(c.ctx(), q)
	})
}

func (p *api) listStatus(c *call) error {
	return list(c, func(q sqllist.Query, _ url.Values) ([]syncer.Status, string, error) {
		return c.syncer.StatusPage(c.ctx(), q)
	})
}

// An integrationBody names the connections of an integration.
type integrationBody struct {
	Name     string `json:"name"`
	External string `json:"external"`
	Local    string `json:"local"`
	Preset   string `json:"preset"`
}

func (p *api) createIntegration(c *call) error {
	in := integrationBody{Local: config.Local}
	if err := c.body(&in); err != nil {
		return err
	}
	if in.External == "" {
		return usagef("external: missing; name the connection of the external side")
	}
	if err := checkPreset(in.Preset); err != nil {
		return err
	}
	if err := c.app.canCreate(c.ctx(), c.syncer, in.Name, in.External, in.Local); err != nil {
		return asBody(err)
	}
	m, err := c.app.firstMapping(c.ctx(), c.syncer, in.Preset, in.External, in.Name)
	if err != nil {
		return asBody(err)
	}
	saved, err := c.syncer.Save(c.ctx(), syncer.Integration{Name: in.Name, External: in.External, Local: in.Local, YAML: string(m.Marshal()), Author: c.by()})
	if err != nil {
		return usageIfInvalid(err)
	}
	c.ResponseWriter.Header().Set("Location", "/api/v1/integrations/"+url.PathEscape(saved.Name))
	return c.json(http.StatusCreated, saved)
}

func (p *api) getIntegration(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	s, i, err := c.app.integration(c.ctx(), c.name("name"))
	if err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	data, _, _ := showIntegration(c.ctx(), s, i) // what a check could not find out is part of it
	return c.json(http.StatusOK, data)
}

func (p *api) editIntegration(c *call) error {
	var in struct {
		External string `json:"external"`
		Local    string `json:"local"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if in.External == "" && in.Local == "" {
		return usagef("give external or local")
	}
	s, i, err := c.app.integration(c.ctx(), c.name("name"))
	if err != nil {
		return err
	}
	saved, err := c.app.editIntegration(c.ctx(), s, i, in.External, in.Local, c.by())
	return c.answer(saved, asBody(err))
}

func (p *api) deleteIntegration(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	s, i, err := c.app.integration(c.ctx(), c.name("name"))
	if err == nil {
		err = canDelete(i)
	}
	if err == nil {
		err = s.Delete(c.ctx(), i.Name)
	}
	if err != nil {
		return err
	}
	c.ResponseWriter.WriteHeader(http.StatusNoContent)
	return nil
}

func (p *api) listAnchors(c *call) error {
	if err := c.app.known(c.ctx(), c.name("name")); err != nil {
		return err
	}
	return list(c, func(q sqllist.Query, _ url.Values) ([]syncer.Anchor, string, error) {
		return c.syncer.AnchorPage(c.ctx(), c.name("name"), q)
	})
}

func (p *api) resetAnchor(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	err := c.app.known(c.ctx(), c.name("name"))
	if err == nil {
		err = c.syncer.ResetAnchor(c.ctx(), c.name("name"), c.name("entity"), c.by())
	}
	if err != nil {
		return err
	}
	c.ResponseWriter.WriteHeader(http.StatusNoContent)
	return nil
}
