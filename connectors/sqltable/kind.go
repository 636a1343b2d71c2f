package sqltable

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// Kind returns the kind sqltable. Connections that are opened through one
// Kind share a pool per DSN.
func Kind() connectors.Kind { return KindWith(nil) }

// KindWith is [Kind] for a program that knows views of kedge's own database.
func KindWith(views Views) connectors.Kind {
	shared := &pools{views: views}
	return connectors.Kind{
		Name:   "sqltable",
		Title:  "tables of a SQLite or PostgreSQL database",
		Schema: json.RawMessage(schema),
		New: func(cfg json.RawMessage, env connectors.Env) (connectors.Driver, error) {
			return newDriver(cfg, env, shared)
		},
	}
}

const schema = `{
  "type": "object",
  "additionalProperties": false,
  "required": ["dsn"],
  "properties": {
    "dsn": {"type": "string", "minLength": 1, "description": "kedge for kedge's own database, sqlite:PATH or postgres://…"},
    "schemas": {"type": "array", "items": {"type": "string", "minLength": 1}, "description": "PostgreSQL: schemas to look in, the first is that of unqualified names; default: the current one"},
    "entities": {
      "type": "object",
      "description": "the tables to use, by entity name; default: every table and view",
      "additionalProperties": {
        "type": "object",
        "additionalProperties": false,
        "properties": {
          "table": {"type": "string", "minLength": 1, "description": "name of the table, default: the entity's name"},
          "key": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "description": "default: primary key, else the only unique index without nulls"},
          "create": {"type": "boolean", "description": "make the table from the mapping; default true in kedge's own database, else false"},
          "onMissingColumn": {"enum": ["refuse", "extend", "ignore"], "description": "what a run does when mapped columns are missing; default refuse"},
          "capture": {"enum": ["trigger", "version", "sweep"], "description": "how changes are found; default: version if there is one, else trigger if kedge makes the table, else sweep"},
          "version": {
            "type": "object",
            "additionalProperties": false,
            "required": ["column"],
            "properties": {
              "column": {"type": "string", "minLength": 1, "description": "a number or time that grows with every change"},
              "overlap": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$", "description": "how far to look back for late commits, with a time column; default 5s"},
              "window": {"type": "integer", "minimum": 0, "description": "the same with a number column; default 1000"}
            }
          },
          "deleted": {
            "type": "object",
            "additionalProperties": false,
            "required": ["column", "value"],
            "properties": {
              "column": {"type": "string", "minLength": 1, "description": "marks deleted rows; kedge deletes by setting it"},
              "value": {"type": ["boolean", "integer", "string"], "description": "its value in deleted rows"}
            }
          }
        }
      }
    }
  }
}`

// A config is the block of a connection.
type config struct {
	DSN      string                   `json:"dsn"`
	Schemas  []string                 `json:"schemas"`
	Entities map[string]*entityConfig `json:"entities"`
}

type entityConfig struct {
	Table           string         `json:"table"`
	Key             []string       `json:"key"`
	Create          *bool          `json:"create"`
	OnMissingColumn string         `json:"onMissingColumn"`
	Capture         string         `json:"capture"`
	Version         *versionConfig `json:"version"`
	Deleted         *deletedConfig `json:"deleted"`
}

type versionConfig struct {
	Column  string `json:"column"`
	Overlap string `json:"overlap"`
	Window  *int64 `json:"window"`
}

type deletedConfig struct {
	Column string          `json:"column"`
	Value  json.RawMessage `json:"value"`
}

// The defaults of a version column.
const (
	defaultOverlap = 5 * time.Second
	defaultWindow  = 1000
)

func (v *versionConfig) overlap() time.Duration {
	if d, err := time.ParseDuration(v.Overlap); err == nil {
		return d
	}
	return defaultOverlap
}

func (v *versionConfig) window() int64 {
	if v.Window != nil {
		return *v.Window
	}
	return defaultWindow
}

// ownDSN is the DSN of kedge's own database.
const ownDSN = "kedge"

func parseConfig(raw json.RawMessage, env connectors.Env) (*config, error) {
	path := "connections." + env.Name
	fail := func(format string, args ...any) error {
		return &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf(path+format, args...)}
	}
	cfg := &config{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(cfg); err != nil {
		return nil, fail(": %w", errors.New("not a sqltable block"))
	}
	scheme, _, _ := strings.Cut(cfg.DSN, ":")
	switch {
	case cfg.DSN == ownDSN && env.Store == nil:
		return nil, fail(".dsn: kedge's own database is not open")
	case cfg.DSN == ownDSN, scheme == "sqlite", scheme == "postgres", scheme == "postgresql":
	default:
		return nil, fail(".dsn: must be kedge, sqlite:PATH or postgres://…")
	}
	for name, e := range cfg.Entities {
		if e == nil {
			e = &entityConfig{}
			cfg.Entities[name] = e
		}
		if e.Table == "" {
			e.Table = name
		}
		if e.Capture == "version" && e.Version == nil {
			return nil, fail(".entities.%s.version: missing; capture: version needs it", name)
		}
	}
	return cfg, nil
}
