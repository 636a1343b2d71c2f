package odata

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// A Config is the block of a connection of kind odata. Zero values of options
// mean the preset of the flavor.
type Config struct {
	URL     string                `json:"url"`
	Flavor  string                `json:"flavor"`  // generic (also ""), businesscentral, dataverse or graph
	Company string                `json:"company"` // businesscentral only: name or id
	Auth    httpclient.AuthConfig `json:"auth"`
	Headers map[string]string     `json:"headers"` // sent with every request

	EntityConfig                         // for all entities
	Entities     map[string]EntityConfig `json:"entities"`

	OrFilters          *bool `json:"orFilters"`          // OR over different fields is understood
	PushStringNegation *bool `json:"pushStringNegation"` // strings are compared with case

	Concurrency int     `json:"concurrency"`
	Rate        float64 `json:"rate"` // requests per second; 0 means the preset
	Burst       int     `json:"burst"`
	MaxVersion  string  `json:"maxVersion"`

	Timeout            Duration `json:"timeout"`     // to the first byte; 0 means 2m
	IdleTimeout        Duration `json:"idleTimeout"` // between bytes; 0 means 60s
	MaxPageBytes       Size     `json:"maxPageBytes"`
	MaxMetadataBytes   Size     `json:"maxMetadataBytes"`
	MaxURL             int      `json:"maxURL"`
	CSRF               string   `json:"csrf"` // of writing
	AllowedHosts       []string `json:"allowedHosts"`
	AllowHTTP          bool     `json:"allowHTTP"`
	AnchorExpiredCodes []string `json:"anchorExpiredCodes"`
}

// An EntityConfig holds the options that an entity can have of its own.
type EntityConfig struct {
	PageSize        int               `json:"pageSize"`
	Paging          string            `json:"paging"`   // server, keyset or auto
	Tracking        string            `json:"tracking"` // delta, watermark, full or auto
	VersionField    string            `json:"versionField"`
	Overlap         *Duration         `json:"overlap"`
	OverlapVersions *int64            `json:"overlapVersions"`
	Complex         string            `json:"complex"` // flatten or json
	Cast            string            `json:"cast"`    // qualified name of a derived type
	ExtraFields     map[string]string `json:"extraFields"`

	Batch        string   `json:"batch"`        // auto, multipart, json or none
	BatchSize    int      `json:"batchSize"`    // changes per batch
	Atomic       *bool    `json:"atomic"`       // one failed change undoes its whole batch
	Upsert       string   `json:"upsert"`       // ladder, native or off
	IfMatch      string   `json:"ifMatch"`      // always, etag_only or never
	AlternateKey []string `json:"alternateKey"` // fields by which records with server-made keys are found
}

// The ways to find changes, and those to go from page to page.
const (
	auto      = "auto"
	byDelta   = "delta"
	byVersion = "watermark"
	byFull    = "full"
	byServer  = "server"
	byKey     = "keyset"
)

// Options of writing: the forms of batches and upserts, and when If-Match is sent.
const (
	none      = "none"
	multipart = "multipart"
	asJSON    = "json"
	ladder    = "ladder"
	native    = "native"
	off       = "off"
	always    = "always"
	etagOnly  = "etag_only"
	never     = "never"
)

// A preset is what is known about the services of a flavor.
type preset struct {
	entity             EntityConfig
	orFilters          bool
	pushStringNegation bool
	rate               float64
	burst              int
	maxVersion         string
	deltaFunction      bool // delta by GET Set/delta()
	bareDelta          bool // no query options beside track-changes but $select
	maxBatch           int  // changes that the service takes in one batch
	noAtomic           bool // the service has no atomic batches
	rootedBatch        bool // URLs in batches begin with a slash, which stands for the service root
}

