package odatatest

import (
	"bytes"
	"strconv"
	"strings"
)

const (
	batchBoundary = "batchresponse_odatatest"
	wrongHost     = "https://internal.example:44300"
	nextPage      = 2 // answers on a page under the quirk batch-next-link
)

// renderBatch returns the answer to a batch, with what the quirks do to it.
func (s *Service) renderBatch(rq *request, b *batch, results []batchResult) *answer {
	if s.quirk(BatchOmits) {
		var kept []batchResult
		for i, r := range results {
			if i%3 != 2 {
				kept = append(kept, r)
			}
		}
		results = kept
	}
	for i := range results {
		r := &results[i]
		if s.quirk(BatchNullIDs) {
			r.id = ""
		}
		if s.quirk(BatchFlat) {
			r.group = ""
		}
		if s.quirk(BatchWrongHost) {
			r.answer = atWrongHost(r.answer, strings.TrimSuffix(rq.base, s.root))
		}
	}
	if b.toJSON {
		return s.renderJSONBatch(rq, results)
	}
	if b.fromJSON { // one part for each (Protocol 4.01, 11.7.7.6)
		for i := range results {
			results[i].group = ""
		}
	}
	return renderMultipart(results)
}

// atWrongHost returns an answer whose URLs are those that the service has
// behind a proxy.
func atWrongHost(a *answer, origin string) *answer {
	a = a.clone()
	for name, values := range a.header {
		for i := range values {
			values[i] = strings.Replace(values[i], origin, wrongHost, 1)
		}
		a.header[name] = values
	}
	a.body = bytes.ReplaceAll(a.body, []byte(origin), []byte(wrongHost))
	return a
}

// renderMultipart nests the answers of a change set in a part of their own.
func renderMultipart(results []batchResult) *answer {
	var body []byte
	for i := 0; i < len(results); {
		r := &results[i]
		if r.group == "" {
			body = appendPart(body, batchBoundary, r.id, r.answer)
			i++
			continue
		}
		inner := "changesetresponse_" + strconv.Itoa(i)
		body = append(body, "--"+batchBoundary+"\r\nContent-Type: multipart/mixed;boundary="+inner+"\r\n\r\n"...)
		for group := r.group; i < len(results) && results[i].group == group; i++ {
			body = appendPart(body, inner, results[i].id, results[i].answer)
		}
		body = append(body, "--"+inner+"--\r\n\r\n"...)
	}
	return newAnswer("multipart/mixed;boundary="+batchBoundary, append(body, "--"+batchBoundary+"--\r\n"...))
}

// renderJSONBatch puts all answers on one page, but for the quirk
// batch-next-link, which keeps the further pages ready.
func (s *Service) renderJSONBatch(rq *request, results []batchResult) *answer {
	responses := make([]map[string]any, 0, len(results))
	for _, r := range results {
		response := jsonResponse(r.group, r.answer)
		if r.id != "" {
			response["id"] = r.id
		} else if s.quirk(BatchNullIDs) {
			response["id"] = nil
		}
		responses = append(responses, response)
	}
	link := func(int) string { return "" }
	size := max(len(responses), 1)
	if s.quirk(BatchNextLink) {
		s.batches++
		size = nextPage
		link = func(from int) string { return strconv.Itoa(s.batches) + "." + strconv.Itoa(from) }
	}
	var first *answer
	for from := 0; from == 0 || from < len(responses); from += size {
		end := min(from+size, len(responses))
		page := map[string]any{"responses": responses[from:end]}
		if end < len(responses) {
			page[strings.Trim(rq.control("nextLink"), `":`)] = rq.base + "$batch?$skiptoken=" + link(end)
		}
		a := newAnswer("application/json", jsonText(page))
		if from == 0 {
			first = a
			continue
		}
		if s.batchPages == nil {
			s.batchPages = make(map[string]*answer)
		}
		s.batchPages[link(from)] = a
	}
	return first
}
