package odata

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

const opReadKeys = "odata.ReadKeys"

// keysAtOnce is how many records are asked for at a time. The client of the
// connection has its own bound on requests in flight.
const keysAtOnce = 8

// ReadKeys reads records by key, each by a GET of its own, alone or in a batch: a
// filter on keys may be as wrong as the read that it is to confirm.
func (d *Driver) ReadKeys(ctx context.Context, name string, fields []string, keys []kedge.Key) ([]connectors.Found, error) {
	r, err := d.newRead(ctx, connectors.ReadRequest{Entity: name, Fields: fields})
	if err != nil {
		return nil, inEntity(err, opReadKeys, name)
	}
	if len(r.e.key) == 0 {
		return nil, &kedge.Error{Op: opReadKeys, Kind: kedge.Unsupported, Entity: name, Err: errors.New("the entity has no key")}
	}
	result := make([]connectors.Found, len(keys))
	rest, err := r.inBatches(ctx, keys, result)
	if err == nil {
		err = r.oneByOne(ctx, keys, rest, result)
	}
	if err != nil {
		return nil, inEntity(err, opReadKeys, name)
	}
	return result, r.confirm(ctx, result)
}

// oneByOne reads the records of keys at the given places into result.
func (r *read) oneByOne(ctx context.Context, keys []kedge.Key, at []int, result []connectors.Found) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(keysAtOnce, len(at)) {
		wait.Go(func() {
			for i := range next {
				var err error
				if result[i], err = r.one(ctx, keys[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, i := range at {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wait.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// one reads the record with key k.
func (r *read) one(ctx context.Context, k kedge.Key) (connectors.Found, error) {
	texts, err := k.Parts(len(r.e.key))
	if err != nil {
		return connectors.Found{}, &kedge.Error{Kind: kedge.Invalid, Key: k, Err: err}
	}
	var q query
	r.e.selection(&q, r.req.Fields)
	u, err := r.d.entityURL(ctx, r.e, wire.Predicate(r.e.key, texts), &q)
	if err != nil {
		return connectors.Found{}, err
	}
	var page *wire.Page
	err = r.d.get(ctx, call{op: opReadKeys, entity: r.e.info.Name, url: u}, func(resp *httpclient.Response) (err error) {
		page, err = r.plan.Row(resp.Body)
		return err
	})
	switch status := statusOf(err); {
	case status == http.StatusNotFound || status == http.StatusGone:
		return connectors.Found{}, nil
	case err != nil:
		return connectors.Found{}, err
	case len(page.Rejected) > 0:
		bad := page.Rejected[0]
		return connectors.Found{}, &kedge.Error{Kind: kedge.Invalid, Key: k, Err: errors.New("field " + bad.Field + ": " + causeText(bad.Err))}
	case page.Records[0].Key != k: // a service that compares keys without case
		return connectors.Found{}, nil
	}
	return connectors.Found{Record: page.Records[0], OK: true}, nil
}

// confirm makes sure that the set can be read if not one of the records was
// found: a set that is gone must not look like deleted records.
func (r *read) confirm(ctx context.Context, all []connectors.Found) error {
	for _, f := range all {
		if f.OK {
			return nil
		}
	}
	if len(all) == 0 {
		return nil
	}
	if _, err := r.ask(ctx, "", "", 1); err != nil {
		return inEntity(err, opReadKeys, r.e.info.Name)
	}
	return nil
}
