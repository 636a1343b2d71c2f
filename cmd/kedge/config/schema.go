package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/kedge-sync/kedge/connectors"
)

// descriptions are the texts that editors show for a key.
var descriptions = map[string]string{
	"version":          "Version of this format. Always 1.",
	"include":          "Files or globs with more connections, integrations and jobs, relative to this file.",
	"store":            "Where kedge keeps its state.",
	"dsn":              `"sqlite:PATH" or "postgres://…".`,
	"leaseTTL":         "How long a run that does not answer keeps its lease. Default 30s.",
	"server":           "How kedge serve is reached.",
	"listen":           "HOST:PORT. Default 127.0.0.1:8080. Other hosts than loopback need an operator token.",
	"publicURL":        "Address by which others reach the server, if it is another one: behind a proxy, say.",
	"tls":              "Certificate of the server.",
	"cert":             "PEM file of the certificate and those between it and the authority, relative to this file.",
	"connections":      "The systems that kedge talks to, by name.",
	"integrations":     "Pairs of connections that are kept in step.",
	"external":         "Connection of the remote side.",
	"local":            `Connection of our side. Default "local", the tables in kedge's own database.`,
	"mapping":          "Mapping file, relative to this file.",
	"sync":             "Limits of runs.",
	"commitRows":       "Most rows in one transaction. Default 20000.",
	"parallelEntities": "Entities that are read at once. Default 2.",
	"hashSkipMaxRows":  "Above this many rows of an entity, their hashes live in a table instead of memory. Default 2000000.",
	"keep":             "For how long the rows of kedge's own tables are kept.",
	"subscriptions":    "What outside systems may subscribe to: kedge calls their URL when records change.",
	"jobs":             "What \"kedge serve\" runs by a schedule.",
	"integration":      "The integration that the job syncs.",
	"command":          "A command line of kedge, such as \"sync crm --full\". It is not given to a shell.",
	"schedule":         "Five cron fields: minute, hour, day of month, month, day of week.",
	"every":            "Interval, at least 1s. The first run comes after one interval.",
	"timezone":         "Time zone of schedule, such as Europe/Berlin. Default UTC.",
	"enabled":          "Whether the job runs, until \"kedge jobs enable\" or \"disable\" says otherwise. Default true.",
	"jitter":           "Each run begins later by a random time below this.",
	"timeout":          "A run that takes longer is stopped after the page it is at.",
	"catchUp":          "Run once for the times that came while no server ran. Default false.",
	"runAtStart":       "Also run when a server starts. Default false.",
	"confirmReset":     "Name of the integration: its first sync may delete local rows (firstSync: reset).",
	"onFailure":        "What is done when a run did not succeed.",
	"egress":           "Where outgoing requests may go beside the URLs in this file.",
	"allow":            "Networks that are allowed, such as 10.0.0.0/8.",
	"proxy":            "URL of an HTTP proxy.",
	"bind":             "Local address of outgoing connections.",
	"keys":             "Keys that seal stored secrets. The first one encrypts, all decrypt.",
	"value":            "Base64 of 32 bytes.",
	"log":              "kedge's own log, on standard error.",
	"ingest":           "What others may push into kedge: groups, schemas, and integrations with their keys.",
	"groups":           "Groups of schemas; each gives its tables a prefix.",
	"prefix":           "Begins the full names of the group's tables.",
	"description":      "For people.",
	"schemas":          "Tables, each with the JSON Schema of its resources.",
	"group":            "Name or prefix of the group.",
	"history":          "How long changes are kept: 90d. Default: for ever.",
	"emptyBulk":        "reject (default) or accept: whether an empty list may remove all resources.",
	"maxRemoved":       "Bulks that remove more must confirm it. Default: no limit.",
	"percent":          "Percent of the live resources.",
	"min":              "Number of resources that may always be removed.",
	"tables":           "Full names of tables: prefix_table.",
	"rate":             "Limits of each key, in each process. Default: none.",
	"requests":         "Requests: 1000/s, 100/m, 10/h.",
	"burst":            "Requests that may come at once.",
	"bytes":            "Bytes of bodies: 16MiB/s.",
	"from":             "The key, of at least 32 characters, by a reference: ${NAME} or file:PATH.",
	"operations":       "event, bulk, delete. Default: all.",
	"groupKeys":        "Group keys that the key may use. Default: all.",
	"telemetry":        "Traces.",
	"otlpEndpoint":     "URL of an OpenTelemetry collector that takes OTLP over HTTP, such as http://127.0.0.1:4318.",
	"format":           "text (default) or json.",
	"level":            "debug, info (default of the server), warn (default of other commands) or error.",
}

// Schema returns the JSON Schema (2020-12) of the configuration, with the
// blocks of the given kinds of connections.
func Schema(kinds []connectors.Kind) ([]byte, error) {
	root := schemaOf(reflect.TypeFor[Config]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "kedge configuration"
	root["required"] = []string{"version"}
	var blocks []any
	for _, k := range kinds {
		var block map[string]any
		if err := json.Unmarshal(k.Schema, &block); err != nil {
			return nil, err
		}
		properties, _ := block["properties"].(map[string]any)
		if properties == nil {
			properties = map[string]any{}
			block["properties"] = properties
		}
		properties["kind"] = map[string]any{"const": k.Name, "description": k.Title}
		required, _ := block["required"].([]any)
		block["required"] = append([]any{"kind"}, required...)
		delete(block, "$schema")
		blocks = append(blocks, block)
	}
	properties := root["properties"].(map[string]any)
	properties["connections"] = map[string]any{"type": "object", "description": descriptions["connections"], "additionalProperties": map[string]any{"oneOf": blocks}}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(root)
	return out.Bytes(), err
}

func schemaOf(t reflect.Type) map[string]any {
	if t == reflect.TypeFor[Duration]() {
		return map[string]any{"type": "string", "pattern": "^[0-9]"}
	}
	if t == reflect.TypeFor[Size]() {
		return map[string]any{"type": []string{"string", "integer"}, "pattern": "^[0-9]+(KiB|MiB)?$"}
	}
	if t == reflect.TypeFor[PushItem]() {
		return map[string]any{"type": "object", "required": []string{"name", "account", "url", "resource", "events"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		properties := map[string]any{}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if name == "" {
				continue
			}
			p := schemaOf(t.Field(i).Type)
			text := t.Field(i).Tag.Get("about") // where a name means something else than elsewhere
			if text == "" {
				text = descriptions[name]
			}
			if text != "" {
				p["description"] = text
			}
			properties[name] = p
		}
		return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	}
	return map[string]any{"type": "string"}
}
