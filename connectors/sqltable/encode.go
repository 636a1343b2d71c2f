package sqltable

import (
	"errors"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

// A misfit says why a value cannot be stored. It never holds the value.
var (
	errMissing  = errors.New("a value is missing")
	errNull     = errors.New("is null, but the column is not nullable")
	errNUL      = errors.New("PostgreSQL cannot store text with a NUL character")
	errUTF8     = errors.New("text is not valid UTF-8")
	errNaN      = errors.New("SQLite cannot store NaN")
	errGUID     = errors.New("text is not a guid")
	errRange    = errors.New("number is out of range")
	errLong     = errors.New("text is too long for its column")
	errWrong    = errors.New("value has a type that the column cannot hold")
	errComputed = errors.New("the column is computed by the database")
)

// fit converts v to the column's own type, and checks what the database would
// refuse, or worse, change in silence.
func (c *column) fit(engine store.Engine, v kedge.Value) (kedge.Value, error) {
	switch {
	case v.IsMissing():
		return v, errMissing
	case v.IsNull() && c.NotNull:
		return v, errNull
	case v.IsNull():
		return v, nil
	}
	v, err := c.convert(v)
	if err != nil {
		return v, err
	}
	switch c.Type {
	case kedge.TypeFloat:
		if engine == store.SQLite && math.IsNaN(v.Float()) {
			return v, errNaN
		}
	case kedge.TypeString, kedge.TypeJSON:
		return v, c.fitText(engine, v.Str())
	}
	return v, nil
}

func (c *column) fitText(engine store.Engine, s string) error {
	switch {
	case !utf8.ValidString(s):
		return errUTF8
	case engine == store.Postgres && strings.IndexByte(s, 0) >= 0:
		return errNUL
	case c.Storage == catalog.UUID:
		if len(s) != 36 || uuid.Validate(s) != nil {
			return errGUID
		}
	case c.MaxLength > 0 && len(s) > c.MaxLength && utf8.RuneCountInString(s) > c.MaxLength:
		return errLong
	}
	return nil
}

// convert gives v the type of the column where no digit is lost.
func (c *column) convert(v kedge.Value) (kedge.Value, error) {
	if v.Type() == c.Type {
		if c.Storage == catalog.UUID {
			return kedge.String(strings.ToLower(v.Str())), nil
		}
		return v, nil
	}
	switch {
	case c.Type == kedge.TypeDecimal && v.Type() == kedge.TypeInt:
		return kedge.Decimal(v.Text()), nil
	case c.Type == kedge.TypeFloat && v.Type() == kedge.TypeInt && int64(float64(v.Int())) == v.Int():
		return kedge.Float(float64(v.Int())), nil
	case c.Type == kedge.TypeInt && v.Type() == kedge.TypeDecimal:
		i, err := kedge.ParseText(kedge.TypeInt, kedge.CanonicalDecimal(v.Str()))
		if err != nil {
			return v, errRange
		}
		return i, nil
	case c.Type == kedge.TypeString && v.Type() != kedge.TypeBytes:
		return kedge.String(v.Text()), nil
	}
	return v, errWrong
}

// sqliteArg returns v, which fits, as an argument for SQLite.
func (c *column) sqliteArg(v kedge.Value) any {
	switch v.Type() {
	case kedge.TypeBool, kedge.TypeInt, kedge.TypeFloat, kedge.TypeBytes:
		return v.Any()
	case kedge.TypeString, kedge.TypeDecimal, kedge.TypeJSON:
		return v.Str()
	case kedge.TypeTime:
		if c.Storage == catalog.LocalTime {
			return v.Time().Format(sqliteLocalTime)
		}
		return string(appendTime(make([]byte, 0, len(sqliteTime)), v.Time()))
	case kedge.TypeDate:
		return v.Time().Format(time.DateOnly)
	}
	return nil
}

// postgresArg returns v, which fits, as an argument for PostgreSQL: text, so
// that no driver takes it for something else, to be cast to [column.cast].
func (c *column) postgresArg(v kedge.Value) any {
	switch v.Type() {
	case kedge.TypeMissing, kedge.TypeNull:
		return nil
	case kedge.TypeBytes:
		return v.Any()
	case kedge.TypeTime:
		return v.Time().Format("2006-01-02 15:04:05.999999Z07:00")
	case kedge.TypeFloat:
		if f := v.Float(); math.IsInf(f, 0) {
			return strings.Replace(v.Text(), "INF", "Infinity", 1)
		}
	}
	return v.Text()
}

// arg returns v as an argument for the engine.
func (c *column) arg(engine store.Engine, v kedge.Value) any {
	if engine == store.Postgres {
		return c.postgresArg(v)
	}
	return c.sqliteArg(v)
}

// cast is the PostgreSQL type in which values of the column travel. Its values
// are assigned to the column, so that a value which is too long or out of
// range is refused and not cut.
func (c *column) cast() string {
	switch c.Storage {
	case catalog.Bool:
		return "boolean"
	case catalog.Int:
		return "bigint"
	case catalog.Float:
		return "double precision"
	case catalog.Decimal:
		return "numeric"
	case catalog.Time:
		return "timestamptz"
	case catalog.LocalTime:
		return "timestamp"
	case catalog.Date:
		return "date"
	case catalog.Bytes:
		return "bytea"
	case catalog.JSON:
		return c.Cast
	case catalog.UUID:
		return "uuid"
	}
	return "text"
}
