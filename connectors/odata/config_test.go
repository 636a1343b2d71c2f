package odata_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata"
)

func TestConfig(t *testing.T) {
	registry := connectors.NewRegistry(odata.Kind())
	for _, tt := range []struct{ block, want string }{ // want "" is accepted
		{`{"url":"https://x.example/v4"}`, ""},
		{`{}`, "connections.test.url: missing; odata needs it"},
		{`{"url":"https://x.example/v4","pagesize":5}`, "connections.test.pagesize: unknown key; did you mean pageSize?"},
		{`{"url":"https://x.example/v4?a=b"}`, "connections.test.url: must not have a query"},
		{`{"url":"ftp://x.example"}`, "connections.test.url: not an https URL"},
		{`{"url":"http://x.example/"}`, "plain http is refused"},
		{`{"url":"http://x.example/","allowHTTP":true}`, ""},
		{`{"url":"https://x.example/","flavor":"sap"}`, "connections.test.flavor: must be one of"},
		{`{"url":"https://x.example/","company":"A"}`, "company: only flavor businesscentral has companies"},
		{`{"url":"https://x.example/","flavor":"graph","atomic":true}`, "atomic: Microsoft Graph has no atomic batches"},
		{`{"url":"https://x.example/","headers":{"prefer":"x"}}`, "headers.prefer: this header cannot be set here"},
		{`{"url":"https://x.example/","headers":{"If-Match":"x"}}`, "headers.If-Match: this header cannot be set here"},
		{`{"url":"https://x.example/","headers":{"Accept-Language":"en-US"}}`, ""},
		{`{"url":"https://x.example/","pageSize":5000,"entities":{"a":{"pageSize":1}}}`, ""},
		{`{"url":"https://x.example/","pageSize":5001}`, "pageSize: must be at most 5000"},
		{`{"url":"https://x.example/","entities":{"a":{"pageSize":0}}}`, "entities.a.pageSize: must be at least 1"},
		{`{"url":"https://x.example/","entities":{"a":{"tracking":"never"}}}`, "entities.a.tracking: must be one of"},
		{`{"url":"https://x.example/","overlap":"5m","timeout":"2m","maxPageBytes":"64MiB","entities":{"a":{"overlap":"7d"}}}`, ""},
		{`{"url":"https://x.example/","overlap":"soon"}`, "overlap: must match"},
		{`{"url":"https://x.example/","auth":{"type":"basic","password":"p-4711"}}`, "auth.username: missing; type basic needs it"},
		{`{"url":"https://x.example/","auth":{"type":"query"}}`, "auth.type: must be one of"},
		{`{"url":"https://x.example/","extraFields":{"nick":"string"}}`, ""},
		{`{"url":"https://x.example/","extraFields":{"nick/a":"string"}}`, "extraFields.nick/a: not a field name"},
	} {
		_, err := registry.Open(t.Context(), "odata", json.RawMessage(tt.block), testEnv(), nil)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.block, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || kedge.KindOf(err) != kedge.Invalid):
			t.Errorf("%s: got %v, want Invalid: %s", tt.block, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "4711"):
			t.Errorf("%s: a secret is in the error", tt.block)
		}
	}
}

// The schema and the struct name the same options.
func TestSchemaNamesAllOptions(t *testing.T) {
	text, err := os.ReadFile("odata.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	all, err := json.Marshal(odata.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var options map[string]any
	if err := json.Unmarshal(all, &options); err != nil {
		t.Fatal(err)
	}
	for name := range options {
		if schema.Properties[name] == nil {
			t.Errorf("option %s is not in the schema", name)
		}
		delete(schema.Properties, name)
	}
	for name := range schema.Properties {
		t.Errorf("%s is in the schema, but is no option", name)
	}
}

func TestUnknownEntityOptions(t *testing.T) {
	server := plainService(t, nil)
	for block, want := range map[string]string{
		"nothings": "entities.nothings: there is no such entity set",
		"THINGS":   "",
	} {
		d := newDriver(t, server.URL, map[string]any{"entities": map[string]any{block: map[string]any{"tracking": "full"}}})
		_, err := d.Schema(t.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", block, err, want)
		}
	}
}
