package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Ingest declares what senders may push.
type Ingest struct {
	Groups       []IngestGroup       `yaml:"groups" json:"groups,omitempty"`
	Schemas      []IngestSchema      `yaml:"schemas" json:"schemas,omitempty"`
	Integrations []IngestIntegration `yaml:"integrations" json:"integrations,omitempty" about:"Who may push into which tables, by which keys."`
}

// An IngestGroup gives its tables a prefix.
type IngestGroup struct {
	Name        string `yaml:"name" json:"name"`
	Prefix      string `yaml:"prefix" json:"prefix"`
	Description string `yaml:"description" json:"description,omitempty"`
}

// An IngestSchema declares a table of a group. File and Mapping are relative to
// the config file.
type IngestSchema struct {
	Group      string      `yaml:"group" json:"group"`
	Table      string      `yaml:"table" json:"table"`
	File       string      `yaml:"file" json:"file" about:"File of the JSON Schema, relative to this file."`
	History    string      `yaml:"history" json:"history,omitempty"`
	EmptyBulk  string      `yaml:"emptyBulk" json:"emptyBulk,omitempty"`
	MaxRemoved *MaxRemoved `yaml:"maxRemoved" json:"maxRemoved,omitempty"`
	Mapping    string      `yaml:"mapping" json:"mapping,omitempty" about:"Mapping file by which resources are written to a local entity, relative to this file."`
}

// MaxRemoved is the breaker of bulks.
type MaxRemoved struct {
	Percent int `yaml:"percent" json:"percent"`
	Min     int `yaml:"min" json:"min"`
}

// An IngestIntegration lets senders push into tables.
type IngestIntegration struct {
	Name   string      `yaml:"name" json:"name"`
	Tables []string    `yaml:"tables" json:"tables"`
	Rate   *IngestRate `yaml:"rate" json:"rate,omitempty"`
	Keys   []IngestKey `yaml:"keys" json:"keys,omitempty" about:"Keys that senders show. Others are made by kedge ingest keys create."`
}

// An IngestRate limits each key of an integration.
type IngestRate struct {
	Requests string `yaml:"requests" json:"requests,omitempty"` // "1000/s"
	Burst    int    `yaml:"burst" json:"burst,omitempty"`
	Bytes    string `yaml:"bytes" json:"bytes,omitempty"` // "16MiB/s"
}

// An IngestKey is a key that senders show.
type IngestKey struct {
	Name       string   `yaml:"name" json:"name"`
	From       string   `yaml:"from" json:"from"` // the key, by a reference
	Operations []string `yaml:"operations" json:"operations,omitempty"`
	Tables     []string `yaml:"tables" json:"tables,omitempty"`
	GroupKeys  []string `yaml:"groupKeys" json:"groupKeys,omitempty"`
}

// ReadIngestFile returns the text of a file that the ingest section names;
// errors have the place of the key that names it.
func (c *Config) ReadIngestFile(key, path string) ([]byte, error) {
	if path == "" {
		return nil, c.At(key + ": missing; name a file")
	}
	text, err := os.ReadFile(c.files[0].relative(path))
	if err != nil {
		return nil, c.At(fmt.Sprintf("%s: %v", key, err))
	}
	return text, nil
}

// Place gives each line of an error its place in the file, as [Config.At] does.
func (c *Config) Place(err error) error {
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if strings.HasPrefix(line, "ingest.") {
			errs = append(errs, c.At(line))
		} else {
			errs = append(errs, errors.New(line))
		}
	}
	return errors.Join(errs...)
}
