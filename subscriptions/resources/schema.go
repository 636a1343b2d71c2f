package resources

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

func plain(v kedge.Value) json.RawMessage { return payload.AppendValue(nil, v) }

// object is a JSON object.
type object = map[string]any

// Schema returns the JSON Schema (2020-12) of the bodies that are pushed about
// an entity, in the standard format, with the fields that v may see.
func (r *Reader) Schema(v Viewer, entity string) (any, error) {
	e, a, err := r.visible(v, entity)
	if err != nil {
		return nil, err
	}
	fields := object{}
	for _, name := range a.Fields {
		fields[name] = typeOf(e.Schema.Field(name))
	}
	key := object{"type": "object", "description": "The record's key."}
	if len(e.Schema.Key) > 0 {
		members := object{}
		for _, name := range e.Schema.Key {
			t := typeOf(e.Schema.Field(name))
			t["type"] = slices.DeleteFunc(t["type"].([]string), func(s string) bool { return s == "null" })
			members[name] = t
		}
		key["properties"], key["required"], key["additionalProperties"] = members, e.Schema.Key, false
	}
	str, num := object{"type": "string"}, object{"type": "integer"}
	types := []string{}
	for _, op := range a.Operations {
		types = append(types, e.Name+"."+string(op))
	}
	data := object{
		"type": "object", "required": []string{"event", "resource", "key", "operation"},
		"properties": object{
			"event": str, "resource": str, "key": key, "operation": object{"enum": a.Operations}, "parent": str, "origin": str,
			"changed":    object{"type": "array", "items": object{"enum": a.Fields}, "description": "Fields that an update changed, if it is known."},
			"record":     object{"type": "object", "properties": fields, "additionalProperties": false},
			"transition": object{"enum": []string{"entered", "left"}}, "truncated": object{"type": "boolean"}, "link": object{"type": "string", "format": "uri"},
		},
	}
	return object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "kedge push: " + e.Name, "type": "object",
		"required": []string{"id", "type", "timestamp", "sequence", "subscription", "account", "user", "data"},
		"properties": object{
			"id": object{"type": "string", "pattern": "^msg_[a-z2-7]+$"}, "type": object{"enum": types}, "timestamp": object{"type": "string", "format": "date-time"},
			"sequence": num, "subscription": object{"type": "string", "pattern": "^sub_"}, "account": str, "user": str,
			"collapsed": object{"type": "integer", "minimum": 2},
			"gap": object{"type": "object", "required": []string{"id", "from", "to", "count", "reason"}, "properties": object{
				"id": num, "from": num, "to": object{"type": []string{"integer", "null"}}, "count": object{"type": []string{"integer", "null"}}, "reason": str,
			}},
			"data": data,
		},
	}, nil
}

func (r *Reader) visible(v Viewer, entity string) (*spec.Entry, spec.Access, error) {
	e := r.catalog.Entry(entity)
	if e == nil {
		return nil, spec.Access{}, notFound(entity)
	}
	a := v.Grants.Any(e)
	if a.None() {
		return nil, a, notFound(entity)
	}
	return e, a, nil
}

// typeOf is the schema of a field's values. Decimals and whole numbers may be
// strings, as a subscription's numbers says.
func typeOf(f *kedge.Field) object {
	out := object{}
	var types []string
	switch f.Type {
	case kedge.TypeBool:
		types = []string{"boolean"}
	case kedge.TypeInt:
		types = []string{"integer", "string"}
	case kedge.TypeFloat, kedge.TypeDecimal:
		types = []string{"number", "string"}
	case kedge.TypeTime:
		types, out["format"] = []string{"string"}, "date-time"
	case kedge.TypeDate:
		types, out["format"] = []string{"string"}, "date"
	case kedge.TypeBytes:
		types, out["contentEncoding"] = []string{"string"}, "base64"
	case kedge.TypeJSON:
		types = []string{"object", "array", "string", "number", "boolean"}
	default:
		types = []string{"string"}
	}
	if f.Title != "" {
		out["title"] = f.Title
	}
	out["type"] = append(types, "null")
	return out
}

// Sample returns a body as it is pushed about an entity, with invented values.
func (r *Reader) Sample(v Viewer, entity string) (json.RawMessage, error) {
	e, a, err := r.visible(v, entity)
	if err != nil {
		return nil, err
	}
	rec := &kedge.Record{}
	names := slices.Clone(a.Fields)
	for _, name := range e.Schema.Key {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	rec.Fields = kedge.NewFields(names...)
	for _, name := range names {
		rec.Values = append(rec.Values, invent(e.Schema.Field(name)))
	}
	var parts []kedge.Value
	key := object{"id": "example"}
	for i, name := range e.Schema.Key {
		if i == 0 {
			key = object{}
		}
		value := rec.Get(name)
		key[name], parts = plain(value), append(parts, value)
	}
	if parts == nil {
		parts = []kedge.Value{kedge.String("example")}
	}
	keyText, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	op := a.Operations[0]
	at := r.now().UTC()
	m := &payload.Message{ID: payload.MessageID(1042, "evt_sample", "sub_sample"), Type: e.Name + "." + string(op), At: at, Sequence: 1042,
		Subscription: "sub_sample", Account: v.Account, User: "user"}
	m.Data = payload.Data{Event: "evt_sample", Resource: spec.ResourceOf(e.Name, kedge.NewKey(parts...), e.Schema.Key).String(), Key: keyText, Operation: op,
		Origin: kedge.OriginAPI, Record: payload.AppendImage(nil, a.Fields, rec)}
	if op == kedge.OpUpdate {
		m.Data.Changed = a.Fields
	}
	return payload.Form{Method: "POST", Format: spec.FormatStandard}.Request(m).Body, nil
}

// invent returns a value of a field that nobody has.
func invent(f *kedge.Field) kedge.Value {
	text := map[kedge.Type]string{
		kedge.TypeBool: "true", kedge.TypeInt: "42", kedge.TypeFloat: "1.5", kedge.TypeDecimal: "19.90", kedge.TypeTime: "2026-03-01T09:30:00Z",
		kedge.TypeDate: "2026-03-01", kedge.TypeJSON: `{"example":true}`,
	}[f.Type]
	if f.Format == kedge.FormatGUID {
		text = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
	}
	if text == "" {
		text = "example " + strings.ToLower(f.Name)
		if f.MaxLength > 0 && len(text) > f.MaxLength {
			text = text[:f.MaxLength]
		}
	}
	v, err := kedge.ParseText(f.Type, text)
	if err != nil {
		return kedge.String(text)
	}
	return v
}
