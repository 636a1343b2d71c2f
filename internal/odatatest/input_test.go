package odatatest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

// What is read can be written back, and is the same then: all types, exact and
// as plain numbers.
func TestValuesRoundTrip(t *testing.T) {
	for _, contentType := range []string{jsonType, "application/json"} {
		s := New(Options{Entities: []kedge.Entity{allTypes()}})
		url := s.Start(t)
		if err := s.Put("values", valueRow()); err != nil {
			t.Fatal(err)
		}
		want := get(t, url+"values(1)", "Accept", contentType).raw
		var row map[string]json.RawMessage
		if err := json.Unmarshal([]byte(want), &row); err != nil {
			t.Fatal(err)
		}
		row["k"] = json.RawMessage("2")
		body, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		wantStatus(t, "POST", do(t, "POST", url+"values", string(body), "Content-Type", contentType), 201)
		rows := s.Records("values")
		for i, name := range rows[0].Fields.Names() {
			if a, b := rows[0].Values[i], rows[1].Values[i]; name != "k" && name != "RowVersion" && name != "ModifiedAt" && (a.Type() != b.Type() || a.Text() != b.Text()) {
				t.Errorf("%s, %s: sent %v %q, stored %v %q", contentType, name, a.Type(), a.Text(), b.Type(), b.Text())
			}
		}
	}
}

// JSON Format 4.01, 7.1 and 3.2. want is the text of the value, or what the
// error says.
func TestInputValues(t *testing.T) {
	s := New(Options{Entities: []kedge.Entity{allTypes()}})
	url := s.Start(t)
	const null, wrong = "<null>", "is not of type"
	for _, tt := range []struct{ name, raw, want string }{
		{"bool", `true`, "true"}, {"bool", `"true"`, wrong}, {"bool", `1`, wrong}, {"bool", `null`, null},
		{"big", `"9223372036854775807"`, "9223372036854775807"}, {"big", `"9223372036854775808"`, wrong}, {"big", `1`, "must be a string"}, {"big", `"1.0"`, wrong}, {"big", `"x"`, wrong},
		{"small", `-32768`, "-32768"}, {"small", `-32769`, "out of the range"}, {"small", `"1"`, "must be a number"}, {"small", `1.5`, wrong},
		{"byte", `255`, "255"}, {"byte", `256`, "out of the range"}, {"byte", `-1`, "out of the range"},
		{"amount", `"19.90"`, "19.90"}, {"amount", `"19.905"`, "more than 2 digits"}, {"amount", `"19.900"`, "19.900"}, {"amount", `"12345678.90"`, "12345678.90"}, {"amount", `"123456789"`, "too many digits"}, {"amount", `19.90`, "must be a string"},
		{"exact", `"1e-7"`, "1e-7"}, {"exact", `"0.1234567890123456789"`, "0.1234567890123456789"},
		{"ratio", `1.5`, "1.5"}, {"ratio", `"INF"`, "INF"}, {"ratio", `"NaN"`, "NaN"}, {"ratio", `"1.5"`, wrong}, {"ratio", `1e999`, wrong},
		{"text", `""`, ""}, {"text", `"a\u0000\ud83d\ude00"`, "a\x00😀"}, {"text", `5`, wrong}, {"text", `{}`, wrong}, {"text", `[]`, wrong},
		{"guid", `"01234567-89AB-CDEF-0123-456789ABCDEF"`, "01234567-89ab-cdef-0123-456789abcdef"}, {"guid", `"x"`, wrong},
		{"clock", `"10:00:00.5"`, "10:00:00.5"}, {"clock", `"10"`, wrong},
		{"span", `"P1DT2H"`, "P1DT2H"}, {"span", `"P"`, wrong}, {"span", `"P1DT"`, wrong}, {"span", `"1D"`, wrong},
		{"color", `"Red"`, "Red"}, {"color", `"red"`, "not a member"},
		{"at", `"2026-01-31T11:00:00+01:00"`, "2026-01-31T10:00:00Z"}, {"at", `"2026-01-31"`, wrong}, {"at", `5`, wrong},
		{"day", `"2026-02-28"`, "2026-02-28"}, {"day", `"2026-02-30"`, wrong},
		{"data", `"-_8="`, "-_8"}, {"data", `"-_8"`, "-_8"}, {"data", `"+/8="`, wrong},
		{"any", `{"a": [1, 2.50]}`, `{"a":[1,2.50]}`}, {"tags", `["a"]`, `["a"]`}, {"tags", `"a"`, wrong}, {"spot", `[]`, wrong},
		{"home", `{"city":"X","geo":{"lat":1}}`, ""}, {"home", `5`, "not an object"}, {"home", `{"nope":1}`, "does not exist"}, {"nope", `1`, "does not exist"},
	} {
		if err := s.Put("values", valueRow()); err != nil {
			t.Fatal(err)
		}
		r := send(t, "PATCH", url+"values(1)", `{"`+tt.name+`":`+tt.raw+`}`)
		v := s.Records("values")[0]
		got := v.Get(tt.name).Text()
		if v.Get(tt.name).IsNull() {
			got = null
		}
		if r.status >= 400 {
			if _, target, _ := errorOf(t, r); !strings.HasPrefix(target, tt.name) {
				t.Errorf("%s = %s: the target is %s", tt.name, tt.raw, target)
			}
			got = r.raw
		}
		if got != tt.want && (r.status < 400 || tt.want == "" || !strings.Contains(got, tt.want)) {
			t.Errorf("%s = %s: status %d, got %q, want %q", tt.name, tt.raw, r.status, got, tt.want)
		}
	}
}

