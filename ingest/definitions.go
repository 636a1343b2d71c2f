package ingest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge/ingest/custom"
)

// A Group gives its tables a prefix.
type Group struct {
	Name        string    `json:"name"`
	Prefix      string    `json:"prefix"`
	Description string    `json:"description,omitempty"`
	Origin      string    `json:"origin,omitempty"`
	CreatedAt   time.Time `json:"createdAt,omitzero"`
	UpdatedAt   time.Time `json:"updatedAt,omitzero"`
}

// A Schema declares a table: what its resources look like and how they are
// kept.
type Schema struct {
	Group       string          `json:"group"`
	Table       string          `json:"table"`
	FullName    string          `json:"fullName,omitempty"`
	Schema      json.RawMessage `json:"schema,omitempty"`     // JSON Schema, as it was given
	History     string          `json:"history,omitempty"`    // how long changes are kept: "90d"; "" means for ever
	EmptyBulk   string          `json:"emptyBulk,omitempty"`  // reject (default) or accept
	MaxRemoved  *MaxRemoved     `json:"maxRemoved,omitempty"` // nil: no breaker
	Mapping     json.RawMessage `json:"mapping,omitempty"`    // mapping file: JSON, or a string of YAML
	Integration string          `json:"integration,omitempty"`
	Version     int             `json:"version,omitempty"`
	State       string          `json:"state,omitempty"`
	Origin      string          `json:"origin,omitempty"`
	CreatedAt   time.Time       `json:"createdAt,omitzero"`
	UpdatedAt   time.Time       `json:"updatedAt,omitzero"`
	Warnings    []string        `json:"warnings,omitempty"`
}

// MaxRemoved is the breaker of bulks: one that removes more than Percent of
// the live resources, and more than Min of them, must confirm the number.
type MaxRemoved struct {
	Percent int `json:"percent"`
	Min     int `json:"min"`
}

// An Integration lets senders push into tables.
type Integration struct {
	Name      string    `json:"name"`
	Tables    []string  `json:"tables"` // full names
	Rate      *Rate     `json:"rate,omitempty"`
	State     string    `json:"state,omitempty"`
	Origin    string    `json:"origin,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
}

// Rate limits each key of an integration, in this process. Empty values do
// not limit.
type Rate struct {
	Requests string `json:"requests,omitempty"` // "1000/s", also /m and /h
	Burst    int    `json:"burst,omitempty"`    // requests; defaults to those of one second
	Bytes    string `json:"bytes,omitempty"`    // "16MiB/s", of decoded bodies
}

// settings are what is stored of a schema beside its document.
type settings struct {
	History    string          `json:"history,omitempty"`
	EmptyBulk  string          `json:"emptyBulk,omitempty"`
	MaxRemoved *MaxRemoved     `json:"maxRemoved,omitempty"`
	Mapping    json.RawMessage `json:"mapping,omitempty"`
}

// parse checks s and turns it into what package custom needs. Errors name the
// key.
func (s settings) parse() (custom.Settings, error) {
	var out custom.Settings
	var err error
	if s.History != "" {
		if out.History, err = ParseDuration(s.History); err != nil {
			return out, fmt.Errorf("history: %w", err)
		}
	}
	switch s.EmptyBulk {
	case "", "reject":
	case "accept":
		out.AllowEmpty = true
	default:
		return out, fmt.Errorf("emptyBulk: must be reject or accept")
	}
	if m := s.MaxRemoved; m != nil {
		if m.Percent < 0 || m.Percent > 100 || m.Min < 0 || *m == (MaxRemoved{}) {
			return out, fmt.Errorf("maxRemoved: needs percent, from 0 to 100, and min, a number of resources")
		}
		out.MaxPercent, out.MinRemoved = m.Percent, m.Min
	}
	out.Mapping, err = mappingText(s.Mapping)
	return out, err
}

// mappingText returns the mapping as YAML: a JSON string holds it, other JSON
// is YAML itself.
func mappingText(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var text string
	if raw[0] == '"' {
		err := json.Unmarshal(raw, &text)
		return text, err
	}
	if raw[0] != '{' {
		return "", fmt.Errorf("mapping: must be an object, or a string that holds YAML")
	}
	return string(raw), nil
}

// ParseDuration reads 90s, 15m, 168h, 7d or 10y.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration; write 90s, 15m, 168h, 7d or 10y", s)
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "y": 365 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			count, err := strconv.ParseUint(n, 10, 32)
			if err != nil || count > uint64(292*365*24*time.Hour/unit) {
				return 0, bad
			}
			return time.Duration(count) * unit, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, bad
	}
	return d, nil
}
