package syncer

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
)

// packValues returns the values of a record as a JSON object: texts, or null.
// Missing values are left out.
func packValues(fields *kedge.Fields, values []kedge.Value) string {
	packed, text := make([]byte, 0, 32*len(values)), []byte(nil)
	for i, v := range values[:min(len(values), fields.Len())] {
		if v.IsMissing() {
			continue
		}
		packed = quote(append(packed, ','), fields.Name(i))
		if packed = append(packed, ':'); v.IsNull() {
			packed = append(packed, "null"...)
			continue
		}
		text = v.AppendText(text[:0])
		packed = quote(packed, text)
	}
	if len(packed) == 0 {
		return "{}"
	}
	packed[0] = '{'
	return string(append(packed, '}'))
}

// quote appends a JSON string. What is not UTF-8 is replaced.
func quote[T ~string | ~[]byte](to []byte, text T) []byte {
	to, _ = jsontext.AppendQuote(to, text)
	return to
}

// unpackValues is the reverse of packValues. What no longer fits the field is
// missing, so it counts as unknown.
func unpackValues(packed string, ent *kedge.Entity, fields *kedge.Fields) (*kedge.Record, error) {
	r := &kedge.Record{Fields: fields, Values: make([]kedge.Value, fields.Len())}
	d := jsontext.NewDecoder(bytes.NewBufferString(packed), jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		at := fields.Index(name.String())
		text, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		if at < 0 {
			continue
		}
		if r.Values[at] = kedge.Null(); text.Kind() == '"' {
			r.Values[at] = parseText(ent.Field(fields.Name(at)), text.String())
		}
	}
	_, err := d.ReadToken()
	return r, err
}

// parseText returns the value of a field, missing if the text is none.
func parseText(f *kedge.Field, text string) kedge.Value {
	if f == nil {
		return kedge.Value{}
	}
	v, err := kedge.ParseText(f.Type, text)
	if err != nil {
		return kedge.Value{}
	}
	return v
}
