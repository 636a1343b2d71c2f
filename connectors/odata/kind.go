package odata

import (
	_ "embed"
	"encoding/json"

	"github.com/kedge-sync/kedge/connectors"
)

//go:embed odata.schema.json
var blockSchema []byte

// Kind returns the kind "odata" for a registry.
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:   "odata",
		Title:  "OData 4.0 and 4.01 services, Business Central, Dataverse, Microsoft Graph",
		Schema: blockSchema,
		New: func(block json.RawMessage, env connectors.Env) (connectors.Driver, error) {
			cfg, err := ParseConfig(block)
			if err != nil {
				return nil, err
			}
			return New(cfg, env)
		},
	}
}
