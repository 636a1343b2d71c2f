package odatatest

import (
	"net/http"
	"net/url"
	"strings"
)

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
