package odata

import (
	"context"
	"net/http"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/httpclient"

	codec "github.com/kedge-sync/kedge/connectors/odata/batch"
)

// minKeyBatch is from how many keys on they are read in batches.
const minKeyBatch = 3

// inBatches reads records by key, many GETs in one request, if the service takes
// batches. It returns the places of the keys for which that gave no answer that
// is beyond doubt; they are to be read one by one. A record counts as missing
// only by an answer with the id of its request, for a missing one may be deleted.
func (r *read) inBatches(ctx context.Context, keys []kedge.Key, result []connectors.Found) (rest []int, err error) {
	all := make([]int, len(keys))
	for i := range all {
		all[i] = i
	}
	if len(keys) < minKeyBatch {
		return all, nil
	}
	format, err := r.d.batchFormat(ctx, r.m, r.e, len(keys))
	if err != nil || format == 0 {
		return all, err
	}
	company, err := r.d.companyPath(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{d: r.d, e: r.e, company: company}
	for chunk := range slices.Chunk(all, r.e.opts.BatchSize) {
		requests := make([]*request, len(chunk))
		for i, at := range chunk {
			var q query
			r.e.selection(&q, r.req.Fields)
			path, err := w.keyPath(keys[at], &q)
			if err != nil {
				return nil, &kedge.Error{Kind: kedge.Invalid, Key: keys[at], Err: err}
			}
			requests[i] = &request{method: http.MethodGet, path: path, effect: httpclient.Read}
		}
		answer, _ := r.d.sendBatch(ctx, opReadKeys, format, requests, false, r.d.plainJSON.Load())
		if answer == nil {
			rest = append(rest, chunk...)
			continue
		}
		for i, m := range answer.Single(len(chunk), false) {
			if at := chunk[i]; !r.took(m, keys[at], &result[at]) {
				rest = append(rest, at)
			}
		}
	}
	return rest, ctx.Err()
}

// took takes the answer for key k if it is beyond doubt.
func (r *read) took(m codec.Match, k kedge.Key, into *connectors.Found) bool {
	switch status := m.Part.Status; {
	case m.State != codec.Answered:
		return false
	case status == http.StatusNotFound || status == http.StatusGone:
		return m.ByID
	case status != http.StatusOK:
		return false
	}
	page, err := r.plan.Row(m.Part.Body)
	if err != nil || len(page.Records) != 1 || page.Records[0].Key != k {
		return false
	}
	*into = connectors.Found{Record: page.Records[0], OK: true}
	return true
}
