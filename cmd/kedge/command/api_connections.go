package command

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/sqllist"
)

func (p *api) connectionRoutes() []route {
	return []route{
		{"GET", "/connections", p.listConnections},
		{"GET", "/connections/{name}", p.getConnection},
		{"POST", "/connections/{name}/test", p.testConnection},
		{"GET", "/connections/{name}/schema", p.getSchema},
		{"POST", "/connections/{name}/schema/refresh", p.refreshSchema},
	}
}

var connectionList = sqllist.List[connectionRow]{ID: "name", OrderBy: "name", Columns: []sqllist.Column[connectionRow]{
	{Name: "name", Type: kedge.TypeString, Value: func(r *connectionRow) kedge.Value { return kedge.String(r.Name) }},
	{Name: "kind", Type: kedge.TypeString, Value: func(r *connectionRow) kedge.Value { return kedge.String(r.Kind) }},
	{Name: "from", Type: kedge.TypeString, Value: func(r *connectionRow) kedge.Value { return kedge.String(r.From) }},
}}

func (p *api) listConnections(c *call) error {
	return list(c, func(q sqllist.Query, _ url.Values) ([]connectionRow, string, error) {
		rows, err := c.app.connectionRows(c.ctx())
		if err != nil {
			return nil, "", err
		}
		return connectionList.Slice(rows, q, time.Now())
	})
}

// connection returns the connection that the path names.
func (c *call) connection() (*connectionRow, error) {
	rows, err := c.app.connectionRows(c.ctx())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(rows, func(r connectionRow) bool { return r.Name == c.name("name") })
	if i < 0 {
		return nil, &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("there is no connection %q", c.name("name"))}
	}
	return &rows[i], nil
}

func (p *api) getConnection(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	row, err := c.connection()
	return c.answer(row, err)
}

func (p *api) testConnection(c *call) error {
	var in struct {
		Entity string `json:"entity"`
		Write  bool   `json:"write"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if in.Write && in.Entity == "" {
		return usagef("write makes a record: name the entity")
	}
	if _, err := c.connection(); err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	report, err := c.app.testConnection(c.ctx(), c.name("name"), in.Entity, in.Write)
	return c.answer(report, remote(err))
}

func (p *api) getSchema(c *call) error {
	params, err := httpapi.OnlyParams(c.Request, "entity")
	if err != nil {
		return err
	}
	if _, err := c.connection(); err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	schema, err := c.syncer.SchemaOf(c.ctx(), c.name("name"), "")
	if err != nil {
		return remote(err)
	}
	entities := schema.Entities
	if name := params.Get("entity"); params.Has("entity") {
		e := schema.Entity(name)
		if e == nil {
			return &kedge.Error{Kind: kedge.NotFound, Err: noEntity(c.name("name"), schema, name)}
		}
		entities = []kedge.Entity{*e}
	}
	return c.json(http.StatusOK, map[string]any{"entities": entitiesJSON(entities)})
}

func (p *api) refreshSchema(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	if _, err := c.connection(); err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	schema, diffs, err := c.syncer.Discover(c.ctx(), c.name("name"))
	if err != nil {
		return remote(err)
	}
	return c.json(http.StatusOK, map[string]any{"entities": len(schema.Entities), "changes": notNil(diffs)})
}
