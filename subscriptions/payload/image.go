package payload

import (
	"bytes"
	"encoding/base64"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
)

// An image is a record as push_event keeps it: a JSON object in which decimals
// have no exponent and floats always have one, so that the two can be told
// apart without the table they come from.

// AppendImage appends the image of the named fields of r. Missing values are
// left out.
func AppendImage(b []byte, fields []string, r *kedge.Record) []byte {
	w := open(b)
	for _, f := range fields {
		if v := r.Get(f); !v.IsMissing() {
			w.name(f)
			w.b = AppendValue(w.b, v)
		}
	}
	return w.close()
}

// AppendValue appends v as it is in an image.
func AppendValue(b []byte, v kedge.Value) []byte {
	switch v.Type() {
	case kedge.TypeBool:
		return strconv.AppendBool(b, v.Bool())
	case kedge.TypeInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case kedge.TypeFloat:
		f := v.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return appendString(b, v.Text()) // JSON has no such number
		}
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	case kedge.TypeDecimal:
		return append(b, plainDecimal(v.Str())...)
	case kedge.TypeJSON:
		if raw := jsontext.Value(v.Str()); raw.IsValid() {
			return append(b, raw...)
		}
		return appendString(b, v.Str())
	case kedge.TypeBytes:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, []byte(v.Str()))
		return append(b, '"')
	case kedge.TypeMissing, kedge.TypeNull:
		return append(b, "null"...)
	}
	return appendString(b, v.Text())
}

// plainDecimal returns the JSON number of a decimal, without exponent. Digits
// that JSON can write are kept, also zeros at the end.
func plainDecimal(text string) string {
	if strings.ContainsAny(text, "eE+") {
		return kedge.CanonicalDecimal(text)
	}
	neg := strings.HasPrefix(text, "-")
	whole, frac, point := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if point && frac != "" {
		whole += "." + frac
	}
	if neg {
		return "-" + whole
	}
	return whole
}

// A View is what of an image a subscription sees, and how.
type View struct {
	Fields        []string
	StringNumbers bool // decimals, and integers beyond 2^53, as strings
}

// Record appends what v shows of image.
func (v View) Record(b, image []byte) ([]byte, error) {
	w := open(b)
	err := members(image, func(name string, value jsontext.Value) {
		if !slices.Contains(v.Fields, name) {
			return
		}
		w.name(name)
		if value.Kind() == '0' {
			w.b = v.appendNumber(w.b, value)
			return
		}
		w.b = append(w.b, value...)
	})
	return w.close(), err
}

const maxExact = 1 << 53

func (v View) appendNumber(b []byte, n jsontext.Value) []byte {
	if bytes.IndexByte(n, 'e') >= 0 {
		if f, err := strconv.ParseFloat(string(n), 64); err == nil {
			if a := math.Abs(f); a < 1e21 && (a >= 1e-6 || a == 0) {
				return strconv.AppendFloat(b, f, 'f', -1, 64)
			}
		}
		return append(b, n...)
	}
	if !v.StringNumbers {
		return append(b, n...)
	}
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil && i >= -maxExact && i <= maxExact {
		return append(b, n...)
	}
	b = append(b, '"')
	return append(append(b, n...), '"')
}

// members calls f with each member of a JSON object. value is valid until f
// returns.
func members(image []byte, f func(name string, value jsontext.Value)) error {
	if len(image) == 0 {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(image), jsontext.AllowInvalidUTF8(true))
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		f(name, value)
	}
	_, err := dec.ReadToken()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// ReadImage returns the record that an image was made of, with the types of
// entity's fields. Fields that the entity does not have get the type that
// their JSON shows.
func ReadImage(image []byte, entity *kedge.Entity) (*kedge.Record, error) {
	var names []string
	r := &kedge.Record{}
	err := members(image, func(name string, value jsontext.Value) {
		names = append(names, name)
		t := kedge.TypeMissing
		if f := entity.Field(name); f != nil {
			t = f.Type
		}
		r.Values = append(r.Values, valueOf(value, t))
	})
	r.Fields = kedge.NewFields(names...)
	return r, err
}

func valueOf(raw jsontext.Value, t kedge.Type) kedge.Value {
	if t == kedge.TypeJSON {
		return kedge.JSON(string(raw))
	}
	text := string(raw)
	switch raw.Kind() {
	case 'n':
		return kedge.Null()
	case 't', 'f':
		return kedge.Bool(raw.Kind() == 't')
	case '{', '[':
		return kedge.JSON(text)
	case '"':
		unquoted, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return kedge.Null()
		}
		text = string(unquoted)
	case '0':
		if t != kedge.TypeInt && t != kedge.TypeFloat && t != kedge.TypeDecimal {
			return numberOf(text)
		}
	}
	if t == kedge.TypeBytes {
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			return kedge.Bytes(b)
		}
	}
	if v, err := kedge.ParseText(t, text); err == nil {
		return v
	}
	if raw.Kind() == '0' {
		return numberOf(text)
	}
	return kedge.String(text)
}

func numberOf(text string) kedge.Value {
	if strings.ContainsAny(text, "eE") {
		if v, err := kedge.ParseText(kedge.TypeFloat, text); err == nil {
			return v
		}
	}
	if v, err := kedge.ParseText(kedge.TypeInt, text); err == nil {
		return v
	}
	if v, err := kedge.ParseText(kedge.TypeDecimal, text); err == nil {
		return v
	}
	return kedge.String(text)
}
