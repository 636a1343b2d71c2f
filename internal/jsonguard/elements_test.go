package jsonguard_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

func elements(data string) (out []string, err error) {
	for e, failed := range jsonguard.Elements([]byte(data)) {
		if failed != nil {
			return out, failed
		}
		out = append(out, string(e))
	}
	return out, nil
}

func TestElements(t *testing.T) {
	for text, want := range map[string][]string{
		`[]`:                              nil,
		" [ ] \n":                         nil,
		`[1]`:                             {`1`},
		` [ {"a":[1,2]} , "],[\"" ,[] ] `: {`{"a":[1,2]}`, `"],[\""`, `[]`},
		`[{"a":"\\"},{"b":"\\\""}]`:       {`{"a":"\\"}`, `{"b":"\\\""}`},
	} {
		if got, err := elements(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q (%v), want %q", text, got, err, want)
		}
	}
	for text, detail := range map[string]string{
		``: "must be a JSON array", `{}`: "must be a JSON array", `"x"`: "must be a JSON array", `[`: "/0: not valid JSON",
		`[1,`: "/1: not valid JSON", `[1,]`: "/1: not valid JSON", `[,]`: "/0: not valid JSON", `[1`: "/0: not valid JSON", `["`: "/0: not valid JSON",
		`["\`: "/0: not valid JSON", `[1}`: "/0: not valid JSON", `[1] x`: "more than one", `[] []`: "more than one", `[[1]`: "/0: not valid JSON",
	} {
		if _, err := elements(text); err == nil || !strings.Contains(err.Error(), detail) {
			t.Errorf("%s: %v, want %s", text, err, detail)
		}
	}
	n := 0
	for range jsonguard.Elements([]byte(`[1,2,3]`)) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("the loop ran %d times after a break at 2", n)
	}
}

// All elements pass exactly if the whole is a JSON array.
func FuzzElements(f *testing.F) {
	for _, s := range []string{`[]`, `[1,{"a":"]"},[[],"\\"]]`, `[1,]`, `[{]}`, `[1][`, `["\u0000"]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		good := true
		for e, err := range jsonguard.Elements(data) {
			if err == nil {
				_, err = jsonguard.Scan(e, 63)
			}
			if err != nil {
				good = false
				break
			}
		}
		_, err := jsonguard.Scan(data, 64)
		if isArray := json.Valid(data) && strings.HasPrefix(strings.TrimLeft(string(data), " \t\r\n"), "["); good && !isArray {
			t.Fatalf("the elements of %q pass, and it is no JSON array", data)
		}
		if good != (err == nil) && !(err != nil && strings.Contains(err.Error(), "complex")) && strings.HasPrefix(strings.TrimLeft(string(data), " \t\r\n"), "[") {
			t.Fatalf("elements of %q pass: %v, the whole: %v", data, good, err)
		}
	})
}
