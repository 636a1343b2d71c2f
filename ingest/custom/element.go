package custom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// Limits of what senders send, in bytes of JSON text without outer space.
const (
	MaxResource = 1 << 20
	MaxBulk     = 4 << 20
)

// A hash tells equal resources: the first half of SHA-256 over the canonical
// form.
type hash [16]byte

// An element is one resource of a request, checked.
type element struct {
	id      string
	name    string
	version string
	hash    hash
	data    []byte // as it was sent; see minify
	at      place  // of the data, in a session

	subject    kedge.Subject
	suppressed bool
	stored     bool // data is minified
}

// prepare checks the body of a push against the active version of its table.
func (c *Custom) prepare(ctx context.Context, p *Push) ([]element, error) {
	if p.Session != "" {
		return c.prepareSession(ctx, p)
	}
	if p.Op == Event {
		elements := make([]element, 1)
		err := c.check(p.Table, p.Body, &elements[0], new(atomic.Int64))
		return elements, refusal(err, -1)
	}
	return c.prepareBulk(p)
}

// prepareBulk checks the elements of an array beside each other. Either all
// are fine, or the error names up to 20 faults. A worker stops after as many
// elements with faults: errors of all would take more memory than the body.
func (c *Custom) prepareBulk(p *Push) ([]element, error) {
	var raws [][]byte
	for raw, err := range jsonguard.Elements(p.Body) {
		if err != nil {
			return nil, refusal(err, -1)
		}
		raws = append(raws, raw)
	}
	if len(raws) == 0 && !p.AllowEmpty && !p.Table.Settings.AllowEmpty {
		return nil, emptyBulk()
	}
	elements := make([]element, len(raws))
	errs := make([]error, len(raws))
	workers := min(runtime.GOMAXPROCS(0), (len(raws)+15)/16)
	var wg sync.WaitGroup
	var work atomic.Int64
	for k := range workers {
		wg.Go(func() {
			bad := 0
			for i := k; i < len(raws) && bad < jsonguard.MaxFaults; i += workers {
				if len(raws[i]) > MaxResource {
					errs[i] = problem(http.StatusRequestEntityTooLarge, "a resource is over %d bytes", MaxResource)
				} else {
					errs[i] = c.check(p.Table, raws[i], &elements[i], &work)
				}
				if errs[i] != nil {
					bad++
				}
			}
		})
	}
	wg.Wait()
	if err := joinRefusals(errs); err != nil {
		return nil, err
	}
	return elements, distinct(elements)
}

// minify brings the data into the form that is stored, once it is known that it
// is.
func (e *element) minify() error {
	if e.stored || minimal(e.data) {
		e.stored = true
		return nil
	}
	out, err := jsonguard.Minify(make([]byte, 0, len(e.data)), e.data)
	e.data, e.stored = out, err == nil
	return err
}

// minimal tells whether valid JSON has neither escapes nor space outside of
// strings.
func minimal(data []byte) bool {
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case ' ', '\t', '\r', '\n':
			return false
		case '"':
			end := bytes.IndexByte(data[i+1:], '"')
			if end < 0 || bytes.IndexByte(data[i+1:i+1+end], '\\') >= 0 {
				return false
			}
			i += end + 1
		}
	}
	return true
}

func emptyBulk() error {
	return unprocessable("the list is empty, which would remove all resources; send allowEmpty=true if that is meant")
}

// check decodes one resource and fills in e. work is what was spent on
// validating the resources of one request.
func (c *Custom) check(t *Table, raw []byte, e *element, work *atomic.Int64) error {
	v, counts, err := jsonguard.Decode(raw, 0)
	if err != nil {
		return err
	}
	if work.Add(int64(t.Schema.Work(&counts))) > schema.MaxBulkWork {
		return problem(http.StatusRequestEntityTooLarge, "too complex: the resources together have too many values for their schema; send them in parts")
	}
	if err := t.Schema.Validate(v, &counts); err != nil {
		return invalidResource(err)
	}
	id, err := t.Schema.Identify(v)
	if err != nil {
		return invalidResource(err)
	}
	e.id, e.name, e.version = id.ID, id.Name, id.Version
	sum := jsonguard.Hash(v)
	copy(e.hash[:], sum[:])
	e.data = raw
	e.subject = c.subject(t, v)
	return nil
}

