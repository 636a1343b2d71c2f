package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// reference decodes body with encoding/json: the rows of the last member
// "value". ok is false if it is not JSON with such an array of objects.
func reference(body string) (rows []map[string]json.RawMessage, ok bool) {
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	var top map[string]json.RawMessage
	if dec.Decode(&top) != nil {
		return nil, false
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, false
	}
	value, ok := top["value"]
	if !ok || !bytes.HasPrefix(bytes.TrimSpace(value), []byte("[")) || json.Unmarshal(value, &rows) != nil {
		return nil, false
	}
	for _, r := range rows {
		if r == nil {
			return nil, false
		}
	}
	if _, has := top["error"]; has {
		return nil, false
	}
	for _, link := range []string{"@odata.nextLink", "@odata.deltaLink", "@nextLink", "@deltaLink"} {
		if v, has := top[link]; has && v[0] != '"' && v[0] != 'n' {
			return nil, false
		}
	}
	return rows, true
}

// FuzzPage compares with encoding/json. They may differ in texts that are not
// valid UTF-8 (which encoding/json replaces), and in nesting deeper than 64.
func FuzzPage(f *testing.F) {
	_, body := benchPage()
	f.Add(body[:2000])
	for _, s := range []string{
		`{"value":[{"id":"a","int":"5","json":{"a":[1,null,true]},"Address":{"City":"B","Geo":{"Lat":1.5}}},{"id":"b"}],"@odata.nextLink":"n"}`,
		`{"value":[{"id":"\u00e9\ud83d\ude00","string":"x","string":"y","decimal":19.90}]}`,
		`{"value":[{"id":"a","bytes":"-_8","guid":"0A000000-0000-4000-8000-00000000000F","time":"2026-01-31T10:00:00Z"}]}`,
		`{ "value" : [ { "id" : "a" , "x" : { } } , { } ] , "@count" : "2" }`, `{"value":[],"value":[{}]}`, `[]`, `{"value":[`,
	} {
		f.Add(s)
	}
	plan := allTypes(f)
	f.Fuzz(func(t *testing.T, body string) {
		page, err := plan.Decode(body, 10)
		want, ok := reference(body)
		if err != nil {
			if ok && utf8.ValidString(body) && !strings.Contains(err.Error(), "nested deeper") && !surrogates(body) {
				t.Fatalf("got %v, but encoding/json reads it", err)
			}
			return
		}
		if !json.Valid([]byte(body)) {
			t.Fatal("read what is not JSON")
		}
		if !ok || !utf8.ValidString(body) || surrogates(body) {
			return
		}
		if page.Rows != len(want) || len(page.Records)+len(page.Rejected) != len(want) {
			t.Fatalf("got %d rows, %d records, %d rejected; want %d", page.Rows, len(page.Records), len(page.Rejected), len(want))
		}
		compareRows(t, page, want)
	})
}

func compareRows(t *testing.T, page *Page, want []map[string]json.RawMessage) {
	bad := map[int]bool{}
	i := 0
	for _, r := range page.Records {
		for ; i < len(want) && !sameKey(want[i], r.Key); i++ {
			bad[i] = true // rejected
		}
		if i == len(want) {
			t.Fatal("a record that is in none of the rows")
		}
		for _, name := range []string{"string", "json", "decimal"} {
			compareValue(t, name, r.Get(name), want[i][name])
		}
		i++
	}
}

func sameKey(row map[string]json.RawMessage, k kedge.Key) bool {
	var id string
	return json.Unmarshal(row["id"], &id) == nil && kedge.Key(id) == k
}

func compareValue(t *testing.T, name string, got kedge.Value, raw json.RawMessage) {
	var want any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	switch {
	case raw == nil:
		if !got.IsMissing() {
			t.Fatalf("%s: got %v, want missing", name, got.Type())
		}
		return
	case dec.Decode(&want) != nil:
		t.Fatalf("%s: the row is not JSON", name)
	case want == nil:
		if !got.IsNull() {
			t.Fatalf("%s: got %v, want null", name, got.Type())
		}
		return
	}
	switch name {
	case "json":
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil || compact.String() != got.Str() {
			t.Fatalf("json: got %q, want %q", got.Str(), compact.String())
		}
	case "string":
		if got.Str() != want {
			t.Fatalf("string: got %q, want %q", got.Str(), want)
		}
	case "decimal":
		text, _ := want.(string)
		if n, ok := want.(json.Number); ok {
			text = n.String()
		}
		if got.Str() != text {
			t.Fatalf("decimal: got %q, want %q", got.Str(), text)
		}
	}
}

