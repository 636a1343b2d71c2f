package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/httpapi"
)

func TestPageParams(t *testing.T) {
	for _, tt := range []struct {
		query string
		want  httpapi.Page
		err   string
	}{
		{"", httpapi.Page{Limit: 100}, ""},
		{"limit=1&cursor=abc&filter=a%20eq%201&orderby=b&state=open", httpapi.Page{Limit: 1, Cursor: "abc", Filter: "a eq 1", OrderBy: "b"}, ""},
		{"limit=500", httpapi.Page{Limit: 500}, ""},
		{"limit=501", httpapi.Page{}, "limit must be a number from 1 to 500"},
		{"limit=0", httpapi.Page{}, "limit must be"},
		{"limit=", httpapi.Page{}, "limit must be"},
		{"limit=-5", httpapi.Page{}, "limit must be"},
		{"limit=99999999999999999999", httpapi.Page{}, "limit must be"},
		{"limit=1&limit=2", httpapi.Page{}, `parameter "limit" is there 2 times; give it once`},
		{"Limit=1", httpapi.Page{}, `unknown parameter "Limit"; did you mean "limit"?`},
		{"xyz=1", httpapi.Page{}, `unknown parameter "xyz"; this call takes limit, cursor`},
		{"a=%zz", httpapi.Page{}, "percent-encode"},
		{"filter=%ff", httpapi.Page{}, `parameter "filter" is not UTF-8`},
		{strings.Repeat("x", 5000) + "=1", httpapi.Page{}, strings.Repeat("x", 64) + `…"`},
		{"tag=1&tag=2", httpapi.Page{Limit: 100}, ""},
	} {
		r := httptest.NewRequest("GET", "/?"+tt.query, nil)
		got, _, err := httpapi.PageParams(r, "state", "tag...")
		if got != tt.want || tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%.100s: got %v, %v; want %v, %q", tt.query, got, err, tt.want, tt.err)
		}
	}
	if _, err := httpapi.OnlyParams(httptest.NewRequest("GET", "/?a=1", nil)); err == nil || !strings.Contains(err.Error(), "takes none") {
		t.Errorf("got %v", err)
	}
}

func TestIfMatch(t *testing.T) {
	tag := httpapi.ETag("ab", "c")
	if tag == httpapi.ETag("a", "bc") || tag != httpapi.ETag("ab", "c") {
		t.Error("ETag does not tell parts apart, or is not stable")
	}
	for _, tt := range []struct {
		name     string
		headers  []string
		etag     string
		required bool
		want     int
	}{
		{"none", nil, tag, false, 200},
		{"none but required", nil, tag, true, 428},
		{"empty but required", []string{" "}, tag, true, 428},
		{"same", []string{tag}, tag, true, 200},
		{"other", []string{`"x"`}, tag, false, 412},
		{"one of several", []string{`"x", ` + tag}, tag, true, 200},
		{"in the second header", []string{`"x"`, tag}, tag, true, 200},
		{"weak", []string{"W/" + tag}, tag, true, 412},
		{"any", []string{"*"}, tag, true, 200},
		{"any of nothing", []string{"*"}, "", true, 412},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("PUT", "/", nil)
			r.Header["If-Match"] = tt.headers
			w, _ := serve(func(_ http.ResponseWriter, r *http.Request) error { return httpapi.IfMatch(r, tt.etag, tt.required) }, r)
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
		})
	}
}
