package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/httpapi"
)

func zip(t *testing.T, parts ...string) string {
	t.Helper()
	var buf bytes.Buffer
	for _, p := range parts {
		zw := gzip.NewWriter(&buf)
		if _, err := zw.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return buf.String()
}

func TestReadBody(t *testing.T) {
	const limit = 1000
	full, over := strings.Repeat("a", limit), strings.Repeat("a", limit+1)
	noise := "" // does not compress
	for i := range limit {
		noise += string(rune(' ' + (i*i*7+i*13)%94))
	}
	empty := strings.Repeat(zip(t, ""), 8000)
	for _, tt := range []struct {
		name, encoding, body string
		status               int
		want                 string
	}{
		{"empty", "", "", 200, ""},
		{"at the limit", "", full, 200, full},
		{"one over", "", over, 413, ""},
		{"identity", "identity", full, 200, full},
		{"gzip at the limit", "gzip", zip(t, full), 200, full},
		{"gzip that is longer than plain", "gzip", zip(t, noise), 200, noise},
		{"gzip one over", "gzip", zip(t, over), 413, ""},
		{"gzip in upper case", "GZIP", zip(t, "x"), 200, "x"},
		{"gzip bomb", "gzip", zip(t, strings.Repeat("a", 10<<20)), 413, ""},
		{"gzip members", "gzip", zip(t, full[:500], full[500:]), 200, full},
		{"gzip members over", "gzip", zip(t, full, "b"), 413, ""},
		{"endless empty gzip members", "gzip", empty, 413, ""},
		{"gzip cut", "gzip", zip(t, full)[:20], 400, ""},
		{"gzip with bytes after it", "gzip", zip(t, full) + "more", 400, ""},
		{"not gzip", "gzip", full, 400, ""},
		{"gzip of nothing", "gzip", "", 400, ""},
		{"deflate", "deflate", full, 415, ""},
		{"twice", "gzip, gzip", full, 415, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Encoding", tt.encoding)
			var got []byte
			w, log := serve(func(w http.ResponseWriter, r *http.Request) (err error) {
				got, err = httpapi.ReadBody(w, r, limit)
				return err
			}, r)
			if w.Code != tt.status || string(got) != tt.want || log != "" {
				t.Errorf("status %d (%s), %d bytes, log %q; want %d, %d bytes", w.Code, w.Body, len(got), log, tt.status, len(tt.want))
			}
		})
	}
}

func TestReadJSON(t *testing.T) {
	type inner struct {
		N    int    `json:"n"`
		Name string `json:"name"`
	}
	type doc struct {
		A     string         `json:"a"`
		Inner []inner        `json:"inner"`
		Map   map[string]any `json:"map"`
		On    *bool          `json:"on"`
	}
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		pointer, detail         string // of the first entry of errors
	}{
		{"good", "application/json", ` {"a": "x", "inner": [{"n": 1}], "on": true} `, 200, "", ""},
		{"no type", "", `{}`, 200, "", ""},
		{"with charset", "application/json; charset=utf-8", `{}`, 200, "", ""},
		{"problem+json style", "application/merge-patch+json", `{}`, 200, "", ""},
		{"form", "application/x-www-form-urlencoded", `{}`, 415, "", ""},
		{"broken type", "json;;", `{}`, 415, "", ""},
		{"empty", "application/json", " \n", 400, "", ""},
		{"unknown", "", `{"inner": [{"n": 1, "m": 2}]}`, 400, "/inner/0/m", "unknown name"},
		{"other case", "", `{"A": "x"}`, 400, "/A", "unknown name"},
		{"twice", "", `{"a": "x", "a": "y"}`, 400, "/a", "name given twice"},
		{"twice in a map", "", `{"map": {"x": {"y": 1, "y": 2}}}`, 400, "/map/x/y", "name given twice"},
		{"wrong type", "", `{"inner": [{"n": "personal"}]}`, 400, "/inner/0/n", "must be an integer"},
		{"wrong type of a pointer", "", `{"on": "personal"}`, 400, "/on", "must be true or false"},
		{"number too large", "", `{"inner": [{"n": 1e99}]}`, 400, "/inner/0/n", "must be an integer"},
		{"array for object", "", `[]`, 400, "", "must be an object"},
		{"bad UTF-8", "", "{\"a\": \"\xff\"}", 400, "/a", "not valid JSON at byte 7"},
		{"cut", "", `{"a": "x"`, 400, "", "not valid JSON at byte 9"},
		{"two values", "", `{} {}`, 400, "", "not valid JSON at byte 3"},
		{"too deep", "", `{"map": {"x": ` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}}`, 400, "", ""},
		{"at the limit", "", `{"a": "` + strings.Repeat("x", 50000-9) + `"}`, 200, "", ""},
		{"one over", "", `{"a": "` + strings.Repeat("x", 50000-8) + `"}`, 413, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.contentType)
			w, _ := serve(func(w http.ResponseWriter, r *http.Request) error {
				var d doc
				return httpapi.ReadJSON(w, r, 50000, &d)
			}, r)
			if w.Code != tt.status {
				t.Fatalf("status %d (%s), want %d", w.Code, w.Body, tt.status)
			}
			if strings.Contains(w.Body.String(), "personal") {
				t.Errorf("the answer repeats a value: %s", w.Body)
			}
			if tt.detail == "" {
				return
			}
			var p struct{ Errors []httpapi.FieldError }
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if want := (httpapi.FieldError{Pointer: tt.pointer, Detail: tt.detail}); len(p.Errors) != 1 || p.Errors[0] != want {
				t.Errorf("errors %v, want %v", p.Errors, want)
			}
		})
	}
}
