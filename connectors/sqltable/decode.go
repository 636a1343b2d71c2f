package sqltable

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// Layouts of times in text.
const (
	sqliteTime      = "2006-01-02T15:04:05.000000000Z" // fixed width, so that text order is time order
	sqliteLocalTime = "2006-01-02 15:04:05.999999999"  // as CURRENT_TIMESTAMP writes it
)

// selected is what to select to read the column. Drivers parse times by
// themselves, fail on those that Go cannot hold, and reformat others, so they
// are read as text.
func (c *column) selected(engine store.Engine, table string) string {
	ref := table + c.ref
	switch {
	case engine == store.SQLite && (c.Storage == catalog.LocalTime || c.Storage == catalog.Date):
		return "+" + ref // an expression has no declared type that the driver would act on
	case engine == store.SQLite:
		return ref
	case c.Storage == catalog.Time, c.Storage == catalog.LocalTime, c.Storage == catalog.Date, c.Storage == catalog.Other:
		return ref + "::text"
	}
	return ref
}

var errFit = errors.New("the stored value does not fit the column's type")

// decode turns what a driver scanned into a value of the column's type.
func (c *column) decode(v any) (kedge.Value, error) {
	if v == nil {
		return kedge.Null(), nil
	}
	switch c.Storage {
	case catalog.Bool:
		return decodeBool(v)
	case catalog.Int:
		if i, ok := v.(int64); ok {
			return kedge.Int(i), nil
		}
	case catalog.Float:
		switch f := v.(type) {
		case float64:
			return kedge.Float(f), nil
		case int64:
			return kedge.Float(float64(f)), nil
		}
	case catalog.Bytes:
		switch b := v.(type) {
		case []byte:
			return kedge.Bytes(b), nil
		case string:
			return kedge.BytesText(b), nil
		}
	case catalog.Decimal:
		return decodeDecimal(v)
	default:
		if s, ok := asText(v); ok {
			return c.decodeText(s)
		}
	}
	return kedge.Value{}, errFit
}

func decodeBool(v any) (kedge.Value, error) {
	switch b := v.(type) {
	case bool:
		return kedge.Bool(b), nil
	case int64:
		return kedge.Bool(b != 0), nil
	}
	return kedge.Value{}, errFit
}

func decodeDecimal(v any) (kedge.Value, error) {
	switch d := v.(type) {
	case int64:
		return kedge.Decimal(kedge.Int(d).Text()), nil
	case float64:
		if text := kedge.Float(d).Text(); kedge.ValidDecimal(text) {
			return kedge.Decimal(text), nil
		}
	}
	if s, ok := asText(v); ok && kedge.ValidDecimal(s) {
		return kedge.Decimal(s), nil
	}
	return kedge.Value{}, errFit
}

// asText returns the text of a scanned value; SQLite keeps numbers in columns
// of any type.
func asText(v any) (string, bool) {
	switch s := v.(type) {
	case string:
		return s, utf8.ValidString(s)
	case []byte:
		return string(s), utf8.Valid(s)
	case int64:
		return kedge.Int(s).Text(), true
	case float64:
		return kedge.Float(s).Text(), true
	}
	return "", false
}

func (c *column) decodeText(s string) (kedge.Value, error) {
	switch c.Storage {
	case catalog.Time, catalog.LocalTime:
		t, err := parseTime(s)
		if err != nil {
			return kedge.Value{}, errFit
		}
		return kedge.Time(t), nil
	case catalog.Date:
		t, err := time.Parse(time.DateOnly, s)
		if err != nil || t.Year() < 1 {
			return kedge.Value{}, errFit
		}
		return kedge.Date(t), nil
	case catalog.JSON:
		return decodeJSON(s)
	case catalog.UUID:
		return kedge.String(strings.ToLower(s)), nil
	}
	return kedge.String(s), nil
}

// parseTime reads the forms that SQLite's date functions know (Date And Time
// Functions, 2) and that of PostgreSQL. Times without a zone are UTC.
func parseTime(s string) (time.Time, error) {
	if len(s) == len(sqliteTime) {
		if t, err := time.Parse(sqliteTime, s); err == nil && t.Year() >= 1 {
			return t, nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04",
		"2006-01-02 15:04:05.999999999Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return checkYear(t)
		}
	}
	t, err := pgdriver.ParseTime(s)
	if err != nil {
		return t, err
	}
	return checkYear(t)
}

func checkYear(t time.Time) (time.Time, error) {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return t, errFit
	}
	return t, nil
}

func decodeJSON(s string) (kedge.Value, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		return kedge.Value{}, errFit
	}
	return kedge.JSON(b.String()), nil
}