// presets are data, so that a service that differs needs an option and no code.
//
// Sources: Business Central, "Using filter expressions in OData URIs" and
// "Current API limits"; Dataverse, "Use change tracking", "Service protection
// API limits" and "Execute batch operations"; Microsoft Graph, "Use delta
// query" and "JSON batching".
var presets = map[string]preset{
	"generic": {
		entity:    EntityConfig{PageSize: 1000, Paging: auto, Tracking: auto, Batch: auto, BatchSize: 100, Upsert: ladder, IfMatch: always},
		orFilters: true, pushStringNegation: true, maxVersion: "4.01", maxBatch: 1000,
	},
	"businesscentral": {
		entity:             EntityConfig{PageSize: 5000, Paging: byServer, Tracking: byVersion, Batch: asJSON, BatchSize: 100, Upsert: ladder, IfMatch: always},
		pushStringNegation: true, rate: 18, burst: 300, maxVersion: "4.0", maxBatch: 100,
	},
	"dataverse": {
		entity:    EntityConfig{PageSize: 5000, Paging: byServer, Tracking: auto, Batch: multipart, BatchSize: 100, Upsert: native, IfMatch: always},
		orFilters: true, rate: 18, burst: 300, maxVersion: "4.0", bareDelta: true, maxBatch: 1000,
	},
	"graph": {
		entity:     EntityConfig{PageSize: 500, Paging: byServer, Tracking: byDelta, Batch: asJSON, BatchSize: 20, Upsert: ladder, IfMatch: etagOnly},
		maxVersion: "4.0", deltaFunction: true, bareDelta: true, maxBatch: 20, noAtomic: true, rootedBatch: true,
	},
}

// The defaults of all flavors.
const (
	defaultOverlap         = 5 * time.Minute
	defaultOverlapVersions = 1000
	defaultPageBytes       = 64 << 20
	defaultMetadataBytes   = 32 << 20
	defaultMaxURL          = 7000
	maxPageSize            = 5000
)

// ParseConfig reads a block that has passed the JSON Schema of [Kind].
func ParseConfig(block json.RawMessage) (Config, error) {
	var cfg Config
	if err := json.Unmarshal(block, &cfg); err != nil {
		return cfg, &kedge.Error{Op: "odata.New", Kind: kedge.Invalid, Err: errors.New("the block of the connection cannot be read")}
	}
	return cfg, nil
}

// withDefaults checks c and fills in the preset.
func (c Config) withDefaults() (Config, preset, error) {
	if c.Flavor == "" {
		c.Flavor = "generic"
	}
	p, ok := presets[c.Flavor]
	if !ok {
		return c, p, fmt.Errorf("flavor: %q is not one of generic, businesscentral, dataverse, graph", c.Flavor)
	}
	if c.Company != "" && c.Flavor != "businesscentral" {
		return c, p, errors.New("company: only flavor businesscentral has companies")
	}
	if err := checkHeaders(c.Headers); err != nil {
		return c, p, err
	}
	c.EntityConfig = c.EntityConfig.over(p.entity)
	if err := c.EntityConfig.check(p); err != nil {
		return c, p, err
	}
	if c.CSRF != "" && c.CSRF != auto && c.CSRF != off {
		return c, p, fmt.Errorf("csrf: %q is not one of auto, off", c.CSRF)
	}
	for name, e := range c.Entities {
		if err := e.over(c.EntityConfig).check(p); err != nil {
			return c, p, fmt.Errorf("entities.%s.%w", name, err)
		}
	}
	setDefault(&c.OrFilters, &p.orFilters)
	setDefault(&c.PushStringNegation, &p.pushStringNegation)
	setDefault(&c.Rate, p.rate)
	setDefault(&c.Burst, p.burst)
	setDefault(&c.MaxVersion, p.maxVersion)
	setDefault(&c.MaxPageBytes, defaultPageBytes)
	setDefault(&c.MaxMetadataBytes, defaultMetadataBytes)
	setDefault(&c.MaxURL, defaultMaxURL)
	return c, p, nil
}

