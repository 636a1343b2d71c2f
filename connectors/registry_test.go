package connectors_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

const blockSchema = `{
	"type": "object", "additionalProperties": false, "required": ["url"],
	"properties": {
		"url": {"type": "string"},
		"pageSize": {"type": "integer", "minimum": 1, "maximum": 1000},
		"mode": {"enum": ["fast", "safe"]},
		"region": {"type": "string", "pattern": "^[a-z]+$"},
		"entities": {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": false,
			"properties": {"key": {"type": "array", "items": {"type": "string"}, "minItems": 1}}}},
		"auth": {"oneOf": [
			{"type": "object", "additionalProperties": false, "required": ["type", "username", "password"],
				"properties": {"type": {"const": "basic"}, "username": {"type": "string"}, "password": {"type": "string"}}},
			{"type": "object", "additionalProperties": false, "required": ["type", "token"],
				"properties": {"type": {"const": "bearer"}, "token": {"type": "string"}}}]}
	}
}`

func kind(name, schema string) connectors.Kind {
	return connectors.Kind{Name: name, Schema: json.RawMessage(schema), New: func(json.RawMessage, connectors.Env) (connectors.Driver, error) {
		return &driver{}, nil
	}}
}

// Findings name the path of the key and what to do, and never a value.
func TestOpen(t *testing.T) {
	registry := connectors.NewRegistry(kind("resco", blockSchema), kind("odata", "{}"))
	for _, tt := range []struct{ kind, block, want string }{
		{"resco", `{"url": "https://x"}`, ""},
		{"resco", `{"url": "https://x", "pageSize": 1000, "auth": {"type": "bearer", "token": "hush"}}`, ""},
		{"resco", `{}`, "connections.field.url: missing; resco needs it"},
		{"resco", `{"ulr": "hush"}`, "connections.field.ulr: unknown key; did you mean url?\nconnections.field.url: missing; resco needs it"},
		{"resco", `{"url": "u", "zzzzzz": "hush"}`, "connections.field.zzzzzz: unknown key; known keys: auth, entities, mode, pageSize, region, url"},
		{"resco", `{"url": "u", "pagesize": 5}`, "connections.field.pagesize: unknown key; did you mean pageSize?"},
		{"resco", `{"url": 5}`, "connections.field.url: is number, must be string"},
		{"resco", `{"url": "u", "pageSize": 0}`, "connections.field.pageSize: must be at least 1"},
		{"resco", `{"url": "u", "pageSize": 1001}`, "connections.field.pageSize: must be at most 1000"},
		{"resco", `{"url": "u", "mode": "hush"}`, "connections.field.mode: must be one of fast, safe"},
		{"resco", `{"url": "u", "region": "HUSH"}`, "connections.field.region: must match ^[a-z]+$"},
		{"resco", `{"url": "u", "entities": {"order": {"key": []}}}`, "connections.field.entities.order.key: must not be empty or too short"},
		{"resco", `{"url": "u", "entities": {"order": {"keys": ["id"]}}}`, "connections.field.entities.order.keys: unknown key; did you mean key?"},
		{"resco", `{"url": "u", "auth": {"type": "bearer"}}`, "connections.field.auth.token: missing; resco needs it"},
		{"resco", `{"url": "u", "auth": {"type": "basic", "username": "hush"}}`, "connections.field.auth.password: missing; resco needs it"},
		{"resco", `[]`, "connections.field: is array, must be object"},
		{"resco", `{"url": `, "connections.field: not a JSON object"},
		{"", `{}`, "connections.field.kind: missing; known kinds: odata, resco"},
		{"sap", `{}`, `connections.field.kind: unknown kind "sap"; known kinds: odata, resco`},
	} {
		conn, err := registry.Open(t.Context(), tt.kind, json.RawMessage(tt.block), connectors.Env{Name: "field"}, nil)
		if tt.want == "" {
			if err != nil || conn == nil {
				t.Errorf("%s: got error %v, want a connection", tt.block, err)
			}
			continue
		}
		if err == nil || err.Error() != tt.want || kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("%s %s:\n got %v (kind %v)\nwant %s", tt.kind, tt.block, err, kedge.KindOf(err), tt.want)
		}
	}
}

func TestKindsAreSorted(t *testing.T) {
	var names []string
	for _, k := range connectors.NewRegistry(kind("b", "{}"), kind("c", "{}"), kind("a", "{}")).Kinds() {
		names = append(names, k.Name)
	}
	if got := strings.Join(names, " "); got != "a b c" {
		t.Errorf("kinds: got %s, want a b c", got)
	}
}

// The schema library opens files by itself. A schema of ours that names one is
// a bug, and must not read it.
func TestSchemaLoadsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"file://" + file, file, "other.json", "https://example.com/x.json"} {
		schema := fmt.Sprintf(`{"$ref": %q}`, ref)
		_, err := connectors.NewRegistry(kind("x", schema)).Open(t.Context(), "x", json.RawMessage("{}"), connectors.Env{Name: "a"}, nil)
		wantKind(t, "a schema that refers to "+filepath.Base(ref), err, kedge.Internal)
	}
}

// No way of printing shows a secret.
func TestSecret(t *testing.T) {
	const value = "hush"
	s := connectors.Secret(value)
	holder := struct{ Password connectors.Secret }{s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, s, holder, &holder)
	}
	text, err := json.Marshal([]any{s, holder})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "holder", holder)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "holder", holder)
	out.WriteString(s.String() + s.GoString())
	if hex := fmt.Sprintf("%x", value); strings.Contains(out.String(), value) || strings.Contains(strings.ToLower(out.String()), hex) {
		t.Errorf("a secret is visible in: %s", out.String())
	}
	var back struct{ Password connectors.Secret }
	if err := json.Unmarshal([]byte(`{"Password": "hush"}`), &back); err != nil || string(back.Password) != value {
		t.Errorf("a secret is read from JSON with error %v, want its value", err)
	}
}
