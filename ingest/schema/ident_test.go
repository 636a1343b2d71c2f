package schema_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

func TestIdentify(t *testing.T) {
	const text = `{"type": "object", "properties": {"id": {"type": "string"}, "name": {}, "at": {"type": "string", "format": "date-time"}}, "kedge": {"id": "$.id", "name": "name", "version": "at"}}`
	const whole = `{"type": "object", "properties": {"key": {"type": "object", "properties": {"no": {"$ref": "#/$defs/no"}}}, "rev": {"type": "integer"}}, "$defs": {"no": {"type": "integer"}}, "kedge": {"id": "key.no", "version": "rev"}}`
	long := strings.Repeat("é", 255)
	for _, tt := range []struct {
		doc, value string
		want       schema.Ident
		fault      string
	}{
		{text, `{"id": "a"}`, schema.Ident{ID: "a"}, ""},
		{text, `{"id": "a", "name": "Ann", "at": "2026-01-02T03:04:05.60+01:00"}`, schema.Ident{ID: "a", Name: "Ann", Version: "2026-01-02T02:04:05.6Z"}, ""},
		{text, `{"id": " ", "name": 1.50, "at": null}`, schema.Ident{ID: " ", Name: "1.50"}, ""},
		{text, `{"id": "5.0", "name": true}`, schema.Ident{ID: "5.0", Name: "true"}, ""},
		{text, `{"id": "` + long + `", "name": "` + long + `é"}`, schema.Ident{ID: long, Name: long}, ""},
		{text, `{"id": "` + long + `x"}`, schema.Ident{}, "/id: id is missing or not a string or integer"},
		{text, `{"id": ""}`, schema.Ident{}, "/id: id is missing or not a string or integer"},
		{text, `{"id": null}`, schema.Ident{}, "/id: id is missing or not a string or integer"},
		{text, `{"name": "x"}`, schema.Ident{}, "/id: id is missing or not a string or integer"},
		{text, `{"id": ["a"]}`, schema.Ident{}, "/id: id is missing"},
		{text, `{"id": "a\nb"}`, schema.Ident{}, "/id: id is missing"},
		{text, `{"id": "a\u007f"}`, schema.Ident{}, "/id: id is missing"},
		{text, `{"id": "a\u0085"}`, schema.Ident{}, "/id: id is missing"},
		{text, `{"id": "a", "name": {"x": 1}}`, schema.Ident{ID: "a"}, ""},
		{text, `{"id": "a", "at": "yesterday"}`, schema.Ident{}, "/at: version is not a whole number or date-time"},
		{text, `{"id": "a", "at": []}`, schema.Ident{}, "/at: version is not"},
		{whole, `{"key": {"no": 5}}`, schema.Ident{ID: "5"}, ""},
		{whole, `{"key": {"no": 5.0}, "rev": 1e2}`, schema.Ident{ID: "5", Version: "100"}, ""},
		{whole, `{"key": {"no": -0}}`, schema.Ident{ID: "0"}, ""},
		{whole, `{"key": {"no": 123456789012345678901234567890}, "rev": -3}`, schema.Ident{ID: "123456789012345678901234567890", Version: "-3"}, ""},
		{whole, `{"key": {"no": 1e254}}`, schema.Ident{ID: "1" + strings.Repeat("0", 254)}, ""},
		{whole, `{"key": {"no": 1e255}}`, schema.Ident{}, "/key/no: id is missing"},
		{whole, `{"key": {"no": 5.5}}`, schema.Ident{}, "/key/no: id is missing"},
		{whole, `{"key": {}}`, schema.Ident{}, "/key/no: id is missing"},
		{whole, `{"key": 7}`, schema.Ident{}, "/key/no: id is missing"},
		{whole, `{"key": {"no": 1}, "rev": 1.5}`, schema.Ident{}, "/rev: version is not"},
	} {
		got, err := parse(t, tt.doc).Identify(decode(t, tt.value))
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.value, diff)
		}
		if text := strings.Join(faults(err), ""); (tt.fault == "") != (err == nil) || !strings.HasPrefix(text, tt.fault) {
			t.Errorf("%s: %v, want %q", tt.value, err, tt.fault)
		}
		if err != nil && kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("%s: kind %v", tt.value, kedge.KindOf(err))
		}
	}
}

func TestOlder(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"1", "2", true}, {"2", "1", false}, {"2", "2", false}, {"9", "10", true}, {"-2", "-1", true}, {"", "1", false}, {"1", "", false}, {"", "", false},
		{"2026-01-02T02:04:05.6Z", "2026-01-02T02:04:05.61Z", true}, {"2026-01-02T02:04:05Z", "2026-01-02T02:04:05.1Z", true},
		{"2026-01-02T02:04:05Z", "2026-01-02T02:04:05Z", false}, {"1", "2026-01-02T02:04:05Z", false}, {"2026-01-02T02:04:05Z", "3000", false},
		{"123456789012345678901234567890", "123456789012345678901234567891", true},
	} {
		if got := schema.Older(tt.a, tt.b); got != tt.want {
			t.Errorf("Older(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}

func TestImportant(t *testing.T) {
	got := parse(t, employee).Important(decode(t, `{"employeeId": "7", "employee": {"email": "a@example.com"}}`))
	want := []schema.Field{{Path: "employeeId", Values: []any{"7"}}, {Path: "$.employee.email", Values: []any{"a@example.com"}}, {Path: "active"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever a resource holds, its id is refused or can be stored and asked for.
func FuzzIdentify(f *testing.F) {
	var schemas []*schema.Schema
	for _, typ := range []string{"string", "integer"} {
		s, err := schema.Parse(fmt.Appendf(nil, `{"type": "object", "properties": {"id": {"type": %q}, "at": {"type": "integer"}}, "kedge": {"id": "id", "name": "$.name", "version": "at"}}`, typ))
		if err != nil {
			f.Fatal(err)
		}
		schemas = append(schemas, s)
	}
	for _, s := range []string{`{"id": "a"}`, `{"id": 5.0, "at": 1e400}`, `{"id": 1e-400}`, `{"id": "\u0085"}`, `{"id": {}, "name": []}`, `{"id": -0.0}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, counts, err := jsonguard.Decode(data, 0)
		if err != nil {
			return
		}
		for _, s := range schemas {
			if err := s.Validate(v, &counts); err != nil {
				if _, ok := errors.AsType[jsonguard.Faults](err); !ok {
					t.Fatalf("%s: %v", data, err)
				}
				continue
			}
			id, err := s.Identify(v)
			if err != nil {
				continue
			}
			if !schema.ValidID(id.ID) || utf8.RuneCountInString(id.Name) > schema.MaxName || strings.Contains(id.ID, "\n") {
				t.Fatalf("%s: %+v", data, id)
			}
			if schema.Older(id.Version, id.Version) {
				t.Fatalf("%s: version %q is before itself", data, id.Version)
			}
		}
	})
}
