package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// ask sends a request to the server's routes and returns the answer.
func (r *replica) ask(method, path, body string) (status int, answer map[string]any, header http.Header) {
	r.p.t.Helper()
	router := httpapi.NewRouter(slog.New(slog.DiscardHandler))
	r.AdminRoutes(router.PathPrefix("/api/v1").Subrouter())
	req := httptest.NewRequest(method, "/api/v1"+path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	httpapi.WithRequestID(router).ServeHTTP(rec, req)
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
			r.p.t.Fatalf("%s %s: %v in %s", method, path, err, rec.Body)
		}
	}
	return rec.Code, answer, rec.Header()
}

func TestRoutes(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		s := p.server(nightly())
		s.opts.CheckIntegration = func(_ context.Context, name string) error {
			if name != "crm" {
				return fmt.Errorf("there is no integration %q", name)
			}
			return nil
		}
		for _, tt := range []struct {
			method, path, body string
			status             int
			want               string // in the answer
		}{
			{"POST", "/jobs", `{"name":"a","integration":"crm","every":"15m","jitter":"1m"}`, 201, `"from":"database"`},
			{"POST", "/jobs", `{"name":"b","integration":"crm","schedule":"0 2 * * *","timezone":"Europe/Berlin","enabled":false}`, 201, `"enabled":false`},
			{"POST", "/jobs", `{"name":"a","integration":"crm","every":"15m"}`, 409, "there is a job"},
			{"POST", "/jobs", `{"name":"c","integration":"crn","every":"15m"}`, 422, `"pointer":"/integration"`},
			{"POST", "/jobs", `{"name":"c","integration":"crm","every":"999ms"}`, 422, `"pointer":"/every"`},
			{"POST", "/jobs", `{"name":"c","command":"sync crm","every":"15m"}`, 422, `"pointer":"/command"`},
			{"POST", "/jobs", `{"name":"c","integration":"crm","every":"15m","onFailure":{"command":"status"}}`, 422, `"pointer":"/onFailure"`},
			{"POST", "/jobs", `{"name":"c","integration":"crm","evry":"15m"}`, 400, "evry"},
			{"POST", "/jobs", `{"name":"c","integration":"crm","every":15}`, 400, "every"},
			{"POST", "/jobs", `{`, 400, ""},
			{"POST", "/jobs", `{"name":"c","pad":"` + strings.Repeat("x", maxBody) + `"}`, 413, ""},
			{"POST", "/jobs?x=1", `{}`, 400, "unknown parameter"},
			{"GET", "/jobs", "", 200, `"name":"nightly"`},
			{"GET", "/jobs?limit=501", "", 400, "limit"},
			{"GET", "/jobs?filter=x", "", 400, "filter"},
			{"GET", "/jobs?filter=enabled+eq+false&orderby=name+desc", "", 200, `{"items":[{"author":`},
			{"GET", "/jobs/nightly", "", 200, `"from":"file"`},
			{"GET", "/jobs/nobody", "", 404, `there is no job \"nobody\"`},
			{"POST", "/jobs/b/enable", "", 200, `"nextRun":"2026-05-02T00:00:00Z"`},
			{"POST", "/jobs/nightly/disable", "", 200, `"enabled":false`},
			{"POST", "/jobs/nobody/disable", "", 404, ""},
			{"POST", "/jobs/nobody/run", "", 503, "starting or stopping"}, // Run has not begun
			{"DELETE", "/jobs/nightly", "", 409, "comes from the config"},
			{"DELETE", "/jobs/b", "", 204, ""},
			{"DELETE", "/jobs/b", "", 404, ""},
			{"PUT", "/jobs/a", "", 405, ""},
		} {
			status, answer, _ := s.ask(tt.method, tt.path, tt.body)
			text, err := json.Marshal(answer)
			p.check(err)
			if status != tt.status || !strings.Contains(string(text), tt.want) {
				t.Errorf("%s %s %.80s: %d %s, want %d with %s", tt.method, tt.path, tt.body, status, text, tt.status, tt.want)
			}
		}
		if all, err := s.List(t.Context()); err != nil || len(all) != 2 {
			t.Errorf("jobs %v, %v: what was refused left something", all, err)
		}
	})
}

// TestListPages: the pages of a list hold each job once.
func TestListPages(t *testing.T) {
	p := newPlace(t, sqlite(t))
	s := p.server()
	for i := range 5 {
		j := often(time.Hour)
		j.Name = fmt.Sprintf("j%d", i)
		_, err := s.Create(t.Context(), j, "test")
		p.check(err)
	}
	var names []string
	for cursor := "x"; cursor != ""; {
		_, page, _ := s.ask("GET", "/jobs?limit=2&orderby=runs&cursor="+url.QueryEscape(strings.TrimPrefix(cursor, "x")), "")
		for _, item := range page["items"].([]any) {
			names = append(names, item.(map[string]any)["name"].(string))
		}
		cursor, _ = page["next"].(string)
	}
	if got := strings.Join(names, " "); got != "j0 j1 j2 j3 j4" {
		t.Errorf("got %s", got)
	}
}

// TestRunRoute: a run that the API starts goes on in the background, and a
// second one is refused. What the server is at when it stops stays claimed.
func TestRunRoute(t *testing.T) {
	each(t, func(t *testing.T, p *place) {
		s := p.server(config.Job{Name: "nightly", Integration: "crm", Schedule: "0 2 * * *"})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		if s.Ready(ctx) == nil {
			t.Error("ready before it looked for jobs")
		}
		go func() { ended <- s.Run(ctx) }()
		for s.Ready(ctx) != nil {
			runtime.Gosched()
		}
		held, release := p.hold()
		defer release()
		status, job, header := s.ask("POST", "/jobs/nightly/run", "")
		if status != 202 || job["running"] != true || header.Get("Location") != "/api/v1/jobs/nightly" {
			t.Errorf("run: %d %v", status, job)
		}
		p.await(held)
		if status, _, _ := s.ask("POST", "/jobs/nightly/run", ""); status != 409 {
			t.Errorf("a second run: %d, want 409", status)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		p.story("nightly", "runs 0 skipped 0 missed 0 running next 02:00:00")
		if status, _, _ := s.ask("POST", "/jobs/nightly/run", ""); status != 503 {
			t.Errorf("a run of a server that stops: %d, want 503", status)
		}
	})
}
