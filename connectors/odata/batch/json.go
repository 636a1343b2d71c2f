package batch

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// encodeJSON writes requests as a JSON object with an array of them.
func encodeJSON(requests []Request, atomic bool) []byte {
	type request struct {
		ID      string            `json:"id"`
		Group   string            `json:"atomicityGroup,omitempty"`
		Method  string            `json:"method"`
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers,omitempty"`
		Body    json.RawMessage   `json:"body,omitempty"`
	}
	var all struct {
		Requests []request `json:"requests"`
	}
	for i, r := range requests {
		one := request{ID: id(i), Method: r.Method, URL: r.URL, Body: r.Body, Headers: make(map[string]string, len(r.Header))}
		if atomic {
			one.Group = group
		}
		for name := range r.Header {
			one.Headers[strings.ToLower(name)] = r.Header.Get(name)
		}
		all.Requests = append(all.Requests, one)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(all); err != nil { // a body that is no JSON, which the driver does not make
		panic("batch: " + err.Error())
	}
	return b.Bytes()
}

// readJSON reads {"responses": […], "@nextLink": "…"}. Of an answer that ends in
// its middle, the responses before that are kept.
func readJSON(body string, a *Answer) error {
	dec := json.NewDecoder(strings.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		if err != nil && strings.TrimSpace(body) == "" {
			a.Cut = true
			return nil
		}
		return invalid("the answer to the batch is not a JSON object")
	}
	found := false
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			a.Cut = true
			return nil
		}
		switch name {
		case "responses":
			found = true
			err = readResponses(dec, a)
		case "@nextLink", "@odata.nextLink":
			var link *string
			if err = dec.Decode(&link); link != nil {
				a.NextLink = *link
			}
		default:
			var skip json.RawMessage
			err = dec.Decode(&skip)
		}
		if err != nil {
			a.Cut = true
			return nil
		}
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		a.Cut = true
		return nil
	}
	if !found {
		return invalid("the answer to the batch has no responses")
	}
	return nil
}

func readResponses(dec *json.Decoder, a *Answer) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return invalid("responses is not an array")
	}
	for dec.More() {
		var r struct {
			ID      json.RawMessage            `json:"id"`
			Status  json.RawMessage            `json:"status"`
			Headers map[string]json.RawMessage `json:"headers"`
			Body    json.RawMessage            `json:"body"`
		}
		if err := dec.Decode(&r); err != nil {
			return err
		}
		p := Part{ID: scalar(r.ID), Header: http.Header{}}
		if status, err := strconv.Atoi(scalar(r.Status)); err == nil && status >= 100 && status <= 599 {
			p.Status = status
		}
		for name, value := range r.Headers {
			p.Header.Set(name, scalar(value))
		}
		if len(r.Body) > 0 && string(r.Body) != "null" {
			p.Body = string(r.Body)
			if text := scalar(r.Body); r.Body[0] == '"' {
				p.Body = text // a body that is no JSON
			}
		}
		a.Parts = append(a.Parts, p)
	}
	_, err := dec.Token()
	return err
}

// scalar returns a text without its quotes, a number as it was sent, and ""
// for null.
func scalar(raw json.RawMessage) string {
	if len(raw) == 0 || raw[0] == 'n' {
		return ""
	}
	if raw[0] == '"' {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return s
		}
		return ""
	}
	return string(raw)
}
