package jsonguard_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

func TestDecode(t *testing.T) {
	const text = ` { "a" : [1, 2.50, -0, 1e3 , true,false,null, "x\u00e9\n\"\/ 😀 \ud83d\ude00"], "":{ }, "b":[] } `
	got, counts, err := jsonguard.Decode([]byte(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"a": []any{json.Number("1"), json.Number("2.50"), json.Number("-0"), json.Number("1e3"), true, false, nil, "xé\n\"/ 😀 😀"},
		"":  map[string]any{}, "b": []any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
	if counts.Values != 12 || counts.Members != 3 {
		t.Errorf("counted %d values and %d members, want 12 and 3", counts.Values, counts.Members)
	}
	if u := counts.Units; u[0] != 1 || u[1] != 3 || u[2] != 8 || u[3] != 0 {
		t.Errorf("units by depth %v, want 1, 3, 8", u[:4])
	}
	scanned, err := jsonguard.Scan([]byte(text), 0)
	if err != nil || scanned != counts {
		t.Errorf("Scan counts %+v (%v), Decode counts %+v", scanned, err, counts)
	}
}

func nested(depth int) string {
	return strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth)
}

func list(n int, element string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]"
}

func object(members int) string {
	var b strings.Builder
	for i := range members {
		fmt.Fprintf(&b, `,"m%d":1`, i)
	}
	return "{" + b.String()[1:] + "}"
}

// Exactly the limit passes, one more does not.
func TestLimits(t *testing.T) {
	digits := strings.Repeat("7", jsonguard.MaxNumber)
	for _, tt := range []struct {
		name, at, past, pointer, detail string
		kind                            kedge.Kind
	}{
		{"depth", nested(64), nested(65), strings.Repeat("/0", 64), "deeper than 64 levels", kedge.Invalid},
		{"depth of objects", strings.Repeat(`{"a":`, 63) + "{}" + strings.Repeat("}", 63),
			strings.Repeat(`{"a":`, 64) + "{}" + strings.Repeat("}", 64), strings.Repeat("/a", 64), "deeper than 64 levels", kedge.Invalid},
		{"number", `{"n":` + digits + `}`, `{"n":` + digits + `7}`, "/n", "number of more than 64 characters", kedge.Invalid},
		{"exponent", `[1,1e400]`, `[1,1e401]`, "/1", "exponent over 400", kedge.Invalid},
		{"negative exponent", `[1E-400]`, `[1E-401]`, "/0", "exponent over 400", kedge.Invalid},
		{"values", list(jsonguard.MaxValues-1, "1"), list(jsonguard.MaxValues, "1"), "/99999", "too complex: more than 100000 values", kedge.TooLarge},
		{"members", `{"o":` + object(jsonguard.MaxMembers) + `}`, `{"o":` + object(jsonguard.MaxMembers+1) + `}`, "/o", "too complex: more than 10000 members", kedge.TooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := jsonguard.Scan([]byte(tt.at), 0); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			for name, read := range map[string]func() error{
				"Scan":   func() error { _, err := jsonguard.Scan([]byte(tt.past), 0); return err },
				"Decode": func() error { _, _, err := jsonguard.Decode([]byte(tt.past), 0); return err },
			} {
				checkFault(t, name, read(), tt.kind, tt.pointer, tt.detail)
			}
		})
	}
	if _, err := jsonguard.Scan([]byte(nested(32)), 32); err != nil {
		t.Errorf("32 levels of 32: %v", err)
	}
	if _, err := jsonguard.Scan([]byte(nested(33)), 32); err == nil {
		t.Error("33 levels of 32 passed")
	}
}

func checkFault(t *testing.T, name string, err error, kind kedge.Kind, pointer, detail string) {
	t.Helper()
	faults, ok := errors.AsType[jsonguard.Faults](err)
	if !ok || len(faults) != 1 {
		t.Errorf("%s: %v holds no fault", name, err)
		return
	}
	if got := kedge.KindOf(err); got != kind || faults[0].Pointer != pointer || !strings.Contains(faults[0].Detail, detail) {
		t.Errorf("%s: %v %q %q, want %v %q %q", name, got, faults[0].Pointer, faults[0].Detail, kind, pointer, detail)
	}
}

