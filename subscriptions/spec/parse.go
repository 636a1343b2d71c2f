package spec

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge/internal/nearest"
)

// Parse reads a document and fills in the defaults. Unknown and repeated
// members, invalid UTF-8 and wrong types are errors of kind Invalid that hold
// [Problems].
func Parse(body []byte) (*Doc, error) {
	d := &Doc{}
	if err := json.Unmarshal(body, d, json.RejectUnknownMembers(true)); err != nil {
		return nil, syntax(err)
	}
	d.setDefaults()
	return d, nil
}

// syntax words an error of the JSON decoder, without the values of the
// document, which may be secrets.
func syntax(err error) error {
	p := &Problems{Syntax: true}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		switch {
		case errors.Is(e.Err, json.ErrUnknownName):
			name := lastPart(e.JSONPointer)
			detail := "unknown member"
			if near := nearest.Name(name, members); near != "" {
				detail += "; did you mean " + near + "?"
			}
			p.add(string(e.JSONPointer), detail)
		default:
			p.add(string(e.JSONPointer), "is a JSON "+kindName(e.JSONKind)+", which does not fit here")
		}
		return p.or()
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		detail := "the JSON ends or breaks off here"
		switch {
		case errors.Is(e.Err, jsontext.ErrDuplicateName):
			detail = "this member is there twice"
		case strings.Contains(e.Err.Error(), "UTF-8"):
			detail = "the text is not valid UTF-8"
		}
		p.add(string(e.JSONPointer), detail)
		return p.or()
	}
	p.add("", "the body is not one JSON object")
	return p.or()
}

// members are the names that a document can have at its top.
var members = []string{"url", "resource", "events", "select", "method", "auth", "format", "payload", "numbers", "signing", "ordering",
	"collapse", "concurrency", "ratePerSecond", "verify", "expiresAt", "state", "noticeURL", "description", "metadata"}

func lastPart(p jsontext.Pointer) string { return p.LastToken() }

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "bool"
	case '"':
		return "string"
	case '0':
		return "number"
	case '[':
		return "array"
	case '{':
		return "object"
	}
	return "value"
}

// maxPatchDepth bounds the objects inside each other in a patch.
const maxPatchDepth = 32

// MergePatch applies a JSON merge patch (RFC 7396) to target. Numbers keep
// their digits; members that the patch does not name keep their place, new
// ones come after them in the patch's order.
func MergePatch(target, patch []byte) ([]byte, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(patch))
	value, err := dec.ReadValue()
	if err != nil {
		return nil, syntax(err)
	}
	value = value.Clone()
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, syntax(errors.New("more than one value"))
	}
	return merge(jsontext.Value(target), value, 0)
}

// An object is a JSON object whose members keep their order.
type object struct {
	names  []string
	values map[string]jsontext.Value
}

func merge(target, patch jsontext.Value, depth int) (jsontext.Value, error) {
	if depth > maxPatchDepth {
		p := &Problems{Syntax: true}
		p.add("", "objects are nested too deep")
		return nil, p.or()
	}
	if patch.Kind() != '{' {
		return patch, nil
	}
	changes, err := readObject(patch)
	if err != nil {
		return nil, err
	}
	into := &object{values: map[string]jsontext.Value{}}
	if target.Kind() == '{' {
		if into, err = readObject(target); err != nil {
			return nil, err
		}
	}
	for _, name := range changes.names {
		value := changes.values[name]
		if value.Kind() == 'n' {
			delete(into.values, name)
			into.names = slices.DeleteFunc(into.names, func(n string) bool { return n == name })
			continue
		}
		old, had := into.values[name]
		merged, err := merge(old, value, depth+1)
		if err != nil {
			return nil, err
		}
		if !had {
			into.names = append(into.names, name)
		}
		into.values[name] = merged
	}
	return into.text()
}

func readObject(v jsontext.Value) (*object, error) {
	o := &object{values: map[string]jsontext.Value{}}
	dec := jsontext.NewDecoder(strings.NewReader(string(v)))
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntax(err)
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, syntax(err)
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, syntax(err)
		}
		o.names = append(o.names, key)
		o.values[key] = value.Clone()
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntax(err)
	}
	return o, nil
}

func (o *object) text() (jsontext.Value, error) {
	var out jsontext.Value = []byte{'{'}
	for i, name := range o.names {
		if i > 0 {
			out = append(out, ',')
		}
		quoted, err := jsontext.AppendQuote(out, name)
		if err != nil {
			return nil, syntax(err)
		}
		out = append(append(quoted, ':'), o.values[name]...)
	}
	return append(out, '}'), nil
}
