// Package config reads kedge's configuration: one YAML file and the files it
// includes, with references to environment variables and secret files, checked
// strictly so that a misspelt key is an error with its place.
package config

import (
	"encoding/json"
	"time"
)

// A Config is the whole configuration, with references resolved.
type Config struct {
	Version       int                   `yaml:"version" json:"version"`
	Include       []string              `yaml:"include" json:"include,omitempty"`
	Store         Store                 `yaml:"store" json:"store"`
	Server        Server                `yaml:"server" json:"server"`
	Connections   map[string]Connection `yaml:"connections" json:"connections,omitempty"`
	Integrations  []Integration         `yaml:"integrations" json:"integrations,omitempty"`
	Sync          Sync                  `yaml:"sync" json:"sync"`
	Ingest        Ingest                `yaml:"ingest" json:"ingest"`
	Subscriptions *Subscriptions        `yaml:"subscriptions" json:"subscriptions,omitempty"`
	Jobs          []Job                 `yaml:"jobs" json:"jobs,omitempty"`
	Egress        Egress                `yaml:"egress" json:"egress"`
	Keys          []Key                 `yaml:"keys" json:"keys,omitempty"`
	Log           Log                   `yaml:"log" json:"log"`
	Telemetry     Telemetry             `yaml:"telemetry" json:"telemetry"`

	files []*file
}

// Store says where kedge keeps its state.
type Store struct {
	// DSN is "sqlite:PATH" or "postgres://…". Defaults to "sqlite:kedge.db".
	DSN string `yaml:"dsn" json:"dsn"`
	// LeaseTTL is how long a run that does not answer keeps its lease. Defaults to 30s.
	LeaseTTL Duration `yaml:"leaseTTL" json:"leaseTTL,omitempty"`
}

// Server says how "kedge serve" is reached.
type Server struct {
	// Listen is "HOST:PORT". Defaults to "127.0.0.1:8080". Other hosts than
	// loopback need an operator token.
	Listen string `yaml:"listen" json:"listen"`
	// PublicURL is the address by which others reach this server, if it is
	// another one: behind a proxy, say.
	PublicURL string `yaml:"publicURL" json:"publicURL,omitempty"`
	TLS       TLS    `yaml:"tls" json:"tls"`
}

// TLS names the files, in PEM, of a server's certificate and its key, relative
// to the file that names them.
type TLS struct {
	Cert string `yaml:"cert" json:"cert,omitempty"` // with the certificates between it and the authority
	Key  string `yaml:"key" json:"key,omitempty"`
}

// A Connection is a block of connections: its kind, and what that kind needs.
type Connection struct {
	Kind     string
	Block    json.RawMessage // without kind
	Declared bool            // written in the config file
}

// An Integration joins two connections by a mapping file.
type Integration struct {
	Name     string `yaml:"name" json:"name"`
	External string `yaml:"external" json:"external"`
	Local    string `yaml:"local" json:"local,omitempty"` // defaults to "local"
	Mapping  string `yaml:"mapping" json:"mapping"`       // path, relative to the file that names it
}

// Sync holds the limits of runs. Zero values mean the defaults of package syncer.
type Sync struct {
	CommitRows       int  `yaml:"commitRows" json:"commitRows,omitempty"`
	ParallelEntities int  `yaml:"parallelEntities" json:"parallelEntities,omitempty"`
	HashSkipMaxRows  int  `yaml:"hashSkipMaxRows" json:"hashSkipMaxRows,omitempty"`
	Keep             Keep `yaml:"keep" json:"keep"`
}

// Keep says for how long rows of the control tables are kept.
type Keep struct {
	Log        Duration `yaml:"log" json:"log,omitempty"`
	Quarantine Duration `yaml:"quarantine" json:"quarantine,omitempty"`
	Writelog   Duration `yaml:"writelog" json:"writelog,omitempty"`
	Tombstones Duration `yaml:"tombstones" json:"tombstones,omitempty"`
}

// Egress says which networks outgoing requests may reach beside the origins
// that the config itself names.
type Egress struct {
	Allow []string `yaml:"allow" json:"allow,omitempty"` // networks: "10.0.0.0/8"
	Proxy string   `yaml:"proxy" json:"proxy,omitempty"`
	Bind  string   `yaml:"bind" json:"bind,omitempty"` // local address of outgoing connections
}

// A Key encrypts secrets that kedge must store. The first key encrypts, all
// decrypt.
type Key struct {
	ID    string `yaml:"id" json:"id"`
	Value string `yaml:"value" json:"value"` // base64 of 32 bytes
}

// Log says how kedge writes its own log, on standard error.
type Log struct {
	Format string `yaml:"format" json:"format,omitempty"` // text (default) or json
	Level  string `yaml:"level" json:"level,omitempty"`   // debug, info (default of serve), warn (default else), error
}

// Telemetry says where traces go.
type Telemetry struct {
	// OTLPEndpoint is the URL of an OpenTelemetry collector that takes OTLP over
	// HTTP. Empty: there are no traces.
	OTLPEndpoint string `yaml:"otlpEndpoint" json:"otlpEndpoint,omitempty"`
}

// A Duration is written as 90s, 15m, 168h, 7d or 10y; a day has 24 hours and a
// year 365 days.
type Duration time.Duration
