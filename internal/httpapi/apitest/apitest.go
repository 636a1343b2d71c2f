// Package apitest compares routes and answers with openapi.yaml, for tests.
package apitest

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/gorilla/mux"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kedge-sync/kedge"
)

// A document is openapi.yaml as it is read.
type document struct {
	root     any
	paths    map[string]map[string]any // path → method or "parameters" → operation
	shared   map[string]map[string]any // of components/responses
	patterns []pattern
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema // by pointer
}

type pattern struct {
	path   string
	params int
	re     *regexp.Regexp
}

const resource = "kedge:openapi.yaml"

var load = sync.OnceValues(func() (*document, error) {
	text, err := yaml.YAMLToJSON([]byte(kedge.OpenAPI))
	if err != nil {
		return nil, err
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d := &document{root: root, paths: map[string]map[string]any{}, shared: map[string]map[string]any{}, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(resource, root); err != nil {
		return nil, err
	}
	paths, _ := root.(map[string]any)["paths"].(map[string]any)
	components, _ := root.(map[string]any)["components"].(map[string]any)
	responses, _ := components["responses"].(map[string]any)
	for name, r := range responses {
		d.shared[name], _ = r.(map[string]any)
	}
	for path, item := range paths {
		d.paths[path], _ = item.(map[string]any)
		re := regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+")
		d.patterns = append(d.patterns, pattern{path, strings.Count(path, "{"), regexp.MustCompile("^" + re + "$")})
	}
	// A path without parameters wins over one with.
	slices.SortFunc(d.patterns, func(a, b pattern) int { return a.params - b.params })
	return d, nil
})

var methods = []string{"get", "put", "post", "delete", "patch"}

// Routes requires each route of r in openapi.yaml, and a route for each
// operation there whose path begins with one of the prefixes.
func Routes(t *testing.T, r *mux.Router, prefixes ...string) {
	t.Helper()
	d, err := load()
	if err != nil {
		t.Fatal(err)
	}
	routed := map[string]bool{}
	err = r.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		if route.GetHandler() == nil {
			return nil // the prefix of others
		}
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		path = regexp.MustCompile(`\{(\w+):[^/]*\}`).ReplaceAllString(path, "{$1}")
		allowed, err := route.GetMethods()
		if err != nil {
			t.Errorf("route %s has no methods", path)
			return nil
		}
		for _, m := range allowed {
			if m == http.MethodHead {
				continue
			}
			operation := strings.ToLower(m) + " " + path
			routed[operation] = true
			if d.paths[path][strings.ToLower(m)] == nil {
				t.Errorf("openapi.yaml lacks %s", operation)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for path, item := range d.paths {
		if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) }) {
			continue
		}
		for method := range item {
			if slices.Contains(methods, method) && !routed[method+" "+path] {
				t.Errorf("openapi.yaml has %s %s, which has no route", method, path)
			}
		}
	}
}

// Check compares an answer with openapi.yaml: the status must be described,
// and the body must match the schema of its content type. Answers of paths
// that are not described must be problems.
func Check(method, target string, status int, contentType string, body []byte) error {
	d, err := load()
	if err != nil {
		return err
	}
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	media, _, _ := mime.ParseMediaType(contentType)
	path := ""
	for _, p := range d.patterns {
		if p.re.MatchString(u.EscapedPath()) && d.paths[p.path][strings.ToLower(method)] != nil {
			path = p.path
			break
		}
	}
	if path == "" || status == http.StatusMethodNotAllowed {
		if status < 400 {
			return fmt.Errorf("openapi.yaml does not describe %s %s", method, u.Path)
		}
		return d.match(pointer("components", "schemas", "Problem"), body)
	}
	operation, _ := d.paths[path][strings.ToLower(method)].(map[string]any)
	responses, _ := operation["responses"].(map[string]any)
	code := strconv.Itoa(status)
	response, ok := responses[code].(map[string]any)
	if !ok {
		code = "default"
		if response, ok = responses[code].(map[string]any); !ok || status < 400 {
			return fmt.Errorf("openapi.yaml does not describe status %d of %s %s", status, method, path)
		}
	}
	at := []string{"paths", path, strings.ToLower(method), "responses", code}
	if ref, ok := response["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/responses/")
		response, at = d.shared[name], []string{"components", "responses", name}
	}
	content, _ := response["content"].(map[string]any)
	if content == nil {
		if len(body) > 0 {
			return fmt.Errorf("status %d of %s %s has a body, which openapi.yaml does not describe", status, method, path)
		}
		return nil
	}
	described, ok := content[media].(map[string]any)
	if !ok {
		return fmt.Errorf("openapi.yaml does not describe the type %q of status %d of %s %s", contentType, status, method, path)
	}
	if described["schema"] == nil || !strings.HasSuffix(media, "json") {
		return nil
	}
	return d.match(pointer(append(at, "content", media, "schema")...), body)
}