func setDefault[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// over returns e with what it does not set taken from base.
func (e EntityConfig) over(base EntityConfig) EntityConfig {
	setDefault(&e.PageSize, base.PageSize)
	setDefault(&e.Paging, base.Paging)
	setDefault(&e.Tracking, base.Tracking)
	setDefault(&e.VersionField, base.VersionField)
	setDefault(&e.Overlap, base.Overlap)
	setDefault(&e.OverlapVersions, base.OverlapVersions)
	setDefault(&e.Complex, base.Complex)
	setDefault(&e.Cast, base.Cast)
	setDefault(&e.Batch, base.Batch)
	setDefault(&e.BatchSize, base.BatchSize)
	setDefault(&e.Atomic, base.Atomic)
	setDefault(&e.Upsert, base.Upsert)
	setDefault(&e.IfMatch, base.IfMatch)
	if e.AlternateKey == nil {
		e.AlternateKey = base.AlternateKey
	}
	if e.ExtraFields == nil {
		e.ExtraFields = base.ExtraFields
	}
	return e
}

func (e EntityConfig) check(p preset) error {
	if err := e.checkWriting(p); err != nil {
		return err
	}
	switch {
	case e.PageSize < 1 || e.PageSize > maxPageSize:
		return fmt.Errorf("pageSize: %d is not between 1 and %d", e.PageSize, maxPageSize)
	case !slices.Contains([]string{byServer, byKey, auto}, e.Paging):
		return fmt.Errorf("paging: %q is not one of server, keyset, auto", e.Paging)
	case !slices.Contains([]string{byDelta, byVersion, byFull, auto}, e.Tracking):
		return fmt.Errorf("tracking: %q is not one of delta, watermark, full, auto", e.Tracking)
	case e.Overlap != nil && *e.Overlap < 0:
		return errors.New("overlap: is negative")
	case e.OverlapVersions != nil && *e.OverlapVersions < 0:
		return errors.New("overlapVersions: is negative")
	}
	for name, t := range e.ExtraFields {
		if _, ok := kedge.ParseType(t); !ok || name == "" || strings.ContainsAny(name, "/@?&#") {
			return fmt.Errorf("extraFields.%s: not a field name with a type", name)
		}
	}
	return nil
}

func (e EntityConfig) checkWriting(p preset) error {
	switch {
	case !slices.Contains([]string{auto, multipart, asJSON, none}, e.Batch):
		return fmt.Errorf("batch: %q is not one of auto, multipart, json, none", e.Batch)
	case e.BatchSize < 1 || e.BatchSize > p.maxBatch:
		return fmt.Errorf("batchSize: %d is not between 1 and %d", e.BatchSize, p.maxBatch)
	case !slices.Contains([]string{ladder, native, off}, e.Upsert):
		return fmt.Errorf("upsert: %q is not one of ladder, native, off", e.Upsert)
	case !slices.Contains([]string{always, etagOnly, never}, e.IfMatch):
		return fmt.Errorf("ifMatch: %q is not one of always, etag_only, never", e.IfMatch)
	case e.atomic() && p.noAtomic:
		return errors.New("atomic: Microsoft Graph has no atomic batches")
	case e.atomic() && e.Batch == none:
		return errors.New("atomic: needs batches, but batch is none")
	}
	return nil
}

func (e EntityConfig) atomic() bool { return e.Atomic != nil && *e.Atomic }

// checkHeaders refuses the headers that are the driver's own.
func checkHeaders(headers map[string]string) error {
	for name, value := range headers {
		h := http.CanonicalHeaderKey(name)
		if slices.Contains([]string{"Authorization", "Cookie", "Prefer", "Accept", "Content-Type", "Host"}, h) ||
			strings.HasPrefix(h, "Odata-") || strings.HasPrefix(h, "If-") {
			return fmt.Errorf("headers.%s: this header cannot be set here", name)
		}
		if strings.ContainsAny(value, "\r\n") {
			return fmt.Errorf("headers.%s: holds a line end", name)
		}
	}
	return nil
}

// serviceRoot parses the URL of a service; a slash at its end is added.
func serviceRoot(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("url: missing; odata needs it")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("url: not an https URL")
	case u.User != nil:
		return nil, errors.New("url: holds a user name; use auth")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("url: must not have a query; it is the root of the service")
	}
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u, nil
}

// A Duration is written as "90s", "15m", "168h", "7d" or "1y".
type Duration time.Duration

// UnmarshalJSON reads a duration.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(text, "d"):
		unit = 24 * time.Hour
	case strings.HasSuffix(text, "y"):
		unit = 365 * 24 * time.Hour
	}
	if unit == 0 {
		v, err := time.ParseDuration(text)
		*d = Duration(v)
		return err
	}
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 16)
	*d = Duration(time.Duration(n) * unit)
	return err
}

// A Size is a number of bytes, written as "64MiB", "512KiB" or "1GiB".
type Size int64

// UnmarshalJSON reads a size.
func (s *Size) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	shift := 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			text, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(text, 10, 20)
	*s = Size(n << shift)
	return err
}
