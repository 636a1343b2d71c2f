package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/kedge-sync/kedge/ingest/custom"
)

// A Howto shows a sender how to push into a table.
type Howto struct {
	Table   string          `json:"table"`
	Schema  json.RawMessage `json:"schema"`
	Payload json.RawMessage `json:"payload"` // an example of a resource
	Valid   bool            `json:"valid"`   // the example fits the schema; if not, it is to be completed by hand
	Bulk    json.RawMessage `json:"bulk"`
	Curl    []CurlLine      `json:"curl"`
}

// A CurlLine is a command for a shell. The key is taken from the environment.
type CurlLine struct {
	About   string `json:"about"`
	Command string `json:"command"`
}

// Howto returns examples for a table, for a server with the given address.
func (s *Service) Howto(ctx context.Context, name, server string) (*Howto, error) {
	t, err := s.Table(ctx, name)
	if err != nil {
		return nil, err
	}
	doc := t.Schema.Effective()
	payload, err := example(doc)
	if err != nil {
		return nil, err
	}
	h := &Howto{Table: t.Full, Schema: doc, Payload: payload, Bulk: json.RawMessage("[" + string(payload) + "]"), Valid: custom.CheckResource(t, payload) == nil}
	base := strings.TrimSuffix(server, "/") + "/integration/custom-data"
	line := func(about, method, path, body string) {
		text := "curl -sS"
		if method != "POST" {
			text += " -X " + method
		}
		text += ` -H "X-Ingest-Key: $KEDGE_INGEST_KEY"`
		if body != "" {
			text += " -H 'Content-Type: application/json' --data '" + strings.ReplaceAll(body, "'", `'\''`) + "'"
		}
		h.Curl = append(h.Curl, CurlLine{about, text + " '" + base + path + "'"})
	}
	line("create or update one resource", "POST", "/event/"+t.Full+"?event=changed&actor="+url.QueryEscape(`{"name":"me"}`), string(h.Payload))
	line("send the full list: what is missing in it is removed", "POST", "/bulk-event/"+t.Full+"?event=nightly", string(h.Bulk))
	line("remove by ids", "DELETE", "/bulk-event/"+t.Full+"?resourceIds="+url.QueryEscape(exampleID(t, h.Payload)), "")
	line("the same in a group of its own, tried without storing it", "POST", "/event/"+t.Full+"?groupKey=dept-a&dryRun=true", string(h.Payload))
	return h, nil
}

// exampleID is the id of the example.
func exampleID(t *custom.Table, payload []byte) string {
	if id, err := custom.ID(t, payload); err == nil {
		return id
	}
	return "ID"
}

// example makes a resource of what a schema declares.
func example(doc []byte) (json.RawMessage, error) {
	var root map[string]any
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	if err := dec.Decode(&root); err != nil {
		return nil, err
	}
	text, err := json.Marshal(exampleOf(root, 0))
	return text, err
}

func exampleOf(s map[string]any, depth int) any {
	if v, ok := s["const"]; ok {
		return v
	}
	for _, key := range []string{"examples", "enum"} {
		if list, ok := s[key].([]any); ok && len(list) > 0 {
			return list[0]
		}
	}
	if v, ok := s["default"]; ok {
		return v
	}
	kind, _ := s["type"].(string)
	if list, ok := s["type"].([]any); ok && len(list) > 0 {
		kind, _ = list[0].(string)
	}
	switch kind {
	case "object":
		out := map[string]any{}
		properties, _ := s["properties"].(map[string]any)
		for name, p := range properties {
			if sub, ok := p.(map[string]any); ok && depth < 8 {
				out[name] = exampleOf(sub, depth+1)
			}
		}
		return out
	case "array":
		items, ok := s["items"].(map[string]any)
		if !ok || depth >= 8 {
			return []any{}
		}
		return []any{exampleOf(items, depth+1)}
	case "integer", "number":
		if n, ok := s["minimum"].(json.Number); ok {
			return n
		}
		return 1
	case "boolean":
		return true
	case "null":
		return nil
	}
	return exampleText(s)
}

var exampleFormats = map[string]string{
	"date": "2026-01-31", "time": "10:00:00Z", "date-time": "2026-01-31T10:00:00Z", "uuid": "0190a0b0-0000-7000-8000-000000000001", "email": "a@example.com", "ipv6": "::1", "json-pointer": "/a",
}

func exampleText(s map[string]any) string {
	format, _ := s["format"].(string)
	if text := exampleFormats[format]; text != "" {
		return text
	}
	text := "example"
	if n, ok := s["minLength"].(json.Number); ok {
		if least, err := n.Int64(); err == nil && least > int64(len(text)) && least < 1000 {
			text += strings.Repeat("x", int(least)-len(text))
		}
	}
	if n, ok := s["maxLength"].(json.Number); ok {
		if most, err := n.Int64(); err == nil && most < int64(len(text)) && most >= 0 {
			text = text[:most]
		}
	}
	return text
}
