package odata_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// FuzzAnchorAndToken gives a driver anchors and tokens of anybody. It must
// refuse them or read from its own service, and never panic.
func FuzzAnchorAndToken(f *testing.F) {
	server := plainService(f, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "gone") {
			w.WriteHeader(http.StatusGone)
			return
		}
		w.Write([]byte(`{"value":[{"No":"a","Name":"x"},{"No":"b"}],"@odata.deltaLink":"things?$deltatoken=1"}`))
	})
	d := newDriver(f, server.URL, map[string]any{"versionField": "Size", "entities": map[string]any{"things": map[string]any{"versionField": "Size"}}})
	f.Add("", `{"v":1,"e":"things","m":"full","k":true,"t":["a"]}`)
	f.Add(`{"v":1,"m":"delta","e":"things","link":"http://127.0.0.1:1/gone"}`, "")
	f.Add(`{"v":1,"m":"int","e":"things","f":"Size","w":"-9223372036854775808"}`, `{"v":1,"e":"things","m":"watermark","i":true,"k":true,"t":["1","a"],"n":1}`)
	f.Add(`{"v":1,"m":"full","e":"things"}`, `{"v":1,"e":"things","m":"watermark","i":true,"o":5,"d":"x"}`)
	f.Add(`{"v":1,"m":"time","e":"other","f":"Size"}`, `x`)
	f.Fuzz(func(t *testing.T, anchor, token string) {
		req := connectors.ReadRequest{Entity: "things", Fields: []string{"Name"}, Size: 1, Anchor: kedge.Anchor(anchor), Token: connectors.Token(token)}
		p, err := d.ReadPage(t.Context(), req)
		if err == nil && p == nil {
			t.Fatal("neither a page nor an error")
		}
		if kedge.KindOf(err) == kedge.Internal && err != nil {
			t.Fatalf("kind internal: %v", err)
		}
	})
}