// What is refused is refused quickly, with a pointer and without the value.
func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, pointer, detail string }{
		{"empty", "", "", "ends too early"},
		{"space only", "  ", "", "ends too early"},
		{"cut object", `{"a":1`, "", "ends too early"},
		{"cut string", `{"a":"secret`, "/a", "ends too early"},
		{"two values", `{} {}`, "", "more than one JSON value"},
		{"rest", `{"a":1}secret`, "", "not valid JSON"},
		{"word", `{"a":secret}`, "/a", "not valid JSON at byte"},
		{"comma at the end", `[1,]`, "", "not valid JSON"},
		{"leading zero", `[01]`, "", "not valid JSON"},
		{"plus", `[+1]`, "/0", "not valid JSON"},
		{"NaN", `[NaN]`, "/0", "not valid JSON"},
		{"comment", `[1/*x*/]`, "", "not valid JSON"},
		{"single quotes", `{'a':1}`, "", "not valid JSON"},
		{"byte order mark", "\xef\xbb\xbf{}", "", "not valid JSON"},
		{"duplicate name", `{"o":{"secret":1,"b":2,"secret":3}}`, "/o/secret", "duplicate name"},
		{"duplicate name, escaped", `{"a":1,"\u0061":2}`, "/a", "duplicate name"},
		{"bad UTF-8", "{\"a\":\"\xff\"}", "/a", "UTF-8"},
		{"overlong UTF-8", "{\"a\":\"\xc0\x80\"}", "/a", "UTF-8"},
		{"surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "/a", "UTF-8"},
		{"bad UTF-8 in a name", "{\"\xff\":1}", "", "UTF-8"},
		{"lone high surrogate", `{"a":"\ud800"}`, "/a", "surrogate"},
		{"lone low surrogate", `{"a":"\udc00x"}`, "/a", "surrogate"},
		{"surrogates in the wrong order", `{"a":"\udc00\ud800"}`, "/a", "surrogate"},
		{"NUL", `{"a":["x\u0000y"]}`, "/a/0", "U+0000"},
		{"NUL after a backslash", `{"a":"\\\u0000"}`, "/a", "U+0000"},
		{"NUL in a name", `{"a\u0000":1}`, "/a\x00", "U+0000"},
		{"raw NUL", "{\"a\":\"\x00\"}", "/a", "not valid JSON"},
		{"raw control character", "{\"a\":\"\x1f\"}", "/a", "not valid JSON"},
		{"huge exponent", `{"a":1e1000001}`, "/a", "exponent over 400"},
		{"exponent past int64", `{"a":1e99999999999999999999999}`, "/a", "exponent over 400"},
		{"a million levels", strings.Repeat("[", 1_000_000), strings.Repeat("/0", 64), "deeper than 64 levels"},
		{"a number of a megabyte", "[" + strings.Repeat("9", 1_000_000) + "]", "/0", "number of more than 64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			took := time.Hour
			for range 3 { // the quickest of three, as other tests take their share
				start := time.Now()
				_, err = jsonguard.Scan([]byte(tt.text), 0)
				took = min(took, time.Since(start))
			}
			if took > 100*time.Millisecond {
				t.Errorf("took %v", took)
			}
			checkFault(t, "Scan", err, kedge.Invalid, tt.pointer, tt.detail)
			_, _, decodeErr := jsonguard.Decode([]byte(tt.text), 0)
			if fmt.Sprint(decodeErr) != fmt.Sprint(err) {
				t.Errorf("Decode: %v, Scan: %v", decodeErr, err)
			}
			if tt.name != "duplicate name" && strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("the error %q holds a value", err)
			}
		})
	}
	if _, err := jsonguard.Scan([]byte(`{"a":"\\u0000"}`), 0); err != nil {
		t.Errorf("a backslash before u0000: %v", err)
	}
}

func TestFaultsBounded(t *testing.T) {
	var many jsonguard.Faults
	for range 30 {
		many = append(many, jsonguard.Fault{Pointer: "/" + strings.Repeat("é", 5000), Detail: "unknown field"})
	}
	bounded := many.Bounded()
	size := 0
	for _, f := range bounded {
		size += len(f.Pointer) + len(f.Detail)
		if !json.Valid([]byte(`"`+f.Pointer+`"`)) || len(f.Pointer) > 256 {
			t.Errorf("pointer of %d bytes: %q", len(f.Pointer), f.Pointer)
		}
	}
	if size > jsonguard.MaxFaultBytes || len(bounded) < 10 {
		t.Errorf("%d faults of %d bytes", len(bounded), size)
	}
	short := make(jsonguard.Faults, 21)
	if got := len(short.Bounded()); got != jsonguard.MaxFaults {
		t.Errorf("%d faults, want %d", got, jsonguard.MaxFaults)
	}
	if got := (jsonguard.Faults{{"/a", "x"}}).Below("/3")[0].Pointer; got != "/3/a" {
		t.Errorf("Below: %q", got)
	}
}
