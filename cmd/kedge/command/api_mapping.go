package command

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

func (p *api) mappingRoutes() []route {
	return []route{
		{"GET", "/integrations/{name}/mapping", p.getMapping},
		{"PUT", "/integrations/{name}/mapping", p.putMapping},
		{"GET", "/integrations/{name}/mapping/entities/{entity}", p.getMapping},
		{"PUT", "/integrations/{name}/mapping/entities/{entity}", p.putMapping},
		{"POST", "/integrations/{name}/mapping/check", p.checkMapping},
		{"POST", "/integrations/{name}/mapping/cleanup", p.cleanMapping},
		{"POST", "/integrations/{name}/mapping/suggest", p.suggestMapping},
	}
}

// mappingTag is the entity tag of a mapping: of the whole of it also for one
// entity, as entities refer to each other.
func mappingTag(i *syncer.Integration) string {
	return httpapi.ETag(i.Name, fmt.Sprint(i.Revision), i.Hash)
}

func (p *api) getMapping(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	_, i, err := c.app.integration(c.ctx(), c.name("name"))
	if err != nil {
		return err
	}
	return p.writeMapping(c, i)
}

// writeMapping answers with a mapping, or the entity of it that the path
// names: in JSON, or in YAML if the client asks for that.
func (p *api) writeMapping(c *call, i *syncer.Integration) error {
	m, err := i.Parse()
	if err != nil {
		return err
	}
	if entity := c.name("entity"); entity != "" {
		if m.Entity(entity) == nil {
			return noMappedEntity(i.Name, m, entity)
		}
		if m, err = m.Only(entity); err != nil {
			return err
		}
	}
	text, contentType := m.Marshal(), "application/yaml"
	if accept := c.Request.Header.Get("Accept"); !strings.Contains(accept, "yaml") {
		if text, err = yaml.YAMLToJSON(text); err != nil {
			return err
		}
		contentType = "application/json"
	}
	c.ResponseWriter.Header().Set("ETag", mappingTag(i))
	c.ResponseWriter.Header().Set("Content-Type", contentType)
	_, _ = c.ResponseWriter.Write(text) // the client may have gone
	return nil
}

func noMappedEntity(integration string, m *mapping.Mapping, entity string) error {
	return &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("the mapping of %s has no entity %q; it has %s", integration, entity, entityList(m))}
}

func (p *api) putMapping(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	_, i, err := c.app.integration(c.ctx(), c.name("name"))
	if err != nil {
		return err
	}
	if err := httpapi.IfMatch(c.Request, mappingTag(i), true); err != nil {
		return err
	}
	if i.Source != "" {
		return fromFile("the mapping comes from %s and is edited there", i.Source)
	}
	m, err := readMapping(c)
	if err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	d, err := c.app.draft(c.ctx(), i.Name)
	if err != nil {
		return remote(err)
	}
	if entity := c.name("entity"); entity != "" {
		if len(m.Entities) != 1 || m.Entities[0].Name != entity {
			return usagef("the body must have the entity %q, and no other", entity)
		}
		if m, err = d.mapping.Merge(m); err != nil {
			return usage(err)
		}
	}
	if refused := d.check(m); refused != nil {
		return refused
	}
	d.integration = i
	saved, err := d.store(c.ctx(), m, c.by())
	if kedge.KindOf(err) == kedge.Conflict { // while the systems were asked
		return &httpapi.Problem{Status: http.StatusPreconditionFailed, Detail: err.Error()}
	}
	if err != nil {
		return err
	}
	return p.writeMapping(c, saved)
}

// readMapping reads a mapping in JSON or YAML.
func readMapping(c *call) (*mapping.Mapping, error) {
	body, err := httpapi.ReadBody(c.ResponseWriter, c.Request, maxMappingBody)
	if err != nil {
		return nil, err
	}
	return mapping.Parse("body", body)
}

