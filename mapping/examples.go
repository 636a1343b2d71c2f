package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// MaxExamples is the most examples that one file may hold.
const MaxExamples = 1000

// An Example is one case of a mapping test: what is downloaded for an external
// record, or uploaded for a local one.
type Example struct {
	Name         string
	Entity       string // name of the mapping entity
	Update       bool   // the record exists already, so defaults are not filled in
	External     []NamedValue
	Want         []NamedValue // local fields that are compared; others may be anything
	Local        []NamedValue // instead of External
	WantExternal []NamedValue // external fields that are compared
	Fails        Failure      // instead of Want and WantExternal
	line         int
}

// A NamedValue is a value with the name of its field.
type NamedValue struct {
	Name  string
	Value kedge.Value
}

// A Failure is the expected error of an example.
type Failure struct {
	Field string // external field, or the local one of a rule without and of an upload
	Code  string // of the FieldError, or "" for any
}

type exampleFile struct{ tests []Example }

var exampleCodec = object([]key[exampleFile]{
	keyOf("tests", "Examples.", list(object([]key[Example]{
		keyOf("name", "What the example shows.", text(0), func(x *Example) *string { return &x.Name }),
		keyOf("entity", "Name of the mapping entity.", text(0), func(x *Example) *string { return &x.Entity }).must(),
		keyOf("update", "true: the record exists already.", flag(false), func(x *Example) *bool { return &x.Update }),
		keyOf("external", "The external record.", namedValues(), func(x *Example) *[]NamedValue { return &x.External }),
		keyOf("want", "The local record that it becomes.", namedValues(), func(x *Example) *[]NamedValue { return &x.Want }),
		keyOf("local", "The local record, of an upload.", namedValues(), func(x *Example) *[]NamedValue { return &x.Local }),
		keyOf("wantExternal", "The external record that it becomes.", namedValues(), func(x *Example) *[]NamedValue { return &x.WantExternal }),
		keyOf("fails", "The expected error.", optional(object([]key[Failure]{
			keyOf("field", "Its field.", text(0), func(f *Failure) *string { return &f.Field }).must(),
			keyOf("code", "Its code.", text(0), func(f *Failure) *string { return &f.Code }),
		}, func() Failure { return Failure{} }, nil)), func(x *Example) *Failure { return &x.Fails }),
	}, func() Example { return Example{} }, checkExample), MaxExamples), func(f *exampleFile) *[]Example { return &f.tests }).must(),
}, func() exampleFile { return exampleFile{} }, nil)

func checkExample(r *reader, n *node, x *Example) {
	x.line = n.line
	given, wanted, other, want := x.External, x.Want, x.WantExternal, "want"
	if len(x.Local) > 0 {
		given, wanted, other, want = x.Local, x.WantExternal, x.Want, "wantExternal"
	}
	switch {
	case len(given) == 0 || len(x.External) > 0 && len(x.Local) > 0:
		r.problem(n, `needs either "external" or "local"`)
	case len(other) > 0 || (len(wanted) > 0) == (x.Fails != Failure{}):
		r.problem(n, "needs either %q or %q", want, "fails")
	}
}

func namedValues() codec[[]NamedValue] {
	pairs := valueMap()
	return codec[[]NamedValue]{
		read: func(r *reader, n *node) []NamedValue {
			var out []NamedValue
			for _, p := range pairs.read(r, n) {
				out = append(out, NamedValue{p.External, p.Local})
			}
			return out
		},
		write:  func([]NamedValue) *node { return nil },
		schema: pairs.schema,
	}
}

// ParseExamples reads a file of examples, in YAML or JSON:
//
//	tests:
//	  - {entity: customers, external: {No: C1, Balance: 19.90}, want: {id: C1, balance: "19.90"}}
//	  - {entity: customers, external: {No: C2, Balance: much}, fails: {field: Balance, code: conversion}}
//	  - {entity: customers, local: {id: C1, balance: "19.90"}, wantExternal: {Balance: 19.90}}
func ParseExamples(name string, src []byte) ([]Example, error) {
	if len(src) > MaxFile {
		return nil, parseError(name, Problems{{Line: 1, Column: 1, Message: fmt.Sprintf("the file is longer than %d bytes", MaxFile)}})
	}
	root, problem := readYAML(src)
	if problem != nil {
		return nil, parseError(name, Problems{problem})
	}
	r := new(reader)
	f := exampleCodec.read(r, root)
	if len(r.problems) > 0 {
		return nil, parseError(name, r.problems)
	}
	return f.tests, nil
}

// A TestResult is what became of one example.
type TestResult struct {
	Name     string
	Entity   string
	Line     int // where the example starts
	Failures []string
}

// Test downloads or uploads each example with p and compares. The lookup of a
// download is compared by the external key that it names, because no records
// are read; for the same reason, that of an upload cannot be tested. Uploads
// are those of an export, which ignores directions of entities. The texts of
// failures hold the values of the examples.
func (p *Plan) Test(examples []Example) []TestResult {
	out := make([]TestResult, len(examples))
	for i := range examples {
		x := &examples[i]
		out[i] = TestResult{Name: x.Name, Entity: x.Entity, Line: x.line, Failures: p.test(x)}
	}
	return out
}