// A PATCH merges complex properties (Protocol 4.01, 11.4.3); null empties them.
func TestComplexInput(t *testing.T) {
	s := New(Options{Entities: []kedge.Entity{allTypes()}})
	url := s.Start(t)
	if err := s.Put("values", valueRow()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, body, want string }{
		{"PATCH", `{"home":{"city":"X","geo":{"lat":1,"lon":2}}}`, "X 1 2"},
		{"PATCH", `{"home":{"geo":{"lat":3}}}`, "X 3 2"},
		{"PATCH", `{"home":{"geo":null}}`, "X  "},
		{"PUT", `{"home":{"geo":{"lat":4}}}`, " 4 "},
		{"PATCH", `{"home":null}`, "  "},
	} {
		wantStatus(t, tt.body, send(t, tt.method, url+"values(1)", tt.body), 204)
		r := s.Records("values")[0]
		wantText(t, tt.body, r.Get("home/city").Text()+" "+r.Get("home/geo/lat").Text()+" "+r.Get("home/geo/lon").Text(), tt.want)
	}
}

// Bodies that are no object of JSON.
func TestMalformedInput(t *testing.T) {
	s, url := newThings(t, 1, Options{})
	for _, body := range []string{"", "null", "[]", `"x"`, `{"n":"5"`, `{"n":"5"}{}`, `{"n":"5","n":"6"}`, "{\"name\":\"\xff\"}", `{"n":05}`, `{n:"5"}`} {
		r := send(t, "PATCH", url+"things('a')", body)
		wantStatus(t, body, r, 400)
		errorOf(t, r)
	}
	wantStatus(t, "compressed", send(t, "PATCH", url+"things('a')", `{"n":"5"}`, "Content-Encoding", "gzip"), 415)
	wantText(t, "the row", rowOf(s, "a"), "1|thing a|code a||v1")
}

// A service that knows no IEEE754Compatible takes plain numbers, exactly.
func TestInputWithoutIEEE754(t *testing.T) {
	s, url := newThings(t, 1, Options{Quirks: []string{NoIEEE754}})
	wantStatus(t, "as string", do(t, "PATCH", url+"things('a')", `{"n":"5"}`, "Content-Type", jsonType), 415)
	wantStatus(t, "as number", do(t, "PATCH", url+"things('a')", `{"n":9007199254740993}`, "Content-Type", "application/json"), 204)
	wantText(t, "the row", rowOf(s, "a"), "9007199254740993|thing a|code a||v2")
}
