package memory

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

const schema = `{
	"type": "object", "additionalProperties": false, "required": ["entities"],
	"properties": {"entities": {
		"description": "entities by name", "type": "object", "minProperties": 1,
		"additionalProperties": {
			"type": "object", "additionalProperties": false, "required": ["key", "fields"],
			"properties": {
				"key": {"description": "names of the key fields", "type": "array", "minItems": 1, "items": {"type": "string"}},
				"fields": {"description": "types of the fields by name", "type": "object", "additionalProperties": {
					"enum": ["bool", "int", "float", "decimal", "string", "guid", "time", "date", "bytes", "json"]}}
			}
		}
	}}
}`

// Kind is the kind "memory": each connection has a store of its own, which is
// gone when the program ends.
func Kind() connectors.Kind {
	return connectors.Kind{Name: "memory", Title: "Records in memory, for trials and tests", Schema: json.RawMessage(schema), New: open}
}

type config struct {
	Entities map[string]struct {
		Key    []string
		Fields map[string]string
	}
}

func open(block json.RawMessage, env connectors.Env) (connectors.Driver, error) {
	var cfg config
	if err := json.Unmarshal(block, &cfg); err != nil {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("connections." + env.Name + ": does not fit kind memory")}
	}
	var entities []kedge.Entity
	for _, name := range slices.Sorted(maps.Keys(cfg.Entities)) {
		c := cfg.Entities[name]
		e := kedge.Entity{Name: name, Key: c.Key}
		for _, field := range slices.Sorted(maps.Keys(c.Fields)) {
			f := kedge.Field{Name: field, Type: kedge.TypeString, Format: kedge.FormatGUID, Nullable: !slices.Contains(c.Key, field)}
			if t, ok := kedge.ParseType(c.Fields[field]); ok {
				f.Type, f.Format = t, kedge.FormatNone
			}
			e.Fields = append(e.Fields, f)
		}
		for _, k := range c.Key {
			if e.Field(k) == nil {
				return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("connections." + env.Name + ".entities." + name + ".key: " + k + " is not one of the fields")}
			}
		}
		entities = append(entities, e)
	}
	return New(NewStore(entities...)), nil
}
