package httpapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/internal/httpapi"
)

func TestRouter(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	r := httpapi.NewRouter(log)
	name := func(w http.ResponseWriter, r *http.Request) error {
		return httpapi.WriteJSON(w, 200, mux.Vars(r)["name"])
	}
	sub := r.PathPrefix("/api").Subrouter()
	sub.Handle("/things/{name}", httpapi.Handle(log, name)).Methods("GET", "DELETE")
	sub.Handle("/things/{name}/run", httpapi.Handle(log, name)).Methods("POST")
	for _, tt := range []struct {
		method, path string
		status       int
		body, allow  string
	}{
		{"GET", "/api/things/a", 200, `"a"`, ""},
		{"GET", "/api/things/a%2Fb%20%C3%A9", 200, `"a/b é"`, ""},
		{"GET", "/api/things/a%252F", 200, `"a%2F"`, ""},
		{"POST", "/api/things/a/run", 200, `"a"`, ""},
		{"PUT", "/api/things/a", 405, "allowed: GET, DELETE", "GET, DELETE"},
		{"GET", "/api/things/a/run", 405, "allowed: POST", "POST"},
		{"BREW", "/api/things/a/run", 405, "allowed: POST", "POST"},
		{"GET", "/api//things/a", 404, "there is nothing", ""},
		{"GET", "/api/things/", 404, "there is nothing", ""},
		{"GET", "/other", 404, "there is nothing", ""},
	} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) || w.Header().Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d %s, Allow %q; want %d %s, %q", tt.method, tt.path, w.Code, w.Body, w.Header().Get("Allow"), tt.status, tt.body, tt.allow)
		}
		if w.Code != 200 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: type %q", tt.method, tt.path, w.Header().Get("Content-Type"))
		}
	}
}
