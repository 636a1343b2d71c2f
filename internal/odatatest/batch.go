package odatatest

import (
	"mime"
	"net/http"
	"net/url"
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
	defer func() { b.toJSON = answersJSON(rq.Header.Get("Accept"), b.fromJSON) }()
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

// A batchRun is what the items of a batch know of each other.
type batchRun struct {
	s      *Service
	rq     *request
	nested bool              // the answers of a group are a part of their own
	refs   map[string]string // URLs by id, of what was done
	failed map[string]bool   // ids and groups
}

// forbidden are the headers that a request in a batch must not have (Protocol
// 4.01, 11.7.7.1).
var forbidden = []string{"Authorization", "Proxy-Authorization", "Www-Authenticate", "Expect", "From", "Max-Forwards", "Range", "Te"}

// one carries out an item.
func (e *batchRun) one(item *batchItem) batchResult {
	a, err := e.answer(item)
	if err != nil {
		a = e.s.failed(err)
	}
	a.header.Set("OData-Version", e.rq.version)
	if a.status >= 400 {
		e.failed[item.id] = true
		delete(e.refs, item.id)
	}
	return batchResult{id: item.id, group: item.group, answer: a}
}

func (e *batchRun) answer(item *batchItem) (*answer, error) {
	for _, id := range item.dependsOn {
		if e.failed[id] {
			return nil, failedDependency("A request that this one depends on has failed.")
		}
	}
	if err := e.s.faults.throttle("part-429"); err != nil {
		return nil, err
	}
	if item.condition {
		return nil, failedDependency("Conditions in a batch are not supported.")
	}
	for _, name := range forbidden {
		if item.header.Get(name) != "" {
			return nil, badRequest("A request in a batch must not have the header %s.", name)
		}
	}
	if host := item.header.Get("Host"); host != "" && host != e.rq.Host {
		return nil, badRequest("The URL of a request in the batch is of another service.")
	}
	u, err := e.resolve(item.url)
	if err != nil {
		return nil, err
	}
	r := &http.Request{Method: item.method, URL: u, Host: e.rq.Host, Header: item.header, TLS: e.rq.TLS, RemoteAddr: e.rq.RemoteAddr}
	for _, name := range []string{"OData-Version", "OData-MaxVersion"} { // hold for all
		if v := e.rq.Header.Get(name); v != "" && r.Header.Get(name) == "" {
			r.Header.Set(name, v)
		}
	}
	rq, err := e.s.newRequest(r)
	if err != nil {
		return nil, err
	}
	rq.part, rq.body, rq.refs = true, item.body, e.refs
	a, _, err := e.s.route(rq)
	if err != nil {
		return nil, err
	}
	if item.id != "" {
		e.refs[item.id] = u.String()
		if location := a.header.Get("Location"); location != "" {
			e.refs[item.id] = location
		}
	}
	return a, nil
}

// resolve returns the URL of an item: absolute, a path, relative to the
// service root, or "$id" (Protocol 4.01, 11.7.2).
func (e *batchRun) resolve(text string) (*url.URL, error) {
	if strings.HasPrefix(text, "$") && text != "$metadata" && !strings.HasPrefix(text, "$metadata?") {
		target, ok := (&request{refs: e.refs}).expandReference(text)
		if !ok {
			return nil, failedDependency("The request that is referred to is unknown or has failed.")
		}
		text = target
	}
	base, err := url.Parse(e.rq.base)
	if err != nil {
		return nil, badRequest("The host is malformed.")
	}
	u, err := base.Parse(text)
	if err != nil {
		return nil, badRequest("The URL of a request in the batch is malformed.")
	}
	if u.Host != base.Host || u.Scheme != base.Scheme {
		return nil, badRequest("The URL of a request in the batch is of another service.")
	}
	return u, nil
}

func failedDependency(message string) error {
	return fail(http.StatusFailedDependency, "FailedDependency", "%s", message)
}

// group carries out items all or none. If one fails, multipart has one answer
// for all (Protocol 4.01, 11.7.7.6), and JSON has 424 for the others. name
// returns the group that an answer tells.
func (e *batchRun) group(items []*batchItem, name func(*batchItem) string) []batchResult {
	start := e.s.savepoint()
	var results []batchResult
	culprit := -1
	for i, item := range items {
		if culprit >= 0 {
			results = append(results, batchResult{id: item.id, answer: e.s.failed(failedDependency("Another request of the group has failed."))})
		} else if item.group != "" && !writes(item.method) {
			results = append(results, batchResult{id: item.id, answer: e.s.failed(badRequest("A group holds changes only."))})
		} else {
			results = append(results, e.one(item))
		}
		results[i].group = name(item)
		if culprit < 0 && results[i].failed() {
			culprit = i
		}
	}
	if culprit < 0 {
		return results
	}
	e.s.rollBack(start)
	for i, item := range items {
		e.failed[item.id], e.failed[item.group] = true, true
		delete(e.refs, item.id)
		if i < culprit && !e.s.quirk(Batch201RolledBack) {
			results[i].answer = e.s.failed(failedDependency("Another request of the group has failed."))
		}
	}
	if e.nested && !e.s.quirk(Batch201RolledBack) && items[0].group != "" {
		return []batchResult{{id: results[culprit].id, answer: results[culprit].answer}}
	}
	return results
}
