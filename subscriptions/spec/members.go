package spec

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Take takes the named members, which must be strings, out of a JSON object
// and returns what is left. One that is not there, or null, is "".
func Take(body []byte, names ...string) (rest []byte, values map[string]string, err error) {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	value, err := dec.ReadValue()
	if err == io.EOF {
		err = errors.New("no value")
	}
	if err != nil {
		return nil, nil, syntax(err)
	}
	value = value.Clone()
	if _, err := dec.ReadToken(); err != io.EOF || value.Kind() != '{' {
		return nil, nil, syntax(errors.New("not one object"))
	}
	o, err := readObject(value)
	if err != nil {
		return nil, nil, err
	}
	values = map[string]string{}
	p := &Problems{Syntax: true}
	left := &object{values: o.values}
	for _, name := range o.names {
		if !slices.Contains(names, name) {
			left.names = append(left.names, name)
			continue
		}
		v := o.values[name]
		switch v.Kind() {
		case '"':
			text, err := jsontext.AppendUnquote(nil, v)
			if err != nil {
				return nil, nil, syntax(err)
			}
			values[name] = string(text)
		case 'n':
		default:
			p.add("/"+pointer(name), "is a JSON "+kindName(v.Kind())+", which does not fit here")
		}
	}
	if err := p.or(); err != nil {
		return nil, nil, err
	}
	out, err := left.text()
	return out, values, err
}
