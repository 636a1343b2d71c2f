package odatatest

import (
	"mime"
	"net/http"
	"slices"
	"strings"
)

// A batch is a request that holds requests (Protocol 4.01, 11.7; JSON Format
// 4.01, 19).
type batch struct {
	items    []*batchItem
	fromJSON bool // the request's format
	toJSON   bool // the answer's
	goOn     bool // after an error
	whole    bool // all is one transaction
}

// A batchItem is a request in a batch.
type batchItem struct {
	id        string // Content-ID or id; "" if it has none
	group     string // change set or atomicity group; "" if it is in none
	dependsOn []string
	condition bool // "if" was given
	method    string
	url       string
	header    http.Header
	body      []byte
}

// A batchResult is the answer to an item.
type batchResult struct {
	id, group string
	answer    *answer
}

func (r *batchResult) failed() bool { return r.answer.status >= 400 }

// isBatch reports whether a request is for $batch.
func (s *Service) isBatch(rq *request) bool { return rq.URL.Path == s.root+"$batch" }

// batch answers a request for $batch. The service is locked until it is done,
// so that all of it sees one state: Isolation: snapshot is always granted.
func (s *Service) batch(rq *request) (*answer, error) {
	if s.opts.Batch == "none" {
		return nil, notImplemented("Batch requests are not supported.")
	}
	if rq.Method == http.MethodGet && s.quirk(BatchNextLink) {
		if a := s.batchPages[rq.URL.Query().Get("$skiptoken")]; a != nil {
			return a.clone(), nil
		}
		return nil, notFound()
	}
	if rq.Method != http.MethodPost {
		f := fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method is not allowed here.")
		f.header = http.Header{"Allow": {"POST"}}
		return nil, f
	}
	b, err := s.parseBatch(rq)
	if err != nil {
		return nil, err
	}
	// With Business Central, a snapshot makes the batch a transaction too.
	b.whole = rq.isolation() != "" && s.opts.Flavor == BusinessCentral
	a := s.renderBatch(rq, b, s.run(rq, b))
	if rq.goOn != "" {
		name := "odata.continue-on-error"
		if rq.version == V401 {
			name = "continue-on-error"
		}
		a.header.Set("Preference-Applied", name+"="+rq.goOn)
	}
	return a, nil
}

// parseBatch reads the body in either format. Without the preference
// continue-on-error, multipart stops at the first error and JSON does not.
func (s *Service) parseBatch(rq *request) (*batch, error) {
	kind, params, err := mime.ParseMediaType(rq.Header.Get("Content-Type"))
	b := &batch{goOn: rq.goOn == "true"}
	switch {
	case err == nil && kind == "multipart/mixed" && s.opts.Batch != "json":
		b.items, err = parseMultipart(rq.body, params["boundary"])
	case err == nil && kind == "application/json" && s.opts.Batch != "multipart":
		b.fromJSON, b.goOn = true, rq.goOn != "false"
		b.items, err = parseJSONBatch(rq.body)
	default:
		return nil, fail(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The format of the batch is not supported.")
	}
	if err == nil && len(b.items) > s.opts.BatchMax {
		return nil, badRequest("A batch holds at most %d requests.", s.opts.BatchMax)
	}
	b.toJSON = answersJSON(rq.Header.Get("Accept"), b.fromJSON)
	return b, err
}

// answersJSON reports whether the answer to a batch is JSON: as Accept has it,
// or like the request (Protocol 4.01, 11.7.1).
func answersJSON(accept string, fromJSON bool) bool {
	switch {
	case strings.Contains(accept, "multipart/mixed"):
		return false
	case strings.Contains(accept, "application/json"):
		return true
	}
	return fromJSON
}

// run carries out the items in their order.
func (s *Service) run(rq *request, b *batch) []batchResult {
	e := &batchRun{s: s, rq: rq, nested: !b.fromJSON && !b.toJSON, refs: make(map[string]string), failed: make(map[string]bool)}
	if b.whole {
		return e.group(b.items, func(*batchItem) string { return "" })
	}
	var out []batchResult
	for i := 0; i < len(b.items); {
		end := i + 1
		for b.items[i].group != "" && end < len(b.items) && b.items[end].group == b.items[i].group {
			end++
		}
		var results []batchResult
		if b.items[i].group == "" {
			results = []batchResult{e.one(b.items[i])}
		} else {
			results = e.group(b.items[i:end], func(item *batchItem) string { return item.group })
		}
		out = append(out, results...)
		if !b.goOn && slices.ContainsFunc(results, func(r batchResult) bool { return r.failed() }) {
			break
		}
		i = end
	}
	return out
}
