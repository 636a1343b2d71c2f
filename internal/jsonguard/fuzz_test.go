package jsonguard_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// What Scan lets through is JSON for the standard library too, decodes to the
// same value, and stays the same value when it is minified.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.50,-0,1e3,true,false,null,"x\u00e9"],"":{}}`, `1e1000001`, `[[[[[]]]]]`, `{"a":1,"a":2}`, `"\ud800"`, `"\u0000"`, "\"\xff\"", `{"a":`, `[1,]`, `01`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		counts, err := jsonguard.Scan(data, 0)
		v, decoded, decodeErr := jsonguard.Decode(data, 0)
		if (err == nil) != (decodeErr == nil) || err == nil && counts != decoded {
			t.Fatalf("Scan of %q: %v, Decode: %v", data, err, decodeErr)
		}
		if err != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var want any
		if err := dec.Decode(&want); err != nil || !reflect.DeepEqual(v, want) {
			t.Fatalf("%q: %#v, encoding/json says %#v (%v)", data, v, want, err)
		}
		small, err := jsonguard.Minify(nil, data)
		if err != nil || len(small) > len(data) || !utf8.Valid(small) || bytes.Contains(small, []byte(`\u0000`)) && !bytes.Contains(small, []byte(`\\u0000`)) {
			t.Fatalf("%q minified to %q (%v)", data, small, err)
		}
		again, _, err := jsonguard.Decode(small, 0)
		if err != nil || jsonguard.Hash(again) != jsonguard.Hash(v) {
			t.Fatalf("%q minified to %q is another value (%v)", data, small, err)
		}
	})
}
