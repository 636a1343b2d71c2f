package connectors

import (
	"fmt"
	"io"
	"log/slog"
)

const hidden = "***"

// A Secret is a value from the config that must not be shown. It prints, logs
// and marshals as "***"; a conversion to string gives the value.
type Secret string

// String returns "***".
func (Secret) String() string { return hidden }

// GoString returns "***".
func (Secret) GoString() string { return hidden }

// Format writes "***" for every verb, also for those that would show the
// bytes of a string.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalJSON returns the JSON string "***".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText returns "***", for YAML and other formats.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue returns "***".
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