func (p *Plan) test(x *Example) []string {
	e := p.entity(x.Entity)
	if e == nil {
		if held := p.Held[x.Entity]; len(held) > 0 {
			return []string{fmt.Sprintf("entity %s is held: %s", x.Entity, held[0].Message)}
		}
		return []string{fmt.Sprintf("the mapping has no enabled entity %s", x.Entity)}
	}
	if len(x.Local) > 0 {
		return e.testUpload(x)
	}
	src, failures := exampleRecord(e.External, e.ExternalFields, x.External)
	if len(failures) > 0 {
		return failures
	}
	var dst kedge.Record
	err := e.Download(&dst, src, !x.Update)
	if failure, failed := err.(*FieldError); failed || x.Fails.Field != "" {
		return compareFailure(x.Fails, failure)
	}
	for _, want := range x.Want {
		if f := e.compareExample(want, src, &dst); f != "" {
			failures = append(failures, f)
		}
	}
	return failures
}

func (e *EntityPlan) testUpload(x *Example) []string {
	src, failures := exampleRecord(e.Local, e.LocalRead, x.Local)
	if len(failures) > 0 {
		return failures
	}
	var dst kedge.Record
	err := e.Upload(&dst, src, nil, !x.Update)
	if failure, failed := err.(*FieldError); failed || x.Fails.Field != "" {
		return compareFailure(x.Fails, failure)
	}
	for _, want := range x.WantExternal {
		at := e.ExternalFields.Index(want.Name)
		if slices.ContainsFunc(e.UploadLookups, func(l Lookup) bool { return slices.Contains(l.External, at) }) {
			failures = append(failures, want.Name+" is filled by a lookup, which a test cannot follow")
		} else if f := compareValue(e.External, want, &dst, SideExternal); f != "" {
			failures = append(failures, f)
		}
	}
	return failures
}

func compareFailure(want Failure, got *FieldError) []string {
	switch {
	case want.Field == "":
		return []string{fmt.Sprintf("got error %s of field %s (%v), want a record", got.Code, got.Field, got.Err)}
	case got == nil:
		return []string{fmt.Sprintf("got a record, want an error of field %s", want.Field)}
	case want.Field != got.Field || want.Code != "" && want.Code != got.Code:
		return []string{fmt.Sprintf("got error %s of field %s (%v), want %s", got.Code, got.Field, got.Err, strings.TrimSpace(want.Code+" "+want.Field))}
	}
	return nil
}

func (p *Plan) entity(name string) *EntityPlan {
	for _, layer := range p.Layers {
		for _, e := range layer {
			if e.Name == name {
				return e
			}
		}
	}
	return nil
}

// exampleRecord returns a record of entity e, with those values that fields has.
func exampleRecord(e *kedge.Entity, fields *kedge.Fields, values []NamedValue) (*kedge.Record, []string) {
	src := &kedge.Record{Fields: fields, Values: make([]kedge.Value, fields.Len())}
	var failures []string
	for _, v := range values {
		f := e.Field(v.Name)
		if f == nil {
			failures = append(failures, suggestName(fmt.Sprintf("%s has no field %s", e.Name, v.Name), v.Name, fieldNames(e)))
			continue
		}
		t := newTarget(f)
		value, err := t.fit(v.Value)
		if err != nil {
			// A driver may deliver it all the same: let the plan refuse it.
			value = v.Value
		}
		if i := fields.Index(v.Name); i >= 0 {
			src.Values[i] = value
		}
	}
	return src, failures
}

func suggestName(message, word string, names []string) string {
	if c := nearest.Name(word, names); c != "" {
		return fmt.Sprintf("%s; did you mean %q?", message, c)
	}
	return message
}

func (e *EntityPlan) compareExample(want NamedValue, src, dst *kedge.Record) string {
	i := slices.IndexFunc(e.Lookups, func(l Lookup) bool { return l.Field == want.Name })
	if i >= 0 {
		parts := make([]kedge.Value, len(e.Lookups[i].External))
		for j, at := range e.Lookups[i].External {
			parts[j] = src.Values[at]
		}
		if got := string(kedge.NewKey(parts...)); got != want.Value.Text() {
			return fmt.Sprintf("%s: got a lookup of %q, want %q", want.Name, got, want.Value.Text())
		}
		return ""
	}
	return compareValue(e.Local, want, dst, SideLocal)
}

// compareValue compares one field of a record that was made of an example.
func compareValue(e *kedge.Entity, want NamedValue, dst *kedge.Record, side Side) string {
	f := e.Field(want.Name)
	if f == nil || dst.Fields.Index(want.Name) < 0 {
		return suggestName(fmt.Sprintf("%s is not a mapped %s field", want.Name, side), want.Name, dst.Fields.Names())
	}
	t := newTarget(f)
	wanted, err := t.fit(want.Value)
	if err != nil {
		return fmt.Sprintf("%s: %v", want.Name, err)
	}
	if got := dst.Get(want.Name); !sameExactly(got, wanted) {
		return fmt.Sprintf("%s: got %s, want %s", want.Name, show(got), show(wanted))
	}
	return ""
}

// sameExactly tells 19.9 and 19.90 apart: an example may be about digits.
func sameExactly(a, b kedge.Value) bool { return a.Type() == b.Type() && a.Text() == b.Text() }

func show(v kedge.Value) string {
	if v.IsEmpty() {
		return v.Type().String()
	}
	return fmt.Sprintf("%v %q", v.Type(), v.Text())
}
