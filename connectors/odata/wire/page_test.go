package wire

import (
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

// columns of all types, named after their types.
var columns = []Column{
	{Path: "id", Type: kedge.TypeString, Edm: "Edm.String"},
	{Path: "bool", Type: kedge.TypeBool, Edm: "Edm.Boolean"},
	{Path: "int", Type: kedge.TypeInt, Edm: "Edm.Int64"},
	{Path: "float", Type: kedge.TypeFloat, Edm: "Edm.Double"},
	{Path: "decimal", Type: kedge.TypeDecimal, Edm: "Edm.Decimal"},
	{Path: "string", Type: kedge.TypeString, Edm: "Edm.String"},
	{Path: "enum", Type: kedge.TypeString, Format: kedge.FormatEnum, EnumType: "Ns.Color"},
	{Path: "guid", Type: kedge.TypeString, Format: kedge.FormatGUID, Edm: "Edm.Guid"},
	{Path: "time", Type: kedge.TypeTime, Edm: "Edm.DateTimeOffset"},
	{Path: "date", Type: kedge.TypeDate, Edm: "Edm.Date"},
	{Path: "bytes", Type: kedge.TypeBytes, Edm: "Edm.Binary"},
	{Path: "json", Type: kedge.TypeJSON},
	{Path: "Address/City", Type: kedge.TypeString, Edm: "Edm.String"},
	{Path: "Address/Geo/Lat", Type: kedge.TypeFloat, Edm: "Edm.Double"},
}

func column(name string) Column {
	for _, c := range columns {
		if c.Path == name {
			return c
		}
	}
	panic(name)
}

func newPlan(t testing.TB, s Spec) *Plan {
	t.Helper()
	p, err := NewPlan(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func allTypes(t testing.TB) *Plan {
	version := column("int")
	return newPlan(t, Spec{Set: "things", Columns: columns, Key: columns[:1], Version: &version})
}

func TestValues(t *testing.T) {
	p := allTypes(t)
	for _, tt := range []struct{ field, json, want string }{ // want "!" is rejected, "null" and "missing" are states
		{"bool", `true`, "true"}, {"bool", `false`, "false"}, {"bool", `1`, "!"}, {"bool", `"true"`, "!"},
		{"int", `9007199254740993`, "9007199254740993"}, {"int", `"9007199254740993"`, "9007199254740993"},
		{"int", `-9223372036854775808`, "-9223372036854775808"}, {"int", `9223372036854775807`, "9223372036854775807"},
		{"int", `9223372036854775808`, "!"}, {"int", `1.0`, "1"}, {"int", `1e3`, "1000"}, {"int", `1.5`, "!"}, {"int", `"1.5"`, "!"},
		{"int", `1e400`, "!"}, {"int", `"x"`, "!"}, {"int", `""`, "!"}, {"int", `-0`, "0"}, {"int", `true`, "!"}, {"int", `[1]`, "!"},
		{"int", `999999999999999999`, "999999999999999999"}, {"int", `-999999999999999999`, "-999999999999999999"},
		{"decimal", `19.90`, "19.90"}, {"decimal", `"19.90"`, "19.90"}, {"decimal", `1e-7`, "1e-7"}, {"decimal", `"INF"`, "!"},
		{"decimal", strings.Repeat("1", 400), strings.Repeat("1", 400)}, {"decimal", strings.Repeat("1", 401), "!"},
		{"float", `1e-7`, "1e-07"}, {"float", `"INF"`, "INF"}, {"float", `"-INF"`, "-INF"}, {"float", `"NaN"`, "NaN"},
		{"float", `"1.5"`, "!"}, {"float", `1e999`, "!"},
		{"string", `"a\"\u00e9\ud83d\ude00\n"`, "a\"é😀\n"}, {"string", `"\ud83d"`, "!"}, {"string", `"\ude00\ud83d"`, "!"},
		{"string", "\"\xff\"", "!"}, {"string", `7`, "!"}, {"string", `""`, ""}, {"string", `null`, "null"},
		{"enum", `"Red"`, "Red"}, {"enum", `3`, "3"},
		{"guid", `"0A000000-0000-4000-8000-00000000000F"`, "0a000000-0000-4000-8000-00000000000f"}, {"guid", `"0A"`, "!"},
		{"guid", `"0A000000-0000-4000-8000-00000000000G"`, "!"},
		{"time", `"2026-01-31T10:00:00.1234567891+02:00"`, "2026-01-31T08:00:00.123456789Z"}, {"time", `"2026-01-31T10:00Z"`, "2026-01-31T10:00:00Z"},
		{"time", `"0001-01-01T00:00:00Z"`, "0001-01-01T00:00:00Z"}, {"time", `"0001-01-01T00:00:00+02:00"`, "!"},
		{"time", `"2026-02-30T10:00:00Z"`, "!"}, {"time", `"2026-01-31"`, "!"}, {"time", `"2026-01-31T10:00:00"`, "!"}, {"time", `"2026-01-31T10:00:00.Z"`, "!"},
		{"time", `"2026-01-31T10:00:60Z"`, "!"}, {"time", `"2026-01-31T24:00:00Z"`, "!"},
		{"date", `"2024-02-29"`, "2024-02-29"}, {"date", `"2023-02-29"`, "!"}, {"date", `"2026-01-31T00:00:00Z"`, "!"}, {"date", `"0000-01-01"`, "!"},
		{"bytes", `"-_8"`, "-_8"}, {"bytes", `"+/8="`, "-_8"}, {"bytes", `""`, ""}, {"bytes", `"+_8="`, "!"}, {"bytes", `"AA\n"`, "!"},
		{"json", `{ "a" : [ 1 , "x \" y" ] }`, `{"a":[1,"x \" y"]}`}, {"json", `[]`, `[]`}, {"json", `"t"`, `"t"`}, {"json", `null`, "null"}, {"json", `19.90`, "19.90"},
		{"json", "[\"\xff\"]", "!"},
		{"Address", `{"City":"Bonn","Geo":{"Lat":1.5}}`, "Bonn"}, {"Address", `null`, "null"}, {"Address", `{}`, "missing"}, {"Address", `7`, "!"},
		{"Address", `{"City":"Bonn"},"Address":{}`, "missing"}, {"Address", `{"City":7},"Address":{"City":"Bonn"}`, "Bonn"},
		{"string", `7,"string":"last wins"`, "last wins"}, {"string", `"a","string":7`, "!"},
		{"int", `9007199254740992,"int@Core.ValueException":{"value":"9007199254740993"}`, "9007199254740993"},
		{"int", `1,"other":0`, "1"},
		{"string", `"x","other":"` + "\xff" + `"`, "!"},
	} {
		page, err := p.Decode(`{"value":[{"id":"k","`+tt.field+`":`+tt.json+`}]}`, 1)
		if err != nil {
			t.Errorf("%s: %s: %v", tt.field, tt.json, err)
			continue
		}
		if len(page.Rejected) == 1 {
			if bad := page.Rejected[0]; tt.want != "!" || bad.Key != "k" {
				t.Errorf("%s: %s: rejected with key %q, field %q (%v), want %s", tt.field, tt.json, bad.Key, bad.Field, bad.Err, tt.want)
			}
			continue
		}
		if len(page.Records) != 1 {
			t.Fatalf("%s: %s: %d records, want 1", tt.field, tt.json, len(page.Records))
		}
		name := tt.field
		if name == "Address" {
			name = "Address/City"
		}
		v := page.Records[0].Get(name)
		got := v.Text()
		if v.IsEmpty() {
			got = v.Type().String()
		}
		if got != tt.want {
			t.Errorf("%s: %s: got %q, want %q", tt.field, tt.json, got, tt.want)
		}
	}
}

func TestExceptionBeforeValue(t *testing.T) {
	page, err := allTypes(t).Decode(`{"value":[{"id":"k","int@Core.ValueException":"9007199254740993","int":9007199254740992}]}`, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := page.Records[0].Get("int").Int(); got != 9007199254740993 {
		t.Errorf("got %d, want the exact value 9007199254740993", got)
	}
}

func TestPage(t *testing.T) {
	p := allTypes(t)
	page, err := p.Decode(` { "@odata.context":"c","@odata.count":"3","value":[
		{"@odata.etag":"W/\"1\"","id":"a","int":5,"string":null},
		{"id":"b","string":"x","int":"0012"},
		{"@etag":"e","id":"c","inner":{"@odata.nextLink":"no"},"things@odata.nextLink":"no","int":7,"other":[1,{"a":2}]} ],
		"@odata.nextLink":"next\u0026x","@deltaLink":"delta"} `, 100)
	if err != nil {
		t.Fatal(err)
	}
	if page.NextLink != "next&x" || page.DeltaLink != "delta" || page.Count != 3 || page.Rows != 3 {
		t.Errorf("got links %q, %q, count %d, rows %d", page.NextLink, page.DeltaLink, page.Count, page.Rows)
	}
	if len(page.Records) != 2 || len(page.Rejected) != 1 || page.Rejected[0].Key != "b" || page.Rejected[0].Field != "int" {
		t.Fatalf("got %d records and rejected %v, want b rejected for int 0012", len(page.Records), page.Rejected)
	}
	if got, want := page.Rejected[0].Raw, `{"id":"b","string":"x","int":"0012"}`; got != want {
		t.Errorf("got raw %s, want %s", got, want)
	}
	a, c := page.Records[0], page.Records[1]
	if a.Version != `W/"1"` || c.Version != "e" || !a.Get("string").IsNull() || !c.Get("string").IsMissing() {
		t.Errorf("got versions %q, %q, strings %v, %v", a.Version, c.Version, a.Get("string").Type(), c.Get("string").Type())
	}
	if page.Greatest != "7" || page.Last.Version != "7" || page.Last.Key[0] != "c" {
		t.Errorf("got greatest %q, last %v, want 7 and (7, c)", page.Greatest, page.Last)
	}
}

func TestBrokenPages(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	p := allTypes(t)
	for _, tt := range []struct {
		body string
		want kedge.Kind
	}{
		{``, kedge.Transient},
		{`{"value":[{"id":"a"}`, kedge.Transient},
		{`{"value":[{"id":"a"}]`, kedge.Transient},
		{`{"value":[{"id":"a"`, kedge.Transient},
		{`{"value":[{"id":"a\`, kedge.Transient},
		{`{"value":[{"id":"a\u00`, kedge.Transient},
		{`{"value":[{"id":tru`, kedge.Transient},
		{`{"value":[{"int":-`, kedge.Transient},
		{`{"value":[],"error":{"code":"1"}}`, kedge.Transient},
		{`{"value":[{"id":"a"}]}x`, kedge.Invalid},
		{`{"value":[{"id":"a",}]}`, kedge.Invalid},
		{`{"value":[{"id":"a"},]}`, kedge.Invalid},
		{`{"value":[{"int":01}]}`, kedge.Invalid},
		{`{"value":[{"int":+1}]}`, kedge.Invalid},
		{`{"value":[{"int":1.}]}`, kedge.Invalid},
		{`{"value":[{"x":1.e}]}`, kedge.Invalid},
		{`{"value":[{"id":"\x"}]}`, kedge.Invalid},
		{`{"value":[{"id":"\u12g4"}]}`, kedge.Invalid},
		{"{\"value\":[{\"id\":\"a\nb\"}]}", kedge.Invalid},
		{`{"value":[null]}`, kedge.Invalid},
		{`{"value":{}}`, kedge.Invalid},
		{`{"values":[]}`, kedge.Invalid},
		{`[]`, kedge.Invalid},
		{`<html>`, kedge.Invalid},
		{"\xef\xbb\xbf{}", kedge.Invalid},
		{`{"value":[{"id":"a","json":` + deep(MaxDepth-2) + `}]}`, kedge.Invalid},
		{`{"value":[],"x":` + deep(MaxDepth) + `}`, kedge.Invalid},
	} {
		_, err := p.Decode(tt.body, 1)
		if err == nil || kedge.KindOf(err) != tt.want {
			t.Errorf("%.60q: got %v (kind %v), want %v", tt.body, err, kedge.KindOf(err), tt.want)
		}
	}
	for _, body := range []string{
		`{"value":[{"id":"a","json":` + deep(MaxDepth-3) + `}]}`,
		`{"value":[],"x":` + deep(MaxDepth-1) + `}`,
		`{"value":[]}`,
	} {
		if _, err := p.Decode(body, 1); err != nil {
			t.Errorf("%.60q: %v", body, err)
		}
	}
}

// A page that is cut at any byte must not pass for a whole one.
func TestCutEverywhere(t *testing.T) {
	p := allTypes(t)
	body := `{"@odata.context":"x","value":[{"id":"ü","int":"5","json":{"a":[1,null,true]},"Address":{"City":"B"}},{"id":"b"}],"@odata.nextLink":"n"}`
	for i := range len(body) {
		if _, err := p.Decode(body[:i], 1); kedge.KindOf(err) != kedge.Transient {
			t.Fatalf("cut at %d: got %v, want an error of kind transient", i, err)
		}
	}
}

func TestCompositeKey(t *testing.T) {
	key := []Column{{Path: "No", Type: kedge.TypeString}, {Path: "Line", Type: kedge.TypeInt}}
	p := newPlan(t, Spec{Columns: []Column{{Path: "name", Type: kedge.TypeString}}, Key: key})
	page, err := p.Decode(`{"value":[{"No":"a,b","Line":"7","name":"x"},{"No":"c","name":"y"}]}`, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := page.Records[0].Key; got != `a\,b,7` {
		t.Errorf("got key %q, want a\\,b,7", got)
	}
	if len(page.Records[0].Values) != 1 || len(page.Rejected) != 1 {
		t.Errorf("got %d values and %d rejected, want 1 and 1", len(page.Records[0].Values), len(page.Rejected))
	}
}
