package schema

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// closeRoot returns doc minified, with "unevaluatedProperties": false at its
// root in place of what was there, and the names in "properties" in order. doc
// must have passed the scan.
func closeRoot(doc []byte) (effective []byte, names []string, err error) {
	var b bytes.Buffer
	enc := jsontext.NewEncoder(&b)
	err = enc.WriteToken(jsontext.BeginObject)
	for name, raw := range members(doc) {
		if name == "properties" && raw.Kind() == '{' {
			for property := range members(raw) {
				names = append(names, property)
			}
		}
		if name != "unevaluatedProperties" && err == nil {
			err = writeMember(enc, name, raw)
		}
	}
	if err == nil {
		err = writeMember(enc, "unevaluatedProperties", jsontext.Value("false"))
	}
	if err == nil {
		err = enc.WriteToken(jsontext.EndObject)
	}
	if err == nil {
		effective, err = jsonguard.Minify(nil, bytes.TrimSpace(b.Bytes()))
	}
	if err != nil {
		return nil, nil, &kedge.Error{Op: "schema", Kind: kedge.Internal, Err: err}
	}
	return effective, names, nil
}

func writeMember(enc *jsontext.Encoder, name string, raw jsontext.Value) error {
	if err := enc.WriteToken(jsontext.String(name)); err != nil {
		return err
	}
	return enc.WriteValue(raw)
}

// members yields the members of a JSON object in order. It stops at what is
// not JSON.
func members(object []byte) func(yield func(string, jsontext.Value) bool) {
	return func(yield func(string, jsontext.Value) bool) {
		dec := jsontext.NewDecoder(bytes.NewReader(object))
		if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
			return
		}
		for dec.PeekKind() == '"' {
			tok, err := dec.ReadToken()
			if err != nil {
				return
			}
			name := tok.String()
			raw, err := dec.ReadValue()
			if err != nil || !yield(name, raw.Clone()) {
				return
			}
		}
	}
}
