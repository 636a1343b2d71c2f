package odata

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// Preset names the mapping that fits the flavor.
func (d *Driver) Preset() string {
	if d.cfg.Flavor == "businesscentral" {
		return d.cfg.Flavor
	}
	return ""
}

// companyPath returns what stands before the name of a set: the company in
// Business Central, else nothing. The company is looked up once.
func (d *Driver) companyPath(ctx context.Context) (string, error) {
	if d.cfg.Flavor != "businesscentral" {
		return "", nil
	}
	d.mu.Lock()
	path := d.company
	d.mu.Unlock()
	if path != "" {
		return path, nil
	}
	m, err := d.known(ctx)
	if err != nil {
		return "", err
	}
	if m.entity("companies") == nil {
		if d.cfg.Company == "" {
			return "", configError(d.env, errors.New("company: missing; this service needs it"))
		}
		path = "Company(" + wire.Escape("'"+strings.ReplaceAll(d.cfg.Company, "'", "''")+"'") + ")/"
	} else if path, err = d.findCompany(ctx); err != nil {
		return "", err
	}
	d.mu.Lock()
	d.company = path
	d.mu.Unlock()
	return path, nil
}

// findCompany finds the configured company by id or name in the set companies.
func (d *Driver) findCompany(ctx context.Context) (string, error) {
	columns := []wire.Column{
		{Path: "id", Type: kedge.TypeString}, {Path: "name", Type: kedge.TypeString}, {Path: "displayName", Type: kedge.TypeString},
	}
	plan, err := wire.NewPlan(wire.Spec{Set: "companies", Columns: columns, Key: columns[:1]})
	if err != nil {
		return "", err
	}
	var all []kedge.Record
	u := d.root.JoinPath("companies")
	for range 100 { // pages
		var page *wire.Page
		err := d.get(ctx, call{op: "odata.Company", entity: "companies", url: u}, func(resp *httpclient.Response) (err error) {
			page, err = plan.Decode(resp.Body, 16)
			return err
		})
		if err != nil {
			return "", err
		}
		all = append(all, page.Records...)
		if page.NextLink == "" {
			break
		}
		if u, err = resolve(u, page.NextLink); err != nil {
			return "", err
		}
	}
	id, err := chooseCompany(all, d.cfg.Company)
	if err != nil {
		return "", configError(d.env, err)
	}
	return "companies(" + url.PathEscape(id) + ")/", nil
}

// chooseCompany returns the id of the company that is meant. Without a name
// the only company is meant.
func chooseCompany(all []kedge.Record, want string) (string, error) {
	var ids, names []string
	match := func(same func(a, b string) bool) {
		ids = nil
		for i := range all {
			r := &all[i]
			if want == "" || same(string(r.Key), want) || same(r.Get("name").Str(), want) || same(r.Get("displayName").Str(), want) {
				ids = append(ids, string(r.Key))
			}
		}
	}
	if match(func(a, b string) bool { return a == b }); len(ids) != 1 {
		match(strings.EqualFold)
	}
	if len(ids) == 1 {
		return ids[0], nil
	}
	for i := range all {
		names = append(names, all[i].Get("name").Str())
	}
	slices.Sort(names)
	list := strings.Join(names, ", ")
	switch {
	case len(all) == 0:
		return "", errors.New("company: there is no company that this user can see")
	case want == "":
		return "", fmt.Errorf("company: missing; there are: %s", list)
	case len(ids) > 1:
		return "", fmt.Errorf("company: %q is ambiguous; give the id. There are: %s", want, list)
	}
	return "", fmt.Errorf("company: there is no %q; there are: %s", want, list)
}