// FuzzDelta looks for answers that make the decoder panic or give a record
// without a key.
func FuzzDelta(f *testing.F) {
	files, _ := filepath.Glob("../../../testdata/odata/delta/*.json")
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var g golden
		if err := json.Unmarshal(body, &g); err != nil {
			f.Fatal(err)
		}
		f.Add(string(g.Answer))
	}
	plan := deltaPlan(f)
	f.Fuzz(func(t *testing.T, body string) {
		page, err := plan.Decode(body, 10)
		if err != nil {
			if k := kedge.KindOf(err); k != kedge.Invalid && k != kedge.Transient {
				t.Fatalf("kind %v", k)
			}
			return
		}
		for _, r := range page.Records {
			if r.Key == "" || r.Removed == kedge.Live && len(r.Values) != 3 {
				t.Fatalf("a record with key %q and %d values", r.Key, len(r.Values))
			}
		}
		if page.Rows != len(page.Records)+len(page.Rejected)+page.Skipped {
			t.Fatalf("%d rows gave %d records, %d rejected, %d skipped", page.Rows, len(page.Records), len(page.Rejected), page.Skipped)
		}
	})
}

// FuzzKey writes keys as predicates and reads them back, alone, in a URL and
// with the key as a segment.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"a", "it's", "a/b", "a,b", `a\,b`, "(x)", "100%", "%41", "a b+c", "日本", "''", "='"} {
		f.Add(s, int64(7))
	}
	single := []Column{{Path: "No", Type: kedge.TypeString}}
	double := []Column{{Path: "No", Type: kedge.TypeString}, {Path: "Line", Type: kedge.TypeInt}}
	f.Fuzz(func(t *testing.T, text string, n int64) {
		if text == "" || !utf8.ValidString(text) {
			return
		}
		want := kedge.NewKey(kedge.String(text))
		predicate := Predicate(single, []string{text})
		for _, id := range []string{"customers" + predicate, "https://x.example/v4/customers" + predicate, predicate} {
			if got, err := ParseID(id, "customers", single); err != nil || got != want {
				t.Fatalf("%s: got %q (%v), want %q", id, got, err, want)
			}
		}
		if got, err := ParseID("https://x.example/v4/customers/"+Escape(text), "customers", single); err != nil || got != want {
			if strings.Trim(text, "/") == text { // a slash that was escaped comes back
				t.Fatalf("segment: got %q (%v), want %q", got, err, want)
			}
		}
		want = kedge.NewKey(kedge.String(text), kedge.Int(n))
		id := "customers" + Predicate(double, []string{text, kedge.Int(n).Text()})
		if got, err := ParseID(id, "customers", double); err != nil || got != want {
			t.Fatalf("%s: got %q (%v), want %q", id, got, err, want)
		}
	})
}

// FuzzID looks for ids that make the parser panic or give an empty key.
func FuzzID(f *testing.F) {
	for _, s := range []string{"customers('a')", "x/customers/a", "('a')", "a", "customers(No='a',Line=1)", "customers('a')/Ns.T", "(", ")", "()", "%", "customers(%27a%27)"} {
		f.Add(s)
	}
	keys := [][]Column{
		{{Path: "No", Type: kedge.TypeString}}, {{Path: "No", Type: kedge.TypeString}, {Path: "Line", Type: kedge.TypeInt}},
		{{Path: "id", Type: kedge.TypeString, Format: kedge.FormatGUID}}, {{Path: "at", Type: kedge.TypeTime}}, {{Path: "b", Type: kedge.TypeBytes}},
	}
	f.Fuzz(func(t *testing.T, id string) {
		for _, key := range keys {
			if k, err := ParseID(id, "customers", key); err == nil && k == "" {
				t.Fatalf("%q: an empty key", id)
			}
		}
	})
}

// FuzzErrorBody looks for bodies that make the reader panic or keep too much.
func FuzzErrorBody(f *testing.F) {
	for _, s := range []string{
		`{"error":{"code":"a","message":"m","target":"t","details":[{"code":"b","message":"n"}],"innererror":{}}}`,
		`{"error":{"code":7,"message":{"lang":"en","value":"m"}}}`, `<html>`, ``, `{"error":"text"}`, `{"error":{"code":"x"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		e := ReadError(body)
		if len(e.Message) > 2*MaxRemote || len(e.Details) > maxDetails || !utf8.ValidString(e.Message) {
			t.Fatalf("kept %d bytes, %d details", len(e.Message), len(e.Details))
		}
	})
}

// surrogates reports whether body has escapes of halves of characters, which
// encoding/json replaces if they do not fit together.
func surrogates(body string) bool {
	return strings.Contains(body, `\ud`) || strings.Contains(body, `\uD`)
}
