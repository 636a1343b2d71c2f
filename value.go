package kedge

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Type says what a [Value] holds and what a [Field] may hold.
type Type uint8

// The types of values. Missing and Null are states of a value; a field never
// has one of them as its type.
const (
	TypeMissing Type = iota // the property was not sent
	TypeNull                // the property was sent as null
	TypeBool
	TypeInt     // int64
	TypeFloat   // float64, NaN and infinities included
	TypeDecimal // exact decimal text, scale kept: "19.90"
	TypeString  // UTF-8 text
	TypeTime    // an instant, UTC, nanoseconds, years 1 to 9999
	TypeDate    // a calendar day, years 1 to 9999
	TypeBytes
	TypeJSON // raw JSON text, compact
)

var typeNames = [...]string{"missing", "null", "bool", "int", "float", "decimal", "string", "time", "date", "bytes", "json"}

// String returns the lower-case name that mapping files and outputs use.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "type" + strconv.Itoa(int(t))
}

// ParseType is the reverse of [Type.String] for the types that a field can have.
func ParseType(name string) (Type, bool) {
	for i := TypeBool; int(i) < len(typeNames); i++ {
		if typeNames[i] == name {
			return i, true
		}
	}
	return TypeMissing, false
}

// A Value is one field value. It is small, is passed by value and needs no
// heap for scalars. The zero Value is missing: the source did not send it,
// which is not the same as null.
//
// Compare values with [Equal], not with ==, because 19.9 and 19.90 are one
// number and because NaN is equal to itself here.
type Value struct {
	s    string // decimal, string, bytes, json
	n    uint64 // bool, int, float bits, seconds of a time, days of a date
	nano uint32 // of a time
	typ  Type
}

// Clone returns a copy of v that shares no memory with the page it came from.
func (v Value) Clone() Value {
	v.s = strings.Clone(v.s)
	return v
}

// Null returns the null value.
func Null() Value { return Value{typ: TypeNull} }

// Bool returns a bool value.
func Bool(b bool) Value {
	v := Value{typ: TypeBool}
	if b {
		v.n = 1
	}
	return v
}

// Int returns an int value.
func Int(i int64) Value { return Value{typ: TypeInt, n: uint64(i)} }

// Float returns a float value. All NaNs are the same value.
func Float(f float64) Value {
	if math.IsNaN(f) {
		f = math.NaN()
	}
	return Value{typ: TypeFloat, n: math.Float64bits(f)}
}

// Decimal returns a decimal value with the digits of text, which must pass
// [ValidDecimal]; it panics otherwise, because text that came from outside
// must be checked where its position is still known.
func Decimal(text string) Value {
	if !ValidDecimal(text) {
		panic("kedge: Decimal of text that is not a decimal number")
	}
	return Value{typ: TypeDecimal, s: text}
}

// String returns a string value.
func String(s string) Value { return Value{typ: TypeString, s: s} }

// Bytes returns a bytes value. b is copied.
func Bytes(b []byte) Value { return Value{typ: TypeBytes, s: string(b)} }

// BytesText is [Bytes] for bytes that are already held in a string.
func BytesText(s string) Value { return Value{typ: TypeBytes, s: s} }

// JSON returns a json value holding raw, which the caller has checked to be
// one valid JSON text.
func JSON(raw string) Value { return Value{typ: TypeJSON, s: raw} }

// Time returns a time value in UTC. It panics for years outside 1 to 9999.
func Time(t time.Time) Value {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		panic("kedge: Time of a year outside 1 to 9999")
	}
	return Value{typ: TypeTime, n: uint64(t.Unix()), nano: uint32(t.Nanosecond())}
}

const secondsPerDay = 24 * 60 * 60

// Date returns the calendar day of t in t's own location. It panics for years
// outside 1 to 9999.
func Date(t time.Time) Value {
	y, m, d := t.Date()
	if y < 1 || y > 9999 {
		panic("kedge: Date of a year outside 1 to 9999")
	}
	midnight := time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix()
	return Value{typ: TypeDate, n: uint64(midnight / secondsPerDay)}
}

// Type returns what v holds.
func (v Value) Type() Type { return v.typ }

// IsMissing reports whether v was not sent.
func (v Value) IsMissing() bool { return v.typ == TypeMissing }

// IsNull reports whether v was sent as null.
func (v Value) IsNull() bool { return v.typ == TypeNull }

// IsEmpty reports whether v is missing or null.
func (v Value) IsEmpty() bool { return v.typ <= TypeNull }

