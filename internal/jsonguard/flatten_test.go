package jsonguard_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

func TestFlatten(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": {"b": [1, {"c": null}], "e": {}, "f": []}, "x": "y"}`: "body.a.b[0]=1 body.a.b[1].c=<nil> body.a.e=map[] body.a.f=[] body.x=y",
		`[[1], {"x": 2}]`: "body[0][0]=1 body[1].x=2",
		`7`:               "body=7",
		`{}`:              "body=map[]",
		`{"a.b": 1, "c[0]": 2, "\\": 3, "": 4, "]": 5, "0": 6, "\\0": 7}`: `body.\0=4 body.0=6 body.\\=3 body.\\0=7 body.]=5 body.a\.b=1 body.c\[0]=2`,
	} {
		leaves, err := jsonguard.Flatten("body", decode(t, text))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range leaves {
			got = append(got, fmt.Sprintf("%s=%v", l.Path, l.Value))
		}
		if list := strings.Join(got, " "); list != want {
			t.Errorf("%s: %s, want %s", text, list, want)
		}
	}
	if _, err := jsonguard.Flatten("body", decode(t, list(jsonguard.MaxLeaves, "1"))); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := jsonguard.Flatten("body", decode(t, list(jsonguard.MaxLeaves+1, "1"))); kedge.KindOf(err) != kedge.TooLarge {
		t.Errorf("past the limit: %v", err)
	}
}

func TestUnflattenRefused(t *testing.T) {
	for _, paths := range []string{"", "x", "bodyx", "body.", "body.a..b", "body[", "body[x]", "body[01]", "body[-1]", "body[1]", "body[999999999999]", "body.a body.a",
		"body body.a", "body.a body[0]", "body.a body.a.b", "body.a.b body.a", `body.\`, `body.\x`, `body.a\0`, "body[0]x"} {
		var leaves []jsonguard.Leaf
		for p := range strings.FieldsSeq(paths) {
			leaves = append(leaves, jsonguard.Leaf{Path: p, Value: true})
		}
		if v, err := jsonguard.Unflatten("body", leaves); kedge.KindOf(err) != kedge.Invalid || err == nil {
			t.Errorf("%q: %v (%v)", paths, v, err)
		}
	}
}

// Every value comes back from its leaves, and every set of leaves from its
// value.
func FuzzFlatten(f *testing.F) {
	for _, s := range []string{`{"a.b":[{"":1},[]],"\\0":{}}`, `[[[1]]]`, `"x"`, `{"a":{"b":1},"a\\.b":2}`} {
		f.Add([]byte(s), "body.a[0]")
	}
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		if v, err := jsonguard.Unflatten("body", []jsonguard.Leaf{{Path: path, Value: true}}); err == nil {
			leaves, err := jsonguard.Flatten("body", v)
			if err != nil || len(leaves) != 1 || leaves[0].Path != path {
				t.Fatalf("%q makes %v, which has the leaves %v (%v)", path, v, leaves, err)
			}
		}
		v, _, err := jsonguard.Decode(data, 0)
		if err != nil {
			return
		}
		leaves, err := jsonguard.Flatten("body", v)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, l := range leaves {
			if seen[l.Path] {
				t.Fatalf("%s: two leaves at %s", data, l.Path)
			}
			seen[l.Path] = true
		}
		if again, err := jsonguard.Unflatten("body", leaves); err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("%s: leaves %v make %v (%v)", data, leaves, again, err)
		}
	})
}