// invalidResource marks the error of a resource that is JSON, but not what the
// schema says: 422 and not 400.
func invalidResource(err error) error {
	if kedge.KindOf(err) != kedge.Invalid {
		return err
	}
	return &schemaError{err}
}

type schemaError struct{ err error }

func (e *schemaError) Error() string { return e.err.Error() }
func (e *schemaError) Unwrap() error { return e.err }

// refusal makes a problem of what is wrong with a body, or with element i of
// one that is an array.
func refusal(err error, i int) error {
	if err == nil {
		return nil
	}
	if p, ok := errors.AsType[*httpapi.Problem](err); ok {
		if i >= 0 && len(p.Errors) == 0 {
			q := *p
			q.Errors = []httpapi.FieldError{{Pointer: "/" + strconv.Itoa(i), Detail: p.Detail}}
			return &q
		}
		return p
	}
	faults, ok := errors.AsType[jsonguard.Faults](err)
	if !ok {
		return err
	}
	p := &httpapi.Problem{Status: http.StatusBadRequest, Type: NotJSON, Detail: "the body is not accepted: " + faults.Error()}
	if _, ok := errors.AsType[*schemaError](err); ok {
		p.Status, p.Type, p.Detail = http.StatusUnprocessableEntity, "", "the resource does not fit its schema"
	} else if kedge.KindOf(err) == kedge.TooLarge {
		p.Status, p.Type = http.StatusRequestEntityTooLarge, ""
	}
	if i >= 0 {
		faults = faults.Below("/" + strconv.Itoa(i))
	}
	for _, f := range faults.Bounded() {
		p.Errors = append(p.Errors, httpapi.FieldError{Pointer: f.Pointer, Detail: f.Detail})
	}
	return p
}

// firstFault is the first fault of an error about a resource.
func firstFault(err error) jsonguard.Fault {
	if faults, ok := errors.AsType[jsonguard.Faults](err); ok && len(faults) > 0 {
		return faults[0]
	}
	return jsonguard.Fault{Detail: "does not fit the schema"}
}

// NotJSON is the type of problems that say that a body is no JSON that kedge
// accepts.
const NotJSON = "not_json"

// joinRefusals makes one problem of those of the elements: the status of the
// first, and all faults up to the limit of an answer.
func joinRefusals(errs []error) error {
	var out *httpapi.Problem
	size := 0
	for i, err := range errs {
		err = refusal(err, i)
		p, ok := errors.AsType[*httpapi.Problem](err)
		if err == nil {
			continue
		}
		if !ok {
			return err
		}
		if out == nil {
			out = &httpapi.Problem{Status: p.Status, Type: p.Type, Detail: "nothing was stored: " + strconv.Quote("/"+strconv.Itoa(i)) + " is not accepted"}
		}
		for _, f := range p.Errors {
			size += len(f.Pointer) + len(f.Detail)
			if len(out.Errors) == jsonguard.MaxFaults || size > jsonguard.MaxFaultBytes {
				return out
			}
			out.Errors = append(out.Errors, f)
		}
	}
	if out == nil {
		return nil
	}
	return out
}

// distinct refuses a bulk that has an id twice.
func distinct(elements []element) error {
	seen := make(map[string]int, len(elements))
	p := problem(http.StatusUnprocessableEntity, "an id is there more than once; nothing was stored")
	for i := range elements {
		before, twice := seen[elements[i].id]
		if twice && len(p.Errors) < jsonguard.MaxFaults {
			p.Errors = append(p.Errors, httpapi.FieldError{Pointer: "/" + strconv.Itoa(i), Detail: "has the id of /" + strconv.Itoa(before)})
		}
		seen[elements[i].id] = i
	}
	if len(p.Errors) > 0 {
		return p
	}
	return nil
}