// Bool returns the bool that v holds, and false for other types.
func (v Value) Bool() bool { return v.typ == TypeBool && v.n == 1 }

// Int returns the int64 that v holds, and 0 for other types.
func (v Value) Int() int64 {
	if v.typ != TypeInt {
		return 0
	}
	return int64(v.n)
}

// Float returns the float64 that v holds, and 0 for other types.
func (v Value) Float() float64 {
	if v.typ != TypeFloat {
		return 0
	}
	return math.Float64frombits(v.n)
}

// Str returns the text of a string, decimal or json value and the bytes of a
// bytes value as they are, and "" for other types. See [Value.Text] for text
// of every type.
func (v Value) Str() string { return v.s }

// Time returns the instant of a time value or UTC midnight of a date value,
// and the zero time for other types.
func (v Value) Time() time.Time {
	switch v.typ {
	case TypeTime:
		return time.Unix(int64(v.n), int64(v.nano)).UTC()
	case TypeDate:
		return time.Unix(int64(v.n)*secondsPerDay, 0).UTC()
	}
	return time.Time{}
}

// Any returns v as the Go value that database drivers and JSON encoders
// expect: nil for missing and null, bool, int64, float64, string for decimal,
// string and json, time.Time for time and date, []byte for bytes.
func (v Value) Any() any {
	switch v.typ {
	case TypeBool:
		return v.n == 1
	case TypeInt:
		return int64(v.n)
	case TypeFloat:
		return v.Float()
	case TypeDecimal, TypeString, TypeJSON:
		return v.s
	case TypeTime, TypeDate:
		return v.Time()
	case TypeBytes:
		return []byte(v.s)
	}
	return nil
}

// Text returns the canonical text of v: the form that keys, exports and
// comparisons of different types use. Missing and null give "". Decimals keep
// their digits; times are RFC 3339 in UTC with as many digits as needed; bytes
// are base64url without padding. [ParseText] reads it back.
func (v Value) Text() string {
	switch v.typ {
	case TypeDecimal, TypeString, TypeJSON:
		return v.s
	}
	return string(v.AppendText(nil))
}

// AppendText appends [Value.Text] to b.
func (v Value) AppendText(b []byte) []byte {
	switch v.typ {
	case TypeBool:
		return strconv.AppendBool(b, v.n == 1)
	case TypeInt:
		return strconv.AppendInt(b, int64(v.n), 10)
	case TypeFloat:
		return appendFloat(b, v.Float())
	case TypeDecimal, TypeString, TypeJSON:
		return append(b, v.s...)
	case TypeTime:
		return v.Time().AppendFormat(b, time.RFC3339Nano)
	case TypeDate:
		return v.Time().AppendFormat(b, time.DateOnly)
	case TypeBytes:
		return base64.RawURLEncoding.AppendEncode(b, []byte(v.s))
	}
	return b
}

func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "INF"...)
	case math.IsInf(f, -1):
		return append(b, "-INF"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// ParseText reads text, as [Value.Text] writes it, as a value of type t. The
// error names the type and never the text.
func ParseText(t Type, text string) (Value, error) {
	switch t {
	case TypeBool:
		if text == "true" || text == "false" {
			return Bool(text == "true"), nil
		}
	case TypeInt:
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return Int(i), nil
		}
	case TypeFloat:
		if f, ok := parseFloat(text); ok {
			return Float(f), nil
		}
	case TypeDecimal:
		if ValidDecimal(text) {
			return Value{typ: TypeDecimal, s: text}, nil
		}
	case TypeString:
		return String(text), nil
	case TypeJSON:
		return JSON(text), nil
	case TypeTime:
		if tm, err := time.Parse(time.RFC3339Nano, text); err == nil && yearFits(tm.UTC()) {
			return Time(tm), nil
		}
	case TypeDate:
		if tm, err := time.Parse(time.DateOnly, text); err == nil && yearFits(tm) {
			return Date(tm), nil
		}
	case TypeBytes:
		if b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "=")); err == nil {
			return Bytes(b), nil
		}
	}
	return Value{}, fmt.Errorf("text is not a valid %v", t)
}

func yearFits(t time.Time) bool { return t.Year() >= 1 && t.Year() <= 9999 }

func parseFloat(text string) (float64, bool) {
	switch text {
	case "INF":
		return math.Inf(1), true
	case "-INF":
		return math.Inf(-1), true
	case "NaN":
		return math.NaN(), true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || strings.ContainsAny(text, "xX_nN") {
		return 0, false
	}
	return f, true
}
