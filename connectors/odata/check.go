package odata

import (
	"context"
	"errors"
	"strconv"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"

	codec "github.com/kedge-sync/kedge/connectors/odata/batch"
)

// Probe reads the metadata and, where there are companies, finds ours.
func (d *Driver) Probe(ctx context.Context) (connectors.Account, error) {
	m, err := d.known(ctx)
	if err != nil {
		return connectors.Account{}, err
	}
	a := connectors.Account{Version: "OData " + m.model.Version, User: d.cfg.Auth.Username}
	if _, err := d.companyPath(ctx); err != nil {
		return a, err
	}
	a.Organization = d.cfg.Company
	a.Features = []string{strconv.Itoa(len(m.entities)) + " entity sets"}
	return a, nil
}

// Check proves what the service can do with an entity. Without a name it takes
// the first one with a key.
func (d *Driver) Check(ctx context.Context, name string) ([]connectors.Proof, error) {
	m, err := d.readMetadata(ctx)
	if err != nil {
		return []connectors.Proof{{Name: "metadata", Result: "cannot be read", Reason: causeText(err)}}, nil
	}
	d.mu.Lock()
	d.metadata = m
	d.mu.Unlock()
	proofs := []connectors.Proof{{Name: "metadata", OK: true, Result: "OData " + m.model.Version, Reason: strconv.Itoa(len(m.entities)) + " entity sets"}}
	for _, e := range m.entities {
		if name == "" && len(e.key) > 0 {
			name = e.info.Name
		}
	}
	r, err := d.newRead(ctx, connectors.ReadRequest{Entity: name})
	if err != nil {
		return proofs, inEntity(err, "odata.Check", name)
	}
	page, err := r.ask(ctx, "", "", 1)
	if err != nil {
		return append(proofs, connectors.Proof{Name: "auth", Result: "cannot read " + name, Reason: causeText(err)}), nil
	}
	auth := d.cfg.Auth.Type
	setDefault(&auth, "none")
	proofs = append(proofs, connectors.Proof{Name: "auth", OK: true, Result: auth, Reason: "read a page of " + name})
	for _, check := range []func(context.Context) (connectors.Proof, error){r.checkPaging, r.checkTracking, r.checkFilter} {
		proof, err := check(ctx)
		if err != nil {
			proof.OK, proof.Reason = false, causeText(err)
		}
		proofs = append(proofs, proof)
	}
	etag := connectors.Proof{Name: "etag", Result: "none", Reason: "rows come without ETag"}
	if len(page.Records) == 0 {
		etag.Reason = "no row to see it on"
	} else if v := page.Records[0].Version; v != "" && v != page.Last.Version {
		etag = connectors.Proof{Name: "etag", OK: true, Result: "sent with rows", Reason: "a write can tell whether somebody else has changed the row"}
	}
	batch, err := r.checkBatch(ctx)
	if err != nil {
		batch.OK, batch.Reason = false, causeText(err)
	}
	return append(proofs, etag, batch), nil
}

// checkBatch reads a row by a batch.
func (r *read) checkBatch(ctx context.Context) (connectors.Proof, error) {
	p := connectors.Proof{Name: "batch", OK: true, Result: "not used"}
	format := r.d.announcedFormat(r.m)
	switch r.e.opts.Batch {
	case none:
		p.Reason = "as configured"
		return p, nil
	case multipart:
		format = codec.Multipart
	case asJSON:
		format = codec.JSON
	}
	if format == 0 || len(r.e.key) == 0 {
		p.Reason = "the metadata says that there are none"
		return p, nil
	}
	why, err := r.d.testBatch(ctx, r.e, format)
	switch {
	case err != nil:
		return p, err
	case why == "":
		p.Result, p.Reason = format.String(), "a read in a batch was answered"
	case r.e.opts.Batch == auto:
		p.Reason = why + "; changes are sent one by one"
	default:
		p.OK, p.Result, p.Reason = false, r.e.opts.Batch, why
	}
	return p, nil
}

func (r *read) checkPaging(ctx context.Context) (connectors.Proof, error) {
	p := connectors.Proof{Name: "paging", OK: true, Result: byServer}
	if r.e.opts.Paging != auto {
		p.Result, p.Reason = r.e.opts.Paging, "as configured"
		return p, nil
	}
	if len(r.e.key) == 0 {
		p.Reason = "the entity has no key"
		return p, nil
	}
	result, why, err := r.testKeys(ctx)
	if err != nil {
		return p, err
	}
	r.learn(ctx, func(f *finding) { f.Keyset, f.KeysetWhy = result, why })
	if p.Reason = why; result == found {
		p.Result, p.Reason = byKey, "the row behind the first key is the second one"
	}
	return p, nil
}

// checkTracking makes the tests that a first full read would make.
func (r *read) checkTracking(ctx context.Context) (connectors.Proof, error) {
	p := connectors.Proof{Name: "tracking"}
	f := r.finding(ctx)
	if mode, _ := r.e.mode(f); mode == auto || mode == byDelta {
		r.size = min(r.size, 100)
		_, _, err := r.startTracked(ctx)
		if err != nil {
			return p, err
		}
		f = r.finding(ctx)
	}
	mode, why := r.e.mode(f)
	if mode == byVersion {
		if _, _, err := r.handoff(ctx, finding{}); err != nil {
			return p, err
		}
		mode, why = r.e.mode(r.finding(ctx))
	}
	p.OK, p.Result, p.Reason = true, mode, why
	switch mode {
	case byDelta:
		p.Reason = "the service gives delta links"
	case byVersion:
		p.Result += " on " + r.e.version.Path
		p.Reason = join(why, "the newest row is found by its own version")
		empty, err := r.ask(ctx, r.e.version.Path+" eq null", "", 1)
		if err == nil && empty.Rows > 0 {
			p.Reason = join(p.Reason, "rows without a version are found by full reads only")
		}
	}
	return p, nil
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// checkFilter tests that a filter on the key finds a row.
func (r *read) checkFilter(ctx context.Context) (connectors.Proof, error) {
	p := connectors.Proof{Name: "filter", Result: "not pushed"}
	if !r.e.info.Filter || len(r.e.key) == 0 {
		p.Reason = "the metadata says that it cannot be filtered"
		return p, nil
	}
	page, err := r.ask(ctx, "", "", 1)
	if err != nil {
		return p, err
	}
	if len(page.Records) == 0 {
		p.OK, p.Reason = true, "no row to test with"
		return p, nil
	}
	texts, err := r.keyTexts(page.Records[0].Key)
	if err != nil {
		return p, err
	}
	again, err := r.ask(ctx, equals(r.e.key, texts), "", 2)
	if err != nil {
		return p, err
	}
	if len(again.Records) != 1 || again.Records[0].Key != page.Records[0].Key {
		return p, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("a filter on the key does not find its row")}
	}
	p.OK, p.Result, p.Reason = true, "pushed", "a filter on the key finds its row and no other"
	return p, nil
}
