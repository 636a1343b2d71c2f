package config

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"

	"github.com/kedge-sync/kedge/internal/nearest"
)

// UnmarshalYAML reads a connection's block. What is in it besides kind is
// checked by the kind.
func (c *Connection) UnmarshalYAML(decode func(any) error) error {
	var block map[string]any
	if err := decode(&block); err != nil {
		return err
	}
	kind, ok := block["kind"].(string)
	if !ok || kind == "" {
		return errors.New("kind: missing; \"kedge connections list --kinds\" lists them")
	}
	delete(block, "kind")
	text, err := json.Marshal(block)
	if err != nil {
		return fmt.Errorf("not a block of keys and values: %w", err)
	}
	c.Kind, c.Block, c.Declared = kind, text, true
	return nil
}

// MarshalJSON writes the block with its kind.
func (c Connection) MarshalJSON() ([]byte, error) {
	block := map[string]any{}
	if err := json.Unmarshal(c.Block, &block); err != nil {
		return nil, err
	}
	block["kind"] = c.Kind
	return json.Marshal(block)
}

// suggest is the end of a message about an unknown name.
func suggest(name string, known []string) string {
	if near := nearest.Name(name, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// has tells whether the file has a node at a YAML path.
func (f *file) has(path string) bool {
	p, err := yaml.PathString(path)
	if err != nil {
		return false
	}
	n, err := p.FilterNode(f.body)
	return err == nil && n != nil
}

// decodeLoose fills v from the file and ignores what v does not know.
func (f *file) decodeLoose(v any) error { return yaml.NodeToValue(f.body, v) }

// secretKeys are the keys whose values are never shown, wherever they come from.
var secretKeys = map[string]bool{"password": true, "token": true, "clientSecret": true, "secret": true, "value": true, "dsn": true, "from": true}

// Print returns the effective configuration as YAML, secrets as ***.
func (c *Config) Print() ([]byte, error) {
	hidden := map[string]bool{}
	for _, f := range c.files {
		for _, path := range f.secrets {
			hidden[path] = true
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil { // JSON is YAML, and whole numbers stay whole
		return nil, err
	}
	return yaml.Marshal(mask(tree, "$", "", hidden))
}

func mask(v any, path, key string, hidden map[string]bool) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = mask(v[k], path+"."+k, k, hidden)
		}
		return v
	case []any:
		for i := range v {
			v[i] = mask(v[i], fmt.Sprintf("%s[%d]", path, i), key, hidden)
		}
		return v
	case string:
		if hidden[path] || secretKeys[key] && v != "kedge" && v != "" && !isPath(v) {
			return "***"
		}
	}
	return v
}

// isPath tells whether a DSN is that of a SQLite file, which is no secret.
func isPath(dsn string) bool { return len(dsn) > 7 && dsn[:7] == "sqlite:" }

// Resolve replaces the references in the values of a stored connection's block.
func Resolve(name string, block json.RawMessage) (json.RawMessage, error) {
	f, err := parse("connection "+name, block)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := f.decodeLoose(&values); err != nil {
		return nil, f.yamlError(err)
	}
	return json.Marshal(values)
}
