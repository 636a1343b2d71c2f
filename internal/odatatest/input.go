package odatatest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// maxBody is the most bytes of the body of a request.
const maxBody = 64 << 20

// An input is the entity in the body of a request.
type input struct {
	s        *Service
	rq       *request
	t        *table
	exact    bool // numbers of 64 bits and decimals are strings (JSON Format 4.01, 3.2)
	values   map[int]kedge.Value
	problems []problem
	astray   bool   // a link leads to an entity that does not exist
	tag      string // control information etag
}

// A problem is what is wrong with a part of the body.
type problem struct{ target, message string }

func (in *input) problem(target, message string) {
	in.problems = append(in.problems, problem{target, message})
}

// err returns what is wrong with the whole body, or nil.
func (in *input) err() error {
	if len(in.problems) == 0 {
		return nil
	}
	if in.astray && in.s.opts.Flavor == Dataverse { // answers as if the entity itself were missing
		return fail(http.StatusNotFound, "0x80040217", "%s", in.problems[0].message)
	}
	f := badRequest("%s: %s", in.problems[0].target, in.problems[0].message)
	f.target = in.problems[0].target
	if len(in.problems) > 1 {
		f.details = in.problems
	}
	return f
}

// readInput reads the body of a POST, PATCH or PUT. Computed and read-only
// properties are passed over, as the client cannot set them (Protocol 4.01,
// 11.4.3), and so is control information.
func (s *Service) readInput(rq *request, t *table) (*input, error) {
	in := &input{s: s, rq: rq, t: t, values: make(map[int]kedge.Value)}
	kind, params, err := mime.ParseMediaType(rq.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, fail(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The body must be of type application/json.")
	}
	if value, ok := params["ieee754compatible"]; ok {
		if s.quirk(NoIEEE754) {
			return nil, fail(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The format parameter is not supported.")
		}
		in.exact = strings.EqualFold(value, "true")
	}
	if !utf8.Valid(rq.body) {
		return nil, badRequest("The body is not UTF-8.")
	}
	members, err := readObject(rq.body)
	if err != nil {
		return nil, badRequest("The body is not a JSON object: %v.", err)
	}
	in.take("", members)
	return in, in.err()
}

// A jsonMember is a member of a JSON object.
type jsonMember struct {
	name string
	raw  json.RawMessage
}

// readObject returns the members of an object in their order. Names must not
// come twice (JSON Format 4.01, 4.5).
func readObject(raw []byte) ([]jsonMember, error) {
	if !json.Valid(raw) {
		return nil, errors.New("it is malformed")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, errors.New("it is no object")
	}
	var out []jsonMember
	seen := make(map[string]bool)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := jsonMember{name: name.(string)}
		if err := d.Decode(&m.raw); err != nil {
			return nil, err
		}
		if seen[m.name] {
			return nil, errors.New("a name comes twice")
		}
		seen[m.name] = true
		out = append(out, m)
	}
	if _, err := d.Token(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return out, nil
}

// take reads the members of the object at prefix, which is "" or ends in "/".
func (in *input) take(prefix string, members []jsonMember) {
	for _, m := range members {
		path := prefix + m.name
		name, note, annotated := strings.Cut(m.name, "@")
		i, isProperty := in.t.index[path]
		switch {
		case annotated && prefix == "" && (note == "odata.bind" || note == "bind"):
			in.bind(name, m.name, m.raw)
		case prefix == "" && (m.name == "@etag" || m.name == "@odata.etag"):
			if err := json.Unmarshal(m.raw, &in.tag); err != nil {
				in.problem(m.name, "The value is not an entity tag.")
			}
		case annotated: // other control information and annotations mean nothing here
		case isProperty:
			in.property(i, m.raw)
		case in.t.hasComplex(path):
			in.complex(path, m.raw)
		case prefix == "" && in.t.navigation(m.name) != nil:
			in.reference(m.name, m.raw)
		default:
			in.problem(path, "The property does not exist.")
		}
	}
}

func (in *input) property(i int, raw json.RawMessage) {
	p := &in.t.props[i]
	if in.s.opts.Flavor == Dataverse && p.ReadOnly && len(p.Lookup) > 0 {
		in.problem(p.Name, "The property of a lookup is read-only; write its navigation property.")
		return
	}
	if p.Computed || p.ReadOnly {
		return
	}
	v, wrong := parseInput(p, raw, in.exact, in.s.quirk(Normalise))
	if wrong != "" {
		in.problem(p.Name, wrong)
		return
	}
	in.values[i] = v
}

// complex reads a complex property. What it does not have stays as it is.
func (in *input) complex(path string, raw json.RawMessage) {
	if string(raw) == "null" {
		for i := range in.t.props {
			if strings.HasPrefix(in.t.props[i].Name, path+"/") {
				in.property(i, raw)
			}
		}
		return
	}
	members, err := readObject(raw)
	if err != nil {
		in.problem(path, "The value is not an object.")
		return
	}
	in.take(path+"/", members)
}