// subject is the person that a resource is about, as far as its identifiers
// are there.
func (c *Custom) subject(t *Table, v any) kedge.Subject {
	var s kedge.Subject
	if c.opts.Identify == nil || c.opts.Suppressor == nil {
		return s
	}
	for kind, path := range c.opts.Identify(t.Full) {
		p, err := schema.ParsePath(path)
		if err != nil {
			continue // checked where it is declared
		}
		for _, found := range p.Get(v) {
			if text, ok := found.(string); ok && text != "" {
				s.Identifiers = append(s.Identifiers, kedge.Identifier{Kind: kind, Value: text})
			}
		}
	}
	slices.SortFunc(s.Identifiers, func(a, b kedge.Identifier) int { return bytes.Compare([]byte(a.Kind), []byte(b.Kind)) })
	return s
}

// changedFields returns the names of the top-level members that differ, in the
// order of the new data, then those that are gone.
func changedFields(was, is []byte) ([]string, error) {
	old, order, err := members(was)
	if err != nil {
		return nil, err
	}
	now, names, err := members(is)
	if err != nil {
		return nil, err
	}
	var changed []string
	for _, name := range names {
		if before, ok := old[name]; !ok || !sameJSON(before, now[name]) {
			changed = append(changed, name)
		}
	}
	for _, name := range order {
		if _, ok := now[name]; !ok {
			changed = append(changed, name)
		}
	}
	return changed, nil
}

func members(data []byte) (values map[string]jsontext.Value, names []string, err error) {
	values = map[string]jsontext.Value{}
	if len(data) == 0 {
		return values, nil, nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	if _, err := dec.ReadToken(); err != nil {
		return nil, nil, err
	}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, nil, err
		}
		name := tok.String()
		v, err := dec.ReadValue()
		if err != nil {
			return nil, nil, err
		}
		values[name] = v.Clone()
		names = append(names, name)
	}
	return values, names, nil
}

// sameJSON tells whether two values are equal. Equal texts are, but PostgreSQL
// gives other texts back than it was given.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, _, err1 := jsonguard.Decode(a, 0)
	y, _, err2 := jsonguard.Decode(b, 0)
	return err1 == nil && err2 == nil && jsonguard.Hash(x) == jsonguard.Hash(y)
}

// CheckText tells what is wrong with a text that came as a parameter.
func CheckText(s string, limit int) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case utf8.RuneCountInString(s) > limit:
		return errors.New("is longer than " + strconv.Itoa(limit) + " characters")
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return errors.New("holds a control character")
		}
	}
	return nil
}

// compact is the JSON text of data without needless space.
func compact(data []byte) json.RawMessage {
	out, err := jsonguard.Minify(nil, data)
	if err != nil {
		return data
	}
	return out
}

// CheckJSON tells what is wrong with a text that must be one JSON value.
func CheckJSON(text string) error {
	_, err := jsonguard.Scan([]byte(text), 0)
	return err
}

// CheckResource tells what is wrong with a resource of a table, without
// storing it.
func CheckResource(t *Table, raw []byte) error {
	var e element
	return refusal(new(Custom).check(t, bytes.Trim(raw, " \t\r\n"), &e, new(atomic.Int64)), -1)
}

// ID returns the id of a resource that fits its table.
func ID(t *Table, raw []byte) (string, error) {
	v, _, err := jsonguard.Decode(raw, 0)
	if err != nil {
		return "", err
	}
	id, err := t.Schema.Identify(v)
	return id.ID, err
}

// Important returns the values of the fields that a table's schema names as
// important, by their paths, as JSON.
func Important(t *Table, raw []byte) (paths, values []string, err error) {
	v, _, err := jsonguard.Decode(raw, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range t.Schema.Important(v) {
		var texts []string
		for _, value := range f.Values {
			text, err := json.Marshal(value)
			if err != nil {
				return nil, nil, err
			}
			texts = append(texts, string(text))
		}
		paths, values = append(paths, f.Path), append(values, strings.Join(texts, " "))
	}
	return paths, values, nil
}
