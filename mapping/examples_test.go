package mapping

import (
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

func TestMappingTests(t *testing.T) {
	m, ext, loc := mappingFor(t, checkExternal, checkLocal, `    key: [{external: Id, local: id}]
    fields:
      - {external: Name, local: name, default: none}
      - {external: Amount, local: amount}
      - {external: Email, local: email, lookup: {entity: a}}
      - {external: Open, local: state, values: {false: 0, true: 1}}
`)
	plan, err := Compile(m, ext, loc, noonUTC)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, example, want string }{ // want: part of the failure, "" for a pass
		{"passes", "{entity: a, external: {Id: C1, Amount: 19.90}, want: {id: C1, amount: 19.90, name: none}}", ""},
		{"json", `{"entity": "a", "external": {"Id": "C1", "Amount": "19.90"}, "want": {"amount": "19.90"}}`, ""},
		{"update", "{entity: a, update: true, external: {Id: C1, Name: null}, want: {name: null}}", ""},
		{"digits", "{entity: a, external: {Id: C1, Amount: 19.90}, want: {amount: 19.9}}", `amount: got decimal "19.90", want decimal "19.9"`},
		{"lookup", "{entity: a, external: {Id: C1, Email: x}, want: {email: x}}", ""},
		{"other lookup", "{entity: a, external: {Id: C1, Email: x}, want: {email: z}}", `email: got a lookup of "x", want "z"`},
		{"expected error", "{entity: a, external: {Id: C1, Amount: much}, fails: {field: Amount, code: conversion}}", ""},
		{"expected other error", "{entity: a, external: {Id: C1, Amount: much}, fails: {field: Name}}", "got error conversion of field Amount"},
		{"no error", "{entity: a, external: {Id: C1}, fails: {field: Amount}}", "got a record, want an error of field Amount"},
		{"unexpected error", "{entity: a, external: {Id: C1, Amount: much}, want: {id: C1}}", "got error conversion of field Amount"},
		{"unknown entity", "{entity: b, external: {Id: C1}, want: {id: C1}}", "no enabled entity b"},
		{"unknown external field", "{entity: a, external: {Nmae: C1}, want: {id: C1}}", `A has no field Nmae; did you mean "Name"?`},
		{"unknown local field", "{entity: a, external: {Id: C1}, want: {nmae: C1}}", `nmae is not a mapped local field; did you mean "name"?`},
		{"upload", "{entity: a, local: {id: C1, amount: 19.90, state: 1}, wantExternal: {Id: C1, Amount: 19.90, Open: true, Name: none}}", ""},
		{"upload of an update", "{entity: a, update: true, local: {id: C1, name: null}, wantExternal: {Name: null}}", ""},
		{"upload, other value", "{entity: a, local: {state: 1}, wantExternal: {Open: false}}", `Open: got bool "true", want bool "false"`},
		{"upload, expected error", "{entity: a, local: {state: 2}, fails: {field: state, code: value_map}}", ""},
		{"upload, unexpected error", "{entity: a, local: {state: 2}, wantExternal: {Open: true}}", "got error value_map of field state"},
		{"upload, unknown local field", "{entity: a, local: {nmae: C1}, wantExternal: {Id: C1}}", `a has no field nmae; did you mean "name"?`},
		{"upload, unknown external field", "{entity: a, local: {name: C1}, wantExternal: {Nmae: C1}}", `Nmae is not a mapped external field; did you mean "Name"?`},
		{"upload, lookup", "{entity: a, local: {email: x}, wantExternal: {Email: x}}", "Email is filled by a lookup, which a test cannot follow"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := "tests:\n  - " + tt.example + "\n"
			if tt.name == "json" {
				src = `{"tests": [` + tt.example + `]}`
			}
			examples, err := ParseExamples("t.yaml", []byte(src))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(plan.Test(examples)[0].Failures, "\n")
			if got != tt.want && (tt.want == "" || !strings.Contains(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseExamplesRefuses(t *testing.T) {
	for src, want := range map[string]string{
		"tests: []\n": "t.yaml:1:8: tests: must be a list with at least one item", "test: []\n": `did you mean "tests"?`,
		"tests: [{entity: a, external: {A: 1}}]\n":                                           `needs either "want" or "fails"`,
		"tests: [{entity: a, external: {A: 1}, want: {b: 1}, fails: {field: A}}]\n":          `needs either "want" or "fails"`,
		"tests: [{entity: a, want: {b: 1}}]\n":                                               `needs either "external" or "local"`,
		"tests: [{entity: a, external: {A: 1}, local: {b: 1}, want: {b: 1}}]\n":              `needs either "external" or "local"`,
		"tests: [{entity: a, local: {b: 1}, want: {b: 1}}]\n":                                `needs either "wantExternal" or "fails"`,
		"tests: [{entity: a, external: {A: 1}, wantExternal: {A: 1}, want: {b: 1}}]\n":       `needs either "want" or "fails"`,
		"tests: [{entity: a, external: {A: [1]}, want: {b: 1}}]\n":                           "must be a text, a number, true, false or null",
		"tests:\n" + strings.Repeat("- {entity: a, external: {A: 1}, want: {b: 1}}\n", 1001): "more than 1000 items",
		strings.Repeat("#", MaxFile+1):                                                       "the file is longer than",
	} {
		_, err := ParseExamples("t.yaml", []byte(src))
		if err == nil || !strings.Contains(err.Error(), want) || kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("%.60q: %v, want %s", src, err, want)
		}
	}
	if _, err := ParseExamples("t.yaml", []byte("tests:\n"+strings.Repeat("- {entity: a, external: {A: 1}, want: {b: 1}}\n", MaxExamples))); err != nil {
		t.Errorf("at the limit: %v, want nil", err)
	}
}

func FuzzParseExamples(f *testing.F) {
	f.Add("tests:\n  - {entity: a, external: {Id: C1, Amount: 19.90}, want: {id: C1}}\n")
	f.Add(`{"tests": [{"entity": "a", "external": {"Id": "C1"}, "fails": {"field": "Id"}}]}`)
	f.Add("tests:\n  - {entity: a, local: {id: C1}, wantExternal: {Id: C1}}\n")
	f.Fuzz(func(t *testing.T, src string) {
		if x, err := ParseExamples("t.yaml", []byte(src)); err == nil && len(x) == 0 {
			t.Error("no examples and no error")
		}
	})
}
