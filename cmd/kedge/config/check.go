package config

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge/internal/store"
)

// Local is the connection that always exists: tables in kedge's own database.
const Local = "local"

var connectionName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// fill puts in what the file leaves out.
func (c *Config) fill() {
	if c.Store.DSN == "" {
		c.Store.DSN = "sqlite:kedge.db"
	}
	if c.Server.Listen == "" {
		c.Server.Listen = "127.0.0.1:8080"
	}
	for _, pem := range []*string{&c.Server.TLS.Cert, &c.Server.TLS.Key} {
		if !strings.HasPrefix(*pem, "-----BEGIN") { // a reference may bring the text itself
			*pem = c.files[0].relative(*pem)
		}
	}
	if c.Connections == nil {
		c.Connections = map[string]Connection{}
	}
	if _, ok := c.Connections[Local]; !ok {
		c.Connections[Local] = Connection{Kind: "sqltable", Block: json.RawMessage(`{"dsn":"kedge"}`)}
	}
	for i := range c.Integrations {
		if c.Integrations[i].Local == "" {
			c.Integrations[i].Local = Local
		}
		if i < c.mainIntegrations() {
			c.Integrations[i].Mapping = c.files[0].relative(c.Integrations[i].Mapping)
		}
	}
}

// mainIntegrations is how many integrations the main file itself declares;
// those of included files have their paths resolved already.
func (c *Config) mainIntegrations() int {
	var own struct {
		Integrations []struct{} `yaml:"integrations"`
	}
	if err := c.files[0].decodeLoose(&own); err != nil {
		return 0
	}
	return len(own.Integrations)
}

// check finds what is wrong between keys.
func (c *Config) check() error {
	main := c.files[0]
	for name, conn := range c.Connections {
		if conn.Kind == "" { // a null block does not get to UnmarshalYAML
			return c.errorAt("$.connections."+name, fmt.Sprintf("connections.%s: kind: missing; \"kedge connections list --kinds\" lists them", name))
		}
		if !connectionName.MatchString(name) {
			return c.errorAt("$.connections."+name, fmt.Sprintf("connections.%s: use a lower-case letter, then up to 62 lower-case letters, digits or hyphens", name))
		}
	}
	if err := c.checkIntegrations(); err != nil {
		return err
	}
	if err := c.checkServer(); err != nil {
		return err
	}
	if err := c.checkSubscriptions(); err != nil {
		return err
	}
	if err := c.checkJobs(); err != nil {
		return err
	}
	if c.Log.Format != "" && c.Log.Format != "text" && c.Log.Format != "json" {
		return main.errorAt("$.log.format", "log.format: must be text or json")
	}
	if c.Log.Level != "" && !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		return main.errorAt("$.log.level", "log.level: must be debug, info, warn or error")
	}
	if e := c.Telemetry.OTLPEndpoint; e != "" {
		if u, err := url.Parse(e); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return main.errorAt("$.telemetry.otlpEndpoint", "telemetry.otlpEndpoint: not a URL; write http://collector.example:4318")
		}
	}
	for i, n := range c.Egress.Allow {
		if _, err := netip.ParsePrefix(n); err != nil {
			return main.errorAt(fmt.Sprintf("$.egress.allow[%d]", i), "egress.allow: not a network; write 10.0.0.0/8")
		}
	}
	if c.Egress.Proxy != "" {
		if u, err := url.Parse(c.Egress.Proxy); err != nil || u.Host == "" {
			return main.errorAt("$.egress.proxy", "egress.proxy: not a URL; write http://proxy.example:3128")
		}
	}
	for _, n := range []struct {
		key string
		v   int
	}{{"commitRows", c.Sync.CommitRows}, {"parallelEntities", c.Sync.ParallelEntities}, {"hashSkipMaxRows", c.Sync.HashSkipMaxRows}} {
		if n.v < 0 {
			return main.errorAt("$.sync."+n.key, "sync."+n.key+": must not be negative")
		}
	}
	_, err := c.KeyRing()
	return err
}

func (c *Config) checkServer() error {
	fail := func(key, text string) error { return c.files[0].errorAt("$.server."+key, "server."+key+": "+text) }
	if _, port, err := net.SplitHostPort(c.Server.Listen); err != nil {
		return fail("listen", "write HOST:PORT, such as 127.0.0.1:8080")
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fail("listen", "the port must be a number from 0 to 65535")
	}
	if c.Server.PublicURL != "" {
		u, err := url.Parse(c.Server.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fail("publicURL", "write the address that others use, such as https://kedge.example.com")
		}
	}
	if (c.Server.TLS.Cert == "") != (c.Server.TLS.Key == "") {
		return fail("tls", "needs both cert and key, or neither")
	}
	return nil
}

func (c *Config) checkIntegrations() error {
	seen := map[string]bool{}
	for i, in := range c.Integrations {
		at := fmt.Sprintf("integrations[%d]", i)
		fail := func(key, text string) error { return c.errorAt("$."+at+"."+key, at+"."+key+": "+text) }
		switch {
		case !connectionName.MatchString(in.Name):
			return fail("name", "use a lower-case letter, then up to 62 lower-case letters, digits or hyphens")
		case seen[in.Name]:
			return fail("name", fmt.Sprintf("there is another integration %q", in.Name))
		case in.External == "":
			return fail("external", "missing; name the connection of the external side")
		case in.Mapping == "":
			return fail("mapping", "missing; name the mapping file")
		}
		seen[in.Name] = true
		for key, conn := range map[string]string{"external": in.External, "local": in.Local} {
			if _, ok := c.Connections[conn]; !ok {
				return fail(key, fmt.Sprintf("there is no connection %q%s", conn, suggest(conn, c.connectionNames())))
			}
		}
	}
	return nil
}

func (c *Config) connectionNames() []string {
	var names []string
	for name := range c.Connections {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// errorAt is an error at a path in whichever file has it.
func (c *Config) errorAt(path, message string) error {
	for _, f := range c.files {
		if f.has(path) {
			return f.errorAt(path, message)
		}
	}
	return c.files[0].errorAt(path, message)
}

// At gives an error text about a key of a connection its place in the file:
// "connections.crm.url: missing" becomes "kedge.yaml:4:3: connections.crm.url: missing".
func (c *Config) At(text string) error {
	key, _, _ := strings.Cut(text, ": ")
	return c.errorAt("$."+key, text)
}

// KeyRing returns the keys that seal stored secrets, or nil if there are none.
func (c *Config) KeyRing() (*store.KeyRing, error) {
	if len(c.Keys) == 0 {
		return nil, nil
	}
	var keys []store.Key
	for i, k := range c.Keys {
		at := fmt.Sprintf("keys[%d]", i)
		value, err := base64.StdEncoding.DecodeString(k.Value)
		if err != nil || len(value) != 32 {
			return nil, c.errorAt("$."+at, at+".value: must be base64 of 32 bytes; \"openssl rand -base64 32\" makes one")
		}
		keys = append(keys, store.Key{ID: k.ID, Value: value})
	}
	ring, err := store.NewKeyRing(keys...)
	if err != nil {
		return nil, c.errorAt("$.keys", "keys: "+err.Error())
	}
	return ring, nil
}

// keysOf returns the keys that a struct, and the structs in it, read.
func keysOf(v any) []string {
	var keys []string
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" {
					keys = append(keys, name)
					walk(t.Field(i).Type)
				}
			}
		}
	}
	walk(reflect.TypeOf(v))
	return keys
}