func (p *api) checkMapping(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	s, i, err := c.app.integration(c.ctx(), c.name("name"))
	if err != nil {
		return err
	}
	if c.Request.ContentLength != 0 {
		m, err := readMapping(c)
		if err != nil {
			return err
		}
		i.YAML = string(m.Marshal())
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	findings, err := s.Check(c.ctx(), i)
	return c.answer(map[string]any{"findings": notNil(findings)}, remote(err))
}

func (p *api) cleanMapping(c *call) error {
	var in struct {
		DryRun bool `json:"dryRun"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	d, err := c.app.draft(c.ctx(), c.name("name"))
	if err != nil {
		return remote(err)
	}
	cleaned, removed := mapping.CleanUp(d.mapping, mapping.Check(d.mapping, d.ext, d.loc))
	revision := d.integration.Revision
	if !in.DryRun && len(removed) > 0 {
		if revision, err = d.replace(c, cleaned); err != nil {
			return err
		}
	}
	return c.json(http.StatusOK, map[string]any{"removed": notNil(removed), "revision": revision})
}

func (p *api) suggestMapping(c *call) error {
	var in struct {
		Entity string `json:"entity"`
		Save   bool   `json:"save"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	d, err := c.app.draft(c.ctx(), c.name("name"))
	if err != nil {
		return remote(err)
	}
	rows, err := d.suggest(in.Entity)
	if err != nil {
		return err
	}
	revision := d.integration.Revision
	if in.Save {
		if revision, err = d.replace(c, d.mapping); err != nil {
			return err
		}
	}
	return c.json(http.StatusOK, map[string]any{"suggestions": rows, "revision": revision})
}

// replace stores a mapping that was made of the draft's, and returns its
// revision.
func (d *draft) replace(c *call, m *mapping.Mapping) (int64, error) {
	if d.integration.Source != "" {
		return 0, fromFile("the mapping comes from %s and is edited there", d.integration.Source)
	}
	if refused := d.check(m); refused != nil {
		return 0, refused
	}
	saved, err := d.store(c.ctx(), m, c.by())
	if err != nil {
		return 0, err
	}
	return saved.Revision, nil
}

var pathStep = regexp.MustCompile(`\[([0-9]+)\]`)

// mappingProblem says where in a body a mapping is wrong.
func mappingProblem(problems mapping.Problems) error {
	p := &httpapi.Problem{Status: http.StatusUnprocessableEntity, Type: "mapping_invalid", Detail: "the mapping is not accepted"}
	for _, m := range problems[:min(len(problems), 20)] {
		pointer := strings.ReplaceAll(pathStep.ReplaceAllString(m.Path, ".$1"), ".", "/")
		if pointer != "" {
			pointer = "/" + pointer
		}
		text := m.Message
		if m.Suggestion != "" {
			text += fmt.Sprintf("; did you mean %q?", m.Suggestion)
		}
		if m.File != "body" {
			text = m.Error()
		}
		p.Errors = append(p.Errors, httpapi.FieldError{Pointer: pointer, Detail: text})
	}
	return p
}

// problem says where in a mapping the findings are.
func (e *refusedMapping) problem() error {
	p := &httpapi.Problem{Status: http.StatusUnprocessableEntity, Type: "mapping_refused", Detail: "the mapping does not fit the systems; nothing was saved"}
	for _, f := range e.findings[:min(len(e.findings), 20)] {
		p.Errors = append(p.Errors, httpapi.FieldError{Pointer: pointerOf(e.mapping, f), Detail: f.Text()})
	}
	return p
}

func pointerOf(m *mapping.Mapping, f mapping.Finding) string {
	i := slices.IndexFunc(m.Entities, func(e mapping.Entity) bool { return e.Name == f.Entity })
	if i < 0 {
		return ""
	}
	at := fmt.Sprintf("/entities/%d", i)
	k := slices.IndexFunc(m.Entities[i].Fields, func(x mapping.Field) bool {
		return f.Field != "" && (x.Local == f.Field || slices.Contains(x.External, f.Field))
	})
	if k >= 0 {
		at += fmt.Sprintf("/fields/%d", k)
	}
	return at
}
