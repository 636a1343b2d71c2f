package spec_test

import (
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/subscriptions/spec"
)

func TestTake(t *testing.T) {
	for _, tt := range []struct{ body, rest, token, err string }{
		{`{"a":1,"accessToken":"x","b":[2.50]}`, `{"a":1,"b":[2.50]}`, "x", ""},
		{`{"a":1}`, `{"a":1}`, "", ""},
		{`{"accessToken":null}`, `{}`, "", ""},
		{`{"accessToken":"\u0061\n"}`, `{}`, "a\n", ""},
		{`{"accessToken":7}`, "", "", "/accessToken: is a JSON number"},
		{`{"accessToken":"a","accessToken":"b"}`, "", "", "there twice"},
		{`{"a":{"accessToken":"x"}}`, `{"a":{"accessToken":"x"}}`, "", ""},
		{`[]`, "", "", "not one JSON object"},
		{`{`, "", "", "breaks off"},
		{``, "", "", "not one JSON object"},
		{`{} {}`, "", "", "not one JSON object"},
	} {
		rest, values, err := spec.Take([]byte(tt.body), "accessToken")
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %q", tt.body, err, tt.err)
			}
			continue
		}
		if err != nil || string(rest) != tt.rest || values["accessToken"] != tt.token {
			t.Errorf("%s: %s, %q, %v", tt.body, rest, values["accessToken"], err)
		}
	}
}
