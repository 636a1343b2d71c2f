package odatatest

import (
	"net/http"
	"strings"
)

// serve answers every request to the origin.
func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_test/") {
		s.control(w, r)
		return
	}
	asked := s.requests.add(r, s.opts.Now())
	if d := s.faults.get("slow").Delay; d > 0 {
		s.opts.Wait(r.Context(), d)
	}
	if strings.HasPrefix(r.URL.Path, "/oauth/") {
		a := s.auth.answer(r)
		s.requests.answered(asked, a.status)
		a.send(w, -1)
		return
	}
	a, rows := s.answer(r)
	if rows {
		s.requests.countRows()
	}
	if a.wrote {
		if _, hit := s.faults.hit("lose-reply"); hit {
			panic(http.ErrAbortHandler)
		}
	}
	cut := -1
	if _, hit := s.faults.hit("cut"); hit {
		cut = len(a.body) / 2
	}
	if f := s.faults.current(); f != nil && rows {
		a, cut = f.apply(s, a)
	}
	if r.Method == http.MethodHead {
		a.body, cut = nil, -1
	}
	s.requests.answered(asked, a.status)
	a.send(w, cut)
}

// answer returns the answer to r, and whether it is about rows.
func (s *Service) answer(r *http.Request) (a *answer, rows bool) {
	rq, err := s.newRequest(r)
	if err == nil {
		err = s.faults.refuse()
	}
	if err == nil {
		err = s.auth.check(r, s.faults)
	}
	if err == nil && writes(r.Method) && s.quirk(CSRF) {
		err = s.csrf.check(r)
	}
	if f := s.faults.current(); err == nil && writes(r.Method) && f != nil && f.Status != 0 {
		rows, err = true, f.failure() // before anything is written
	}
	if err == nil && writes(r.Method) {
		err = rq.readBody()
	}
	if err == nil {
		a, rows, err = s.dispatch(rq)
	}
	if err != nil {
		a = s.failed(err)
	}
	if s.quirk(CSRF) {
		s.csrf.fetch(r, a, s.root)
	}
	a.header.Set("OData-Version", rq.version)
	return a, rows
}

func (f *Failure) failure() *failure {
	e := fail(f.Status, "Failure", "%s", f.Text)
	if f.RetryAfter != 0 {
		e.retryAfter = seconds(f.RetryAfter)
	}
	return e
}

// apply returns what f makes of an answer, and where to cut it.
func (f *Failure) apply(s *Service, a *answer) (*answer, int) {
	if f.Status != 0 {
		a = s.failed(f.failure())
	}
	if f.Garbage {
		a = &answer{status: a.status, header: a.header.Clone(), body: []byte(`{"value": [ <not json> ` + f.Text)}
	}
	switch {
	case f.Cut && f.CutAt > 0:
		return a, f.CutAt
	case f.Cut:
		return a, len(a.body) / 2
	}
	return a, -1
}

// dispatch answers a request that is let in.
func (s *Service) dispatch(rq *request) (a *answer, rows bool, err error) {
	route := s.route
	if i := rq.isolation(); i != "" && (i != "snapshot" || !writes(rq.Method)) {
		return nil, false, fail(http.StatusPreconditionFailed, "PreconditionFailed", "The only isolation is snapshot, of a write or a batch.")
	}
	if s.isBatch(rq) {
		route = func(rq *request) (*answer, bool, error) {
			a, err := s.batch(rq)
			return a, err == nil, err
		}
	}
	if !writes(rq.Method) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return route(rq)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.seq
	a, rows, err = route(rq)
	if a != nil {
		a.wrote = s.seq != before
	}
	return a, rows, err
}

// route answers a request while the service is locked.
func (s *Service) route(rq *request) (a *answer, rows bool, err error) {
	res, err := s.resolve(rq)
	if err != nil {
		return nil, false, err
	}
	if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
		a, err := s.write(rq, res)
		return a, res.rows(), err
	}
	if kept := s.bench.get(rq); kept != nil {
		return kept, true, nil
	}
	q, err := s.parseQuery(rq, res)
	if err == nil {
		err = s.negotiate(rq, q.format, res.kind == metadataDocument)
	}
	if err != nil {
		return nil, res.rows(), err
	}
	switch res.kind {
	case serviceDocument:
		return s.serviceDocument(rq), false, nil
	case metadataDocument:
		return s.metadata(rq), false, nil
	case countOnly:
		return s.readCount(q, res.table, res.empty), true, nil
	case entity:
		a, err = s.readEntity(rq, q, res)
	default:
		a, err = s.readCollection(rq, q, res.table, res.empty)
	}
	if err == nil {
		s.bench.keep(rq, a)
	}
	return a, true, err
}

// serviceDocument answers a request for the root (JSON Format 4.01, 5).
func (s *Service) serviceDocument(rq *request) *answer {
	type set struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
		URL  string `json:"url"`
	}
	sets := []set{}
	for _, t := range s.tables {
		sets = append(sets, set{t.ent.Name, "EntitySet", t.ent.Name})
	}
	if s.companyTable != nil {
		sets = append(sets, set{"companies", "EntitySet", "companies"})
	}
	body := []byte{'{'}
	if rq.metadata != "none" {
		body = append(body, rq.control("context")...)
		body = append(appendString(body, rq.base+"$metadata"), ',')
	}
	body = append(body, `"value":`...)
	return newAnswer(rq.contentType(), append(append(body, jsonText(sets)...), '}'))
}
