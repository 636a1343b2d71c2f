package odata

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// metadata is what the driver knows of a service from its metadata document
// and its config. It is immutable.
type metadata struct {
	model    *csdl.Model
	etag     string
	entities []*entity // sorted by name
	notices  []string
}

func (m *metadata) entity(name string) *entity {
	i, ok := slices.BinarySearchFunc(m.entities, name, func(e *entity, n string) int { return strings.Compare(e.info.Name, n) })
	if !ok {
		return nil
	}
	return m.entities[i]
}

const opSchema = "odata.Schema"

// readMetadata reads $metadata as XML, or as JSON if the service has only
// that. If it has not changed, the answer is the metadata known before.
func (d *Driver) readMetadata(ctx context.Context) (*metadata, error) {
	d.mu.Lock()
	before := d.metadata
	d.mu.Unlock()
	var got *metadata
	err := d.getMetadata(ctx, "application/xml", before, &got)
	if status := statusOf(err); status == http.StatusNotAcceptable || status == http.StatusUnsupportedMediaType {
		err = d.getMetadata(ctx, "application/json", before, &got)
	}
	if err != nil {
		return nil, d.explainMetadata(err)
	}
	return got, nil
}

func (d *Driver) getMetadata(ctx context.Context, accept string, before *metadata, got **metadata) error {
	u := *d.root.JoinPath("$metadata")
	if d.cfg.Flavor == "dataverse" {
		u.RawQuery = "annotations=true"
	}
	h := d.header.Clone()
	h.Set("Accept", accept)
	h.Set("OData-MaxVersion", d.cfg.MaxVersion)
	if before != nil && before.etag != "" {
		h.Set("If-None-Match", before.etag)
	}
	r := httpclient.Request{Op: opSchema, URL: &u, Header: h, MaxBytes: int64(d.cfg.MaxMetadataBytes), Classify: nil}
	return d.client.Do(ctx, r, func(resp *httpclient.Response) error {
		if resp.Status == http.StatusNotModified && before != nil {
			*got = before
			return nil
		}
		if isHTML(resp) {
			return &kedge.Error{Op: opSchema, Kind: kedge.Invalid, Err: errors.New("the answer to $metadata is an HTML page; is the url the root of an OData service?")}
		}
		model, err := csdl.Parse([]byte(resp.Body))
		if err != nil {
			return err
		}
		*got, err = d.newMetadata(model, resp.Header.Get("ETag"))
		return err
	})
}

func isHTML(resp *httpclient.Response) bool {
	head := strings.ToLower(strings.TrimSpace(resp.Body[:min(len(resp.Body), 200)]))
	return strings.HasPrefix(head, "<!doctype html") || strings.HasPrefix(head, "<html")
}

// explainMetadata gives the usual mistakes one clear sentence.
func (d *Driver) explainMetadata(err error) error {
	text := ""
	switch statusOf(err) {
	case http.StatusNotFound:
		text = "there is no $metadata at the url; it must be the root of an OData service"
	case http.StatusUnauthorized:
		text = "the service refused to sign in; check auth"
	case http.StatusForbidden:
		text = "signed in, but without the right to read $metadata"
	default:
		return err
	}
	return &kedge.Error{Op: opSchema, Kind: kedge.KindOf(err), Err: &explained{text: text, err: err}}
}

// explained puts a sentence for people before a cause.
type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text + " (" + causeText(e.err) + ")" }
func (e *explained) Unwrap() error { return e.err }

// causeText is the text of an error without its operation.
func causeText(err error) string {
	if e, ok := err.(*kedge.Error); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// newMetadata makes the entities of a model.
func (d *Driver) newMetadata(model *csdl.Model, etag string) (*metadata, error) {
	m := &metadata{model: model, etag: etag, notices: slices.Clone(model.Notices)}
	if err := d.checkEntityNames(model); err != nil {
		return nil, err
	}
	for i := range model.Sets {
		e, err := d.newEntity(model, &model.Sets[i])
		if err != nil {
			return nil, err
		}
		m.entities = append(m.entities, e)
	}
	return m, nil
}

// checkEntityNames refuses options for sets that do not exist. Names match
// without case if that is unambiguous.
func (d *Driver) checkEntityNames(model *csdl.Model) error {
	for name := range d.cfg.Entities {
		n := 0
		for i := range model.Sets {
			if model.Sets[i].Name == name {
				n = 1
				break
			}
			if strings.EqualFold(model.Sets[i].Name, name) {
				n++
			}
		}
		if n != 1 {
			return configError(d.env, errors.New("entities."+name+": there is no such entity set"))
		}
	}
	return nil
}

// options returns the options of a set.
func (d *Driver) options(model *csdl.Model, set string) EntityConfig {
	if e, ok := d.cfg.Entities[set]; ok {
		return e.over(d.cfg.EntityConfig)
	}
	for name, e := range d.cfg.Entities {
		if strings.EqualFold(name, set) && model.Set(name) == nil {
			return e.over(d.cfg.EntityConfig)
		}
	}
	return d.cfg.EntityConfig
}

// schema returns what is known of m as a schema.
func (d *Driver) schema(ctx context.Context, m *metadata) *kedge.Schema {
	s := &kedge.Schema{Hash: m.model.Hash, Notices: m.notices}
	for _, e := range m.entities {
		info := e.info
		e.describe(&info, d.findings.get(ctx, m.model.Hash, info.Name, d.env.Now()), d.knowsRepeats(ctx, m, e))
		s.Entities = append(s.Entities, info)
	}
	return s
}