func pointer(steps ...string) string {
	out := ""
	for _, s := range steps {
		out += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
	}
	return out
}

func (d *document) match(at string, body []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	schema := d.schemas[at]
	if schema == nil {
		if schema, err = d.compiler.Compile(resource + "#" + (&url.URL{Path: at}).EscapedPath()); err != nil {
			return err
		}
		d.schemas[at] = schema
	}
	if err := schema.Validate(v); err != nil {
		return fmt.Errorf("the body does not match openapi.yaml: %w\n%s", err, body)
	}
	return nil
}

// Checked answers as next does, and compares each answer with openapi.yaml.
// Streams pass unchecked.
func Checked(t testing.TB, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		if r.Method != http.MethodHead {
			if err := Check(r.Method, r.URL.String(), rec.Code, rec.Header().Get("Content-Type"), rec.Body.Bytes()); err != nil {
				t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
			}
		}
		for name, v := range rec.Header() {
			w.Header()[name] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()) // the client may have gone
	})
}

// Valid requires openapi.yaml itself to be well formed: each reference leads
// somewhere and each schema compiles.
func Valid(t *testing.T) {
	t.Helper()
	d, err := load()
	if err != nil {
		t.Fatal(err)
	}
	d.refs(t, "", d.root)
	ids := map[any]string{}
	for path, item := range d.paths {
		for method, op := range item {
			if !slices.Contains(methods, method) {
				continue
			}
			operation, _ := op.(map[string]any)
			for _, want := range []string{"operationId", "summary", "responses", "tags"} {
				if operation[want] == nil {
					t.Errorf("%s %s has no %s", method, path, want)
				}
			}
			if other, twice := ids[operation["operationId"]]; twice {
				t.Errorf("%s %s has the operationId of %s", method, path, other)
			}
			ids[operation["operationId"]] = method + " " + path
			responses, _ := operation["responses"].(map[string]any)
			for code, r := range responses {
				content, _ := r.(map[string]any)["content"].(map[string]any)
				for media := range content {
					if !strings.HasSuffix(media, "json") {
						continue
					}
					d.compile(t, "paths", path, method, "responses", code, "content", media, "schema")
				}
			}
			body, _ := operation["requestBody"].(map[string]any)
			content, _ := body["content"].(map[string]any)
			for media := range content {
				d.compile(t, "paths", path, method, "requestBody", "content", media, "schema")
			}
		}
	}
}

// refs requires each reference below v to lead somewhere.
func (d *document) refs(t *testing.T, at string, v any) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for i, x := range v {
			d.refs(t, fmt.Sprintf("%s/%d", at, i), x)
		}
	case map[string]any:
		for name, x := range v {
			d.refs(t, at+"/"+name, x)
		}
		ref, ok := v["$ref"].(string)
		if !ok {
			return
		}
		var target any = d.root
		for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			m, _ := target.(map[string]any)
			target = m[step]
		}
		if target == nil {
			t.Errorf("%s: there is no %s", at, ref)
		}
	}
}

func (d *document) compile(t *testing.T, steps ...string) {
	t.Helper()
	if _, err := d.compiler.Compile(resource + "#" + (&url.URL{Path: pointer(steps...)}).EscapedPath()); err != nil {
		t.Errorf("%s: %v", strings.Join(steps, " "), err)
	}
}
