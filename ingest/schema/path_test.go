package schema_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kedge-sync/kedge/ingest/schema"
)

const store = `{"store": {"book": [{"title": "A", "price": 8.95}, {"title": "B"}, {"title": "C", "tags": ["x", "y"]}], "bicycle": {"color": "red"}},
 "employee-id": 7, "a.b": 1, "": 2, "o'k": 3, "say \"x\"": 4, "☺": 5, "_1": 6, "a b": 8, "\\": 9, "é": 10, "null": null, "tab\t": 11, "list": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "$": 12, "ctl\u0001": 13}`

// Cases of RFC 9535 for the part of it that is supported, and bare names.
func TestPath(t *testing.T) {
	for path, want := range map[string]string{
		"$.store.bicycle.color":            `["red"]`,
		"$['store']['bicycle']['color']":   `["red"]`,
		`$["store"]["bicycle"]["color"]`:   `["red"]`,
		"$ ['store'] .bicycle\n.color":     `["red"]`,
		"$.store\n.bicycle\t['color' ]":    `["red"]`,
		"$[ 'store' ]['bicycle'].color":    `["red"]`,
		"$.store.book[0].title":            `["A"]`,
		"$.store.book[-1].title":           `["C"]`,
		"$.store.book[-3].title":           `["A"]`,
		"$.store.book[3].title":            `[]`,
		"$.store.book[-4].title":           `[]`,
		"$.store.book[0].price":            `[8.95]`,
		"$.store.book.title":               `[]`,
		"$.store[0]":                       `[]`,
		"$.store.book['0']":                `[]`,
		"$.missing.x":                      `[]`,
		"$.null":                           `[null]`,
		"$.null.x":                         `[]`,
		"$['']":                            `[2]`,
		"$['employee-id']":                 `[7]`,
		"$['a.b']":                         `[1]`,
		`$['o\'k']`:                        `[3]`,
		`$["o'k"]`:                         `[3]`,
		`$['say "x"']`:                     `[4]`,
		`$["say \"x\""]`:                   `[4]`,
		"$.☺":                              `[5]`,
		`$["\u263A"]`:                      `[5]`,
		`$['\u263a']`:                      `[5]`,
		"$._1":                             `[6]`,
		"$['a b']":                         `[8]`,
		`$['\\']`:                          `[9]`,
		`$['tab\t']`:                       `[11]`,
		`$['\u00e9']`:                      `[10]`,
		"$['$']":                           `[12]`,
		"$.store.book[*].title":            `["A","B","C"]`,
		"$.store.book.*.title":             `["A","B","C"]`,
		"$.store.book[*].tags[*]":          `["x","y"]`,
		"$.store.bicycle.*":                `["red"]`,
		"$.store.bicycle['color','x']":     `["red"]`,
		"$.store.book[0]['price','title']": `[8.95,"A"]`,
		"$.list[1:3]":                      `[1,2]`,
		"$.list[1:5:2]":                    `[1,3]`,
		"$.list[5:]":                       `[5,6,7,8,9]`,
		"$.list[:2]":                       `[0,1]`,
		"$.list[:]":                        `[0,1,2,3,4,5,6,7,8,9]`,
		"$.list[::]":                       `[0,1,2,3,4,5,6,7,8,9]`,
		"$.list[::2]":                      `[0,2,4,6,8]`,
		"$.list[-2:]":                      `[8,9]`,
		"$.list[:-8]":                      `[0,1]`,
		"$.list[-3:-1]":                    `[7,8]`,
		"$.list[2:1]":                      `[]`,
		"$.list[20:]":                      `[]`,
		"$.list[0:20]":                     `[0,1,2,3,4,5,6,7,8,9]`,
		"$.list[-20:2]":                    `[0,1]`,
		"$.list[::-1]":                     `[9,8,7,6,5,4,3,2,1,0]`,
		"$.list[3::-1]":                    `[3,2,1,0]`,
		"$.list[0:1:-1]":                   `[]`, "$.list[-20:20:-1]": `[]`, "$.list[20:-20:-4]": `[9,5,1]`, "$.list[-1:-4:-1]": `[9,8,7]`, "$.list[:7:-1]": `[9,8]`, "$.list[::9007199254740991]": `[0]`, "$.list[::-9007199254740991]": `[9]`, "$.store.bicycle[::-1]": `[]`,
		"$.list[5:1:-2]":      `[5,3]`,
		"$.list[1:2:0]":       `[]`,
		"$.list[ 1 : 3 ]":     `[1,2]`,
		"$.list[0:-1:3]":      `[0,3,6]`,
		"$.store[1:2]":        `[]`,
		"employee-id":         `[7]`,
		"store.bicycle.color": `["red"]`,
		"a b":                 `[8]`,
		"☺":                   `[5]`,
		"missing":             `[]`,
	} {
		p, err := schema.ParsePath(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		got := p.Get(decode(t, store))
		if diff := cmp.Diff(decode(t, want), any(got), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		if p.String() != path {
			t.Errorf("String of %s is %s", path, p)
		}
	}
}

func decode(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPathRefused(t *testing.T) {
	for path, want := range map[string]string{
		"":                        "a path is a name",
		"$":                       "a path is a name",
		"$..a":                    "descendants (..) are not supported",
		"$.a..b":                  "descendants (..) are not supported",
		"$..*":                    "descendants (..) are not supported",
		"$[?@.a]":                 "filters are not supported",
		"$[?(@.a > 1)]":           "filters are not supported",
		"$.a[(@.length-1)]":       "scripts are not supported",
		"$[@]":                    "scripts are not supported",
		"$[]":                     "the brackets are empty",
		"$[ ]":                    "the brackets are empty",
		"$a":                      "a segment begins with . or [",
		"$ a":                     "a segment begins with . or [",
		"$.a ":                    "a segment begins with . or [",
		"$.":                      "begins with a letter or _",
		"$.1":                     "begins with a letter or _",
		"$.'a'":                   "begins with a letter or _",
		"$. a":                    "begins with a letter or _",
		"$.employee-id":           "write the name as ['name']",
		"$.&":                     "begins with a letter or _",
		"$[a]":                    "brackets hold a quoted name",
		"$['a":                    "a quote is missing",
		"$['a'":                   "a ] is missing",
		"$['a\"]":                 "a quote is missing",
		"$[0":                     "a ] is missing",
		"$[01]":                   "without leading zeros",
		"$[-0]":                   "without leading zeros",
		"$[-]":                    "whole number",
		"$[1.0]":                  "a ] is missing",
		"$[1e1]":                  "a ] is missing",
		"$[+1]":                   "brackets hold a quoted name",
		"$[9007199254740992]":     "whole number",
		"$[99999999999999999999]": "whole number",
		"$[0,1]":                  "unions are of names only",
		"$['a',0]":                "unions are of names only",
		"$['a',]":                 "unions are of names only",
		"$[*,'a']":                "unions are of names only",
		"$[1:2:3:4]":              "a ] is missing",
		"$[1:-0]":                 "whole number",
		`$['\x']`:                 "an escape that does not exist",
		`$['\"']`:                 "an escape that does not exist",
		`$["\'"]`:                 "an escape that does not exist",
		`$["\ud800"]`:             "an escape that does not exist",
		"$['a\nb']":               "a control character",
		"a..b":                    "a name between points is empty",
		".a":                      "a name between points is empty",
		"a.":                      "a name between points is empty",
		"a[0]":                    "begins with $",
		"a.*":                     "begins with $",
		"a?":                      "begins with $",
		"@.a":                     "begins with $",
		"'a'":                     "begins with $",
	} {
		if _, err := schema.ParsePath(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// What is read does not crash, and leads to as many values as it says.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"$.a.b", "a.b", "$['a\\u0041'][0][-1:3:2].*", "$[?@.a]", "$..a", "$['a','b']", "$[1:2:0]", "$[::-1]", "$['", "$[-1::-1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := schema.ParsePath(text)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without text")
			}
			return
		}
		for _, v := range []any{decode(t, store), nil, "x", []any{}, []any{[]any{1}, map[string]any{"a": nil}}, map[string]any{}} {
			p.Get(v)
		}
	})
}
