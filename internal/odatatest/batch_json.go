package odatatest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// A jsonRequest is a request of a JSON batch (JSON Format 4.01, 19.1).
type jsonRequest struct {
	ID             string            `json:"id"`
	Method         string            `json:"method"`
	URL            string            `json:"url"`
	AtomicityGroup string            `json:"atomicityGroup"`
	DependsOn      []string          `json:"dependsOn"`
	If             json.RawMessage   `json:"if"`
	Headers        map[string]string `json:"headers"`
	Body           json.RawMessage   `json:"body"`
}

// parseJSONBatch reads a batch in JSON.
func parseJSONBatch(body []byte) ([]*batchItem, error) {
	var batch struct {
		Requests []jsonRequest `json:"requests"`
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, badRequest("The batch is malformed: %v.", err)
	}
	if batch.Requests == nil {
		return nil, badRequest("The batch has no requests.")
	}
	var out []*batchItem
	known := make(map[string]bool)    // ids and groups that came
	groups := make(map[string]string) // by id
	for i := range batch.Requests {
		r := &batch.Requests[i]
		switch {
		case r.ID == "" || r.Method == "" || r.URL == "":
			return nil, badRequest("A request in the batch has no id, method or url.")
		case known[r.ID]:
			return nil, badRequest("The id %s comes twice in the batch.", r.ID)
		case r.AtomicityGroup != "" && known[r.AtomicityGroup] && out[i-1].group != r.AtomicityGroup:
			return nil, badRequest("The requests of the group %s are not next to each other.", r.AtomicityGroup)
		}
		for _, id := range r.DependsOn {
			if !known[id] || id == r.AtomicityGroup {
				return nil, badRequest("The request %s depends on one that did not come before it.", r.ID)
			}
			if group := groups[id]; group != "" && group != r.AtomicityGroup && !slices.Contains(r.DependsOn, group) {
				return nil, badRequest("The request %s depends on one of the group %s, but not on the group.", r.ID, group)
			}
		}
		if id, _, _ := strings.Cut(strings.TrimPrefix(r.URL, "$"), "/"); id != r.URL && known[id] && !slices.Contains(r.DependsOn, id) {
			return nil, badRequest("The request %s refers to one that it does not depend on.", r.ID)
		}
		item, err := r.item()
		if err != nil {
			return nil, badRequest("The request %s in the batch is malformed: %v.", r.ID, err)
		}
		out = append(out, item)
		known[r.ID], groups[r.ID] = true, r.AtomicityGroup
		if r.AtomicityGroup != "" {
			known[r.AtomicityGroup] = true
		}
	}
	return out, nil
}

func (r *jsonRequest) item() (*batchItem, error) {
	item := &batchItem{id: r.ID, group: r.AtomicityGroup, dependsOn: r.DependsOn, method: strings.ToUpper(r.Method), url: r.URL, condition: len(r.If) > 0, header: http.Header{}}
	for name, value := range r.Headers {
		if name != strings.ToLower(name) {
			return nil, errors.New("names of headers are lower-case")
		}
		item.header.Set(name, value)
	}
	if len(r.Body) == 0 || string(r.Body) == "null" {
		return item, nil
	}
	if item.method == http.MethodGet || item.method == http.MethodDelete {
		return nil, errors.New("it must not have a body")
	}
	if item.header.Get("Content-Type") == "" {
		item.header.Set("Content-Type", "application/json")
	}
	kind, _, err := mime.ParseMediaType(item.header.Get("Content-Type"))
	if err != nil {
		return nil, errors.New("its Content-Type is malformed")
	}
	if kind == "application/json" {
		item.body = r.Body
		return item, nil
	}
	var text string
	if err := json.Unmarshal(r.Body, &text); err != nil {
		return nil, errors.New("a body that is not JSON is a string")
	}
	if item.body = []byte(text); strings.HasPrefix(kind, "text/") {
		return item, nil
	}
	item.body, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	return item, err
}

// jsonResponse returns an answer as a member of the responses of a JSON batch
// (JSON Format 4.01, 19.3).
func jsonResponse(group string, a *answer) map[string]any {
	headers := make(map[string]string)
	for name, values := range a.header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	out := map[string]any{"status": a.status, "headers": headers}
	if group != "" {
		out["atomicityGroup"] = group
	}
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	switch {
	case len(a.body) == 0:
	case kind == "application/json" && json.Valid(a.body): // tests may serve rows that are not
		out["body"] = json.RawMessage(a.body)
	case strings.HasPrefix(kind, "text/"):
		out["body"] = string(a.body)
	default:
		out["body"] = base64.RawURLEncoding.EncodeToString(a.body)
	}
	return out
}
